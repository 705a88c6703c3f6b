"""Frontends and backends as a worker knows them, and the worker's own state."""

from _socket import (
    AF_INET,
    AF_INET6,
    IPPROTO_TCP,
    SO_KEEPALIVE,
    SOCK_NONBLOCK,
    SOCK_STREAM,
    SOL_SOCKET,
    TCP_KEEPCNT,
    TCP_KEEPIDLE,
    TCP_KEEPINTVL,
    inet_pton,
    socket,
)
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from nplb.dataplane.relay.counters import OPEN, PIPES, row_base
from nplb.dataplane.relay.worker.loop import Loop
from nplb.dataplane.relay.worker.pipes import PipePool
from nplb.model.reasons import EndReason
from nplb.policy.balance import Balancer, Target, make_balancer
from nplb.policy.hashing import mix, text_hash

if TYPE_CHECKING:
    from nplb.dataplane.relay.worker.connection import Connection
    from nplb.dataplane.relay.worker.listener import Listener

# A backend that failed a connect is passed over this long, doubled up to the limit with each
# failure in a row: probing will say in the meantime whether it is down.
SHUN_SECONDS = 0.5
SHUN_LIMIT_SECONDS = 8.0

Counters = memoryview


class Worker:
    """What all connections of this process share. `log(level, event, text)` sends a line to
    control and never blocks; `draw(n)` is a random number in 0..n-1."""

    __slots__ = (
        "counters",
        "draw",
        "fd_limit",
        "fixed_fds",
        "frontends",
        "index",
        "log",
        "loop",
        "open",
        "pipes",
        "report_failure",
        "stream_type",
    )

    def __init__(
        self,
        *,
        index: int,
        loop: Loop,
        counters: Counters,
        fd_limit: int,
        draw: Callable[[int], int],
        log: Callable[[str, str, str], None],
        report_failure: Callable[["Backend", EndReason], None],
    ) -> None:
        self.index = index
        self.loop = loop
        self.counters = counters
        self.fd_limit = fd_limit
        self.fixed_fds = 16
        self.pipes = PipePool()
        self.frontends: dict[int, Frontend] = {}
        self.open = 0
        self.draw = draw
        self.log = log
        self.report_failure = report_failure
        self.stream_type = SOCK_STREAM | SOCK_NONBLOCK

    def has_room(self) -> bool:
        """Whether there are descriptors for one more connection, and for its bytes."""
        return 2 * (self.open + 1 + self.pipes.held) + self.fixed_fds <= self.fd_limit

    def settle(self, server: socket) -> None:
        """Give a backend's socket what matters only to connections that last."""
        try:
            server.setsockopt(SOL_SOCKET, SO_KEEPALIVE, 1)
            server.setsockopt(IPPROTO_TCP, TCP_KEEPIDLE, 120)
            server.setsockopt(IPPROTO_TCP, TCP_KEEPINTVL, 15)
            server.setsockopt(IPPROTO_TCP, TCP_KEEPCNT, 4)
        except OSError:
            pass  # it was reset meanwhile, and its event will say so

    def show_gauges(self) -> None:
        """Write to shared memory what is not a total."""
        self.counters[OPEN] = self.open
        self.counters[PIPES] = self.pipes.held


class Backend(Target):
    """One backend. `base` is the first cell of its row of counters."""

    __slots__ = (
        "active",
        "address",
        "base",
        "failures",
        "family",
        "frontend",
        "row",
        "shunned_until",
        "spec",
    )

    def __init__(self, frontend: "Frontend", row: int, ip: str, port: int) -> None:
        super().__init__(f"{ip}:{port}")
        self.frontend = frontend
        self.row = row
        self.base = row_base(row)
        self.family = AF_INET6 if ":" in ip else AF_INET
        inet_pton(self.family, ip)
        self.address: tuple[Any, ...] = (ip, port)
        self.active = False
        self.failures = 0
        self.shunned_until = 0.0

    def failed(self, reason: EndReason) -> None:
        """A connect failed: pass it over for a while."""
        worker = self.frontend.worker
        wait = min(SHUN_SECONDS * (1 << min(self.failures, 10)), SHUN_LIMIT_SECONDS)
        self.failures += 1
        self.shunned_until = worker.loop.now + wait
        self.frontend.shun(self)
        worker.report_failure(self, reason)

    def succeeded(self) -> None:
        """It answers again."""
        self.failures = 0
        if self.shunned_until:
            self.shunned_until = 0.0
            self.frontend.dirty = True


