"""Short ways to build the model's values in tests; what is not said is as the API defaults it."""

from collections.abc import Mapping, Sequence

from nplb.model.cluster import (
    Endpoint,
    EndpointSlice,
    Node,
    NodeAddress,
    Service,
    ServicePort,
    ServiceType,
    Snapshot,
    Taint,
    TrafficPolicy,
)
from nplb.model.keys import Address, Protocol, ServiceKey
from nplb.model.reasons import Cause
from nplb.model.settings import ClusterSettings, ManifestsSource
from nplb.model.verdict import Verdict


def a_port(
    node_port: int = 30080, port: int = 80, name: str = "", protocol: Protocol = Protocol.TCP
) -> ServicePort:
    return ServicePort(name=name, port=port, node_port=node_port, protocol=protocol)


def a_service(
    name: str = "web",
    *ports: ServicePort,
    cluster: str = "prod",
    namespace: str = "default",
    type: ServiceType = ServiceType.NODE_PORT,  # noqa: A002 - the field's own name
    policy: TrafficPolicy = TrafficPolicy.CLUSTER,
    labels: Mapping[str, str] | None = None,
    created: float | None = None,
    deleting: bool = False,
    load_balancer_class: str | None = None,
    annotations: Mapping[str, str] | None = None,
    uid: str = "",
    families: Sequence[str] = ("IPv4",),
) -> Service:
    return Service(
        key=ServiceKey(cluster, namespace, name),
        type=type,
        ports=ports or (a_port(),),
        external_traffic_policy=policy,
        labels=labels or {},
        annotations=annotations or {},
        uid=uid,
        created=created,
        deleting=deleting,
        load_balancer_class=load_balancer_class,
        ip_families=tuple(families),
    )


def a_node(
    number: int = 1,
    *,
    labels: Mapping[str, str] | None = None,
    taints: Sequence[str] = (),
    addresses: Sequence[tuple[str, str]] | None = None,
    ready: bool | None = True,
    unschedulable: bool = False,
    deleting: bool = False,
) -> Node:
    if addresses is None:
        addresses = [("InternalIP", f"192.0.2.{number}"), ("Hostname", f"node-{number}")]
    return Node(
        name=f"node-{number}",
        addresses=tuple(NodeAddress(type=t, address=a) for t, a in addresses),
        labels=labels or {},
        taints=tuple(Taint(key=key) for key in taints),
        ready=ready,
        unschedulable=unschedulable,
        deleting=deleting,
    )


def an_endpoint(
    node: int, ip: str, *, ready: bool = True, serving: bool = True, terminating: bool = False
) -> Endpoint:
    return Endpoint(
        addresses=(ip,),
        node_name=f"node-{node}",
        ready=ready,
        serving=serving,
        terminating=terminating,
    )


def a_slice(
    *endpoints: Endpoint, service: str = "web", namespace: str = "default"
) -> EndpointSlice:
    return EndpointSlice(
        namespace=namespace, name=f"{service}-1", service=service, endpoints=endpoints
    )


def a_snapshot(
    services: Sequence[Service] = (),
    nodes: Sequence[Node] = (),
    slices: Sequence[EndpointSlice] = (),
    cluster: str = "prod",
) -> Snapshot:
    return Snapshot(
        cluster=cluster,
        taken_at=0.0,
        services=tuple(services),
        nodes=tuple(nodes),
        slices=tuple(slices),
    )


def a_cluster(name: str = "prod", **changes: object) -> ClusterSettings:
    return ClusterSettings(name=name, source=ManifestsSource(paths=()), **changes)  # type: ignore[arg-type]


def a_verdict(
    ip: str, port: int = 30080, *, healthy: bool | None = True, cause: Cause | None = None
) -> Verdict:
    return Verdict(
        address=Address(ip, port),
        healthy=healthy,
        cause=cause or (Cause.CONNECTED if healthy else Cause.TIMEOUT),
    )
