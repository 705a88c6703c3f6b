"""/api/v1/events: what the dashboard draws, as server-sent events.

One board is drawn per tick for everybody, in a thread, and only while somebody watches; a
decision brings the next tick forward, so that what has changed is seen at once. Who watches
holds one message at most: one that comes too late for it is replaced by a full board once the
client reads again, so a slow client costs one message of memory and misses detail, not state.

Events: `full` (a whole board), `change` (what is different from the event before), `decisions`
(new entries of the journal). Each is one JSON document; see `web.board`.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable

from aiohttp import web

from nplb.aio.tasks import TaskOwner
from nplb.model.status import Status
from nplb.observe.journal import Journal
from nplb.web.board import Board, draw
from nplb.web.render import JSON, render, to_bytes

log = logging.getLogger(__name__)

TICK_SECONDS = 1.0
HASTE_SECONDS = 0.2
"""From one board to the next at least, also when there are decisions."""
MAX_CLIENTS = 64
MAX_DECISIONS = 200
"""New entries in one tick; of more, the newest."""


class Watcher:
    """One watcher: the message that waits for it, or None and `behind`."""

    def __init__(self) -> None:
        self.news = asyncio.Event()
        self.pending: bytes | None = None
        self.behind = True

    def offer(self, message: bytes | None) -> None:
        """Hand over a message; None is one that only a full board can say."""
        if message is None or self.pending is not None:
            self.pending, self.behind = None, True
        elif not self.behind:
            self.pending = message
        self.news.set()


class Stream:
    """Draws boards and hands them to whoever watches."""

    def __init__(
        self,
        status: Callable[[], Status],
        journal: Journal | None,
        owner: TaskOwner,
    ) -> None:
        self._status = status
        self._journal = journal
        self._owner = owner
        self._clients: set[Watcher] = set()
        self._board: Board | None = None
        self._full: bytes | None = None
        self._drawing: asyncio.Task[None] | None = None
        self._position = 0

    def __len__(self) -> int:
        return len(self._clients)

    async def serve(self, request: web.Request) -> web.StreamResponse:
        """Answer one watcher until it goes."""
        if len(self._clients) >= MAX_CLIENTS:
            raise web.HTTPServiceUnavailable(
                text="too many dashboards are open", headers={"Retry-After": "10"}
            )
        response = web.StreamResponse(
            headers={"Content-Type": "text/event-stream; charset=utf-8", "X-Accel-Buffering": "no"}
        )
        client = Watcher()
        self._clients.add(client)
        try:
            await response.prepare(request)
            await response.write(b"retry: 1000\n\n")
            if self._drawing is None or self._drawing.done():
                self._drawing = self._owner.spawn(self._draw_on(), "stream")
            elif self._board is not None:
                client.news.set()
            while True:
                await client.news.wait()
                client.news.clear()
                message = await self._next(client)
                if message is not None:
                    await response.write(message)
        except ConnectionResetError:
            return response
        finally:
            self._clients.discard(client)

    async def _next(self, client: Watcher) -> bytes | None:
        if not client.behind:
            message, client.pending = client.pending, None
            return message
        board = self._board
        if board is None:
            return None
        client.behind, client.pending = False, None
        if self._full is None:
            full = await asyncio.to_thread(lambda: _event("full", board.full()))
            if board is not self._board:
                # A tick has passed meanwhile: what it changed waits for this client.
                return full
            self._full = full
        return self._full

    async def _draw_on(self) -> None:
        """Draw while somebody watches."""
        self._position = self._journal.last if self._journal is not None else 0
        loop = asyncio.get_running_loop()
        while self._clients:
            began = loop.time()
            try:
                await self._draw()
            except Exception:
                # The page shows that it is stale; the balancer goes on.
                log.exception("drawing the dashboard's board failed")
            took = loop.time() - began
            # A board that is heavy to draw is drawn more seldom, and in no haste.
            await self._pause(max(HASTE_SECONDS, took * 6), max(TICK_SECONDS - took, took * 2))
        self._board = self._full = None

    async def _pause(self, least: float, most: float) -> None:
        """Wait for the next decision, but no less and no longer than this."""
        if self._journal is None or least >= most:
            await asyncio.sleep(most)
            return
        await asyncio.sleep(least)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(most - least), self._journal.reader(self._position) as news:
                await news.next(limit=1)

    async def _draw(self) -> None:
        before, status = self._board, self._status()
        news = self._news()

        def work() -> tuple[Board, bytes | None]:
            board = draw(status, before)
            change = board.change(before) if before is not None else None
            return board, None if change is None else _event("change", change) + news

        self._board, message = await asyncio.to_thread(work)
        self._full = None
        for client in self._clients:
            client.offer(message)

    def _news(self) -> bytes:
        if self._journal is None or self._journal.last <= self._position:
            return b""
        found = self._journal.since(self._position, limit=MAX_DECISIONS)
        self._position = self._journal.last
        return _event("decisions", {"last": self._journal.last, "decisions": render(found)})


def _event(name: str, document: JSON) -> bytes:
    return b"event: " + name.encode() + b"\ndata: " + to_bytes(document) + b"\n"
