"""The listening socket of the API server and its connections, which faults open and close.

Closing is immediate, so that a fault is there when its command returns. Meanwhile the address is
held by a second socket that is bound and does not listen: connects are refused, and nobody else
is given the port. Opening again is a task, since a listener that asks for this very port can have
it all the same.
"""

import asyncio
import logging
import socket
import ssl

from aiohttp import web

from nplb.model.errors import HostError

log = logging.getLogger(__name__)

BACKLOG = 1024
RETRY_SECONDS = 0.1


class Listener:
    """Listens at one address for an aiohttp server, with TLS if there is a context for it. Owns
    its sockets."""

    def __init__(self, server: web.Server, tls: ssl.SSLContext | None = None) -> None:
        self._server = server
        self._tls = tls
        self._listening: asyncio.Server | None = None
        self._holder: socket.socket | None = None
        self.address = ("", 0)

    @property
    def url(self) -> str:
        """Where clients find it."""
        host, port = self.address
        shown = f"[{host}]" if ":" in host else host
        return f"{'https' if self._tls else 'http'}://{shown}:{port}"

    async def bind(self, host: str, port: int) -> None:
        """Listen for the first time; port 0 picks a free one. Raises HostError."""
        self._holder = _bound(host, port)
        self.address = self._holder.getsockname()[:2]
        try:
            await self._listen(_bound(*self.address))
        except BaseException:
            self.end()
            raise

    async def reopen(self) -> None:
        """Listen again at the same address, as soon as it is free."""
        while self._listening is None:
            try:
                await self._listen(_bound(*self.address))
            except HostError as error:
                log.warning("cannot listen again yet: %s", error)
                await asyncio.sleep(RETRY_SECONDS)

    def end(self) -> None:
        """`close`, and give the address up."""
        self.close()
        if self._holder is not None:
            self._holder.close()
            self._holder = None

    def close(self) -> None:
        """Stop listening and cut every connection, at once."""
        if self._listening is not None:
            self._listening.close()
            self._listening = None
        self.cut()

    def cut(self) -> None:
        """Cut every connection, in the middle of whatever it is doing."""
        for connection in list(self._server.connections):
            if connection.transport is not None:
                connection.transport.abort()

    async def _listen(self, sock: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        self._listening = await loop.create_server(
            self._server, sock=sock, backlog=BACKLOG, ssl=self._tls
        )


def _bound(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((host, port))
    except OSError as error:
        sock.close()
        raise HostError(
            f"the lab's API server cannot listen on {host}:{port}: {error.strerror}; "
            "give it another port, or 0 for any free one"
        ) from error
    return sock
