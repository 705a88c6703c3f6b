"""Connections to the admin server: how many, how slow, how long.

aiohttp bounds a request's headers and body and the time between requests. What it leaves open
is bounded here: the number of connections, the time until the first request is complete, TLS
handshake included, and how long an answer may wait for a client that does not read it.
"""

import asyncio
import ssl
from collections import Counter
from collections.abc import Callable

from nplb.aio.tasks import TaskOwner

MAX_CONNECTIONS = 256
FIRST_REQUEST_SECONDS = 10.0
STALLED_SECONDS = 60.0
_SWEEP_SECONDS = 2.0


class Guards:
    """All connections of one server. `requested(transport)` is to be called when a request
    has been read. Times in seconds."""

    def __init__(
        self,
        *,
        max_connections: int = MAX_CONNECTIONS,
        first_request_seconds: float = FIRST_REQUEST_SECONDS,
        stalled_seconds: float = STALLED_SECONDS,
    ) -> None:
        self.max_connections = max_connections
        self.first_request_seconds = first_request_seconds
        self.stalled_seconds = stalled_seconds
        self.open: dict[Guard, None] = {}
        self._tls: Callable[[], ssl.SSLContext] | None = None
        self._handshakes = TaskOwner("web-tls")
        self._sweeper: asyncio.TimerHandle | None = None

    def use_tls(self, context: Callable[[], ssl.SSLContext]) -> None:
        """Speak TLS, with what `context` gives for each new connection."""
        self._tls = context

    def wrap(self, factory: Callable[[], asyncio.Protocol]) -> Callable[[], asyncio.Protocol]:
        """A protocol factory whose protocols are guarded."""
        return lambda: Guard(factory(), self)

    def requested(self, transport: asyncio.BaseTransport | None) -> None:
        """A whole request came over this connection."""
        guard = transport.get_protocol() if isinstance(transport, asyncio.Transport) else None
        if isinstance(guard, Guard):
            guard.first_request_by = None

    def opened(self, guard: "Guard") -> None:
        """Take a connection in. If there are too many, the client that has the most loses its
        oldest: nobody can keep a health check out by holding connections."""
        if len(self.open) >= self.max_connections:
            hosts = Counter(other.host for other in self.open)
            greedy, _ = hosts.most_common(1)[0]
            oldest = next(other for other in self.open if other.host == greedy)
            oldest.abort()
        self.open[guard] = None
        if self._sweeper is None:
            self._sweep()

    def begin(self, guard: "Guard", transport: asyncio.Transport) -> None:
        """Let a new connection speak: at once, or after its TLS handshake."""
        if self._tls is None:
            guard.begin(transport)
        else:
            transport.pause_reading()
            self._handshakes.spawn(self._shake_hands(guard, transport, self._tls()), "handshake")

    async def _shake_hands(
        self, guard: "Guard", transport: asyncio.Transport, context: ssl.SSLContext
    ) -> None:
        if transport.is_closing():
            return
        try:
            secure = await asyncio.get_running_loop().start_tls(
                transport,
                guard,
                context,
                server_side=True,
                # The sweep ends what takes longer; this is for what it can't see.
                ssl_handshake_timeout=2 * self.first_request_seconds,
            )
        except OSError:  # of which TLS errors and timeouts are kinds
            guard.abort()
        else:
            if secure is not None:
                guard.begin(secure)
            else:  # the client went in the middle of it
                guard.abort()

    def closed(self, guard: "Guard") -> None:
        """A connection has ended."""
        self.open.pop(guard, None)

    def abort_all(self) -> None:
        """End every connection now."""
        if self._sweeper is not None:
            self._sweeper.cancel()
            self._sweeper = None
        for guard in list(self.open):
            guard.abort()

    async def close(self) -> None:
        """End every connection, and what was to become one."""
        self.abort_all()
        await self._handshakes.close()

    def _sweep(self) -> None:
        loop = asyncio.get_running_loop()
        at = loop.time()
        for guard in list(self.open):
            guard.inspect(at)
        pause = min(_SWEEP_SECONDS, self.first_request_seconds / 2, self.stalled_seconds / 2)
        self._sweeper = loop.call_later(pause, self._sweep) if self.open else None


class Guard(asyncio.Protocol):
    """Stands before aiohttp's protocol and hands everything on."""

    def __init__(self, inner: asyncio.Protocol, guards: Guards) -> None:
        self._inner = inner
        self._guards = guards
        self._transport: asyncio.Transport | None = None
        self._stalled_since: float | None = None
        self._begun = self._ended = False
        self._early = b""
        self.first_request_by: float | None = None
        self.host = ""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the connection in."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self.host = str((transport.get_extra_info("peername") or ("",))[0])
        self._guards.opened(self)
        at = asyncio.get_running_loop().time()
        self.first_request_by = at + self._guards.first_request_seconds
        self._guards.begin(self, transport)

    def begin(self, transport: asyncio.Transport) -> None:
        """Introduce the connection to aiohttp, as this transport."""
        if self._ended:
            transport.abort()
            return
        self._transport = transport
        self._begun = True
        self._inner.connection_made(transport)
        if self._early:
            early, self._early = self._early, b""
            self._inner.data_received(early)

    def data_received(self, data: bytes) -> None:
        """Hand on; what came with the end of a TLS handshake has to wait a moment."""
        if self._begun:
            self._inner.data_received(data)
        else:
            self._early += data

    def eof_received(self) -> bool | None:
        """Hand on."""
        return self._inner.eof_received() if self._begun else None

    def pause_writing(self) -> None:
        """Hand on."""
        if self._begun:
            self._inner.pause_writing()

    def resume_writing(self) -> None:
        """Hand on."""
        if self._begun:
            self._inner.resume_writing()

    def connection_lost(self, error: Exception | None) -> None:
        """Forget the connection."""
        self._ended = True
        self._guards.closed(self)
        if self._begun:
            self._inner.connection_lost(error)

    def inspect(self, at: float) -> None:
        """End the connection if its client is too slow."""
        if self._transport is None:
            return
        if self._transport.get_write_buffer_size() == 0:
            self._stalled_since = None
        elif self._stalled_since is None:
            self._stalled_since = at
        stalled_for = 0.0 if self._stalled_since is None else at - self._stalled_since
        late = self.first_request_by is not None and at >= self.first_request_by
        if late or stalled_for >= self._guards.stalled_seconds:
            self.abort()

    def abort(self) -> None:
        """End the connection without waiting for anything."""
        self._guards.closed(self)
        if self._transport is not None:
            self._transport.abort()
