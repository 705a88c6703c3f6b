"""The sections about clients' connections: their deadlines and limits, for all and for one
Service. Defaults are those of `model.settings.Settings`."""

from typing import Annotated

from pydantic import Field, PlainValidator

from nplb.config.fields import (
    Addresses,
    Bool,
    Cidrs,
    Duration,
    Maybe,
    PathText,
    ServiceName,
    SourceIps,
    off_or_duration,
    off_or_duration_schema,
    off_or_number,
    off_or_number_schema,
    off_or_whole,
    off_or_whole_schema,
    one_of,
    share,
    share_schema,
    whole,
    whole_schema,
    within,
    words_schema,
)
from nplb.config.health import FrontendHealthSection
from nplb.config.keys import DAY, Section, duration, key, off, off_duration, section
from nplb.model.kernel import PlaneKind, Refusal
from nplb.model.reasons import Balance
from nplb.model.relay import Leave, NoBackend, SendProxy
from nplb.model.settings import Settings

_GENERAL = Settings(clusters=())
TIMEOUTS = _GENERAL.timeouts
OPTIONS = _GENERAL.relay
KERNEL = _GENERAL.kernel
_MANY = 1_000_000

BalanceWord = Annotated[Balance, PlainValidator(one_of(Balance)), words_schema(Balance)]
NoBackendWord = Annotated[NoBackend, PlainValidator(one_of(NoBackend)), words_schema(NoBackend)]
LeaveWord = Annotated[Leave, PlainValidator(one_of(Leave)), words_schema(Leave)]
PlaneWord = Annotated[PlaneKind, PlainValidator(one_of(PlaneKind)), words_schema(PlaneKind)]
RefusalWord = Annotated[Refusal, PlainValidator(one_of(Refusal)), words_schema(Refusal)]
SendProxyWord = Annotated[SendProxy, PlainValidator(one_of(SendProxy)), words_schema(SendProxy)]
Attempts = Annotated[int, PlainValidator(whole(1, 16)), whole_schema(1, 16)]
Share = Annotated[float, PlainValidator(share(1.0)), share_schema(1.0)]
Limit = Annotated[int, PlainValidator(off_or_whole(1, _MANY)), off_or_whole_schema(1, _MANY)]
Rate = Annotated[float, PlainValidator(off_or_number(_MANY)), off_or_number_schema(_MANY)]

Connect = Annotated[Duration, within(0.01, 300)]
Silence = Annotated[Duration, within(0.1, 30 * DAY)]
Wait = Annotated[Duration, within(0.01, 3600)]
Drain = Annotated[Duration, within(0, 7 * DAY)]
Lifetime = Annotated[float, PlainValidator(off_or_duration(1, 365 * DAY)), off_or_duration_schema()]
Keepalive = Annotated[
    float, PlainValidator(off_or_duration(1, 32767, whole=True)), off_or_duration_schema()
]
User = Annotated[float, PlainValidator(off_or_duration(0.1, 3600)), off_or_duration_schema()]
Affinity = Annotated[
    float, PlainValidator(off_or_duration(1, DAY, whole=True)), off_or_duration_schema()
]
SlowStart = Annotated[float, PlainValidator(off_or_duration(0.1, 3600)), off_or_duration_schema()]


class TimeoutsSection(Section):
    """Deadlines of clients' connections."""

    connect: Connect = duration(
        TIMEOUTS.connect, "How long a node may take to accept; then the next one is tried."
    )
    idle: Annotated[Duration, within(1, 30 * DAY)] = duration(
        TIMEOUTS.idle, "A connection ends when no byte has moved in either direction for so long."
    )
    half_closed: Silence = duration(
        TIMEOUTS.half_closed,
        "A connection of which one side has finished ends when no byte has moved for so long.",
    )
    lifetime: Lifetime = off_duration(
        OPTIONS.lifetime_seconds, "The longest that a connection may live, whatever it does."
    )
    queue: Wait = duration(
        OPTIONS.queue_seconds,
        "How long a client waits for a place when every node is at limits.per_backend.",
    )
    hold: Wait = duration(
        OPTIONS.hold_seconds, "How long a client waits for a node to rise, with no_backend: hold."
    )
    drain: Drain = duration(
        OPTIONS.drain_seconds,
        "How long the connections of a node that leaves may go on, with on_leave: drain.",
    )
    keepalive: Keepalive = off_duration(
        OPTIONS.keepalive_seconds,
        "Silence before TCP keepalive asks whether the other side is still there, on both sides.",
    )
    user: User = off_duration(
        OPTIONS.user_timeout_seconds,
        "A connection ends when a node has not acknowledged bytes for so long (TCP_USER_TIMEOUT).",
    )


