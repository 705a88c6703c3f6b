"""Turns raw API objects (plain dicts, as JSON or YAML gives them) into `nplb.model.cluster`.

The one place that knows the API's field names and defaults. Absent and null mean the same, as in
the API's own decoder. Legal but unknown values are tolerated where the rest of the object keeps
its meaning (`warn` is told), and a wrong type is a `DecodeError` that names the field.

Sources of the rules: the API reference (core/v1, discovery/v1), Kubernetes
`pkg/apis/core/v1/defaults.go` for defaults, `pkg/proxy/endpointslicecache.go` for conditions.
"""

from collections.abc import Mapping
from types import MappingProxyType

from nplb.model.cluster import (
    Endpoint,
    EndpointSlice,
    Ingress,
    IngressPort,
    Node,
    NodeAddress,
    Service,
    ServicePort,
    ServiceType,
    Taint,
    TrafficPolicy,
)
from nplb.model.keys import Protocol, ServiceKey
from nplb.sources.fields import DecodeError, Path, Raw, Reader, Warn

__all__ = [
    "DecodeError",
    "Path",
    "Warn",
    "decode_ingress",
    "decode_node",
    "decode_service",
    "decode_slice",
]

SERVICE_NAME_LABEL = "kubernetes.io/service-name"
SOURCE_RANGES_ANNOTATION = "service.beta.kubernetes.io/load-balancer-source-ranges"
DEFAULT_AFFINITY_SECONDS = 10800
MAX_PORT = 65535


def decode_service(raw: object, *, cluster: str, warn: Warn | None = None) -> Service:
    """A Service from its raw object.

    `cluster_ips` leaves out the "None" of a headless Service. `source_ranges` come from the
    field or, when that is empty, from the old annotation; only type LoadBalancer has any.
    A port with a protocol that nplb does not know is left out, and `warn` is told.

    Errors: DecodeError for a wrong type, a missing name or an unknown `spec.type`.
    """
    reader = Reader("Service", raw, warn)
    meta, spec = reader.metadata, reader.mapping(reader.raw, "spec")
    at: Path = ("spec",)
    type_text = reader.text(spec, "type", at) or ServiceType.CLUSTER_IP.value
    try:
        service_type = ServiceType(type_text)
    except ValueError:
        known = ", ".join(ServiceType)
        raise reader.error((*at, "type"), f"{type_text!r} is none of {known}") from None
    annotations = reader.annotations()
    cluster_ips = reader.texts(spec, "clusterIPs", at)
    if not cluster_ips:
        cluster_ips = (reader.text(spec, "clusterIP", at),)
    is_load_balancer = service_type is ServiceType.LOAD_BALANCER
    return Service(
        key=ServiceKey(cluster, reader.require_namespace(), reader.name),
        uid=reader.text(meta, "uid", ("metadata",)),
        type=service_type,
        ports=_service_ports(reader, spec),
        cluster_ips=tuple(ip for ip in cluster_ips if ip and ip != "None"),
        ip_families=reader.texts(spec, "ipFamilies", at),
        selector=reader.text_map(spec, "selector", at),
        external_traffic_policy=_traffic_policy(reader, spec),
        health_check_node_port=reader.number(spec, "healthCheckNodePort", at, 0, MAX_PORT),
        affinity_seconds=_affinity_seconds(reader, spec),
        load_balancer_class=reader.text(spec, "loadBalancerClass", at) or None,
        allocate_load_balancer_node_ports=reader.flag(
            spec, "allocateLoadBalancerNodePorts", at, default=True
        ),
        source_ranges=_source_ranges(reader, spec, annotations) if is_load_balancer else (),
        ingress=_ingress(reader) if is_load_balancer else (),
        labels=reader.text_map(meta, "labels", ("metadata",)),
        annotations=annotations,
        created=reader.time(meta, "creationTimestamp", ("metadata",)),
        deleting=meta.get("deletionTimestamp") is not None,
    )