class Frontend:
    """One frontend: its settings, its backends by row, its listeners by address."""

    __slots__ = (
        "attempts",
        "backends",
        "balancer",
        "base",
        "by_client",
        "connect_seconds",
        "dirty",
        "half_closed_seconds",
        "idle_seconds",
        "listeners",
        "method",
        "name",
        "row",
        "shunned",
        "shunned_until",
        "worker",
    )

    def __init__(self, worker: Worker, row: int) -> None:
        self.worker = worker
        self.row = row
        self.base = row_base(row)
        self.name = ""
        self.backends: dict[int, Backend] = {}
        self.listeners: dict[str, Listener] = {}
        self.method = "round_robin"
        self.attempts = 3
        self.connect_seconds = 3.0
        self.idle_seconds = 3600.0
        self.half_closed_seconds = 60.0
        self.balancer: Balancer = make_balancer("round_robin", (), worker.draw)
        self.by_client = False
        self.dirty = True
        self.shunned: list[Backend] = []
        self.shunned_until = 0.0

    def update(self, spec: dict[str, Any]) -> None:
        """Take a whole specification. Backends that stay keep their connections' count."""
        self.name = str(spec["name"])
        self.method = str(spec["balance"])
        self.attempts = int(spec["attempts"])
        connect, idle, half_closed = spec["timeouts"]
        self.connect_seconds = float(connect)
        self.idle_seconds = float(idle)
        self.half_closed_seconds = float(half_closed)
        old, new = self.backends, {}
        for row, ip, port, active, weight in spec["backends"]:
            backend = old.get(row)
            if backend is None or backend.address != (ip, port):
                backend = Backend(self, int(row), str(ip), int(port))
            backend.active = bool(active)
            backend.weight = max(float(weight), 1e-3)
            new[backend.row] = backend
        self.backends = new
        self.dirty = True

    def set_backend(self, row: int, active: bool, weight: float) -> None:
        """Change one backend's state. An unknown row is of a frontend that has changed since."""
        backend = self.backends.get(row)
        if backend is not None:
            if active and not backend.active:
                backend.failures = 0
                backend.shunned_until = 0.0
            backend.active = active
            backend.weight = max(weight, 1e-3)
            self.dirty = True

    def pick(self, conn: "Connection") -> Backend | None:
        """A backend for this connection that it was not tried on, or None."""
        if self.dirty or (self.shunned_until and self.worker.loop.now >= self.shunned_until):
            self._rebuild()
        client = mix(text_hash(conn.address[0])) if self.by_client else 0
        found = self.balancer.pick(client, conn.tried)
        if found is None and self.shunned:  # better one that just failed than none
            for backend in self.shunned:
                if backend not in conn.tried and not backend.full:
                    return backend
        return found  # type: ignore[return-value]  # the targets are all Backends

    def released(self, backend: Backend) -> None:
        """A connection of this backend has ended."""
        if not self.dirty and backend.row in self.backends:
            self.balancer.released(backend)

    def shun(self, backend: Backend) -> None:
        """Pass a backend over until its `shunned_until`."""
        self.dirty = True

    def _rebuild(self) -> None:
        now = self.worker.loop.now
        usable = [b for b in self.backends.values() if b.active]
        shunned = [b for b in usable if b.shunned_until > now]
        if len(shunned) == len(usable):
            shunned = []  # all of them: then it makes no difference
        self.shunned = shunned
        self.shunned_until = min((b.shunned_until for b in shunned), default=0.0)
        targets: Sequence[Backend] = [b for b in usable if b not in shunned]
        start = self.worker.draw(max(len(targets), 1))
        self.balancer = make_balancer(self.method, targets, self.worker.draw, start)
        self.by_client = self.balancer.by_client
        self.dirty = False
