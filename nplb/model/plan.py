"""What should be served: every frontend, its backends, and why each is as it is."""

from dataclasses import dataclass

from nplb.model.kernel import KernelOptions, PlaneKind
from nplb.model.keys import Address, BackendKey, FrontendKey
from nplb.model.reasons import BackendReason, BackendState, Balance, SkipReason
from nplb.model.refusal import Refusal
from nplb.model.relay import RelayOptions
from nplb.model.verdict import Detection, ProbeTarget


@dataclass(frozen=True, slots=True, kw_only=True)
class Backend:
    """One NodeIP:NodePort. `since` is when it took this state and reason (epoch seconds);
    `detail` adds to the reason for a person. `weight` is relative, 1 or more. `tier` 0 is
    preferred; a higher one serves when too few below it are active (`relay.spill_below`).
    `left_at` is when it left because of what the API says alone, 0 if it never did."""

    key: BackendKey
    state: BackendState
    reason: BackendReason
    detail: str = ""
    weight: int = 1
    since: float = 0.0
    tier: int = 0
    left_at: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeouts:
    """Deadlines of a frontend's connections, in seconds."""

    connect: float = 3.0
    idle: float = 3600.0
    half_closed: float = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class LeftOut:
    """A node that can't even be a backend of a frontend (it has no usable address, or is gone),
    and why. `since` is when it left because of that, 0 if it was never in."""

    node: str
    reason: BackendReason
    detail: str
    since: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Frontend:
    """One port of one Service, as it should be served.

    `listen` are the edge's addresses for it. `connect_attempts` is how many different
    backends one client may be tried on. `port_name` is the Service port's name. `panic` says
    that fewer backends pass their probes than `health.panic_below` asks for.
    """

    key: FrontendKey
    port_name: str = ""
    node_port: int
    listen: tuple[Address, ...]
    balance: Balance
    timeouts: Timeouts = Timeouts()
    connect_attempts: int = 3
    relay: RelayOptions = RelayOptions()
    plane: PlaneKind = PlaneKind.RELAY
    kernel: KernelOptions = KernelOptions()
    backends: tuple[Backend, ...] = ()
    left_out: tuple[LeftOut, ...] = ()
    panic: bool = False

    @property
    def active(self) -> tuple[Backend, ...]:
        """The backends that may get new connections."""
        return tuple(b for b in self.backends if b.state is BackendState.ACTIVE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pooled:
    """A Service's port that is served as a part of a pool: what its frontend would be (it listens
    nowhere), and the pool's."""

    frontend: Frontend
    pool: FrontendKey


@dataclass(frozen=True, slots=True, kw_only=True)
class Skipped:
    """A Service's port that has no frontend, and why."""

    key: FrontendKey
    reason: SkipReason
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """All frontends and their backends as they should be, each tuple sorted by key.

    `generation` grows by one whenever the content changes. `probes` is the one arrow back:
    what the prober is to probe; `detection` says how soon that finds a fault. `ready_ignored`
    names the clusters where so many nodes are NotReady that Ready counts for nothing.
    `refusals` are annotations that are not honoured, `pooled` the parts of frontends that have
    backends of several clusters.
    """

    generation: int = 0
    frontends: tuple[Frontend, ...] = ()
    skipped: tuple[Skipped, ...] = ()
    probes: tuple[ProbeTarget, ...] = ()
    refusals: tuple[Refusal, ...] = ()
    pooled: tuple[Pooled, ...] = ()
    detection: Detection = Detection()
    ready_ignored: tuple[str, ...] = ()
