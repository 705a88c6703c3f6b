"""A headless Chromium, driven by Playwright: what a person would see of a page, and would do.

Debian's Chromium is used, not one that Playwright brings. It takes seconds to start, so all tests
of a process share one, on the event loop of the session; every test has profiles of its own.
"""

import asyncio
import contextlib
import json
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from playwright import async_api as playwright

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")

# The marks of a module whose tests use a browser.
IN_A_BROWSER = [
    pytest.mark.skipif(CHROMIUM is None, reason="needs a browser (package chromium)"),
    pytest.mark.timeout(180),
    pytest.mark.asyncio(loop_scope="session"),
]

# The machine's network may be closed: no look-ups, no updates, no service of Google's.
_FLAGS = (
    "--disable-gpu",
    "--disable-quic",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
)


class Page:
    """One tab. `errors` are exceptions, console errors and refusals of the content policy;
    `requested` every URL that was asked for."""

    def __init__(self, tab: "playwright.Page") -> None:
        self.tab = tab
        self.errors: list[str] = []
        self.requested: list[str] = []
        tab.on("pageerror", lambda error: self.errors.append(str(error)))
        tab.on("console", self._heard)
        tab.on("request", lambda request: self.requested.append(request.url))

    def _heard(self, message: "playwright.ConsoleMessage") -> None:
        if message.type == "error":
            self.errors.append(f"{message.text} {message.location}")

    async def evaluate(self, expression: str) -> Any:
        """The value of a JavaScript expression; promises are awaited."""
        return await self.tab.evaluate(expression)

    async def until(self, expression: str, seconds: float = 30.0) -> Any:
        """The value of an expression once it is true."""
        try:
            async with asyncio.timeout(seconds):
                while not (value := await self.evaluate(expression)):  # noqa: ASYNC110
                    await asyncio.sleep(0.05)
        except TimeoutError:
            text = await self.evaluate("document.body.innerText")
            raise AssertionError(f"never true: {expression}\n{self.errors}\n{text}") from None
        return value

    async def go(self, url: str) -> None:
        """Load a page."""
        await self.tab.goto(url)

    async def press(self, key: str) -> None:
        """Press a key, by its DOM name."""
        await self.tab.keyboard.press(key)

    async def click(self, selector: str) -> None:
        """Click an element, as soon as a person could."""
        await self.tab.click(selector)

    async def write(self, selector: str, text: str) -> None:
        """Type into a field, over what it holds."""
        await self.tab.fill(selector, "")
        await self.tab.type(selector, text)

    async def text(self, selector: str = "main") -> str:
        """What can be read there."""
        return str(await self.evaluate(f"document.querySelector({json.dumps(selector)}).innerText"))


class Browser:
    """A running Chromium."""

    def __init__(self, running: "playwright.Browser") -> None:
        self._running = running

    async def open(
        self, *, width: int = 1440, height: int = 900, theme: str = "light", touch: bool = False
    ) -> Page:
        """A new tab with a profile of its own, of this size, with this colour scheme preferred."""
        context = await self._running.new_context(
            viewport={"width": width, "height": height},
            color_scheme="dark" if theme == "dark" else "light",
            has_touch=touch,
        )
        context.set_default_timeout(30_000)
        return Page(await context.new_page())

    async def clear(self) -> None:
        """Close every tab, and forget what pages have stored."""
        for context in self._running.contexts:
            await context.close()


@contextlib.asynccontextmanager
async def chromium(folder: Path) -> AsyncIterator[Browser]:
    """A browser, whose downloads go to `folder`."""
    from playwright import async_api as playwright

    assert CHROMIUM is not None
    async with playwright.async_playwright() as driver:
        running = await driver.chromium.launch(
            executable_path=CHROMIUM,
            args=list(_FLAGS),
            chromium_sandbox=False,
            downloads_path=folder,
            timeout=60_000,
        )
        try:
            yield Browser(running)
        finally:
            await running.close()
