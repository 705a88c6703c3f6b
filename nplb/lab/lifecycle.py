"""The node controllers of the lab: they draw the consequences of what nodes report, or do not.

node lifecycle   Ready is Unknown without heartbeats; taints follow Ready; pods of a silent node
                 are not ready, and are deleted after a while
pod collector    pods of a Node that is gone are deleted at once

Mirrors pkg/controller/nodelifecycle, pkg/controller/tainteviction and pkg/controller/podgc, for
nodes that keep a Lease. A Node without one, made by hand, is left as it is.
"""

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Any

from nplb.lab.api.server import ApiServer
from nplb.lab.nodeobjects import (
    LEASE_NAMESPACE,
    NOT_READY_TAINT,
    READY,
    UNREACHABLE_TAINT,
    ready_status,
    taints_of,
    unknown_conditions,
)
from nplb.lab.podobjects import is_deleting, node_of
from nplb.lab.timing import Timing
from nplb.lab.writes import WorkQueue, delete, patch, timestamp

log = logging.getLogger(__name__)

JsonObject = dict[str, Any]
_TAINT_OF = {"False": NOT_READY_TAINT, "Unknown": UNREACHABLE_TAINT}


class NodeLifecycle:
    """The controllers. `start` makes them follow nodes and leases."""

    def __init__(self, loop: asyncio.AbstractEventLoop, api: ApiServer, timing: Timing) -> None:
        self._loop = loop
        self._api = api
        self._timing = timing
        # A clock that stands still while the event loop does: heartbeats come through the same
        # loop, and a busy moment of the lab must not look like dead nodes.
        self._clock = 0.0
        self._period = max(0.05, min(timing.node_grace, timing.eviction) / 5)
        # When a heartbeat of a node was last seen, and since when it has not been ready.
        self._seen: dict[str, float] = {}
        self._renewed: dict[str, str] = {}
        self._not_ready_since: dict[str, float] = {}
        self._queue: WorkQueue[str] = WorkQueue(loop, "node lifecycle", self._sync)
        self._timer: asyncio.TimerHandle | None = None
        self._unsubscribe: list[Callable[[], None]] = []

    def start(self) -> None:
        """Follow the cluster."""
        self._unsubscribe = [
            self._api.store.subscribe("leases", self._on_lease),
            self._api.store.subscribe("nodes", self._on_node),
            self._api.store.subscribe("pods", self._on_pod),
        ]
        self._tick()

    def stop(self) -> None:
        """Follow it no longer."""
        for unsubscribe in self._unsubscribe:
            unsubscribe()
        self._unsubscribe = []
        self._queue.close()
        if self._timer is not None:
            self._timer.cancel()

    # -- following ---------------------------------------------------------------------

    def _on_lease(self, type_: str, lease: JsonObject) -> None:
        if lease["metadata"]["namespace"] != LEASE_NAMESPACE:
            return
        name = lease["metadata"]["name"]
        if type_ == "DELETED":
            self._seen.pop(name, None)
            self._renewed.pop(name, None)
            return
        renewed = lease["spec"].get("renewTime", "")
        if renewed != self._renewed.get(name):
            self._renewed[name] = renewed
            self._seen[name] = self._clock

    def _on_node(self, type_: str, node: JsonObject) -> None:
        name = node["metadata"]["name"]
        if type_ == "DELETED":
            self._not_ready_since.pop(name, None)
        self._queue.add(name)

    def _on_pod(self, type_: str, pod: JsonObject) -> None:
        if type_ == "ADDED" and node_of(pod):
            self._queue.add(node_of(pod))

    def _tick(self) -> None:
        self._timer = self._loop.call_later(self._period, self._tick)
        self._clock += self._period
        for name in self._seen:
            self._queue.add(name)

    # -- making it so --------------------------------------------------------------------

    def _sync(self, name: str) -> None:
        node = self._api.store.get("nodes", name)
        if node is None:
            self._collect(name)
            return
        if name not in self._seen:
            return
        status = ready_status(node)
        overdue = self._clock - self._seen[name] > self._timing.node_grace
        if overdue and status != "Unknown":
            present = node.get("status", {}).get("conditions") or ()
            conditions = unknown_conditions(present, now=time.time())
            change = {"status": {"conditions": conditions}}
            patch(self._api, "nodes", name, change, subresource="status")
            log.info("node %s has not been heard of: Ready is Unknown now", name)
            return  # the change brings us back here
        self._taint(node, status)
        if status == "True":
            self._not_ready_since.pop(name, None)
            return
        since = self._not_ready_since.setdefault(name, self._clock)
        if status == "Unknown":
            self._mark_pods_not_ready(name)
        if self._clock - since > self._timing.eviction:
            self._evict(name)

    def _taint(self, node: JsonObject, status: str) -> None:
        """Taints follow Ready: none of the two when it is true, one of them with both effects
        otherwise."""
        name = node["metadata"]["name"]
        present = taints_of(node)
        wanted_key = _TAINT_OF.get(status)
        kept = [t for t in present if t["key"] not in (NOT_READY_TAINT, UNREACHABLE_TAINT)]
        ours = [t for t in present if t["key"] == wanted_key]
        if wanted_key is not None:
            effects = {t.get("effect") for t in ours}
            added = timestamp(time.time())
            if "NoSchedule" not in effects:
                ours.append({"key": wanted_key, "effect": "NoSchedule", "timeAdded": added})
            if "NoExecute" not in effects:
                ours.append({"key": wanted_key, "effect": "NoExecute", "timeAdded": added})
        wanted = kept + ours
        if wanted != present:
            patch(self._api, "nodes", name, {"spec": {"taints": wanted or None}})

    def _pods_on(self, name: str) -> list[JsonObject]:
        return [pod for pod in self._api.store.list("pods") if node_of(pod) == name]

    def _mark_pods_not_ready(self, name: str) -> None:
        """`MarkPodsNotReady`: nobody can say that they are, so their endpoints are not."""
        for pod in self._pods_on(name):
            conditions = pod.get("status", {}).get("conditions") or []
            changed = False
            for condition in conditions:
                if condition["type"] == READY and condition["status"] == "True":
                    condition["status"] = "False"
                    condition["lastTransitionTime"] = timestamp(time.time())
                    changed = True
            if changed:
                meta = pod["metadata"]
                change = {"status": {"conditions": conditions}}
                patch(
                    self._api,
                    "pods",
                    meta["name"],
                    change,
                    namespace=meta["namespace"],
                    subresource="status",
                )

    def _evict(self, name: str) -> None:
        for pod in self._pods_on(name):
            if not is_deleting(pod):
                delete(self._api, "pods", pod["metadata"]["name"], namespace=_namespace(pod))

    def _collect(self, name: str) -> None:
        """The Node is gone, and nobody is left who could end its pods in order."""
        for pod in self._pods_on(name):
            name_ = pod["metadata"]["name"]
            delete(self._api, "pods", name_, namespace=_namespace(pod), grace_seconds=0)
        if name in self._seen:
            delete(self._api, "leases", name, namespace=LEASE_NAMESPACE)


def _namespace(pod: JsonObject) -> str:
    namespace: str = pod["metadata"]["namespace"]
    return namespace
