"""What all connections of a worker share."""

from _socket import SOCK_NONBLOCK, SOCK_STREAM
from bisect import bisect_left
from collections.abc import Callable
from typing import TYPE_CHECKING

from nplb.dataplane.relay.counters import (
    CONNECT_BOUNDS,
    CONNECT_BUCKETS,
    CONNECT_TIME,
    OPEN,
    PIPES,
)
from nplb.dataplane.relay.worker.loop import Loop
from nplb.dataplane.relay.worker.pipes import PipePool
from nplb.dataplane.relay.worker.reserve import Reserve, has_room
from nplb.model.reasons import EndReason

if TYPE_CHECKING:
    from nplb.dataplane.relay.worker.accesslog import AccessLog
    from nplb.dataplane.relay.worker.affinity import AffinityTable
    from nplb.dataplane.relay.worker.backend import Backend
    from nplb.dataplane.relay.worker.frontend import Frontend
    from nplb.policy.addressset import AddressSet

NO_MEMORY = (
    "out of memory: the connection that needed it is ended, and new clients wait for others to "
    "end; raise the limit of nplb's memory, or give this host more"
)
BOUNDS = [int(seconds * 1e6) for seconds in CONNECT_BOUNDS]


class Worker:
    """One worker's state. `log(level, event, text)` sends a line to control and never blocks;
    `draw(n)` is a random number in 0..n-1; `workers` is how many share the edge's limits;
    until `scarce_until` there were no descriptors for those that are taken already; `reserve` is
    memory for when there is no other;
    `connects` has the microseconds of connects that are not in the histogram yet."""

    __slots__ = (
        "access",
        "affinity",
        "connects",
        "counters",
        "draw",
        "fd_limit",
        "fixed_fds",
        "frontends",
        "index",
        "log",
        "loop",
        "max_connections",
        "open",
        "pipes",
        "report_failure",
        "reserve",
        "scarce_until",
        "sources",
        "stream_type",
        "workers",
    )

    def __init__(
        self,
        *,
        index: int,
        workers: int,
        loop: Loop,
        counters: memoryview,
        fd_limit: int,
        draw: Callable[[int], int],
        affinity: "AffinityTable",
        access: "AccessLog",
        log: Callable[[str, str, str], None],
        report_failure: Callable[["Backend", EndReason], None],
    ) -> None:
        self.index = index
        self.workers = workers
        self.loop = loop
        self.counters = counters
        self.fd_limit = fd_limit
        self.fixed_fds = 16
        self.pipes = PipePool()
        self.frontends: dict[int, Frontend] = {}
        self.sources: dict[str, AddressSet] = {}
        self.open = 0
        self.scarce_until = 0.0
        self.reserve = Reserve()
        self.connects: list[int] = []
        self.max_connections = 0
        self.draw = draw
        self.affinity = affinity
        self.access = access
        self.log = log
        self.report_failure = report_failure
        self.stream_type = SOCK_STREAM | SOCK_NONBLOCK

    def room(self) -> int:
        """How many more connections there are descriptors and memory for."""
        if self.loop.now < self.scarce_until:
            return 0  # those that were taken already come first
        free = self.fd_limit - self.fixed_fds - len(self.loop.dead)
        return min(free // 2 - self.pipes.held, self.reserve.most) - self.open

    def out_of_memory(self) -> None:
        """There was no memory for something: go on with the reserve."""
        first = self.reserve.spend(self.loop.now, self.open)
        if first:
            self.log("error", "memory", f"{NO_MEMORY}; {self.open} connections are open")

    def make_room(self) -> None:
        """See that there is memory for a step that must not fail halfway."""
        if not has_room():
            self.out_of_memory()

    def share(self, limit: int) -> int:
        """This worker's part of a limit that holds for the edge; 0 stays 0."""
        return -(-limit // self.workers)

    def tick(self) -> None:
        """Write to shared memory what is not counted there at once; close pipes that are idle."""
        if self.reserve.spent and self.reserve.recover(self.loop.now):
            self.log("warning", "memory", "there is memory again")
        self.pipes.trim()
        counters = self.counters
        counters[OPEN] = self.open
        counters[PIPES] = self.pipes.held
        connects = self.connects
        if connects:
            counters[CONNECT_TIME] += sum(connects)
            for microseconds in connects:
                counters[CONNECT_BUCKETS + bisect_left(BOUNDS, microseconds)] += 1
            connects.clear()
