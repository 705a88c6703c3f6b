"""Turns raw API objects (plain dicts, as JSON or YAML gives them) into `nplb.model.cluster`.

The one place that knows the API's field names and defaults. Absent and null mean the same, as in
the API's own decoder. Legal but unknown values are tolerated where the rest of the object keeps
its meaning (`warn` is told), and a wrong type is a `DecodeError` that names the field.

Sources of the rules: the API reference (core/v1, discovery/v1), Kubernetes
`pkg/apis/core/v1/defaults.go` for defaults, `pkg/proxy/endpointslicecache.go` for conditions.
"""

from collections.abc import Callable, Mapping
from datetime import datetime
from types import MappingProxyType
from typing import Any

from nplb.model.cluster import (
    EMPTY,
    Endpoint,
    EndpointSlice,
    Node,
    NodeAddress,
    Service,
    ServicePort,
    ServiceType,
    Taint,
    TrafficPolicy,
)
from nplb.model.errors import ClusterError
from nplb.model.keys import Protocol, ServiceKey

Path = tuple[str | int, ...]
Raw = Mapping[str, Any]
Warn = Callable[[str], None]

SERVICE_NAME_LABEL = "kubernetes.io/service-name"
SOURCE_RANGES_ANNOTATION = "service.beta.kubernetes.io/load-balancer-source-ranges"
# kubectl's copy of the whole object: as large as the object, and nothing to nplb.
LAST_APPLIED_ANNOTATION = "kubectl.kubernetes.io/last-applied-configuration"
DEFAULT_AFFINITY_SECONDS = 10800
MAX_PORT = 65535


class DecodeError(ClusterError):
    """One object is not what the API says it is. `path` leads to the field within the object,
    `problem` says what is wrong with it and what it must be."""

    def __init__(self, kind: str, namespace: str, name: str, path: Path, problem: str) -> None:
        self.kind = kind
        self.namespace = namespace
        self.name = name
        self.path = path
        self.problem = problem
        self.field = field_text(path)
        where = f"{self.subject}: {self.field}" if path else self.subject
        super().__init__(f"{where}: {problem}")

    @property
    def subject(self) -> str:
        """The object as a person names it: `Service shop/web`."""
        return subject_text(self.kind, self.namespace, self.name)


def field_text(path: Path) -> str:
    """A path as the API server writes it: `spec.ports[0].nodePort`."""
    text = ""
    for step in path:
        if isinstance(step, int):
            text += f"[{step}]"
        else:
            text += f".{step}" if text else step
    return text


def subject_text(kind: str, namespace: str, name: str) -> str:
    """An object as a person names it: `Service shop/web`, `Node a`, `Service (no name)`."""
    name = name or "(no name)"
    return f"{kind} {namespace}/{name}" if namespace else f"{kind} {name}"


def decode_service(raw: object, *, cluster: str, warn: Warn | None = None) -> Service:
    """A Service from its raw object.

    `cluster_ips` leaves out the "None" of a headless Service. `source_ranges` come from the
    field or, when that is empty, from the old annotation; only type LoadBalancer has any.
    A port with a protocol that nplb does not know is left out, and `warn` is told.

    Errors: DecodeError for a wrong type, a missing name or an unknown `spec.type`.
    """
    reader = _Reader("Service", raw, warn)
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
        labels=reader.text_map(meta, "labels", ("metadata",)),
        annotations=annotations,
        created=reader.time(meta, "creationTimestamp", ("metadata",)),
        deleting=meta.get("deletionTimestamp") is not None,
    )


def _service_ports(reader: "_Reader", spec: Raw) -> tuple[ServicePort, ...]:
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
                app_protocol=reader.text(port, "appProtocol", at),
            )
        )
    return tuple(ports)


def _target_port(reader: "_Reader", port: Raw, at: Path) -> int | str:
    """An IntOrString; 0 and "" mean unset, which the API fills with the port itself."""
    value = port.get("targetPort")
    if isinstance(value, str):
        return value
    return reader.number(port, "targetPort", at, 0, MAX_PORT)


def _traffic_policy(reader: "_Reader", spec: Raw) -> TrafficPolicy:
    text = reader.text(spec, "externalTrafficPolicy", ("spec",)) or TrafficPolicy.CLUSTER.value
    try:
        return TrafficPolicy(text)
    except ValueError:
        reader.warn(("spec", "externalTrafficPolicy"), f"{text!r} is not known; taken as Cluster")
        return TrafficPolicy.CLUSTER


def _affinity_seconds(reader: "_Reader", spec: Raw) -> int | None:
    if reader.text(spec, "sessionAffinity", ("spec",)) != "ClientIP":
        return None
    at: Path = ("spec", "sessionAffinityConfig")
    config = reader.mapping(spec, "sessionAffinityConfig", ("spec",))
    client_ip = reader.mapping(config, "clientIP", at)
    seconds = reader.number(client_ip, "timeoutSeconds", (*at, "clientIP"), 0, None)
    return seconds or DEFAULT_AFFINITY_SECONDS


def _source_ranges(reader: "_Reader", spec: Raw, annotations: Mapping[str, str]) -> tuple[str, ...]:
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
    reader = _Reader("Node", raw, warn)
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


def _ready(reader: "_Reader", status: Raw) -> tuple[bool | None, str]:
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
    reader = _Reader("EndpointSlice", raw, warn)
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


def _endpoint(reader: "_Reader", raw: Raw, at: Path) -> Endpoint:
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


