"""What a source publishes: the whole state of one cluster at one moment.

Only what nplb uses, in Kubernetes' own terms. `sources.decode` turns raw API objects and
manifests into these. Times are seconds since the epoch.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType

from nplb.model.keys import Protocol, ServiceKey

EMPTY: Mapping[str, str] = MappingProxyType({})


def _empty() -> Mapping[str, str]:
    """For defaults: before Python 3.12 a dataclass takes a mapping proxy for a mutable value."""
    return EMPTY


class ServiceType(StrEnum):
    """`spec.type` of a Service."""

    CLUSTER_IP = "ClusterIP"
    NODE_PORT = "NodePort"
    LOAD_BALANCER = "LoadBalancer"
    EXTERNAL_NAME = "ExternalName"


class TrafficPolicy(StrEnum):
    """`spec.externalTrafficPolicy`: whether a node may forward to pods on other nodes."""

    CLUSTER = "Cluster"
    LOCAL = "Local"


@dataclass(frozen=True, slots=True, kw_only=True)
class ServicePort:
    """One entry of `spec.ports`. `node_port` 0 means none, as in the API."""

    name: str = ""
    protocol: Protocol = Protocol.TCP
    port: int
    target_port: int | str = 0
    node_port: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class IngressPort:
    """One entry of `status.loadBalancer.ingress[].ports`: the Service's own port. `error` is empty
    when the load balancer serves it."""

    port: int
    protocol: Protocol = Protocol.TCP
    error: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ingress:
    """One entry of `status.loadBalancer.ingress`, with an `ip` and its mode or a `hostname`."""

    ip: str = ""
    hostname: str = ""
    ip_mode: str = ""
    ports: tuple[IngressPort, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """One Service. `health_check_node_port` 0 means none.

    `affinity_seconds` is None without `sessionAffinity: ClientIP`. `source_ranges` are as
    written (they may be padded with spaces).
    """

    key: ServiceKey
    uid: str = ""
    type: ServiceType = ServiceType.NODE_PORT
    ports: tuple[ServicePort, ...] = ()
    cluster_ips: tuple[str, ...] = ()
    ip_families: tuple[str, ...] = ()
    selector: Mapping[str, str] = field(default_factory=_empty)
    external_traffic_policy: TrafficPolicy = TrafficPolicy.CLUSTER
    health_check_node_port: int = 0
    affinity_seconds: int | None = None
    load_balancer_class: str | None = None
    allocate_load_balancer_node_ports: bool = True
    source_ranges: tuple[str, ...] = ()
    ingress: tuple[Ingress, ...] = ()
    labels: Mapping[str, str] = field(default_factory=_empty)
    annotations: Mapping[str, str] = field(default_factory=_empty)
    created: float | None = None
    deleting: bool = False

    @property
    def uses_node_ports(self) -> bool:
        """Whether this type of Service holds NodePorts at all."""
        return self.type in (ServiceType.NODE_PORT, ServiceType.LOAD_BALANCER)

    @property
    def needs_health_check_node_port(self) -> bool:
        """LoadBalancer with `externalTrafficPolicy: Local` (Kubernetes `NeedsHealthCheck`)."""
        return (
            self.type is ServiceType.LOAD_BALANCER
            and self.external_traffic_policy is TrafficPolicy.LOCAL
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeAddress:
    """One entry of a Node's `status.addresses`."""

    type: str
    address: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Taint:
    """One taint of a Node."""

    key: str
    value: str = ""
    effect: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """One Node. `ready` is None when the Ready condition is missing or Unknown."""

    name: str
    uid: str = ""
    addresses: tuple[NodeAddress, ...] = ()
    ready: bool | None = None
    ready_reason: str = ""
    unschedulable: bool = False
    taints: tuple[Taint, ...] = ()
    labels: Mapping[str, str] = field(default_factory=_empty)
    annotations: Mapping[str, str] = field(default_factory=_empty)
    deleting: bool = False

    @property
    def zone(self) -> str:
        """The node's zone, empty if it has none."""
        return self.labels.get("topology.kubernetes.io/zone", "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """One endpoint of a slice. Absent conditions are decoded as the API documents them:
    ready and serving default to true, terminating to false."""

    addresses: tuple[str, ...]
    node_name: str = ""
    zone: str = ""
    ready: bool = True
    serving: bool = True
    terminating: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointSlice:
    """One EndpointSlice of a Service (label `kubernetes.io/service-name`).

    `ports` maps a port's name to its number on the pod."""

    namespace: str
    name: str
    service: str
    address_type: str = "IPv4"
    endpoints: tuple[Endpoint, ...] = ()
    ports: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """The whole state of one cluster at one moment, each tuple sorted by namespace and name.

    `taken_at` is when the source last knew this to be the cluster's state.
    """

    cluster: str
    taken_at: float
    services: tuple[Service, ...] = ()
    nodes: tuple[Node, ...] = ()
    slices: tuple[EndpointSlice, ...] = ()


class SourceState(StrEnum):
    """How a source stands. Anything but `live` leaves the last snapshot in force."""

    CONNECTING = "connecting"  # no snapshot yet
    LIVE = "live"  # the snapshot is current
    STALE = "stale"  # a snapshot is in force, but the source can't be read now


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceStatus:
    """What a source says of itself.

    `last_snapshot_at` is when the source last knew its snapshot to be the cluster's state, also
    where nothing has changed since it was published. `error` is empty unless the last attempt
    failed; it says what is wrong and what to do, and never holds a credential. `attempts` counts
    the failed attempts of this outage. `warnings` name objects that are left out, whole or in part,
    and why; `passed_over` objects of kinds that are not nplb's to read.
    """

    cluster: str
    state: SourceState
    since: float
    last_snapshot_at: float | None = None
    error: str = ""
    attempts: int = 0
    warnings: tuple[str, ...] = ()
    passed_over: str = ""
