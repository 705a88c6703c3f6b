"""What a plane made of a plan, and what it counts."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from nplb.model.keys import Address, BackendKey, FrontendKey
from nplb.model.plan import Frontend
from nplb.model.reasons import EndReason, FastPathEvent


@dataclass(frozen=True, slots=True, kw_only=True)
class ListenError:
    """Why the edge does not listen on an address. `in_use` means someone else holds it;
    `detail` names who, where the system tells, and what to do."""

    address: Address
    in_use: bool
    detail: str


def no_interface(address: Address) -> ListenError:
    """Why nothing listens on `%eth0`, which no address has come in the place of."""
    name = address.ip[1:]
    detail = (
        f"this host has no interface {name} with an address: `ip address` lists them; nplb looks "
        "again and again"
    )
    return ListenError(address=address, in_use=False, detail=detail)


@dataclass(frozen=True, slots=True, kw_only=True)
class Applied:
    """What a plane says it has made of the plan with this generation.

    `listen_errors` holds only the frontends that do not listen everywhere they should.
    `retry_seconds` is set when the plane wants to be asked again (a port that may come free).
    """

    generation: int
    listen_errors: Mapping[FrontendKey, tuple[ListenError, ...]] = field(default_factory=dict)
    retry_seconds: float | None = None

    def listens(self, frontend: Frontend) -> bool:
        """Whether the edge listens for a frontend, on one of its addresses at least."""
        errors = self.listen_errors.get(frontend.key, ())
        return not errors or len(errors) < len(frontend.listen)


@dataclass(frozen=True, slots=True, kw_only=True)
class BackendCounters:
    """Totals since start of one backend. `connections` are those established to it; `active`
    are open now; `bytes_in` flow from clients to the backend, `bytes_out` back."""

    connections: int = 0
    active: int = 0
    connect_failures: int = 0
    connect_seconds: float = 0.0
    bytes_in: int = 0
    bytes_out: int = 0
    ends: Mapping[EndReason, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class FrontendCounters:
    """Totals since start of one frontend. `accepted` counts every client taken from the
    listener; `active` are open now; `ends` counts every end by its one reason."""

    accepted: int = 0
    active: int = 0
    bytes_in: int = 0
    bytes_out: int = 0
    ends: Mapping[EndReason, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerCounters:
    """One worker's own condition. `accept_pauses` counts the times it stopped accepting for
    want of descriptors or memory; `generation` is the plan it serves. `connect_buckets` are
    upper bounds in seconds and how many connects to backends took up to each, not cumulative;
    `connect_seconds` is what they took together. All begin anew with the process."""

    worker: int
    pid: int
    alive: bool
    generation: int
    restarts: int
    accept_pauses: int = 0
    open_connections: int = 0
    loops: int = 0
    access_lines_dropped: int = 0
    connect_buckets: tuple[tuple[float, int], ...] = ()
    connect_seconds: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class FastPathCounters:
    """The condition of the kernel plane's fast path: `connections` take up room now, by family (4
    or 6), of `room` for each at most; `events` are totals since start of packets that it did not
    pass on."""

    connections: Mapping[int, int]
    room: int
    events: Mapping[FastPathEvent, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Traffic:
    """All counters of a plane at one moment. Counters never go backwards, also when a worker
    is replaced. `fast_path` is None where there is none."""

    frontends: Mapping[FrontendKey, FrontendCounters] = field(default_factory=dict)
    backends: Mapping[BackendKey, BackendCounters] = field(default_factory=dict)
    workers: tuple[WorkerCounters, ...] = ()
    fast_path: FastPathCounters | None = None
