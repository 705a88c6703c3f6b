"""The configuration file as pydantic models: every key, what it holds and what it is for.

The descriptions are the manual; the schema is made of them. Defaults are those of
`model.settings`, so that each stands in one place.
"""

from collections.abc import Sequence
from enum import StrEnum
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainValidator,
    WithJsonSchema,
)

from nplb.config.fields import (
    Addresses,
    AdminListen,
    Bool,
    Duration,
    Ips,
    LabelSelector,
    Maybe,
    Name,
    Names,
    PortRangeText,
    ServiceName,
    Text,
    Texts,
    Workers,
    many_schema,
    one_of,
    only_list,
    share,
    some_distinct,
    whole,
    whole_schema,
    within,
    words_schema,
)
from nplb.config.values import show_duration
from nplb.model.plan import Timeouts
from nplb.model.reasons import Balance
from nplb.model.settings import (
    ClusterSettings,
    EdgePort,
    HealthSettings,
    InitialState,
    ListenSettings,
    LogSettings,
    ManifestsSource,
    PlaneKind,
    Settings,
    ShutdownSettings,
)

# What the defaults are, by the types that own them.
_CLUSTER = ClusterSettings(name="", source=ManifestsSource(paths=()))
_TIMEOUTS = Timeouts()
_HEALTH = HealthSettings()
_LISTEN = ListenSettings()
_LOG = LogSettings()
_SHUTDOWN = ShutdownSettings()
_EDGE = Settings(clusters=())


class NodeAddressType(StrEnum):
    """Types of a Node's addresses that hold IP addresses."""

    INTERNAL_IP = "InternalIP"
    EXTERNAL_IP = "ExternalIP"


class LogLevel(StrEnum):
    """How much the log tells."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class LogFormat(StrEnum):
    """For eyes or for machines."""

    TEXT = "text"
    JSON = "json"


def _key(default: Any, description: str, *, shown: Any = None) -> Any:
    """A key with a default; `shown` is how the file would write it, where that differs."""
    extra = {} if shown is None else {"default": shown}
    return Field(default=default, description=description, json_schema_extra=extra)


def _about(section: type[BaseModel]) -> str:
    """What a section is for, as its docstring says."""
    return section.__doc__ or ""


def _duration(default: float, description: str) -> Any:
    return _key(default, description, shown=show_duration(default))


BalanceWord = Annotated[Balance, PlainValidator(one_of(Balance)), words_schema(Balance)]
EdgePortWord = Annotated[EdgePort, PlainValidator(one_of(EdgePort)), words_schema(EdgePort)]
InitialWord = Annotated[
    InitialState, PlainValidator(one_of(InitialState)), words_schema(InitialState)
]
PlaneWord = Annotated[PlaneKind, PlainValidator(one_of(PlaneKind)), words_schema(PlaneKind)]
LevelWord = Annotated[LogLevel, PlainValidator(one_of(LogLevel)), words_schema(LogLevel)]
FormatWord = Annotated[LogFormat, PlainValidator(one_of(LogFormat)), words_schema(LogFormat)]
AddressTypes = Annotated[
    Sequence[Annotated[str, PlainValidator(one_of(NodeAddressType))]],
    BeforeValidator(only_list),
    AfterValidator(some_distinct),
    many_schema({"type": "string", "enum": [str(t) for t in NodeAddressType]}),
]
Attempts = Annotated[int, PlainValidator(whole(1, 16)), whole_schema(1, 16)]
Probes = Annotated[int, PlainValidator(whole(1, 100)), whole_schema(1, 100)]
Jitter = Annotated[
    float,
    PlainValidator(share(0.5)),
    WithJsonSchema({"type": "number", "minimum": 0, "maximum": 0.5}),
]

_DAY = 86400.0


class Section(BaseModel):
    """A mapping of the file. Unknown keys are refused before a model sees them."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class KubernetesSection(Section):
    """A cluster read from its API server. `{}` takes the defaults of all keys."""

    kubeconfig: Maybe[Text] = _key(
        None,
        "The kubeconfig file, relative to this file. Without it: the credentials of the pod that "
        "nplb runs in, or else $KUBECONFIG, or else ~/.kube/config.",
    )
    context: Maybe[Text] = _key(
        None, "The kubeconfig's context. Without it: the kubeconfig's current context."
    )