class FrontendTimeoutsSection(Section):
    """Deadlines that differ from the general ones."""

    connect: Maybe[Connect] = key(None, "Instead of timeouts.connect.")
    idle: Maybe[Annotated[Duration, within(1, 30 * DAY)]] = key(None, "Instead of timeouts.idle.")
    half_closed: Maybe[Silence] = key(None, "Instead of timeouts.half_closed.")
    lifetime: Maybe[Lifetime] = key(None, "Instead of timeouts.lifetime.")
    queue: Maybe[Wait] = key(None, "Instead of timeouts.queue.")
    hold: Maybe[Wait] = key(None, "Instead of timeouts.hold.")
    drain: Maybe[Drain] = key(None, "Instead of timeouts.drain.")
    keepalive: Maybe[Keepalive] = key(None, "Instead of timeouts.keepalive.")
    user: Maybe[User] = key(None, "Instead of timeouts.user.")


class LimitsSection(Section):
    """How many connections there may be; a client over a limit is reset. A limit holds for this
    host as a whole, and is shared out evenly among the workers."""

    total: Limit = off(0, "Of all frontends together.")
    frontends_per_namespace: Limit = off(
        0,
        "How many frontends one namespace of a cluster may have: ports of Services. Those that "
        "are served already stay; Services created later get none.",
    )
    connections: Limit = off(OPTIONS.max_connections, "Of one frontend.")
    per_backend: Limit = off(
        OPTIONS.max_connections_per_backend, "To one node for one frontend; then others get them."
    )
    queue: Limit = off(
        OPTIONS.max_queue, "How many clients of a frontend may wait once every node is full."
    )
    per_client: Limit = off(
        OPTIONS.max_connections_per_client, "Of one client's address to one frontend."
    )
    per_client_rate: Rate = off(
        OPTIONS.client_rate,
        "New connections a second of one client's address; a second's worth may come at once.",
    )


class FrontendLimitsSection(Section):
    """Limits that differ from the general ones."""

    connections: Maybe[Limit] = key(None, "Instead of limits.connections.")
    per_backend: Maybe[Limit] = key(None, "Instead of limits.per_backend.")
    queue: Maybe[Limit] = key(None, "Instead of limits.queue.")
    per_client: Maybe[Limit] = key(None, "Instead of limits.per_client.")
    per_client_rate: Maybe[Rate] = key(None, "Instead of limits.per_client_rate.")


class KernelSection(Section):
    """What only the kernel plane can be told."""

    masquerade: Bool = key(
        KERNEL.masquerade,
        "Nodes see this host's address and answer through it. Without it they see the client's, "
        "and must route their answers back through this host.",
    )
    end_on_down: Bool = key(
        KERNEL.end_on_down,
        "End the connections of a node that probes find down, rather than let them time out.",
    )
    refusal: RefusalWord = key(
        KERNEL.refusal,
        "How a client is turned away. `reset`: by a TCP reset, or ICMP port unreachable. `drop`: "
        "by silence.",
    )
    fast_path: Bool = key(
        KERNEL.fast_path,
        "Let an eBPF program at each interface move TCP connections, which costs less than "
        "nftables: filters of this host don't see their packets. Frontends with masquerade: "
        "false, affinity, lists of clients or limits go through nftables all the same. It needs "
        "Linux 5.12, CAP_BPF, CAP_PERFMON, tc and /sys/fs/bpf.",
    )


class FrontendKernelSection(Section):
    """What differs on the kernel plane."""

    masquerade: Maybe[Bool] = key(None, "Instead of kernel.masquerade.")
    end_on_down: Maybe[Bool] = key(None, "Instead of kernel.end_on_down.")
    refusal: Maybe[RefusalWord] = key(None, "Instead of kernel.refusal.")
    fast_path: Maybe[Bool] = key(None, "Instead of kernel.fast_path.")


class FrontendSection(Section):
    """What differs for one Service, or one port of it. What is absent is as for the whole
    Service, if there is an entry for it, or else as it is in general."""

    service: ServiceName = Field(
        description="The Service: [cluster/]namespace/name, and :port (its name or number) for "
        "one port of it. An entry for a port goes before one for the whole Service."
    )
    listen: Maybe[Addresses] = key(
        None,
        "The addresses and ports to serve it on, one or a list, instead of what `listen` gives.",
    )
    balance: Maybe[BalanceWord] = key(None, "Instead of the general `balance`.")
    timeouts: Maybe[FrontendTimeoutsSection] = key(None, "Deadlines that differ.")
    connect_attempts: Maybe[Attempts] = key(None, "Instead of the general `connect_attempts`.")
    limits: Maybe[FrontendLimitsSection] = key(None, "Limits that differ.")
    no_backend: Maybe[NoBackendWord] = key(None, "Instead of the general `no_backend`.")
    source_ranges: Maybe[Cidrs] = key(None, "Instead of the general `source_ranges`.")
    source_ranges_file: Maybe[PathText] = key(None, "Instead of the general `source_ranges_file`.")
    denied_ranges: Maybe[Cidrs] = key(None, "Instead of the general `denied_ranges`.")
    denied_ranges_file: Maybe[PathText] = key(None, "Instead of the general `denied_ranges_file`.")
    send_proxy: Maybe[SendProxyWord] = key(None, "Instead of the general `send_proxy`.")
    proxy_tlvs: Maybe[Bool] = key(None, "Instead of the general `proxy_tlvs`.")
    accept_proxy_from: Maybe[Cidrs] = key(None, "Instead of the general `accept_proxy_from`.")
    source_addresses: Maybe[SourceIps] = key(None, "Instead of the general `source_addresses`.")
    affinity: Maybe[Affinity] = key(None, "Instead of the general `affinity`.")
    slow_start: Maybe[SlowStart] = key(None, "Instead of the general `slow_start`.")
    spill_below: Maybe[Share] = key(None, "Instead of the general `spill_below`.")
    on_leave: Maybe[LeaveWord] = key(None, "Instead of the general `on_leave`.")
    reset_on_down: Maybe[Bool] = key(None, "Instead of the general `reset_on_down`.")
    access_log: Maybe[Bool] = key(None, "Instead of the general `access_log`.")
    plane: Maybe[PlaneWord] = key(None, "Instead of the general `plane`.")
    kernel: Maybe[FrontendKernelSection] = key(None, "What differs on the kernel plane.")
    health: Maybe[FrontendHealthSection] = key(None, "What differs in its probes.")
    prefer_pods: Maybe[Bool] = key(None, "Instead of the general `prefer_pods`.")


