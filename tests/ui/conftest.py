"""The browser that the tests of the dashboard share."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.support.browser import Browser, chromium


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def running_browser(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Browser]:
    """One Chromium for all tests of this process."""
    async with chromium(tmp_path_factory.mktemp("browser")) as browser:
        yield browser


@pytest_asyncio.fixture(loop_scope="session")
async def browser(running_browser: Browser) -> AsyncIterator[Browser]:
    """A browser without tabs, which remembers nothing."""
    yield running_browser
    await running_browser.clear()
