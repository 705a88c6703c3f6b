"""The configuration file as pydantic models: every key, what it holds and what it is for.

The descriptions are the manual; the schema is made of them. Defaults are those of
`model.settings`, so that each stands in one place.
"""

from collections.abc import Sequence
from enum import StrEnum
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field, PlainValidator, WithJsonSchema

from nplb.config.annotationkeys import GROUPS, NAMES
from nplb.config.connections import ConnectionKeys, FrontendSection
from nplb.config.fields import (
    AdminListen,
    Bool,
    Cidrs,
    Duration,
    Ips,
    LabelSelector,
    Maybe,
    Name,
    Names,
    PathText,
    PathTexts,
    PortRangeText,
    Text,
    Workers,
    as_list,
    distinct,
    many_schema,
    off_or_list,
    one_of,
    one_or_many,
    only_list,
    read_advertised,
    read_port_or_range,
    some_distinct,
    within,
    words_schema,
)
from nplb.config.health import HealthSection
from nplb.config.keys import DAY, Section, duration, key, section
from nplb.config.pools import PoolSection
from nplb.config.values import kind_of
from nplb.config.words import did_you_mean, shown
from nplb.model.settings import (
    AnonymousRead,
    ClusterSettings,
    EdgePort,
    ListenSettings,
    LogSettings,
    ManifestsSource,
    OnStop,
    Settings,
    ShutdownSettings,
    WriteSettings,
)

MAX_NODES = 100_000

# What the defaults are, by the types that own them.
_CLUSTER = ClusterSettings(name="", source=ManifestsSource(paths=()))
_WRITES = WriteSettings()
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


EdgePortWord = Annotated[EdgePort, PlainValidator(one_of(EdgePort)), words_schema(EdgePort)]
LevelWord = Annotated[LogLevel, PlainValidator(one_of(LogLevel)), words_schema(LogLevel)]
FormatWord = Annotated[LogFormat, PlainValidator(one_of(LogFormat)), words_schema(LogFormat)]
AnonymousWord = Annotated[
    AnonymousRead, PlainValidator(one_of(AnonymousRead)), words_schema(AnonymousRead)
]
HostNames = Annotated[
    Sequence[Text],
    BeforeValidator(only_list),
    AfterValidator(some_distinct),
    many_schema({"type": "string", "minLength": 1, "examples": ["edge.example.org"]}),
]
OnStopWord = Annotated[OnStop, PlainValidator(one_of(OnStop)), words_schema(OnStop)]
Advertised = Annotated[
    Sequence[Annotated[str, PlainValidator(read_advertised)]],
    BeforeValidator(as_list),
    AfterValidator(some_distinct),
    one_or_many({"type": "string", "examples": ["203.0.113.7", "edge.example.org"]}),
]
AddressTypes = Annotated[
    Sequence[Annotated[str, PlainValidator(one_of(NodeAddressType))]],
    BeforeValidator(only_list),
    AfterValidator(some_distinct),
    many_schema({"type": "string", "enum": [str(t) for t in NodeAddressType]}),
]


def _read_nodes_per_service(value: object) -> int | None:
    if value == "auto":
        return None
    if value == "off":
        return 0
    if isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= MAX_NODES:
        return value
    bounds = f"auto, off, or from 1 to {MAX_NODES:,}"
    raise ValueError(f"must be {bounds}, not {kind_of(value)}")


NodesPerService = Annotated[
    int | None,
    PlainValidator(_read_nodes_per_service),
    WithJsonSchema(
        {
            "anyOf": [
                {"enum": ["auto", "off"]},
                {"type": "integer", "minimum": 1, "maximum": MAX_NODES},
            ]
        }
    ),
]
_ANNOTATIONS = (*NAMES, *GROUPS)


def _read_annotation(value: object) -> str:
    if isinstance(value, str) and value in _ANNOTATIONS:
        return value
    text = str(value)
    guess = did_you_mean(text.removeprefix("nplb.io/").replace("_", "-"), _ANNOTATIONS)
    hint = f'did you mean "{guess}"?' if guess else f"there are: {', '.join(NAMES)}"
    raise ValueError(f"{shown(text)} names no annotation, {hint}")


AnnotationNames = Annotated[
    Sequence[Annotated[str, PlainValidator(_read_annotation)]],
    BeforeValidator(off_or_list),
    AfterValidator(distinct),
    one_or_many({"type": "string", "enum": list(_ANNOTATIONS)}, off=True),
]
PortsOrRanges = Annotated[
    Sequence[Annotated[str, PlainValidator(read_port_or_range)]],
    BeforeValidator(off_or_list),
    AfterValidator(distinct),
    one_or_many(
        {
            "anyOf": [
                {"type": "integer", "minimum": 1, "maximum": 65535},
                {"type": "string", "examples": ["443", "8000-8999"]},
            ]
        },
        off=True,
    ),
]