class ConnectionKeys(Section):
    """The keys at the top of the file that frontends may have too."""

    balance: BalanceWord = key(
        _GENERAL.balance,
        "How clients are spread over nodes. `round_robin`: in turn. `least_connections`: the "
        "node with the fewest open connections (on the kernel plane this general default means "
        "`round_robin`). `random`: any node. `random_two_choices`: the less busy of two drawn at "
        "random. `source_hash`, `maglev`: a client keeps its node; when a node goes, few "
        "clients move (`maglev` spreads more evenly). `first`: the first node that works.",
    )
    timeouts: TimeoutsSection = section(TimeoutsSection)
    connect_attempts: Attempts = key(
        _GENERAL.connect_attempts,
        "How many different nodes one client is tried on before its connection is given up.",
    )
    limits: LimitsSection = section(LimitsSection)
    no_backend: NoBackendWord = key(
        OPTIONS.no_backend,
        "What becomes of a client when no node works. `refuse`: reset at once. `unbind`: nothing "
        "listens, so that what is in front goes elsewhere. `fail_open`: nodes that are down are "
        "tried. `hold`: it waits timeouts.hold for one to rise.",
    )
    source_ranges: Cidrs = key(
        (),
        "The CIDRs of clients that are admitted, one or a list; others are reset. `off`: all are.",
        shown="off",
    )
    source_ranges_file: Maybe[PathText] = key(
        None,
        "More of them from a file, one CIDR a line, with comments after #; relative to this file, "
        "read again at each reload.",
    )
    denied_ranges: Cidrs = key(
        (),
        "The CIDRs of clients that are not admitted. Where both lists hold a client, the longer "
        "prefix decides. `off`: none.",
        shown="off",
    )
    denied_ranges_file: Maybe[PathText] = key(None, "More of them from a file.")
    send_proxy: SendProxyWord = key(
        OPTIONS.send_proxy,
        "The PROXY header that a node gets before a client's bytes, with the client's address. "
        "The application must expect it.",
    )
    proxy_tlvs: Bool = key(
        OPTIONS.proxy_tlvs, "With send_proxy: v2, name the Service in the header too."
    )
    accept_proxy_from: Cidrs = key(
        (),
        "The CIDRs of proxies in front of nplb, whose connections begin with a PROXY header. "
        "From others such a header is data. `off`: from all.",
        shown="off",
    )
    source_addresses: SourceIps = key(
        (),
        "This host's addresses that nodes see connections come from, one for each client. "
        "`off`: the one that the route to the node has.",
        shown="off",
    )
    affinity: Affinity = off_duration(
        OPTIONS.affinity_seconds,
        "A client that comes back within this time gets the same node. A Service's own "
        "`sessionAffinity: ClientIP` does so too.",
    )
    slow_start: SlowStart = off_duration(
        OPTIONS.slow_start_seconds,
        "A node that comes back gets its share of clients little by little over this time.",
    )
    spill_below: Share = key(
        OPTIONS.spill_below,
        "Where some nodes are preferred, the others serve too once less than this share of the "
        "preferred ones works.",
    )
    prefer_pods: Bool = key(
        _GENERAL.prefer_pods,
        "Prefer the nodes that hold ready pods of a Service with externalTrafficPolicy: Cluster; "
        "that saves the hop to another node. See `spill_below`.",
    )
    on_leave: LeaveWord = key(
        OPTIONS.on_leave,
        "The connections of a node that drains or leaves. `keep`: they go on until they end. "
        "`drain`: for timeouts.drain at most. `close`: they end at once.",
    )
    reset_on_down: Bool = key(
        OPTIONS.reset_on_down, "Reset the connections of a node that probes find down."
    )
    access_log: Bool = key(OPTIONS.access_log, "Log a line for each connection that ends.")
    plane: PlaneWord = key(
        _GENERAL.plane,
        "What moves the bytes. `relay`: worker processes of nplb's own, for TCP, without any "
        "right. `kernel`: rules in this host's kernel (nftables), for TCP and UDP; it needs "
        "CAP_NET_ADMIN, and can't do all that the relay can.",
    )
    kernel: KernelSection = section(KernelSection)
