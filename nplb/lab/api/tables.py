"""Objects as the rows that `kubectl get` prints.

Mirrors `pkg/printers/internalversion/printers.go`: columns, their priority (1 is shown with
`-o wide`), and the text in each cell.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from nplb.lab.api.store import JsonObject
from nplb.lab.api.times import age, epoch, human_duration

Row = Callable[[JsonObject, float], list[Any]]
NONE, UNSET, UNKNOWN = "<none>", "<unset>", "<unknown>"
_SHOWN = 3  # how many ports or addresses a cell names
_ROLE_PREFIX = "node-role.kubernetes.io/"


def column_definitions(resource: str) -> list[JsonObject]:
    """The columns of a resource's table, as the Table object has them."""
    columns, _ = TABLES[resource]
    return [
        {
            "name": name.rstrip("+"),
            "type": "string",
            "format": "name" if name == "Name" else "",
            "priority": 1 if name.endswith("+") else 0,
        }
        for name in columns
    ]


def cells(resource: str, object_: JsonObject, now: float) -> list[Any]:
    """One row. `now` is in seconds since the epoch."""
    _, row = TABLES[resource]
    return row(object_, now)


def _age(object_: JsonObject, now: float) -> str:
    return age(object_["metadata"].get("creationTimestamp"), now=now)


def _joined(values: Mapping[str, str] | None) -> str:
    """`labels.FormatLabels`."""
    return ",".join(f"{key}={value}" for key, value in sorted((values or {}).items())) or NONE


def _limited(values: Sequence[str]) -> str:
    """`listWithMoreString`."""
    text = ",".join(values[:_SHOWN])
    if len(values) > _SHOWN:
        return f"{text} + {len(values) - _SHOWN} more..."
    return text or UNSET


def _service(object_: JsonObject, now: float) -> list[Any]:
    spec = object_["spec"]
    ports = ",".join(
        f"{port['port']}:{port['nodePort']}/{port['protocol']}"
        if port.get("nodePort")
        else f"{port['port']}/{port['protocol']}"
        for port in spec.get("ports", ())
    )
    return [
        object_["metadata"]["name"],
        spec["type"],
        next(iter(spec.get("clusterIPs", ())), NONE),
        _external_ip(object_),
        ports or NONE,
        _age(object_, now),
        _joined(spec.get("selector")),
    ]


def _external_ip(object_: JsonObject) -> str:
    """`getServiceExternalIP`."""
    spec = object_["spec"]
    external = list(spec.get("externalIPs", ()))
    match spec["type"]:
        case "LoadBalancer":
            ingress = object_["status"]["loadBalancer"].get("ingress", ())
            assigned = sorted({item.get("ip") or item.get("hostname", "") for item in ingress})
            return ",".join([*assigned, *external]) or "<pending>"
        case "ExternalName":
            return str(spec.get("externalName", ""))
        case _:
            return ",".join(external) or NONE


def _node(object_: JsonObject, now: float) -> list[Any]:
    status, info = object_["status"], object_["status"]["nodeInfo"]
    ready = [c["status"] for c in status.get("conditions", ()) if c["type"] == "Ready"]
    words = ["Unknown" if not ready else "Ready" if ready[0] == "True" else "NotReady"]
    if object_["spec"].get("unschedulable"):
        words.append("SchedulingDisabled")
    return [
        object_["metadata"]["name"],
        ",".join(words),
        _roles(object_),
        _age(object_, now),
        info["kubeletVersion"],
        _node_address(status, "InternalIP"),
        _node_address(status, "ExternalIP"),
        info["osImage"] or UNKNOWN,
        info["kernelVersion"] or UNKNOWN,
        info["containerRuntimeVersion"] or UNKNOWN,
    ]


def _node_address(status: JsonObject, type_: str) -> str:
    found = (item["address"] for item in status.get("addresses", ()) if item["type"] == type_)
    return next(found, NONE)


def _roles(object_: JsonObject) -> str:
    """`findNodeRoles`."""
    roles = set()
    for key, value in object_["metadata"].get("labels", {}).items():
        if key.startswith(_ROLE_PREFIX) and key != _ROLE_PREFIX:
            roles.add(key.removeprefix(_ROLE_PREFIX))
        elif key == "kubernetes.io/role" and value:
            roles.add(value)
    return ",".join(sorted(roles)) or NONE


def _pod(object_: JsonObject, now: float) -> list[Any]:
    spec, status = object_["spec"], object_["status"]
    statuses = status.get("containerStatuses", ())
    ready = sum(1 for item in statuses if item.get("ready"))
    return [
        object_["metadata"]["name"],
        f"{ready}/{len(spec.get('containers') or ())}",
        _pod_reason(object_, statuses),
        str(sum(item.get("restartCount", 0) for item in statuses)),
        _age(object_, now),
        status.get("podIP") or NONE,
        spec.get("nodeName") or NONE,
        status.get("nominatedNodeName") or NONE,
        NONE,
    ]


