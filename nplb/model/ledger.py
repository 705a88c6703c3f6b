"""Who holds which NodePort of one cluster, as it is seen from outside, ready to be shown.

Built by `alloc.ledger` from snapshots; read by web, metrics and the command line. Times are
seconds since the epoch.
"""

from dataclasses import dataclass, field
from enum import StrEnum

from nplb.model.finding import Finding
from nplb.model.keys import Protocol, ServiceKey


class Band(StrEnum):
    """A part of the range. People choose from the static one; automatic allocation draws from
    the dynamic one as long as it has a number left."""

    STATIC = "static"
    DYNAMIC = "dynamic"
    OUTSIDE = "outside"  # held by a Service, but not in the range


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldPort:
    """One Service port that has a number. `port` is the Service's own port."""

    name: str
    port: int
    protocol: Protocol


@dataclass(frozen=True, slots=True, kw_only=True)
class Holder:
    """One Service that has a number: for which of its ports, and whether as its health check
    node port. `since` is when it was first seen with it."""

    service: ServiceKey
    ports: tuple[HeldPort, ...] = ()
    health_check: bool = False
    since: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerEntry:
    """One number that is taken. The first holder is the one that keeps it; more than one is a
    duplicate. No holder: the allocator has it taken, and no Service has it."""

    number: int
    band: Band
    holders: tuple[Holder, ...]
    since: float


@dataclass(frozen=True, slots=True, kw_only=True)
class BandView:
    """One band of the range, from `first` to `last`. `per_hour` is how many more numbers were
    taken than given back in an hour, over the time watched (None before there is enough of it);
    `full_at` is when the band is full at that rate (None if it is not filling)."""

    band: Band
    first: int
    last: int
    used: int
    per_hour: float | None = None
    full_at: float | None = None

    @property
    def size(self) -> int:
        """How many numbers the band has."""
        return self.last - self.first + 1

    @property
    def free(self) -> int:
        """How many are left."""
        return self.size - self.used


@dataclass(frozen=True, slots=True, kw_only=True)
class NamespaceView:
    """How many numbers in the range a namespace's Services hold, and at what rate that grows."""

    namespace: str
    used: int
    per_hour: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerView:
    """The whole ledger of one cluster at one moment.

    `entries` is sorted by number and has those outside of the range too; `bands` has only bands
    that exist (a range of 16 or fewer has no static one). `port_range` is as kube-apiserver
    prints it. `used` counts numbers in the range. `limited_to` says which part of the cluster is
    seen, if not all of it: numbers that are held elsewhere show as free.
    """

    cluster: str
    port_range: str
    base: int
    size: int
    observed_at: float
    entries: tuple[LedgerEntry, ...] = ()
    bands: tuple[BandView, ...] = ()
    namespaces: tuple[NamespaceView, ...] = ()
    findings: tuple[Finding, ...] = ()
    watched_since: float = 0.0
    limited_to: str = ""

    @property
    def used(self) -> int:
        """How many numbers of the range are taken."""
        return sum(band.used for band in self.bands)

    @property
    def free(self) -> int:
        """How many are left."""
        return self.size - self.used


@dataclass(frozen=True, slots=True, kw_only=True)
class EdgePortView:
    """One port on the edge that nplb listens on or means to. `holder` is the frontend's text."""

    address: str
    port: int
    holder: str


@dataclass(frozen=True, slots=True, kw_only=True)
class HostPortView:
    """A port of the edge that another process listens on. `pid` is 0 and `command` empty when
    the system does not tell."""

    address: str
    port: int
    pid: int = 0
    command: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class EphemeralView:
    """Which ports the kernel gives to outgoing connections (`ip_local_port_range`, both ends
    included), and which of them it spares (`ip_local_reserved_ports`, as written)."""

    low: int
    high: int
    reserved: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class EdgeLedgerView:
    """The edge's own ledger: what nplb listens on, who else listens where it would, and the
    kernel's ephemeral range (None where it can't be read)."""

    ports: tuple[EdgePortView, ...] = ()
    others: tuple[HostPortView, ...] = ()
    ephemeral: EphemeralView | None = None
    findings: tuple[Finding, ...] = field(default_factory=tuple)
