"""The side door: a port of its own for the paths that no fault touches, also while the API server's
own port is closed by one."""

import ssl

from aiohttp import web

from nplb.lab.api.answers import not_found
from nplb.lab.api.handler import MAX_BODY_BYTES, Handler
from nplb.lab.api.listener import Listener


class SideDoor:
    """Serves what a handler has aside, and nothing else. `url` is set once it is open."""

    def __init__(self, handler: Handler) -> None:
        self._handler = handler
        self._runner: web.AppRunner | None = None
        self._listener: Listener | None = None
        self.url = ""

    async def open(self, host: str, tls: ssl.SSLContext | None) -> None:
        """Listen on a free port. Raises HostError."""
        app = web.Application(client_max_size=MAX_BODY_BYTES)
        app.router.add_route("*", "/{path:.*}", self._handle)
        self._runner = web.AppRunner(app, handler_cancellation=True, access_log=None)
        await self._runner.setup()
        assert self._runner.server is not None
        self._listener = Listener(self._runner.server, tls)
        await self._listener.bind(host, 0)
        self.url = self._listener.url

    async def close(self) -> None:
        """Cut every connection and stop. Safe to call twice, and without `open`."""
        if self._listener is not None:
            self._listener.end()
            self._listener = None
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        answer = await self._handler.handle_aside(request)
        return answer if answer is not None else not_found()
