"""A frontend as a worker knows it: who of its backends may be given a client, and who waits."""

from _socket import (
    AF_INET,
    AF_INET6,
    IPPROTO_TCP,
    SO_KEEPALIVE,
    SOL_SOCKET,
    TCP_KEEPCNT,
    TCP_KEEPIDLE,
    TCP_KEEPINTVL,
    TCP_USER_TIMEOUT,
    inet_pton,
    socket,
)
from time import time
from typing import TYPE_CHECKING, Any

from nplb.dataplane.relay.counters import QUEUED, row_base
from nplb.dataplane.relay.proxy_header import TLV_CLUSTER, TLV_NAMESPACE, TLV_SERVICE, pack_tlv
from nplb.dataplane.relay.worker import drain
from nplb.dataplane.relay.worker.backend import ACTIVE, DOWN, DRAINING, Backend
from nplb.dataplane.relay.worker.state import Worker
from nplb.model.reasons import EndReason
from nplb.policy.balance import Balancer, make_balancer, ramp
from nplb.policy.hashing import mix, text_hash

if TYPE_CHECKING:
    from nplb.dataplane.relay.worker.admission import Admission
    from nplb.dataplane.relay.worker.connection import Connection
    from nplb.dataplane.relay.worker.listener import Listener
    from nplb.policy.addressset import AddressSet
    from nplb.policy.ranges import Ranges

RAMP_STEPS = 20
KEEPALIVE_INTERVAL_SECONDS = 15
KEEPALIVE_PROBES = 4

NEVER = 1e18