def _service_ports(reader: Reader, spec: Raw) -> tuple[ServicePort, ...]:
    ports = []
    for index, port in reader.objects(spec, "ports", ("spec",)):
        at: Path = ("spec", "ports", index)
        protocol_text = reader.text(port, "protocol", at) or Protocol.TCP.value
        try:
            protocol = Protocol(protocol_text)
        except ValueError:
            reader.warn((*at, "protocol"), f"{protocol_text!r} is not known; this port is left out")
            continue
        number = reader.number(port, "port", at, 1, MAX_PORT, required=True)
        ports.append(
            ServicePort(
                name=reader.text(port, "name", at),
                protocol=protocol,
                port=number,
                target_port=_target_port(reader, port, at) or number,
                node_port=reader.number(port, "nodePort", at, 0, MAX_PORT),
            )
        )
    return tuple(ports)


def decode_ingress(raw: object) -> tuple[Ingress, ...]:
    """The load balancer's addresses in a Service's status. Errors: DecodeError."""
    return _ingress(Reader("Service", raw, None))


def _ingress(reader: Reader) -> tuple[Ingress, ...]:
    at: Path = ("status", "loadBalancer", "ingress")
    status = reader.mapping(reader.raw, "status")
    balancer = reader.mapping(status, "loadBalancer", ("status",))
    return tuple(
        Ingress(
            ip=reader.text(entry, "ip", (*at, index)),
            hostname=reader.text(entry, "hostname", (*at, index)),
            ip_mode=reader.text(entry, "ipMode", (*at, index)),
            ports=_ingress_ports(reader, entry, (*at, index)),
        )
        for index, entry in reader.objects(balancer, "ingress", at[:2])
    )


def _ingress_ports(reader: Reader, entry: Raw, at: Path) -> tuple[IngressPort, ...]:
    found = []
    for index, port in reader.objects(entry, "ports", at):
        within: Path = (*at, "ports", index)
        protocol = reader.text(port, "protocol", within) or Protocol.TCP.value
        if protocol in Protocol.__members__:
            number = reader.number(port, "port", within, 0, MAX_PORT)
            error = reader.text(port, "error", within)
            found.append(IngressPort(port=number, protocol=Protocol(protocol), error=error))
    return tuple(found)


def _target_port(reader: Reader, port: Raw, at: Path) -> int | str:
    """An IntOrString; 0 and "" mean unset, which the API fills with the port itself."""
    value = port.get("targetPort")
    if isinstance(value, str):
        return value
    return reader.number(port, "targetPort", at, 0, MAX_PORT)


def _traffic_policy(reader: Reader, spec: Raw) -> TrafficPolicy:
    text = reader.text(spec, "externalTrafficPolicy", ("spec",)) or TrafficPolicy.CLUSTER.value
    try:
        return TrafficPolicy(text)
    except ValueError:
        reader.warn(("spec", "externalTrafficPolicy"), f"{text!r} is not known; taken as Cluster")
        return TrafficPolicy.CLUSTER


def _affinity_seconds(reader: Reader, spec: Raw) -> int | None:
    if reader.text(spec, "sessionAffinity", ("spec",)) != "ClientIP":
        return None
    at: Path = ("spec", "sessionAffinityConfig")
    config = reader.mapping(spec, "sessionAffinityConfig", ("spec",))
    client_ip = reader.mapping(config, "clientIP", at)
    seconds = reader.number(client_ip, "timeoutSeconds", (*at, "clientIP"), 0, None)
    return seconds or DEFAULT_AFFINITY_SECONDS


def _source_ranges(reader: Reader, spec: Raw, annotations: Mapping[str, str]) -> tuple[str, ...]:
    """As Kubernetes `pkg/apis/core/v1/service` GetLoadBalancerSourceRanges: the annotation
    counts only while the field is empty."""
    ranges = reader.texts(spec, "loadBalancerSourceRanges", ("spec",))
    if ranges:
        return ranges
    listed = annotations.get(SOURCE_RANGES_ANNOTATION, "")
    return tuple(part for part in listed.split(",") if part.strip())


