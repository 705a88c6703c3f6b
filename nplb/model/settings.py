"""What the configuration means, with every default resolved and every unit stated.

`config` builds these from a file; nobody else needs to know that there was one.
"""

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from nplb.model.health import BlastRadius, SharingSettings
from nplb.model.health import HealthSettings as HealthSettings
from nplb.model.health import InitialState as InitialState
from nplb.model.kernel import KernelOptions
from nplb.model.kernel import PlaneKind as PlaneKind
from nplb.model.keys import Address
from nplb.model.plan import Timeouts
from nplb.model.reasons import Balance
from nplb.model.relay import RelayOptions


class EdgePort(StrEnum):
    """Which port on the edge a frontend gets unless it is fixed."""

    MIRROR = "mirror"  # the NodePort's number
    SERVICE = "service"  # the Service's own port


class AnonymousRead(StrEnum):
    """Who may read from the admin server without a token."""

    LOOPBACK = "loopback"  # who asks from this host itself
    ANYONE = "anyone"
    NOBODY = "nobody"


@dataclass(frozen=True, slots=True, kw_only=True)
class KubernetesSource:
    """A cluster read from its API. `kubeconfig` None means in-cluster credentials, or the
    default kubeconfig files outside a cluster. `context` None is the current context."""

    kubeconfig: Path | None = None
    context: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ManifestsSource:
    """A cluster read from YAML files. `paths` are files, directories or glob patterns, made
    absolute against the configuration file's directory."""

    paths: tuple[str, ...]


class OnStop(StrEnum):
    """What becomes of the addresses in the Services' status when nplb ends."""

    KEEP = "keep"  # they stay, for the nplb that comes next
    WITHDRAW = "withdraw"  # they are taken out


@dataclass(frozen=True, slots=True, kw_only=True)
class WriteSettings:
    """What nplb writes into a cluster: nothing, unless told.

    `status`: the edge's addresses into `status.loadBalancer` of the LoadBalancer Services that
    it serves; `advertise` are these addresses (IPs or DNS names), empty those that it listens
    on. Of several edges the one writes that holds the Lease `lease_namespace`/`lease_name`.
    `events`: Events on Services, for what their owners should know.
    """

    status: bool = False
    events: bool = False
    advertise: tuple[str, ...] = ()
    on_stop: OnStop = OnStop.KEEP
    lease_namespace: str = "nplb"
    lease_name: str = ""

    @property
    def any(self) -> bool:
        """Whether anything is written at all."""
        return self.status or self.events


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterSettings:
    """One cluster: where its state comes from, and what of it nplb serves.

    `namespaces` empty means all. Selectors are Kubernetes label selectors, empty means all.
    `node_address` are address types in order of preference, `node_networks` CIDRs that the
    addresses must be of, empty for any.
    `port_range` is the cluster's NodePort range, as kube-apiserver's
    --service-node-port-range takes it. LoadBalancer Services are served if their
    `loadBalancerClass` is `load_balancer_class`, and those without one if
    `load_balancer_unclassed`. `writes` is what nplb writes into the cluster.
    """

    name: str
    source: KubernetesSource | ManifestsSource
    namespaces: tuple[str, ...] = ()
    service_selector: str = ""
    node_selector: str = ""
    node_address: tuple[str, ...] = ("InternalIP", "ExternalIP")
    node_networks: tuple[str, ...] = ()
    port_range: str = "30000-32767"
    load_balancer_class: str = "nplb.io/edge"
    load_balancer_unclassed: bool = False
    writes: WriteSettings = WriteSettings()


