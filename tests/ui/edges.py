"""A server over a status that a test makes up, for pages to look at."""

import contextlib
from collections.abc import AsyncIterator
from dataclasses import replace

from nplb.model.keys import Address
from nplb.model.status import Status
from nplb.observe.journal import Journal
from nplb.web.server import AdminServer
from tests.support.browser import Page

MAIN = "document.querySelector('main').innerText"


class Edge:
    """A server over a status that moves on by itself, and that a test may replace."""

    def __init__(self, state: Status) -> None:
        self.state = state
        self.journal = Journal()
        self.port = 0
        self.server: AdminServer | None = None

    def status(self) -> Status:
        now = self.state.now + 0.5
        self.state = replace(self.state, now=now, loop_at=now)
        return self.state

    async def start(self) -> None:
        self.server = AdminServer(
            status=self.status, listen=Address("127.0.0.1", self.port), journal=self.journal
        )
        await self.server.start()
        self.port = self.server.address.port

    async def stop(self) -> None:
        if self.server is not None:
            await self.server.stop()
            self.server = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/"


@contextlib.asynccontextmanager
async def running(state: Status) -> AsyncIterator[Edge]:
    edge = Edge(state)
    await edge.start()
    try:
        yield edge
    finally:
        await edge.stop()


def sound(page: Page, edge: Edge) -> None:
    """No error, and no request to anybody else."""
    assert page.errors == []
    foreign = [url for url in page.requested if not url.startswith((edge.url, "data:", "about:"))]
    assert foreign == []
