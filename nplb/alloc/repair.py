"""The repair loop: rebuild the range from the Services, say what is wrong, free what leaked.

Mirrors `pkg/registry/core/service/portallocator/controller/repair.go`, which runs every three
minutes and once before the API server serves. Level-triggered: each run starts from all Services
and the stored range; only the leak counters outlive a run.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from types import MappingProxyType

from nplb.alloc.allocator import PortAllocator, RangeSnapshot
from nplb.alloc.bitmap import NoDice
from nplb.alloc.errors import AllocatorError, PortAllocated, PortNotInRange, RangeFull
from nplb.alloc.portrange import PortRange
from nplb.alloc.services import collect_node_ports
from nplb.alloc.storage import RangeConflict, RangeRegistry
from nplb.model.cluster import Service
from nplb.model.errors import NplbError
from nplb.model.keys import ServiceKey

INTERVAL_SECONDS = 180
"""How often the API server runs it (`controlplane/instance.go`)."""

ROUNDS_BEFORE_CLEANUP = 3
"""How many runs must find a leak before it is freed, so that a number which was taken for a
Service about to be written is not freed under it."""

COMPONENT = "portallocator-repair-controller"
"""Who the events are from; their type is Warning and their action PortAllocation."""

_WIDEN = "you must widen the port range in order to create new services"


class Problem(StrEnum):
    """What a run found, as `apiserver_nodeport_repair_port_errors_total` names it."""

    LEAK = "leak"  # taken, and no Service has it
    REPAIR = "repair"  # a Service has it, and it was not taken
    FULL = "full"
    OUT_OF_RANGE = "outOfRange"
    DUPLICATE = "duplicate"  # two Services have it; nothing is reassigned
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class RepairEvent:
    """One event about a Service. `reason` and `message` are the API server's; `port` is 0 when
    it is about the whole range."""

    problem: Problem
    service: ServiceKey
    port: int
    reason: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RepairReport:
    """What one run made and found. `snapshot` is the range as it should be stored; `suspects`
    are numbers that nobody has and that are kept for now; `freed` those that were kept long
    enough; `log` what the API server logs; `errors` counts each problem."""

    snapshot: RangeSnapshot
    events: tuple[RepairEvent, ...] = ()
    suspects: tuple[int, ...] = ()
    freed: tuple[int, ...] = ()
    log: tuple[str, ...] = ()
    errors: Mapping[Problem, int] = field(default_factory=dict)


class RepairError(AllocatorError):
    """A run that could not be finished; nothing was written. `events` were told before."""

    def __init__(self, text: str, events: Iterable[RepairEvent] = ()) -> None:
        super().__init__(text)
        self.events = tuple(events)


def _new_allocator(port_range: PortRange) -> PortAllocator:
    return PortAllocator(port_range, NoDice())


class Repair:
    """One repair loop. It remembers how often it has seen each leak.

    As in the original, the count of a leak that was freed stays at its end: if the number leaks
    again without having been used in between, the next run frees it at once.
    `reconcile_errors` counts the runs that failed. `new_allocator` makes the range that a run
    fills; it never draws.
    """

    __slots__ = ("_leaks", "_new_allocator", "port_range", "reconcile_errors")

    def __init__(
        self,
        port_range: PortRange,
        *,
        new_allocator: Callable[[PortRange], PortAllocator] = _new_allocator,
    ) -> None:
        self.port_range = port_range
        self._new_allocator = new_allocator
        self.reconcile_errors = 0
        self._leaks: dict[int, int] = {}

    def run_once(self, registry: RangeRegistry, services: Iterable[Service]) -> RepairReport:
        """Read the stored range, check it, write it back.

        Raises RangeConflict when someone else wrote meanwhile (repeat it then), and RepairError.
        """
        try:
            record = registry.get()
            report = self.check(record.snapshot, services)
            try:
                registry.create_or_update(replace(record, snapshot=report.snapshot))
            except RangeConflict:
                raise
            except AllocatorError as error:
                raise RepairError(
                    f"unable to persist the updated port allocations: {error}"
                ) from error
        except AllocatorError:
            self.reconcile_errors += 1
            raise
        return report

    def check(self, stored: RangeSnapshot, services: Iterable[Service]) -> RepairReport:
        """One run over what is stored and the Services in the order they are listed, of which
        the first one keeps a number that several have. The stored range may be another than
        today's, and is empty text before the first run. Raises RepairError.
        """
        if not stored.range:
            stored = replace(stored, range=str(self.port_range))
        try:
            left = PortAllocator.from_snapshot(stored, NoDice())
        except NplbError as error:
            raise RepairError(f"unable to rebuild allocator from snapshot: {error}") from error
        run = _Run(self._new_allocator(self.port_range))
        for service in services:
            for port in collect_node_ports(service):
                if run.place(service, port):
                    if left.has(port):
                        left.release(port)
                    else:
                        run.not_allocated(service, port)
                    self._leaks.pop(port, None)
        for port in list(left.ports()):
            self._leaked(run, port)
        return RepairReport(
            snapshot=run.rebuilt.snapshot(),
            events=tuple(run.events),
            suspects=tuple(run.suspects),
            freed=tuple(run.freed),
            log=tuple(run.log),
            errors=MappingProxyType(dict(run.errors)),
        )

    def _leaked(self, run: "_Run", port: int) -> None:
        rounds = self._leaks.get(port)
        if rounds is None:
            run.log.append(f"the node port {port} may have leaked: flagging for later clean up")
            rounds = ROUNDS_BEFORE_CLEANUP - 1
        if rounds > 0:
            self._leaks[port] = rounds - 1
            run.keep(port)
        else:
            run.log.append(f"the node port {port} appears to have leaked: cleaning up")
            run.errors[Problem.LEAK] += 1
            run.freed.append(port)


class _Run:
    """What one run gathers."""

    def __init__(self, rebuilt: PortAllocator) -> None:
        self.rebuilt = rebuilt
        self.events: list[RepairEvent] = []
        self.suspects: list[int] = []
        self.freed: list[int] = []
        self.log: list[str] = []
        self.errors: Counter[Problem] = Counter()

    def place(self, service: Service, port: int) -> bool:
        """Take the number for its Service; False when it can't have it, which is told.

        Raises RepairError when the allocator fails otherwise. (The original means to do the
        same, but a bare type assertion in its switch would panic first.)
        """
        where = f"for service {_backwards(service)}"
        span = self.rebuilt.port_range
        try:
            self.rebuilt.allocate(port)
        except PortAllocated:
            self._tell(Problem.DUPLICATE, service, port)
            self.log.append(
                f"the node port {port} {where} was assigned to multiple services; please recreate"
            )
        except PortNotInRange:
            self._tell(Problem.OUT_OF_RANGE, service, port)
            self.log.append(
                f"the port {port} {where} is not within the port range {span}; please recreate"
            )
        except RangeFull as error:
            self._tell(Problem.FULL, service, port)
            raise RepairError(
                f"the port range {span} is full; {_WIDEN}",
                self.events,
            ) from error
        except AllocatorError as error:
            self._tell(Problem.UNKNOWN, service, port)
            raise RepairError(
                f"unable to allocate port {port} {where} due to an unknown error, exiting: {error}",
                self.events,
            ) from error
        else:
            return True
        return False

    def not_allocated(self, service: Service, port: int) -> None:
        self._tell(Problem.REPAIR, service, port)
        self.log.append(
            f"the node port {port} for service {_backwards(service)} is not allocated; repairing"
        )

    def keep(self, port: int) -> None:
        """Hold on to a number that nobody has, for now."""
        self.suspects.append(port)
        try:
            self.rebuilt.allocate(port)
        except AllocatorError as error:
            self.log.append(
                f"the node port {port} may have leaked, but can not be allocated: {error}"
            )

    def _tell(self, problem: Problem, service: Service, port: int) -> None:
        reason, message = event_text(problem, port, self.rebuilt.port_range)
        self.errors[problem] += 1
        self.events.append(
            RepairEvent(
                problem=problem, service=service.key, port=port, reason=reason, message=message
            )
        )


def event_text(problem: Problem, port: int, port_range: PortRange) -> tuple[str, str]:
    """The reason and the message of the event that the API server sends about a Service."""
    match problem:
        case Problem.REPAIR:
            return "PortNotAllocated", f"Port {port} is not allocated; repairing"
        case Problem.DUPLICATE:
            return (
                "PortAlreadyAllocated",
                f"Port {port} was assigned to multiple services; please recreate service",
            )
        case Problem.OUT_OF_RANGE:
            return (
                "PortOutOfRange",
                f"Port {port} is not within the port range {port_range}; please recreate service",
            )
        case Problem.FULL:
            return (
                "PortRangeFull",
                f"Port range {port_range} is full; {_WIDEN}",
            )
        case _:
            return "UnknownError", f"Unable to allocate port {port} due to an unknown error"


def _backwards(service: Service) -> str:
    """`name/namespace`: the API server's log has them in this order."""
    return f"{service.key.name}/{service.key.namespace}"