@dataclass(frozen=True, slots=True, kw_only=True)
class ListenSettings:
    """Where discovered services are served. `addresses` are the edge's own. `load_balancer_port`
    is for Services of type LoadBalancer, None as for all."""

    addresses: tuple[str, ...] = ("0.0.0.0",)
    port: EdgePort = EdgePort.MIRROR
    load_balancer_port: EdgePort | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FrontendSettings:
    """An override for one service, or one port of it.

    `service` is `namespace/name`, `namespace/name:port-name-or-number`, either with
    `cluster/` in front when several clusters are configured. None leaves the default. `timeouts`,
    `relay` and `kernel` are whole; `given` names those of their fields that the entry itself
    sets, the others being as they are in general.
    """

    service: str
    cluster: str | None = None
    port: str | None = None
    listen: tuple[Address, ...] | None = None
    balance: Balance | None = None
    timeouts: Timeouts | None = None
    connect_attempts: int | None = None
    relay: RelayOptions | None = None
    plane: PlaneKind | None = None
    kernel: KernelOptions | None = None
    health: HealthSettings | None = None
    prefer_pods: bool | None = None
    given: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolMember:
    """One Service's port in a pool: `service` is `namespace/name`, of one cluster or (None) of
    every one that has it; `port` None means its only port. `weight` is its share of the pool's
    clients, relative to the other members."""

    service: str
    cluster: str | None = None
    port: str | None = None
    weight: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolSettings:
    """Services of several clusters behind one frontend. `name` is `namespace/name`."""

    name: str
    listen: tuple[Address, ...]
    members: tuple[PoolMember, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class AnnotationSettings:
    """Which annotations of Services are honoured, by name without `nplb.io/` (a group such as
    `timeouts` allows all of its names), and the edge's ports that they may ask for, as ranges."""

    allow: tuple[str, ...] = ()
    ports: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class AdminTls:
    """PEM files of the admin server: its certificate with those that lead to its CA, its key,
    and the CA of the clients that are answered; None for any client."""

    cert: Path
    key: Path
    client_ca: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AdminSettings:
    """The admin HTTP server: health endpoints, metrics, API. `listen` None: not served.

    `hosts` are names, beyond addresses and localhost, under which it may be asked. The token
    files hold bearer tokens, for reading and changing or for reading alone; without
    `token_file` nothing can be changed over HTTP. `tls` None: plain HTTP."""

    listen: Address | None = Address("127.0.0.1", 9090)
    hosts: tuple[str, ...] = ()
    token_file: Path | None = None
    read_token_file: Path | None = None
    anonymous_read: AnonymousRead = AnonymousRead.LOOPBACK
    tls: AdminTls | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LogSettings:
    """`level` is a logging level's name in lower case; `format` is `text` or `json`.
    `access_file` is where access log lines go, None for standard output."""

    level: str = "info"
    format: str = "text"
    access_file: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ShutdownSettings:
    """SIGTERM: not ready for `delay_seconds`, then listeners close, then connections have
    `drain_seconds` to end by themselves."""

    delay_seconds: float = 0.0
    drain_seconds: float = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The whole configuration. `workers` is the number of relay processes,
    `frontends_per_namespace` how many frontends one namespace may have (0: any number),
    `max_connections` how many connections all of them may have open (0: as many as they have
    descriptors for). `prefer_pods` prefers nodes that hold ready pods of a Service with
    `externalTrafficPolicy: Cluster`, `nodes_per_service` is how many nodes such a Service uses (0:
    all, None: as `plan.spread` says). `zone` is the edge's own, whose nodes
    are preferred; empty prefers none. `state_dir` holds what must outlive a restart (ledgers of
    manifests); None keeps nothing. `runtime_dir` is where the next control process finds the
    relay's workers; None is a directory of the configuration's own. Without a control process
    they take clients for `orphan_seconds`, 0 for as long as it takes. `watch_config` reloads when
    the file changes."""

    clusters: tuple[ClusterSettings, ...]
    listen: ListenSettings = ListenSettings()
    frontends: tuple[FrontendSettings, ...] = ()
    annotations: AnnotationSettings = AnnotationSettings()
    pools: tuple[PoolSettings, ...] = ()
    balance: Balance = Balance.LEAST_CONNECTIONS
    timeouts: Timeouts = Timeouts()
    connect_attempts: int = 3
    relay: RelayOptions = RelayOptions()
    max_connections: int = 0
    frontends_per_namespace: int = 0
    health: HealthSettings = HealthSettings()
    sharing: SharingSettings = SharingSettings()
    blast_radius: BlastRadius = BlastRadius()
    prefer_pods: bool = False
    nodes_per_service: int | None = None
    plane: PlaneKind = PlaneKind.RELAY
    kernel: KernelOptions = KernelOptions()
    workers: int = 1
    zone: str = ""
    admin: AdminSettings = AdminSettings()
    log: LogSettings = LogSettings()
    shutdown: ShutdownSettings = ShutdownSettings()
    state_dir: Path | None = None
    runtime_dir: Path | None = None
    orphan_seconds: float = 0.0
    watch_config: bool = False
