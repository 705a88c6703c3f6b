"""A client, its backend, and the bytes between them.

A connection has two sides (`side.Side`). Each side is a socket and the state of the stream that
flows *from* it: what was read from it and not yet written to its peer (`held`, or `piped` bytes
in `pipe`), whether its end was read (`eof`) and passed on (`done`).

    HEADER ──► WAITING ──► CONNECTING ──► OPEN ──► CLOSED
    a PROXY     for a       the client's bytes stay in the kernel until a backend has
    header      backend     answered, so trying the next backend loses nothing

Most connections begin at CONNECTING. Any state may be followed by CLOSED.
"""

from _socket import (
    IPPROTO_IP,
    IPPROTO_TCP,
    SO_ERROR,
    SO_LINGER,
    SOL_SOCKET,
    TCP_INFO,
    socket,
)
from errno import (
    EADDRNOTAVAIL,
    EAGAIN,
    ECONNREFUSED,
    EHOSTDOWN,
    EHOSTUNREACH,
    EINPROGRESS,
    EMFILE,
    ENETUNREACH,
    ENFILE,
    ENOBUFS,
    ENOMEM,
    ETIMEDOUT,
)
from select import EPOLLOUT
from struct import pack
from time import monotonic
from typing import TYPE_CHECKING, Any

from nplb.dataplane.relay.counters import (
    BYTES_IN,
    BYTES_OUT,
    CONNECT_FAILURES,
    CONNECT_MICROSECONDS,
    END_CELL,
    RETRIES,
    SOURCE_PORTS,
    TAKEN,
)
from nplb.dataplane.relay.proxy_header import write_v1, write_v2
from nplb.dataplane.relay.worker.arrival import read_proxy_header
from nplb.dataplane.relay.worker.loop import TICK_SECONDS
from nplb.dataplane.relay.worker.side import (
    BROKEN,
    CLOSED,
    CONNECTING,
    HEADER,
    INTEREST,
    INTEREST_OUT,
    OPEN,
    READABLE,
    WAITING,
    Side,
)
from nplb.model.reasons import EndReason
from nplb.policy.hashing import mix, text_hash

if TYPE_CHECKING:
    from nplb.dataplane.relay.worker.backend import Backend
    from nplb.dataplane.relay.worker.frontend import Frontend
    from nplb.dataplane.relay.worker.state import Worker

RESET_ON_CLOSE = pack("ii", 1, 0)
NO_SOURCE = (EMFILE, ENFILE, EADDRNOTAVAIL)
# What a socket says when its other end stopped answering, rather than said that it is gone.
LOST = (ETIMEDOUT, EHOSTUNREACH, EHOSTDOWN, ENETUNREACH)
IP_BIND_ADDRESS_NO_PORT = 24
TCP_SYN_SENT = 2  # the first byte of TCP_INFO is the state
LONG = 1e17
# How long a client waits for a descriptor toward its backend, and how often that is tried.
SCARCE = (EMFILE, ENFILE, ENOBUFS, ENOMEM)
SCARCE_SECONDS = 10.0
SCARCE_PAUSE_SECONDS = 0.1
# A connection that has to end, and was silent this long, gets an orderly end.
QUIET_SECONDS = 1.0