class Frontend:
    """One frontend: its options, its backends by row, its listeners by address and seat, and the
    clients that wait for a backend (`queue`). `guarded` is whether clients are looked at
    before they are taken.

    What control says of it is only kept (`spec`, and `pending` changes by row) until the first
    client comes: of thousands of frontends most have none at most times.
    """

    __slots__ = (
        "access_log",
        "admission",
        "admitted",
        "affinity_salt",
        "affinity_seconds",
        "attempts",
        "backends",
        "balancer",
        "base",
        "by_client",
        "connect_seconds",
        "dirty",
        "drain_seconds",
        "epoch",
        "guarded",
        "half_closed_seconds",
        "hold_seconds",
        "idle_seconds",
        "keepalive_seconds",
        "lifetime_seconds",
        "listeners",
        "max_connections",
        "max_queue",
        "method",
        "name",
        "no_backend",
        "on_leave",
        "open",
        "opens_specially",
        "pending",
        "per_backend",
        "proxy_tlvs",
        "proxy_version",
        "queue",
        "queue_seconds",
        "rebuild_at",
        "reset_on_down",
        "row",
        "shunned",
        "slow_start_seconds",
        "sources",
        "spec",
        "spill_below",
        "trusted",
        "user_timeout_seconds",
        "worker",
    )

    def __init__(self, worker: Worker, row: int) -> None:
        self.worker = worker
        self.row = row
        self.base = row_base(row)
        self.name = ""
        self.open = 0
        self.backends: dict[int, Backend] = {}
        self.listeners: dict[tuple[str, int], Listener] = {}
        self.queue: dict[Connection, None] = {}
        self.balancer: Balancer = make_balancer("round_robin", (), worker.draw)
        self.by_client = False
        self.dirty = True
        self.spec: dict[str, Any] | None = None
        self.pending: dict[int, tuple[int, float, float]] = {}
        self.epoch = 0
        self.shunned: list[Backend] = []
        self.rebuild_at = NEVER
        self.admission: Admission | None = None
        self.admitted: AddressSet | None = None
        self.trusted: Ranges | None = None
        self.guarded = False
        self.sources: dict[int, list[str]] = {}

    # -- what control says ---------------------------------------------------

    def update(self, spec: dict[str, Any]) -> None:
        """Take a whole specification. Backends that stay keep their connections' count.

        Errors: KeyError, TypeError or ValueError for one that makes no sense, and then
        nothing has changed.
        """
        sources = spec["relay"]["sources"]
        admitted = self.worker.sources[sources] if sources else None
        if self.spec is None and self.epoch:
            self._take(spec, admitted)
        else:
            self.spec = {**spec, "backends": spec["backends"], "relay": spec["relay"]}
            self.pending.clear()
        self.admitted = admitted
        self.name = str(spec["name"])

    def load(self) -> None:
        """Take what has only been kept so far: the first client has come."""
        spec, self.spec = self.spec, None
        if spec is not None:
            self.epoch = 1
            self._take(spec, self.admitted)
            for row, change in self.pending.items():
                self.set_backend(row, *change)
            self.pending.clear()

    def _take(self, spec: dict[str, Any], admitted: "AddressSet | None") -> None:
        worker = self.worker
        method = str(spec["balance"])
        make_balancer(method, (), worker.draw)
        connect, idle, half_closed = (float(seconds) for seconds in spec["timeouts"])
        attempts = int(spec["attempts"])
        options = spec["relay"]
        per_backend = worker.share(int(options["max_connections_per_backend"]))
        old, new = self.backends, {}
        states: list[tuple[Backend, int]] = []
        for row, ip, port, state, weight, since, tier in spec["backends"]:
            backend = old.get(row)
            if backend is None or backend.address != (ip, port):
                backend = Backend(self, int(row), str(ip), int(port))
            states.append((backend, int(state)))
            backend.full_weight = max(float(weight), 1e-3)
            backend.since = float(since)
            backend.tier = int(tier)
            backend.limit = per_backend
            new[backend.row] = backend
        self.connect_seconds, self.idle_seconds, self.half_closed_seconds = (
            connect,
            idle,
            half_closed,
        )
        self._take_options(options, admitted)
        self.per_backend = per_backend
        self.method = method
        self.attempts = attempts
        self.backends = new
        for row, backend in old.items():
            if new.get(row) is not backend:
                self._leave(backend)
        for backend, state in states:
            self._set_state(backend, state)
        self._changed()

    def _take_options(self, options: dict[str, Any], admitted: "AddressSet | None") -> None:
        worker = self.worker
        per_client = worker.share(int(options["max_connections_per_client"]))
        rate = float(options["client_rate"]) / worker.workers
        admission: Admission | None = None
        if admitted is not None or per_client or rate:
            from nplb.dataplane.relay.worker import admission as rules  # slow, rarely needed

            admission = rules.Admission(admitted, per_client, rate)
            if self.admission is not None:  # who is here, stays known
                admission.clients, admission.rates = self.admission.clients, self.admission.rates
        trusted = None
        if options["accept_proxy_from"]:
            from nplb.policy.ranges import Ranges  # slow to import, and rarely needed

            trusted = Ranges(str(cidr) for cidr in options["accept_proxy_from"])
        origins: dict[int, list[str]] = {}
        for ip in options["source_addresses"]:
            family = AF_INET6 if ":" in ip else AF_INET
            inet_pton(family, ip)
            origins.setdefault(family, []).append(ip)
        self.admission = admission
        self.trusted = trusted
        self.sources = origins
        self.max_connections = worker.share(int(options["max_connections"]))
        self.max_queue = worker.share(int(options["max_queue"]))
        self.queue_seconds = float(options["queue_seconds"])
        self.no_backend = str(options["no_backend"])
        self.hold_seconds = float(options["hold_seconds"])
        self.lifetime_seconds = float(options["lifetime_seconds"]) or NEVER
        self.affinity_seconds = int(options["affinity_seconds"])
        self.affinity_salt = mix(self.row)
        self.slow_start_seconds = float(options["slow_start_seconds"])
        self.spill_below = float(options["spill_below"])
        self.on_leave = str(options["on_leave"])
        self.drain_seconds = float(options["drain_seconds"])
        self.reset_on_down = bool(options["reset_on_down"])
        self.keepalive_seconds = max(int(options["keepalive_seconds"]), 0)
        self.user_timeout_seconds = max(float(options["user_timeout_seconds"]), 0.0)
        self.proxy_version = {"none": 0, "v1": 1, "v2": 2}[options["send_proxy"]]
        self.proxy_tlvs = b""
        if options["proxy_tlvs"]:
            cluster, namespace, service = (str(part).encode() for part in options["service"])
            self.proxy_tlvs = (
                pack_tlv(TLV_NAMESPACE, namespace)
                + pack_tlv(TLV_SERVICE, service)
                + pack_tlv(TLV_CLUSTER, cluster)
            )
        self.access_log = bool(options["access_log"])
        self.opens_specially = bool(
            self.proxy_version
            or self.lifetime_seconds < NEVER
            or self.idle_seconds < self.connect_seconds
        )
        self.set_guarded()

    def set_guarded(self) -> None:
        """Settle whether anything but backends decides about a client."""
        self.guarded = bool(
            self.admission is not None
            or self.trusted is not None
            or self.max_connections
            or self.worker.max_connections
        )

    def set_backend(self, row: int, state: int, weight: float, since: float) -> None:
        """Change one backend's state. An unknown row is of a frontend that has changed since."""
        if self.spec is not None:
            self.pending[row] = (state, weight, since)
            return
        backend = self.backends.get(row)
        if backend is not None:
            backend.full_weight = max(weight, 1e-3)
            backend.since = since
            self._set_state(backend, state)
            self._changed()

    def removed(self) -> None:
        """The frontend has left the plan."""
        for backend in self.backends.values():
            self._leave(backend, EndReason.FRONTEND_GONE)
        for conn in list(self.queue):
            conn.close(EndReason.FRONTEND_GONE, reset=True)
        # Backends point back here, and nothing is to be left for the collector.
        self.backends = {}
        self.shunned = []
        self.balancer = make_balancer("round_robin", (), self.worker.draw)
        self.by_client = False
        self.rebuild_at = NEVER
        self.dirty = False

    def _set_state(self, backend: Backend, state: int) -> None:
        before, backend.state = backend.state, state
        if state == before:
            return
        if state == ACTIVE:
            backend.failures = 0
            backend.shunned_until = 0.0
            if before == DRAINING and self.on_leave == "drain":
                drain.stay(self.worker, backend)
        elif state == DRAINING:
            self._leave(backend)
        elif self.reset_on_down and backend.load:
            drain.reset(self.worker, backend, EndReason.BACKEND_DOWN)

    def _leave(self, backend: Backend, reason: EndReason = EndReason.DRAIN_DEADLINE) -> None:
        if not backend.load or self.on_leave == "keep":
            return
        if self.on_leave == "close":
            drain.reset(self.worker, backend, reason)
        else:
            drain.drain(self.worker, backend, self.drain_seconds, reason)

    def _changed(self) -> None:
        self.dirty = True
        if self.queue:
            self.worker.loop.soon(self.serve_queue)

    # -- giving clients a backend --------------------------------------------

    def pick(self, conn: "Connection") -> Backend | None:
        """A backend for this connection that it was not tried on, or None."""
        worker = self.worker
        if self.dirty or worker.loop.now >= self.rebuild_at:
            self._rebuild()
        tried = conn.tried
        if not self.by_client and not self.affinity_seconds:
            found = self.balancer.pick(0, tried)
        else:
            client = text_hash(conn.address[0])
            if self.affinity_seconds:
                key = mix(client ^ self.affinity_salt)
                found = self._usual(key, conn) or self.balancer.pick(client, tried)
                if found is not None:
                    now = int(worker.loop.now)
                    row = found.row  # type: ignore[attr-defined]  # the targets are Backends
                    worker.affinity.keep(key, row, now, now + self.affinity_seconds)
            else:
                found = self.balancer.pick(client, tried)
        if found is None and self.shunned:  # better one that just failed than none
            for backend in self.shunned:
                if backend not in tried and not backend.full:
                    return backend
        return found  # type: ignore[return-value]  # the targets are Backends

    def _usual(self, key: int, conn: "Connection") -> Backend | None:
        """The backend that this client came to before, if it can have it."""
        row = self.worker.affinity.find(key, int(self.worker.loop.now))
        backend = self.backends.get(row)
        if backend is None or backend.epoch != self.epoch:
            return None
        return backend if backend not in conn.tried and not backend.full else None

    def released(self, backend: Backend) -> None:
        """A connection of this backend has ended."""
        if not self.dirty and backend.epoch == self.epoch:
            self.balancer.released(backend)
        if self.queue:
            self.worker.loop.soon(self.serve_queue)

    def why_none(self, conn: "Connection") -> EndReason | None:
        """What to do with a client for whom `pick` had nobody: the reason to end it, or None
        when it is to wait, and then it is in the queue."""
        if any(b not in conn.tried for b in (*self.balancer.targets, *self.shunned)):
            if not self.max_queue:
                return EndReason.LIMIT_BACKEND
            if len(self.queue) >= self.max_queue:
                return EndReason.QUEUE_FULL
            conn.wait(self.queue_seconds, EndReason.QUEUE_TIMEOUT)
        elif conn.failure is not None:
            return conn.failure
        elif self.no_backend == "hold" and self.hold_seconds > 0:
            conn.wait(self.hold_seconds, EndReason.NO_BACKEND)
        else:
            return EndReason.NO_BACKEND
        self.queue[conn] = None
        self.worker.counters[self.base + QUEUED] += 1
        return None

    def serve_queue(self) -> None:
        """Give waiting clients what has come free, first come, first served."""
        while self.queue:
            conn = next(iter(self.queue))
            backend = self.pick(conn)
            if backend is None:
                return
            del self.queue[conn]
            try:
                conn.resume(backend)
            except Exception as error:
                self.worker.loop.fault(conn, error)

    def _rebuild(self) -> None:
        now = self.worker.loop.now
        known = self.backends.values()
        usable = [b for b in known if b.state == ACTIVE]
        if not usable and self.no_backend == "fail_open":
            usable = [b for b in known if b.state == DOWN] or list(known)
        # The lower a tier, the sooner it serves; a higher one helps when too few below it do.
        for tier in sorted({b.tier for b in usable})[:-1]:
            near = [b for b in usable if b.tier <= tier]
            if len(near) >= self.spill_below * sum(1 for b in known if b.tier <= tier):
                usable = near
                break
        self.rebuild_at = NEVER
        self._warm(usable)
        shunned = [b for b in usable if b.shunned_until > now]
        if len(shunned) == len(usable):
            shunned = []  # all of them: then it makes no difference
        self.shunned = shunned
        for backend in shunned:
            self.rebuild_at = min(self.rebuild_at, backend.shunned_until)
        targets = [b for b in usable if b not in shunned] if shunned else usable
        start = self.worker.draw(max(len(targets), 1))
        self.balancer = make_balancer(self.method, targets, self.worker.draw, start)
        self.by_client = self.balancer.by_client
        self.epoch += 1
        for backend in targets:
            backend.epoch = self.epoch
        self.dirty = False

    def _warm(self, usable: list[Backend]) -> None:
        """Set weights; those of backends that came back a short while ago grow with time."""
        slow = self.slow_start_seconds
        hashed = self.method in ("source_hash", "maglev", "first")
        if not slow or hashed:  # a weight that changes would move other clients of a hash
            for backend in usable:
                backend.weight = backend.full_weight
            return
        clock = time()
        for backend in usable:
            share = ramp(clock - backend.since, slow)
            backend.weight = backend.full_weight * share
            if share < 1.0:
                at = self.worker.loop.now + slow / RAMP_STEPS
                self.rebuild_at = min(self.rebuild_at, at)

    def settle(self, client: socket, server: socket) -> None:
        """Give a connection's sockets what matters only to those that last."""
        idle = self.keepalive_seconds
        try:
            if idle:
                for sock in (client, server):
                    sock.setsockopt(SOL_SOCKET, SO_KEEPALIVE, 1)
                    sock.setsockopt(IPPROTO_TCP, TCP_KEEPIDLE, idle)
                    sock.setsockopt(IPPROTO_TCP, TCP_KEEPINTVL, KEEPALIVE_INTERVAL_SECONDS)
                    sock.setsockopt(IPPROTO_TCP, TCP_KEEPCNT, KEEPALIVE_PROBES)
            if self.user_timeout_seconds:
                milliseconds = int(self.user_timeout_seconds * 1000)
                server.setsockopt(IPPROTO_TCP, TCP_USER_TIMEOUT, milliseconds)
        except OSError:
            pass  # it was reset meanwhile, and its event will say so