class _Reader:
    """Reads fields of one raw object and names the field in every error.

    Each method takes the mapping that holds the field, the field's key, and the path of the
    mapping within the object.
    """

    __slots__ = ("_warn", "kind", "metadata", "name", "namespace", "raw")

    def __init__(self, kind: str, raw: object, warn: Warn | None) -> None:
        self.kind = kind
        self.namespace = ""
        self.name = ""
        self._warn = warn
        if not isinstance(raw, Mapping):
            raise self.error((), f"must be an object, not {_shown(raw)}")
        self.raw: Raw = raw
        self.metadata = self.mapping(raw, "metadata")
        # Both first, so that every later error can name the object.
        name, namespace = self.metadata.get("name"), self.metadata.get("namespace")
        self.name = name if isinstance(name, str) else ""
        self.namespace = namespace if isinstance(namespace, str) else ""
        if not self.text(self.metadata, "name", ("metadata",)):
            raise self.error(("metadata", "name"), "is missing")
        self.text(self.metadata, "namespace", ("metadata",))

    def error(self, path: Path, problem: str) -> DecodeError:
        """The error to raise about the field at `path`."""
        return DecodeError(self.kind, self.namespace, self.name, path, problem)

    def warn(self, path: Path, problem: str) -> None:
        """Tell whoever asked about a value that was read around."""
        if self._warn is not None:
            self._warn(str(self.error(path, problem)))

    def require_namespace(self) -> str:
        if not self.namespace:
            raise self.error(("metadata", "namespace"), "is missing")
        return self.namespace

    def text(self, raw: Raw, key: str, at: Path) -> str:
        value = raw.get(key)
        if isinstance(value, str):
            return value
        if value is None:
            return ""
        raise self.error((*at, key), f"must be a string, not {_shown(value)}")

    def number(
        self,
        raw: Raw,
        key: str,
        at: Path,
        low: int,
        high: int | None,
        *,
        required: bool = False,
    ) -> int:
        """An integer from `low` to `high`, 0 when absent."""
        value = raw.get(key)
        if value is None and not required:
            return 0
        # bool is an int to Python, and not to the API.
        if isinstance(value, int) and not isinstance(value, bool):
            if value >= low and (high is None or value <= high):
                return value
            reach = f"from {low} to {high}" if high is not None else f"of at least {low}"
            raise self.error((*at, key), f"must be a number {reach}, not {value}")
        if value is None:
            raise self.error((*at, key), "is missing")
        raise self.error((*at, key), f"must be a whole number, not {_shown(value)}")

    def flag(self, raw: Raw, key: str, at: Path, *, default: bool) -> bool:
        value = raw.get(key)
        if isinstance(value, bool):
            return value
        if value is None:
            return default
        raise self.error((*at, key), f"must be true or false, not {_shown(value)}")

    def mapping(self, raw: Raw, key: str, at: Path = ()) -> Raw:
        value = raw.get(key)
        if value is None:
            return EMPTY
        if isinstance(value, Mapping):
            return value
        raise self.error((*at, key), f"must be an object, not {_shown(value)}")

    def items(self, raw: Raw, key: str, at: Path) -> list[Any]:
        value = raw.get(key)
        if value is None:
            return []
        if isinstance(value, list):
            return value
        raise self.error((*at, key), f"must be a list, not {_shown(value)}")

    def objects(self, raw: Raw, key: str, at: Path) -> list[tuple[int, Raw]]:
        """A list of objects with their positions."""
        entries = list(enumerate(self.items(raw, key, at)))
        for index, value in entries:
            if not isinstance(value, Mapping):
                raise self.error((*at, key, index), f"must be an object, not {_shown(value)}")
        return entries

    def texts(self, raw: Raw, key: str, at: Path) -> tuple[str, ...]:
        """A list of strings."""
        values = self.items(raw, key, at)
        for index, value in enumerate(values):
            if not isinstance(value, str):
                raise self.error((*at, key, index), f"must be a string, not {_shown(value)}")
        return tuple(values)

    def text_map(self, raw: Raw, key: str, at: Path) -> Mapping[str, str]:
        """A map of strings to strings; a null value is the empty string."""
        values = self.mapping(raw, key, at)
        if not values:
            return EMPTY
        result = {}
        for name, value in values.items():
            if not isinstance(name, str):
                raise self.error((*at, key), f"must have strings as keys, not {_shown(name)}")
            if value is not None and not isinstance(value, str):
                raise self.error((*at, key, name), f"must be a string, not {_shown(value)}")
            result[name] = value or ""
        return MappingProxyType(result)

    def annotations(self) -> Mapping[str, str]:
        values = self.text_map(self.metadata, "annotations", ("metadata",))
        if LAST_APPLIED_ANNOTATION not in values:
            return values
        return MappingProxyType({k: v for k, v in values.items() if k != LAST_APPLIED_ANNOTATION})

    def time(self, raw: Raw, key: str, at: Path) -> float | None:
        """An RFC 3339 time as epoch seconds."""
        text = self.text(raw, key, at)
        if not text:
            return None
        try:
            moment = datetime.fromisoformat(text)
        except ValueError:
            moment = None
        if moment is None or moment.tzinfo is None:
            raise self.error((*at, key), f"must be a time as 2006-01-02T15:04:05Z, not {text!r}")
        return moment.timestamp()


def _shown(value: object) -> str:
    """A value in an error, short whatever it is."""
    if value is None:
        return "nothing"
    if isinstance(value, Mapping):
        return "an object"
    if isinstance(value, list):
        return "a list"
    if isinstance(value, bool):
        return "true" if value else "false"
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