def _pod_reason(object_: JsonObject, statuses: Sequence[JsonObject]) -> str:
    """The STATUS column of `printPod`, without init containers."""
    status = object_["status"]
    reason: str = status.get("reason") or status.get("phase") or "Unknown"
    for item in reversed(statuses):
        state = item.get("state", {})
        waiting, terminated = state.get("waiting"), state.get("terminated")
        if waiting and waiting.get("reason"):
            reason = waiting["reason"]
        elif terminated:
            code = f"ExitCode:{terminated.get('exitCode', 0)}"
            reason = terminated.get("reason") or code
    if object_["metadata"].get("deletionTimestamp"):
        return "Unknown" if status.get("reason") == "NodeLost" else "Terminating"
    return reason


def _namespace(object_: JsonObject, now: float) -> list[Any]:
    return [object_["metadata"]["name"], object_["status"].get("phase", ""), _age(object_, now)]


def _endpoint_slice(object_: JsonObject, now: float) -> list[Any]:
    ports = [
        str(port["port"]) if port.get("port") is not None else port.get("name") or "*"
        for port in object_.get("ports") or ()
    ]
    addresses = [
        address
        for endpoint in object_.get("endpoints") or ()
        for address in endpoint.get("addresses") or ()
    ]
    return [
        object_["metadata"]["name"],
        object_.get("addressType", ""),
        _limited(ports),
        _limited(addresses),
        _age(object_, now),
    ]


def _endpoints(object_: JsonObject, now: float) -> list[Any]:
    """`formatEndpoints`."""
    shown: list[str] = []
    for subset in object_.get("subsets", ()):
        addresses = [item["ip"] for item in subset.get("addresses", ())]
        ports = [str(port["port"]) for port in subset.get("ports", ())]
        if ports:
            shown += [f"{address}:{port}" for port in ports for address in addresses]
        else:
            shown += addresses
    text = _limited(shown) if shown else NONE
    return [object_["metadata"]["name"], text, _age(object_, now)]


def _config_map(object_: JsonObject, now: float) -> list[Any]:
    count = len(object_.get("data", {})) + len(object_.get("binaryData", {}))
    return [object_["metadata"]["name"], count, _age(object_, now)]


def _lease(object_: JsonObject, now: float) -> list[Any]:
    holder = object_["spec"].get("holderIdentity", "")
    return [object_["metadata"]["name"], holder, _age(object_, now)]


def _event(object_: JsonObject, now: float) -> list[Any]:
    about = object_["involvedObject"]
    first = object_.get("firstTimestamp") or object_.get("eventTime")
    series = object_.get("series") or {}
    last = series.get("lastObservedTime") or object_.get("lastTimestamp") or first
    count = series.get("count") or object_.get("count") or 1
    source = object_.get("source", {})
    component = source.get("component") or object_.get("reportingComponent", "")
    host = source.get("host") or object_.get("reportingInstance", "")
    return [
        _interval(last, now),
        object_.get("type", ""),
        object_.get("reason", ""),
        f"{about.get('kind', '').lower()}/{about.get('name', '')}",
        about.get("fieldPath", ""),
        ", ".join(part for part in (component, host) if part),
        object_.get("message", "").strip(),
        _interval(first, now),
        str(count),
        object_["metadata"]["name"],
    ]


def _interval(text: str | None, now: float) -> str:
    since = epoch(text)
    return UNKNOWN if since is None else human_duration(now - since)


# By resource: the columns (`+` marks those of -o wide) and what fills them.
TABLES: Mapping[str, tuple[Sequence[str], Row]] = {
    "services": (
        ("Name", "Type", "Cluster-IP", "External-IP", "Port(s)", "Age", "Selector+"),
        _service,
    ),
    "nodes": (
        (
            "Name", "Status", "Roles", "Age", "Version", "Internal-IP+", "External-IP+",
            "OS-Image+", "Kernel-Version+", "Container-Runtime+",
        ),
        _node,
    ),
    "pods": (
        (
            "Name", "Ready", "Status", "Restarts", "Age", "IP+", "Node+", "Nominated Node+",
            "Readiness Gates+",
        ),
        _pod,
    ),
    "namespaces": (("Name", "Status", "Age"), _namespace),
    "endpointslices": (("Name", "AddressType", "Ports", "Endpoints", "Age"), _endpoint_slice),
    "endpoints": (("Name", "Endpoints", "Age"), _endpoints),
    "configmaps": (("Name", "Data", "Age"), _config_map),
    "leases": (("Name", "Holder", "Age"), _lease),
    "events": (
        (
            "Last Seen", "Type", "Reason", "Object", "Subobject+", "Source+", "Message",
            "First Seen+", "Count+", "Name+",
        ),
        _event,
    ),
}  # fmt: skip
