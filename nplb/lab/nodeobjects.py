"""Node objects as a cluster has them: what a kubelet registers and reports. Pure functions."""

import platform
from collections.abc import Iterable
from typing import Any

from nplb.lab.writes import micro_timestamp, timestamp

JsonObject = dict[str, Any]

LEASE_NAMESPACE = "kube-node-lease"
LEASE_SECONDS = 40
VERSION = "v1.36.2"
NOT_READY_TAINT = "node.kubernetes.io/not-ready"
UNREACHABLE_TAINT = "node.kubernetes.io/unreachable"
AUTOSCALER_TAINT = "ToBeDeletedByClusterAutoscaler"
READY = "Ready"
_CAPACITY = {"cpu": "2", "memory": "4Gi", "ephemeral-storage": "20Gi", "pods": "110"}
_WELL = (
    ("MemoryPressure", "KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
    ("DiskPressure", "KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
    ("PIDPressure", "KubeletHasSufficientPID", "kubelet has sufficient PID available"),
)


def new_node(*, name: str, ip: str, zone: str, pod_cidr: str, uid: str, now: float) -> JsonObject:
    """A Node to register."""
    machine = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": name,
            "labels": {
                "kubernetes.io/hostname": name,
                "kubernetes.io/os": "linux",
                "kubernetes.io/arch": machine,
                "topology.kubernetes.io/region": "lab",
                "topology.kubernetes.io/zone": zone,
            },
        },
        "spec": {
            "podCIDR": pod_cidr,
            "podCIDRs": [pod_cidr],
            "providerID": f"lab:///{zone}/{name}",
        },
        "status": {
            "addresses": [
                {"type": "InternalIP", "address": ip},
                {"type": "Hostname", "address": name},
            ],
            "capacity": dict(_CAPACITY),
            "allocatable": dict(_CAPACITY),
            "conditions": node_conditions((), ready=True, now=now),
            "daemonEndpoints": {"kubeletEndpoint": {"Port": 10250}},
            "nodeInfo": {
                "machineID": uid,
                "systemUUID": uid,
                "bootID": uid,
                "kernelVersion": platform.release(),
                "osImage": "nplb lab",
                "containerRuntimeVersion": "lab://1",
                "kubeletVersion": VERSION,
                "kubeProxyVersion": "",
                "operatingSystem": "linux",
                "architecture": machine,
            },
        },
    }


def node_conditions(present: Iterable[JsonObject], *, ready: bool, now: float) -> list[JsonObject]:
    """What a kubelet reports. Transition times move only where a status does."""
    ready_condition = (
        (READY, "True", "KubeletReady", "kubelet is posting ready status")
        if ready
        else (READY, "False", "KubeletNotReady", "the lab says so: fault not-ready-but-serving")
    )
    wanted = [(type_, "False", reason, message) for type_, reason, message in _WELL]
    return _conditions(present, [*wanted, ready_condition], heartbeat=now, now=now)


def unknown_conditions(present: Iterable[JsonObject], *, now: float) -> list[JsonObject]:
    """What the node lifecycle controller makes of them when heartbeats stop. Mirrors
    `monitorNodeHealth` (pkg/controller/nodelifecycle/node_lifecycle_controller.go)."""
    present = list(present)
    message = "Kubelet stopped posting node status."
    wanted = [(c["type"], "Unknown", "NodeStatusUnknown", message) for c in present]
    return _conditions(present, wanted, heartbeat=None, now=now)


def _conditions(
    present: Iterable[JsonObject],
    wanted: Iterable[tuple[str, str, str, str]],
    *,
    heartbeat: float | None,
    now: float,
) -> list[JsonObject]:
    known = {c["type"]: c for c in present}
    made = []
    for type_, status, reason, message in wanted:
        before = known.get(type_, {})
        same = before.get("status") == status and before.get("lastTransitionTime")
        beat = before.get("lastHeartbeatTime") if heartbeat is None else timestamp(heartbeat)
        made.append(
            {
                "type": type_,
                "status": status,
                "lastHeartbeatTime": beat,
                "lastTransitionTime": before["lastTransitionTime"] if same else timestamp(now),
                "reason": reason,
                "message": message,
            }
        )
    return made


def new_lease(node: str, now: float) -> JsonObject:
    """The Lease that a kubelet keeps for its node."""
    return {
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {"name": node, "namespace": LEASE_NAMESPACE},
        "spec": {
            "holderIdentity": node,
            "leaseDurationSeconds": LEASE_SECONDS,
            "renewTime": micro_timestamp(now),
        },
    }


def ready_status(node: JsonObject) -> str:
    """`True`, `False` or `Unknown`; Unknown where there is no Ready condition."""
    for condition in node.get("status", {}).get("conditions") or ():
        if condition["type"] == READY:
            status: str = condition["status"]
            return status
    return "Unknown"


def taints_of(node: JsonObject) -> list[JsonObject]:
    """The node's taints."""
    taints: list[JsonObject] = node.get("spec", {}).get("taints") or []
    return taints


def has_taint(node: JsonObject, key: str) -> bool:
    """Whether a node has a taint with this key, whatever its effect."""
    return any(taint["key"] == key for taint in taints_of(node))


def is_schedulable(node: JsonObject) -> bool:
    """Whether the lab's scheduler puts new pods there: not cordoned, ready, and no taint that
    keeps pods away."""
    return (
        not node.get("spec", {}).get("unschedulable")
        and node["metadata"].get("deletionTimestamp") is None
        and ready_status(node) == "True"
        and not any(t.get("effect") in ("NoSchedule", "NoExecute") for t in taints_of(node))
    )