class KubernetesSection(Section):
    """A cluster read from its API server. `{}` takes the defaults of all keys."""

    kubeconfig: Maybe[PathText] = key(
        None,
        "The kubeconfig file, relative to this file. Without it: the credentials of the pod that "
        "nplb runs in, or else $KUBECONFIG, or else ~/.kube/config.",
    )
    context: Maybe[Text] = key(
        None, "The kubeconfig's context. Without it: the kubeconfig's current context."
    )


class WritesSection(Section):
    """What nplb writes into the cluster. Nothing, unless it is set here and the rights are there
    (deploy/rbac); without a right it goes on without writing, and says which one is missing."""

    status: Bool = key(
        _WRITES.status,
        "Write this host's address into status.loadBalancer of the LoadBalancer Services that it "
        "serves, and take it out when it does not any more.",
    )
    advertise: Maybe[Advertised] = key(
        None,
        "The addresses to write, IPs or DNS names, one or a list: those that clients use, of all "
        "edges that serve this class. Without it: those of `listen`.",
    )
    on_stop: OnStopWord = key(
        _WRITES.on_stop,
        "Whether the addresses stay when nplb ends. `keep`: they do, for its next start. "
        "`withdraw`: they are taken out.",
    )
    events: Bool = key(
        _WRITES.events,
        "Send Events about Services: a port that is taken, no usable node, an annotation that is "
        "refused.",
    )
    lease_namespace: Name = key(
        _WRITES.lease_namespace,
        "The namespace of the Lease that lets one edge alone write addresses.",
    )
    lease_name: Maybe[Text] = key(
        None, "The Lease's name. Without it: load_balancer_class with - for /."
    )


class ClusterSection(Section):
    """A cluster: where its state comes from, and which of its Services and nodes to use."""

    name: Name = Field(
        description="The name that logs, metrics and commands call this cluster by.",
        json_schema_extra={"examples": ["prod"]},
    )
    kubernetes: Maybe[KubernetesSection] = key(
        None, "Read the cluster's state from its API server. Either this or `manifests`."
    )
    manifests: Maybe[PathTexts] = key(
        None,
        "Read the cluster's state from YAML files of Services, Nodes and EndpointSlices: files, "
        "directories or patterns, relative to this file, read again when they change. Either "
        "this or `kubernetes`.",
    )
    namespaces: Maybe[Names] = key(
        None, "Serve only the Services of these namespaces. Without it: of all."
    )
    service_selector: LabelSelector = key(
        _CLUSTER.service_selector,
        "Serve only the Services whose labels match this label selector. Empty: all.",
    )
    node_selector: LabelSelector = key(
        _CLUSTER.node_selector,
        "Send clients only to nodes whose labels match this label selector. Empty: all.",
    )
    node_address: AddressTypes = key(
        _CLUSTER.node_address,
        "Reach a node at the first of these types of address that it has.",
        shown=list(_CLUSTER.node_address),
    )
    node_networks: Cidrs = key(
        _CLUSTER.node_networks,
        "The CIDRs that nodes' addresses are of, one or a list: a node that says that it has "
        "another one gets no client, so that nobody with a node can send clients elsewhere. "
        "`off`: any.",
        shown="off",
    )
    port_range: PortRangeText = key(
        _CLUSTER.port_range,
        "The cluster's NodePort range, as kube-apiserver's --service-node-port-range has it.",
    )
    load_balancer_class: Text = key(
        _CLUSTER.load_balancer_class,
        "Serve the LoadBalancer Services with this loadBalancerClass.",
    )
    load_balancer_unclassed: Bool = key(
        _CLUSTER.load_balancer_unclassed,
        "Serve LoadBalancer Services without a loadBalancerClass too. Only where nobody else does: "
        "no cloud's controller, no MetalLB without a class of its own.",
    )
    writes: WritesSection = section(WritesSection)


class ListenSection(Section):
    """Where discovered Services are served on this host."""

    addresses: Ips = key(
        _LISTEN.addresses,
        'This host\'s addresses to listen on: one or a list. "0.0.0.0" is every IPv4 address, '
        '"::" every IPv6 address, "%eth0" every address of the interface eth0.',
        shown=_LISTEN.addresses[0],
    )
    port: EdgePortWord = key(
        _LISTEN.port,
        "Which port a Service gets here. `mirror`: the NodePort's number. `service`: the "
        "Service's own port.",
    )
    load_balancer_port: Maybe[EdgePortWord] = key(
        None, "The same for Services of type LoadBalancer, instead of `port`."
    )


class AnnotationsSection(Section):
    """What the annotations `nplb.io/…` of Services may set: a key of `frontends` each, with `-`
    for `_`, as in `nplb.io/send-proxy` and `nplb.io/timeouts.idle`. An entry of `frontends` goes
    before them, and they go before what is set in general."""

    allow: AnnotationNames = key(
        (),
        "The annotations that are honoured, without `nplb.io/`, one or a list; `timeouts` and the "
        "like allow the whole group. `off`: none.",
        shown="off",
    )
    ports: PortsOrRanges = key(
        (),
        "The ports of this host that the annotation `edge-port` may ask for: numbers or ranges, "
        "one or a list. `off`: none.",
        shown="off",
    )