class ClusterSection(Section):
    """A cluster: where its state comes from, and which of its Services and nodes to use."""

    name: Name = Field(
        description="The name that logs, metrics and commands call this cluster by.",
        json_schema_extra={"examples": ["prod"]},
    )
    kubernetes: Maybe[KubernetesSection] = _key(
        None, "Read the cluster's state from its API server. Either this or `manifests`."
    )
    manifests: Maybe[Texts] = _key(
        None,
        "Read the cluster's state from YAML files of Services, Nodes and EndpointSlices: files, "
        "directories or patterns, relative to this file, read again when they change. Either "
        "this or `kubernetes`.",
    )
    namespaces: Maybe[Names] = _key(
        None, "Serve only the Services of these namespaces. Without it: of all."
    )
    service_selector: LabelSelector = _key(
        _CLUSTER.service_selector,
        "Serve only the Services whose labels match this label selector. Empty: all.",
    )
    node_selector: LabelSelector = _key(
        _CLUSTER.node_selector,
        "Send clients only to nodes whose labels match this label selector. Empty: all.",
    )
    node_address: AddressTypes = _key(
        _CLUSTER.node_address,
        "Reach a node at the first of these types of address that it has.",
        shown=list(_CLUSTER.node_address),
    )
    port_range: PortRangeText = _key(
        _CLUSTER.port_range,
        "The cluster's NodePort range, as kube-apiserver's --service-node-port-range has it.",
    )
    load_balancer_class: Text = _key(
        _CLUSTER.load_balancer_class,
        "Serve the LoadBalancer Services with this loadBalancerClass, and those without one.",
    )


class ListenSection(Section):
    """Where discovered Services are served on this host."""

    addresses: Ips = _key(
        _LISTEN.addresses,
        'This host\'s addresses to listen on: one or a list. "0.0.0.0" is every IPv4 address, '
        '"::" every IPv6 address.',
        shown=_LISTEN.addresses[0],
    )
    port: EdgePortWord = _key(
        _LISTEN.port,
        "Which port a Service gets here. `mirror`: the NodePort's number. `service`: the "
        "Service's own port.",
    )


class TimeoutsSection(Section):
    """Deadlines of clients' connections."""

    connect: Annotated[Duration, within(0.01, 300)] = _duration(
        _TIMEOUTS.connect, "How long a node may take to accept; then the next one is tried."
    )
    idle: Annotated[Duration, within(1, 30 * _DAY)] = _duration(
        _TIMEOUTS.idle, "A connection ends when no byte has moved in either direction for so long."
    )
    half_closed: Annotated[Duration, within(0.1, 30 * _DAY)] = _duration(
        _TIMEOUTS.half_closed,
        "A connection of which one side has finished ends when no byte has moved for so long.",
    )


class FrontendTimeoutsSection(Section):
    """Deadlines that differ from the general ones."""

    connect: Maybe[Annotated[Duration, within(0.01, 300)]] = _key(
        None, "Instead of timeouts.connect."
    )
    idle: Maybe[Annotated[Duration, within(1, 30 * _DAY)]] = _key(None, "Instead of timeouts.idle.")
    half_closed: Maybe[Annotated[Duration, within(0.1, 30 * _DAY)]] = _key(
        None, "Instead of timeouts.half_closed."
    )


class FrontendSection(Section):
    """What differs for one Service, or one port of it."""

    service: ServiceName = Field(
        description="The Service: [cluster/]namespace/name, and :port (its name or number) for "
        "one port of it. An entry for a port goes before one for the whole Service."
    )
    listen: Maybe[Addresses] = _key(
        None,
        "The addresses and ports to serve it on, one or a list, instead of what `listen` gives.",
    )
    balance: Maybe[BalanceWord] = _key(None, "Instead of the general `balance`.")
    timeouts: Maybe[FrontendTimeoutsSection] = _key(None, "Deadlines that differ.")
    connect_attempts: Maybe[Attempts] = _key(None, "Instead of the general `connect_attempts`.")