def decode_node(raw: object, *, warn: Warn | None = None) -> Node:
    """A Node from its raw object.

    `ready` is None when the Ready condition is missing or neither "True" nor "False".

    Errors: DecodeError for a wrong type or a missing name.
    """
    reader = Reader("Node", raw, warn)
    meta = reader.metadata
    spec = reader.mapping(reader.raw, "spec")
    status = reader.mapping(reader.raw, "status")
    ready, ready_reason = _ready(reader, status)
    return Node(
        name=reader.name,
        uid=reader.text(meta, "uid", ("metadata",)),
        addresses=tuple(
            NodeAddress(
                type=reader.text(entry, "type", ("status", "addresses", index)),
                address=reader.text(entry, "address", ("status", "addresses", index)),
            )
            for index, entry in reader.objects(status, "addresses", ("status",))
        ),
        ready=ready,
        ready_reason=ready_reason,
        unschedulable=reader.flag(spec, "unschedulable", ("spec",), default=False),
        taints=tuple(
            Taint(
                key=reader.text(entry, "key", ("spec", "taints", index)),
                value=reader.text(entry, "value", ("spec", "taints", index)),
                effect=reader.text(entry, "effect", ("spec", "taints", index)),
            )
            for index, entry in reader.objects(spec, "taints", ("spec",))
        ),
        labels=reader.text_map(meta, "labels", ("metadata",)),
        annotations=reader.annotations(),
        deleting=meta.get("deletionTimestamp") is not None,
    )


def _ready(reader: Reader, status: Raw) -> tuple[bool | None, str]:
    for index, condition in reader.objects(status, "conditions", ("status",)):
        at: Path = ("status", "conditions", index)
        if reader.text(condition, "type", at) != "Ready":
            continue
        state = {"True": True, "False": False}.get(reader.text(condition, "status", at))
        return state, reader.text(condition, "reason", at)
    return None, ""


def decode_slice(raw: object, *, warn: Warn | None = None) -> EndpointSlice:
    """An EndpointSlice from its raw object.

    `service` is empty for a slice without the label `kubernetes.io/service-name`, which belongs
    to no Service. Ports without a number mean all ports, and are left out.

    Errors: DecodeError for a wrong type or a missing name.
    """
    reader = Reader("EndpointSlice", raw, warn)
    labels = reader.text_map(reader.metadata, "labels", ("metadata",))
    ports: dict[str, int] = {}
    for index, port in reader.objects(reader.raw, "ports", ()):
        number = reader.number(port, "port", ("ports", index), 0, MAX_PORT)
        if number:
            ports[reader.text(port, "name", ("ports", index))] = number
    return EndpointSlice(
        namespace=reader.require_namespace(),
        name=reader.name,
        service=labels.get(SERVICE_NAME_LABEL, ""),
        address_type=reader.text(reader.raw, "addressType", ()) or "IPv4",
        endpoints=tuple(
            _endpoint(reader, entry, ("endpoints", index))
            for index, entry in reader.objects(reader.raw, "endpoints", ())
        ),
        ports=MappingProxyType(ports),
    )


def _endpoint(reader: Reader, raw: Raw, at: Path) -> Endpoint:
    conditions = reader.mapping(raw, "conditions", at)
    within: Path = (*at, "conditions")
    return Endpoint(
        addresses=reader.texts(raw, "addresses", at),
        node_name=reader.text(raw, "nodeName", at),
        zone=reader.text(raw, "zone", at),
        # Nil means true, true, false: discovery/v1 EndpointConditions, as kube-proxy reads them.
        ready=reader.flag(conditions, "ready", within, default=True),
        serving=reader.flag(conditions, "serving", within, default=True),
        terminating=reader.flag(conditions, "terminating", within, default=False),
    )
