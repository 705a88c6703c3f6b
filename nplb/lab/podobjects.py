"""Pod objects as a cluster has them: templates, statuses, and what is read out of them.

Pure functions of raw objects. Field by field as kubelet and the ReplicaSet controller write them.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from nplb.lab.apps import AppKind
from nplb.lab.writes import timestamp
from nplb.model.keys import Protocol

JsonObject = dict[str, Any]

APP_ANNOTATION = "lab.nplb.io/app"
PODS_ANNOTATION = "lab.nplb.io/pods"
SERVICE_ANNOTATION = "lab.nplb.io/service"
WORKLOAD_LABEL = "lab.nplb.io/workload"
IMAGE = "lab.nplb.io/{kind}"
GRACE_SECONDS = 30
DEFAULT_PORT = 8080


def new_pod(
    *,
    name: str,
    namespace: str,
    labels: Mapping[str, str],
    kind: AppKind,
    service: str,
    ports: Sequence[JsonObject],
    node: str,
) -> JsonObject:
    """A Pod to create. `node` may be empty: the scheduler finds one."""
    spec: JsonObject = {
        "containers": [
            {"name": "app", "image": IMAGE.format(kind=kind), "ports": [dict(p) for p in ports]}
        ],
        "terminationGracePeriodSeconds": GRACE_SECONDS,
    }
    if node:
        spec["nodeName"] = node
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": name,
            "namespace": namespace,
            "labels": dict(labels),
            "annotations": {APP_ANNOTATION: kind.value, SERVICE_ANNOTATION: service},
        },
        "spec": spec,
    }


def pod_status(
    pod: JsonObject,
    *,
    now: float,
    started_at: float,
    pod_ip: str,
    host_ip: str,
    running: bool,
    ready: bool,
    restarts: int,
) -> JsonObject:
    """What a kubelet reports of a pod that it runs, or that has crashed and will run again."""
    known = {c["type"]: c for c in pod.get("status", {}).get("conditions") or ()}

    def condition(type_: str, value: bool, reason: str = "", message: str = "") -> JsonObject:
        status = "True" if value else "False"
        before = known.get(type_, {})
        changed = before.get("status") != status or not before.get("lastTransitionTime")
        made = {
            "type": type_,
            "status": status,
            "lastProbeTime": None,
            "lastTransitionTime": timestamp(now) if changed else before["lastTransitionTime"],
        }
        if not value:
            made |= {"reason": reason, "message": message}
        return made

    not_ready = ("ContainersNotReady", "containers with unready status: [app]")
    return {
        "phase": "Running",
        "hostIP": host_ip,
        "hostIPs": [{"ip": host_ip}],
        "podIP": pod_ip,
        "podIPs": [{"ip": pod_ip}],
        "startTime": timestamp(started_at),
        "qosClass": "BestEffort",
        "conditions": [
            condition("PodReadyToStartContainers", True),
            condition("Initialized", True),
            condition("Ready", ready, *not_ready),
            condition("ContainersReady", ready, *not_ready),
            condition("PodScheduled", True),
        ],
        "containerStatuses": [
            _container_status(pod, container, started_at, running, ready, restarts)
            for container in pod["spec"].get("containers", ())
        ],
    }


def _container_status(
    pod: JsonObject,
    container: JsonObject,
    started_at: float,
    running: bool,
    ready: bool,
    restarts: int,
) -> JsonObject:
    uid = pod["metadata"].get("uid", "")
    state: JsonObject = {"running": {"startedAt": timestamp(started_at)}}
    if not running:
        state = {
            "waiting": {
                "reason": "CrashLoopBackOff",
                "message": f"back-off restarting failed container={container['name']}",
            }
        }
    return {
        "name": container["name"],
        "image": container.get("image", ""),
        "imageID": container.get("image", ""),
        "containerID": f"lab://{uid}/{restarts}",
        "ready": ready,
        "started": running,
        "restartCount": restarts,
        "state": state,
        "lastState": {},
    }


def container_ports(pod: JsonObject) -> dict[tuple[Protocol, int], str]:
    """The ports that a pod's containers declare, to their names; 8080/TCP if none does."""
    ports: dict[tuple[Protocol, int], str] = {}
    for container in pod["spec"].get("containers", ()):
        for port in container.get("ports") or ():
            protocol = port.get("protocol") or "TCP"
            if protocol in (Protocol.TCP, Protocol.UDP):
                ports[Protocol(protocol), int(port["containerPort"])] = port.get("name", "")
    return ports or {(Protocol.TCP, DEFAULT_PORT): ""}


def find_port(pod: JsonObject, target: int | str, protocol: Protocol) -> int | None:
    """A Service's targetPort on a pod: a number as it is, a name as the containers declare it.
    None if no container does. Mirrors `FindPort` (pkg/controller/endpointslice utilities)."""
    if isinstance(target, int):
        return target
    for container in pod["spec"].get("containers", ()):
        for port in container.get("ports") or ():
            if port.get("name") == target and (port.get("protocol") or "TCP") == protocol:
                return int(port["containerPort"])
    return None


def is_deleting(pod: JsonObject) -> bool:
    """Whether a pod has been told to stop."""
    return pod["metadata"].get("deletionTimestamp") is not None


def is_finished(pod: JsonObject) -> bool:
    """Whether a pod has ended for good."""
    return pod.get("status", {}).get("phase") in ("Succeeded", "Failed")


def is_ready(pod: JsonObject) -> bool:
    """Whether a pod's Ready condition is true."""
    conditions = pod.get("status", {}).get("conditions") or ()
    return any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)


def node_of(pod: JsonObject) -> str:
    """The node that a pod is bound to, empty if none."""
    name: str = pod["spec"].get("nodeName") or ""
    return name


def ip_of(pod: JsonObject) -> str:
    """A pod's address, empty if it has none yet."""
    ip: str = pod.get("status", {}).get("podIP") or ""
    return ip


def app_kind(annotations: Mapping[str, str]) -> AppKind:
    """The application that annotations ask for; http unless they say echo."""
    try:
        return AppKind(annotations.get(APP_ANNOTATION, AppKind.HTTP).strip().lower())
    except ValueError:
        return AppKind.HTTP