class HealthSection(Section):
    """How nodes are probed: a TCP connection to every NodePort, again and again."""

    enabled: Bool = _key(_HEALTH.enabled, "Without probes every node counts as working.")
    interval: Annotated[Duration, within(0.1, 3600)] = _duration(
        _HEALTH.interval_seconds, "From one probe of a node to the next."
    )
    timeout: Annotated[Duration, within(0.01, 60)] = _duration(
        _HEALTH.timeout_seconds,
        "How long a node may take to accept a probe. Shorter than the interval.",
    )
    rise: Probes = _key(_HEALTH.rise, "Probes in a row that must succeed to bring a node back.")
    fall: Probes = _key(_HEALTH.fall, "Probes in a row that must fail to take a node out.")
    jitter: Jitter = _key(
        _HEALTH.jitter,
        "Each probe is moved at random by up to this share of the interval, so that they spread.",
    )
    initial: InitialWord = _key(
        _HEALTH.initial,
        "What a node is before its first probe. `probe`: not used, and the first probe decides. "
        "`up`: used. `down`: not used until `rise` probes have succeeded.",
    )


class AdminSection(Section):
    """The admin HTTP server: health endpoints, metrics, API."""

    listen: AdminListen = _key(
        _EDGE.admin.listen,
        "The address and port to serve it on, or `off`. Port 0 takes any free one.",
        shown=str(_EDGE.admin.listen),
    )


class LogSection(Section):
    """The log, on standard error."""

    level: LevelWord = _key(_LOG.level, "How much it tells.")
    format: FormatWord = _key(_LOG.format, "`text` for eyes, `json` for machines.")


class ShutdownSection(Section):
    """What happens on SIGTERM."""

    delay: Annotated[Duration, within(0, 3600)] = _duration(
        _SHUTDOWN.delay_seconds,
        "Not ready, but serving, for so long, so that whoever sends clients here can notice.",
    )
    drain: Annotated[Duration, within(0, _DAY)] = _duration(
        _SHUTDOWN.drain_seconds,
        "Then listeners close, and connections have so long to end by themselves.",
    )


class EdgeSection(Section):
    """Everything but the clusters and the frontends."""

    listen: ListenSection = Field(default=ListenSection(), description=_about(ListenSection))
    balance: BalanceWord = _key(
        _EDGE.balance,
        "How clients are spread over nodes. `round_robin`: in turn. `least_connections`: the "
        "node with the fewest open connections. `random_two_choices`: the less busy of two drawn "
        "at random. `source_hash`, `maglev`: a client keeps its node; when a node goes, few "
        "clients move (`maglev` spreads more evenly). `first`: the first node that works.",
    )
    timeouts: TimeoutsSection = Field(
        default=TimeoutsSection(), description=_about(TimeoutsSection)
    )
    connect_attempts: Attempts = _key(
        _EDGE.connect_attempts,
        "How many different nodes one client is tried on before its connection is given up.",
    )
    health: HealthSection = Field(default=HealthSection(), description=_about(HealthSection))
    plane: PlaneWord = _key(
        _EDGE.plane, "What moves the bytes. `relay`: worker processes of nplb's own."
    )
    workers: Workers = _key(
        None,
        "How many relay processes there are. `auto`: one for each CPU that nplb may use.",
        shown="auto",
    )
    admin: AdminSection = Field(default=AdminSection(), description=_about(AdminSection))
    log: LogSection = Field(default=LogSection(), description=_about(LogSection))
    shutdown: ShutdownSection = Field(
        default=ShutdownSection(), description=_about(ShutdownSection)
    )
    state_dir: Maybe[Text] = _key(
        None,
        "A directory for what must outlive a restart, such as the NodePorts given to manifests "
        "without one; relative to this file. Without it: $STATE_DIRECTORY, which systemd sets, "
        "or else nothing is kept.",
    )


class DocumentSection(EdgeSection):
    """nplb's configuration file."""

    clusters: Sequence[ClusterSection] = Field(
        min_length=1, description="The clusters to serve, at least one."
    )
    frontends: Sequence[FrontendSection] = Field(
        default=(), description="What differs for single Services, or for single ports of them."
    )
