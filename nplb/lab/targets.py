"""What faults act on: machines, pods and the API server, as `faults.Targets` wants them."""

import time
from collections.abc import Mapping

from nplb.lab.api.faults import FaultKind
from nplb.lab.api.server import ApiServer
from nplb.lab.interface import Reach
from nplb.lab.node import Condition, Machine
from nplb.lab.nodeobjects import AUTOSCALER_TAINT, taints_of
from nplb.lab.podobjects import node_of
from nplb.lab.writes import delete, patch

PodKey = tuple[str, str]


class LabTargets:
    """The lab's machines and its API server. `machines` is the lab's own mapping, live."""

    def __init__(self, api: ApiServer, machines: Mapping[str, Machine]) -> None:
        self._api = api
        self._machines = machines

    def node_names(self) -> tuple[str, ...]:
        """Every machine, in the order in which they came."""
        return tuple(self._machines)

    def set_node_condition(self, name: str, condition: Condition) -> None:
        """Make a machine be so."""
        self._machines[name].condition = condition

    def reset_node_connections(self, name: str) -> None:
        """Reset every connection through a node."""
        self._machines[name].interface.reset_connections()

    def set_autoscaler_taint(self, name: str, tainted: bool) -> None:
        """What the cluster autoscaler writes before it drains a node: the time as the value
        (cluster-autoscaler/utils/taints)."""
        node = self._api.store.get("nodes", name)
        if node is None:
            return
        taints = [taint for taint in taints_of(node) if taint["key"] != AUTOSCALER_TAINT]
        if tainted:
            value = str(int(time.time()))
            taints.append({"key": AUTOSCALER_TAINT, "value": value, "effect": "NoSchedule"})
        patch(self._api, "nodes", name, {"spec": {"taints": taints or None}})

    def evict_pods(self, name: str) -> None:
        """Delete the pods of a node, with their grace."""
        for pod in self._api.store.list("pods"):
            if node_of(pod) == name:
                meta = pod["metadata"]
                delete(self._api, "pods", meta["name"], namespace=meta["namespace"])

    def delete_node(self, name: str) -> None:
        """Delete the Node object."""
        delete(self._api, "nodes", name)

    def pod_keys(self) -> tuple[PodKey, ...]:
        """Namespace and name of every pod that runs."""
        return tuple(
            sorted(key for machine in self._machines.values() for key in machine.kubelet.pods)
        )

    def crash_pod(self, key: PodKey) -> None:
        """Let a pod die."""
        for machine in self._machines.values():
            machine.kubelet.crash(key)

    def set_pod(self, key: PodKey, *, ready: bool, silent: bool) -> None:
        """Make a pod be so."""
        for machine in self._machines.values():
            machine.kubelet.set_ready(key, ready)
            machine.kubelet.set_reach(key, Reach.SILENT if silent else Reach.UP)

    def begin_api_fault(self, name: str, seconds: float | None) -> None:
        """Turn a fault of the API server on."""
        faults = self._api.faults
        if name == "restart":
            faults.restart(seconds or 0.0)
        elif name == "cut":
            faults.cut_streams()
        elif name == "forbidden":
            faults.forbid()
        else:
            faults.start(_api_kind(name), seconds)

    def end_api_fault(self, name: str) -> None:
        """Turn it off."""
        if name == "forbidden":
            self._api.faults.allow()
        else:
            self._api.faults.clear(_api_kind(name))


def _api_kind(name: str) -> FaultKind:
    """What the API server calls a fault of the catalogue."""
    return FaultKind.DOWN if name == "restart" else FaultKind(name.replace("-", "_"))