class Connection:
    """One client from accept to end. Whoever makes it gives it the client's socket, which it
    closes; it is counted as accepted when made, and as ended once, by `close`.

    `address` is the client's (the one that a PROXY header names, if there was one).
    `deadline` and `ready` (what the client's socket has told) belong to the states before OPEN,
    `ends_at` and `ends_why` to OPEN.
    """

    __slots__ = (
        "accepted_at",
        "address",
        "backend",
        "bucket",
        "client",
        "connect_at",
        "counted",
        "deadline",
        "destination",
        "ends_at",
        "ends_why",
        "failure",
        "first",
        "frontend",
        "loop",
        "opened_at",
        "ready",
        "server",
        "settled",
        "state",
        "tried",
        "turn",
        "waiting_for",
        "wake",
        "worker",
    )

    def __init__(
        self, worker: "Worker", frontend: "Frontend", sock: socket, fd: int, address: Any
    ) -> None:
        loop = worker.loop
        self.worker = worker
        self.loop = loop
        self.frontend = frontend
        self.address = address
        self.state = CONNECTING
        self.accepted_at = loop.now
        self.bucket: dict[Any, None] | None = None
        self.wake = 0
        self.deadline = 0.0
        self.connect_at = 0.0
        self.opened_at = 0.0
        self.ends_at = 0.0
        self.ends_why: EndReason | None = None
        self.waiting_for = EndReason.QUEUE_TIMEOUT
        self.turn = 0
        self.ready = 0
        self.counted = False
        self.destination: tuple[str, int] | None = None
        self.backend: Backend | None = None
        self.server: Side | None = None
        self.tried: list[Backend] | tuple[()] = ()
        self.failure: EndReason | None = None
        self.first: EndReason | None = None
        self.settled = False
        self.client = client = Side(self, sock, fd, True)
        # Whatever there may be no memory for comes first, and what the others rely on last: either
        # there is a connection, or the client's socket ends with the last reference to it.
        loop.register(fd, INTEREST)
        cell = frontend.base + TAKEN
        taken, here, ours = worker.counters[cell] + 1, worker.open + 1, frontend.open + 1
        loop.handlers[fd] = client
        worker.counters[cell] = taken
        worker.open = here
        frontend.open = ours

    # -- before there is a backend -------------------------------------------

    def wait(self, seconds: float, reason: EndReason) -> None:
        """Wait in the frontend's queue; with `reason` when it takes too long."""
        self.state = WAITING
        self.waiting_for = reason
        self.deadline = self.loop.now + seconds
        self.loop.wake_at(self, self.deadline)

    def resume(self, backend: "Backend") -> None:
        """The wait is over: this backend has a place."""
        self.state = CONNECTING
        if not self._try(backend):
            self.connect()

    # -- finding a backend ---------------------------------------------------

    def connect(self) -> None:
        """Try backends until one answers at once, or has to be waited for."""
        frontend = self.frontend
        while self.state == CONNECTING:
            if len(self.tried) >= frontend.attempts:
                self.close(self.failure or EndReason.NO_BACKEND, reset=True)
                return
            backend = frontend.pick(self)
            if backend is None:
                reason = frontend.why_none(self)
                if reason is not None:
                    self.close(reason, reset=True)
                return
            if self._try(backend):
                return

    def _try(self, backend: "Backend") -> bool:
        """Begin to connect to this backend; False when it has failed already."""
        loop = self.loop
        frontend = self.frontend
        if self.tried:
            self.worker.counters[frontend.base + RETRIES] += 1
        self.backend = backend
        backend.load += 1
        try:
            sock = socket(backend.family, self.worker.stream_type, 0)
            if frontend.sources:
                self._bind_source(sock, backend)
            code = sock.connect_ex(backend.address)
        except OSError as error:
            self._release()
            if error.errno in SCARCE and loop.now < self.accepted_at + SCARCE_SECONDS:
                # As in a listener's queue: until there are descriptors again, and before others.
                self.worker.scarce_until = loop.now + 2 * SCARCE_PAUSE_SECONDS
                self.wait(SCARCE_PAUSE_SECONDS, EndReason.NO_DESCRIPTORS)
                return True
            self.worker.log("error", "connect", f"no socket toward {backend.name}: {error}")
            self.close(EndReason.NO_DESCRIPTORS, reset=True)
            return True
        if code and code != EINPROGRESS:
            sock.close()
            self._connect_failed(code)
            return False
        fd = sock.fileno()
        server = Side(self, sock, fd, False)
        loop.handlers[fd] = server
        self.server = server
        self.deadline = loop.now + frontend.connect_seconds
        loop.wake_at(self, self.deadline)
        if code:
            server.armed = True
            loop.register(fd, INTEREST_OUT)
            self.turn = loop.turn
            self.connect_at = monotonic()
        else:
            loop.register(fd, INTEREST)
            self._opened(0.0)
        return True

    def _bind_source(self, sock: socket, backend: "Backend") -> None:
        """Come from the address that the pool has for this client. The port is chosen at
        connect, so that it need only be free toward this one node."""
        pool = self.frontend.sources.get(backend.family)
        if pool:
            sock.setsockopt(IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1)
            sock.bind((pool[mix(text_hash(self.address[0])) % len(pool)], 0))

    def _proxy_header(self) -> bytes:
        """What the backend is told of the client."""
        frontend = self.frontend
        source = _endpoint(self.address)
        destination = self.destination or _endpoint(self.client.sock.getsockname())
        if frontend.proxy_version == 1:
            return write_v1(source, destination)
        return write_v2(source, destination, frontend.proxy_tlvs)

    def on_early_event(self, side: Side, mask: int) -> None:
        """An event before the connection is open, or after it was closed."""
        if self.state == CLOSED:
            return
        if side is self.client:
            self.ready |= mask
            if mask & BROKEN and side.sock.getsockopt(SOL_SOCKET, SO_ERROR):
                self.close(EndReason.CLIENT_GONE, reset=True)
            elif self.state == HEADER:
                read_proxy_header(self)
            return
        if self.turn == self.loop.turn:
            return  # the event is of an earlier owner of this descriptor's number
        if mask & BROKEN:
            code = side.sock.getsockopt(SOL_SOCKET, SO_ERROR)
            if code:
                self._drop_server()
                self._connect_failed(code)
                self.connect()
                return
        if mask & EPOLLOUT:
            self._opened(monotonic() - self.connect_at)
            if mask & READABLE and self.state == OPEN:
                side.on_event(mask & ~EPOLLOUT)

    def _has_an_answer(self) -> bool:
        """Whether the backend has answered or refused, though no event has told so yet."""
        assert self.server is not None
        return self.server.sock.getsockopt(IPPROTO_TCP, TCP_INFO, 1)[0] != TCP_SYN_SENT

    def _opened(self, seconds: float) -> None:
        """The backend has answered."""
        backend, frontend = self.backend, self.frontend
        client, server = self.client, self.server
        assert backend is not None
        assert server is not None
        if frontend.backends.get(backend.row) is not backend:
            # A plan has taken it away meanwhile: its address may be another service's by now.
            self._drop_server()
            self._release()
            self.connect()
            return
        worker = self.worker
        microseconds = int(seconds * 1e6)
        counters = worker.counters
        base = backend.base
        counters[base + TAKEN] += 1
        counters[base + CONNECT_MICROSECONDS] += microseconds
        worker.connects.append(microseconds)
        if backend.failures:
            backend.succeeded()
        client.peer = server
        server.peer = client
        loop = self.loop
        client.active = loop.tick
        self.opened_at = loop.now
        self.state = OPEN
        if frontend.opens_specially and not self._open_specially(server):
            return
        if self.ready:
            client.pump(self.ready)

    def _open_specially(self, server: Side) -> bool:
        """Do what few frontends ask for at the opening. False when that has ended it."""
        loop, frontend = self.loop, self.frontend
        if frontend.idle_seconds < frontend.connect_seconds:
            loop.wake_at(self, loop.now + frontend.idle_seconds)
        if frontend.lifetime_seconds < LONG:
            self.end_by(self.accepted_at + frontend.lifetime_seconds, EndReason.LIFETIME)
        if frontend.proxy_version:
            server.no_delay()
            header = self._proxy_header()
            try:
                sent = server.sock.send(header)
            except OSError as error:
                self.broken(server, error.errno)
                return False
            if sent < len(header):  # a new socket takes more than that
                self.close(EndReason.INTERNAL, reset=True)
                return False
        return True

    def _connect_failed(self, code: int) -> None:
        """The backend did not answer: count it, and remember not to try it again."""
        backend = self.backend
        assert backend is not None
        if code in NO_SOURCE:
            self.worker.counters[SOURCE_PORTS] += 1
            self.failure = EndReason.NO_DESCRIPTORS
        else:
            self.worker.counters[backend.base + CONNECT_FAILURES] += 1
            if code == ECONNREFUSED:
                self.failure = EndReason.CONNECT_REFUSED
            elif code in (ETIMEDOUT, EAGAIN):
                self.failure = EndReason.CONNECT_TIMEOUT
            else:
                self.failure = EndReason.CONNECT_UNREACHABLE
            backend.failed(self.failure)
        if not self.tried:
            self.tried = [backend]
        else:
            self.tried.append(backend)
        self._release()

    def _drop_server(self) -> None:
        server = self.server
        if server is not None:
            self.server = None
            del self.loop.handlers[server.fd]
            self.loop.dead.append(server.sock)

    def _release(self) -> None:
        """The backend has this connection no longer."""
        backend = self.backend
        if backend is not None:
            self.backend = None
            backend.load -= 1
            self.frontend.released(backend)

    # -- time ----------------------------------------------------------------

    def on_time(self) -> None:
        """A deadline may have passed; if none has, wait for the next."""
        loop = self.loop
        frontend = self.frontend
        now = loop.now
        if self.state != OPEN:
            if now < self.deadline:
                loop.wake_at(self, self.deadline)
            elif self.state == CONNECTING:
                if self._has_an_answer():
                    loop.wake_at(self, now)  # this process was late: its event is still to come
                    return
                self._drop_server()
                self._connect_failed(ETIMEDOUT)
                self.connect()
            elif self.state == HEADER:
                self.close(EndReason.PROXY_HEADER, reset=True)
            elif self.state == WAITING and self.waiting_for is EndReason.NO_DESCRIPTORS:
                self.state = CONNECTING
                self.connect()
            elif self.state == WAITING:
                self.close(self.waiting_for, reset=True)
            return
        client, server = self.client, self.server
        assert server is not None
        self.flush()
        if not self.settled:
            self.settled = True
            frontend.settle(client.sock, server.sock)
        half = client.done or server.done
        limit = frontend.half_closed_seconds if half else frontend.idle_seconds
        quiet = now - self.active * TICK_SECONDS
        if self.ends_why is not None and now >= self.ends_at:
            silent = quiet >= QUIET_SECONDS and not self._unfinished()
            self.close(self.ends_why, reset=not silent)
            return
        if quiet >= limit:
            reason = EndReason.HALF_CLOSED_TIMEOUT if half else EndReason.IDLE_TIMEOUT
            self.close(reason, reset=self._unfinished())
            return
        wake = now + limit - quiet
        if self.ends_why is not None and self.ends_at < wake:
            wake = self.ends_at
        loop.wake_at(self, wake)

    def end_by(self, at: float, reason: EndReason | None) -> None:
        """End at this time if it is still open then, unless it is to end earlier anyway. None
        takes back all but the end of its lifetime."""
        frontend = self.frontend
        if reason is None:
            self.ends_why = None
            if frontend.lifetime_seconds < LONG:
                at = self.accepted_at + frontend.lifetime_seconds
                self.end_by(at, EndReason.LIFETIME)
            return
        if self.ends_why is None or at < self.ends_at:
            self.ends_at, self.ends_why = at, reason
            if at < self.wake * TICK_SECONDS:
                self.loop.wake_at(self, at)

    def half_closed(self) -> None:
        """One direction has ended: the other has less time to be silent."""
        loop = self.loop
        at = loop.now + self.frontend.half_closed_seconds
        if at < self.wake * TICK_SECONDS:
            loop.wake_at(self, at)

    @property
    def active(self) -> int:
        """The tick at which bytes last went either way, or it was opened."""
        server = self.server
        return max(self.client.active, server.active if server is not None else 0)

    def _unfinished(self) -> bool:
        """Whether bytes were read that could not be written yet."""
        return any(
            side is not None and (side.held is not None or side.piped)
            for side in (self.client, self.server)
        )

    # -- ends ----------------------------------------------------------------

    def check_broken(self, side: Side) -> None:
        """The system says that a socket may be broken: if it is, so is the connection."""
        code = side.sock.getsockopt(SOL_SOCKET, SO_ERROR)
        if code:
            self.broken(side, code)

    def broken(self, side: Side, code: int | None) -> None:
        """A side was reset, or has stopped answering: pass it on to the other as a reset."""
        lost = code in LOST
        if side is self.client:
            reason = EndReason.CLIENT_LOST if lost else EndReason.CLIENT_RESET
        else:
            reason = EndReason.BACKEND_LOST if lost else EndReason.BACKEND_RESET
        self.close(reason, reset=True)

    def write_failed(self, side: Side, code: int | None) -> None:
        """The peer of `side` takes no more bytes, since it was reset.

        What the peer sent before that may still be read, and is passed on if it can be.
        """
        peer = side.peer
        side.eof = True
        side.held = None
        if not peer.eof and peer.held is None and not peer.piped:
            peer.last_words()
        if self.state == OPEN:
            self.broken(peer, code)

    def close(self, reason: EndReason, *, reset: bool = False) -> None:
        """End the connection for this reason. With `reset` both ends learn of it as a reset,
        but for one to which everything, with its end, has been passed on already."""
        if self.state == CLOSED:
            return
        worker, loop, frontend = self.worker, self.loop, self.frontend
        client, server = self.client, self.server
        counters, handlers, dead = worker.counters, loop.handlers, loop.dead
        cell = END_CELL[reason]
        if self.state == OPEN:
            self.flush()
        counters[frontend.base + cell] += 1
        if self.state == OPEN:
            backend = self.backend
            assert backend is not None
            assert server is not None
            counters[backend.base + cell] += 1
            del server.peer, client.peer
        elif self.state == WAITING:
            frontend.queue.pop(self, None)
        self.state = CLOSED
        if self.counted:
            assert frontend.admission is not None
            frontend.admission.give(self.address[0])
        if frontend.access_log:
            worker.access.ended(self, reason)
        if self.bucket is not None:
            loop.forget(self)
        del handlers[client.fd]
        if reset and not (server is not None and server.done):
            client.sock.setsockopt(SOL_SOCKET, SO_LINGER, RESET_ON_CLOSE)
        dead.append(client.sock)
        if client.pipe is not None:
            worker.pipes.drop(client.pipe)
        if server is not None:
            del handlers[server.fd]
            if reset and not client.done:
                server.sock.setsockopt(SOL_SOCKET, SO_LINGER, RESET_ON_CLOSE)
            dead.append(server.sock)
            if server.pipe is not None:
                worker.pipes.drop(server.pipe)
            self.server = None
        worker.open -= 1
        frontend.open -= 1
        del self.client  # it points back here, and nothing is to be left for the collector
        self._release()

    def flush(self) -> None:
        """Bring the counters of bytes up to date."""
        client, server, backend = self.client, self.server, self.backend
        assert server is not None
        assert backend is not None
        counters = self.worker.counters
        base, backend_base = self.frontend.base, backend.base
        size = client.count - client.flushed
        if size:
            client.flushed = client.count
            counters[base + BYTES_IN] += size
            counters[backend_base + BYTES_IN] += size
        size = server.count - server.flushed
        if size:
            server.flushed = server.count
            counters[base + BYTES_OUT] += size
            counters[backend_base + BYTES_OUT] += size


def _endpoint(address: Any) -> tuple[str, int]:
    """IP and port of a socket address. An IPv4 client of a dual-stack listener is IPv4."""
    ip = address[0]
    ip = ip.removeprefix("::ffff:")
    return ip.partition("%")[0], address[1]