class AdminTlsSection(Section):
    """TLS for the admin server. Its files are PEM, relative to this file, and read again when
    they change."""

    cert: Maybe[PathText] = key(
        None, "The server's certificate, and after it those that lead to its CA."
    )
    client_ca: Maybe[PathText] = key(
        None,
        "Answer only clients that show a certificate of this CA. Tokens are needed all the same.",
    )
    # The last one, since from here on the name means this.
    key: Maybe[PathText] = key(None, "The certificate's private key, without a password.")


class AdminSection(Section):
    """The admin HTTP server: health endpoints, metrics, API."""

    listen: AdminListen = key(
        _EDGE.admin.listen,
        "The address and port to serve it on, or `off`. Port 0 takes any free one.",
        shown=str(_EDGE.admin.listen),
    )
    hosts: Maybe[HostNames] = key(
        None,
        "Names under which it may be asked, such as a reverse proxy's. By its addresses and as "
        "localhost it may always be asked.",
    )
    token_file: Maybe[PathText] = key(
        None,
        "A file with the bearer tokens that may read and change, one a line, 16 characters or "
        "longer; relative to this file, read again when it changes. Without it nothing can be "
        "changed over HTTP.",
    )
    read_token_file: Maybe[PathText] = key(
        None, "The same, with the tokens that may only read: for Prometheus, say."
    )
    anonymous_read: AnonymousWord = key(
        _EDGE.admin.anonymous_read,
        "Who may read without a token. `loopback`: who asks from this host itself, not through "
        "a proxy. `anyone`. `nobody`. Changes always need a token; health endpoints never do.",
    )
    tls: Maybe[AdminTlsSection] = key(None, "Serve HTTPS, of TLS 1.2 or later, instead of HTTP.")


class LogSection(Section):
    """The log, on standard error."""

    level: LevelWord = key(_LOG.level, "How much it tells.")
    format: FormatWord = key(_LOG.format, "`text` for eyes, `json` for machines.")
    access_file: Maybe[PathText] = key(
        None,
        "Where the lines of `access_log` go, opened anew at each reload; standard output, if "
        "absent.",
    )


class ShutdownSection(Section):
    """What happens on SIGTERM."""

    delay: Annotated[Duration, within(0, 3600)] = duration(
        _SHUTDOWN.delay_seconds,
        "Not ready, but serving, for so long, so that whoever sends clients here can notice.",
    )
    drain: Annotated[Duration, within(0, DAY)] = duration(
        _SHUTDOWN.drain_seconds,
        "Then listeners close, and connections have so long to end by themselves.",
    )


class EdgeSection(ConnectionKeys):
    """Everything but the clusters and the frontends."""

    listen: ListenSection = section(ListenSection)
    annotations: AnnotationsSection = section(AnnotationsSection)
    health: HealthSection = section(HealthSection)
    workers: Workers = key(
        None,
        "How many relay processes there are. `auto`: one for each CPU that nplb may use.",
        shown="auto",
    )
    nodes_per_service: NodesPerService = key(
        None,
        "How many of a cluster's nodes one Service uses, if any node leads to its pods. `auto`: "
        "all, until Services times nodes are too many; then a part of them for each, spread "
        "evenly. `off`: all.",
        shown="auto",
    )
    zone: Maybe[Text] = key(
        None,
        "The edge's own zone. Nodes with the same topology.kubernetes.io/zone are preferred; see "
        "`spill_below`.",
    )
    admin: AdminSection = section(AdminSection)
    log: LogSection = section(LogSection)
    shutdown: ShutdownSection = section(ShutdownSection)
    state_dir: Maybe[PathText] = key(
        None,
        "A directory for what must outlive a restart, such as the NodePorts given to manifests "
        "without one; relative to this file. Without it: $STATE_DIRECTORY, which systemd sets, "
        "or else nothing is kept.",
    )
    runtime_dir: Maybe[PathText] = key(
        None,
        "A directory of nplb's own where, after a crash or an upgrade, it finds its relay "
        "processes with their clients; relative to this file. Without it: $RUNTIME_DIRECTORY, "
        "which systemd sets, or else one for this file below /run/nplb, $XDG_RUNTIME_DIR/nplb or "
        "/tmp.",
    )
    orphan_timeout: Annotated[Duration, within(0, DAY)] = duration(
        _EDGE.orphan_seconds,
        "How long relay processes take new clients after nplb itself has died and was not "
        "started again. 0: for as long as it takes.",
    )
    watch_config: Bool = key(
        _EDGE.watch_config,
        "Read this file again when it has changed, as SIGHUP does: checked first, and the old one "
        "stays on any error.",
    )


class DocumentSection(EdgeSection):
    """nplb's configuration file."""

    clusters: Sequence[ClusterSection] = Field(
        min_length=1, description="The clusters to serve, at least one."
    )
    pools: Sequence[PoolSection] = Field(
        default=(), description="Services that several clusters serve together."
    )
    frontends: Sequence[FrontendSection] = Field(
        default=(), description="What differs for single Services, or for single ports of them."
    )
