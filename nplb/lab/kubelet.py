"""A node's kubelet: runs the pods bound to its node, and reports how they are.

Level-triggered: whatever an event says, it compares the pod object with what runs here. Stopped,
it does nothing and reports nothing, while what it has started runs on: that is how a node goes
NotReady while it works.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from typing import Any

from nplb.lab.addresses import PodPool
from nplb.lab.api.server import ApiServer
from nplb.lab.apps import Identity
from nplb.lab.fabric import MachineNetwork
from nplb.lab.interface import Reach
from nplb.lab.podobjects import (
    SERVICE_ANNOTATION,
    app_kind,
    container_ports,
    is_deleting,
    is_finished,
    node_of,
    pod_status,
)
from nplb.lab.pods import Directory, PodPort, PodServer
from nplb.lab.timing import Timing
from nplb.lab.view import ClusterView
from nplb.lab.writes import WorkQueue, delete, patch
from nplb.model.cluster import Service
from nplb.model.errors import HostError
from nplb.model.keys import ServiceKey

log = logging.getLogger(__name__)

PodKey = tuple[str, str]
NO_ADDRESS_RETRY_SECONDS = 1.0


class _Pod:
    """A pod that runs here."""

    __slots__ = (
        "draining", "exited", "ip", "labels", "made_ready", "ready_wanted", "restarts", "running",
        "server", "started_at", "uid",
    )  # fmt: skip

    def __init__(self, uid: str, ip: str, labels: Mapping[str, str], server: PodServer) -> None:
        self.uid = uid
        self.ip = ip
        self.labels = dict(labels)
        self.server = server
        self.started_at = time.time()
        self.restarts = 0
        self.running = True
        self.made_ready = False  # the application has come up
        self.ready_wanted = True  # no fault holds its readiness down
        self.draining = False
        self.exited = False


class Kubelet:
    """The kubelet of the node called `node` at `node_ip`, the node_index-th of the lab."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        api: ApiServer,
        view: ClusterView,
        *,
        node: str,
        node_ip: str,
        node_index: int,
        pool: PodPool,
        network: MachineNetwork,
        directory: Directory,
        timing: Timing,
    ) -> None:
        self._loop = loop
        self._api = api
        self._view = view
        self._node = node
        self._node_ip = node_ip
        self._node_index = node_index
        self._pool = pool
        self._network = network
        self._directory = directory
        self._timing = timing
        self._pods: dict[PodKey, _Pod] = {}
        self._queue: WorkQueue[PodKey] = WorkQueue(loop, f"kubelet of {node}", self._sync)
        self._running = True
        self._unsubscribe: list[Callable[[], None]] = []

    def start(self) -> None:
        """Follow the pods of this node."""
        self._unsubscribe = [
            self._api.store.subscribe("pods", self._on_pod),
            self._view.subscribe(self._on_services),
        ]

    def stop(self) -> None:
        """Follow them no longer, and end every pod."""
        for unsubscribe in self._unsubscribe:
            unsubscribe()
        self._unsubscribe = []
        self._queue.close()
        for key in tuple(self._pods):
            self._end(key)

    @property
    def running(self) -> bool:
        """Whether the kubelet itself works. Started again, it catches up."""
        return self._running

    @running.setter
    def running(self, running: bool) -> None:
        if running and not self._running:
            self._running = True
            for pod in self._api.store.list("pods"):
                if node_of(pod) == self._node:
                    self._queue.add((pod["metadata"]["namespace"], pod["metadata"]["name"]))
            for key in self._pods:
                self._queue.add(key)
        self._running = running

    @property
    def pods(self) -> tuple[PodKey, ...]:
        """Namespace and name of every pod that runs here, sorted."""
        return tuple(sorted(self._pods))

    # -- what faults do to pods ------------------------------------------------------

    def crash(self, key: PodKey) -> bool:
        """Let a pod die. It is started again after a while. False if it is not here."""
        pod = self._pods.get(key)
        if pod is None:
            return False
        pod.running = False
        pod.made_ready = False
        pod.server.crash()
        self._queue.add(key)
        self._queue_call(self._timing.pod_restart, key, pod, self._restart)
        return True

    def set_ready(self, key: PodKey, ready: bool) -> bool:
        """Hold a pod's readiness down, or let it go. False if it is not here."""
        pod = self._pods.get(key)
        if pod is None:
            return False
        pod.ready_wanted = ready
        self._queue.add(key)
        return True

    def set_reach(self, key: PodKey, reach: Reach) -> bool:
        """Silence one pod's network, or restore it. False if it is not here."""
        pod = self._pods.get(key)
        if pod is None:
            return False
        pod.server.interface.reach = reach
        return True

    def power_off(self) -> None:
        """The machine is off: nothing answers, nothing is reported."""
        self.running = False
        for pod in self._pods.values():
            pod.server.interface.reach = Reach.SILENT

    def power_on(self) -> None:
        """The machine has booted: connections of before are unknown to it, pods start anew."""
        for key, pod in self._pods.items():
            pod.running = pod.made_ready = False
            pod.server.crash()
            self._restart(key, pod)
        self.running = True

    # -- following -------------------------------------------------------------------

    def _on_pod(self, _type: str, raw: dict[str, Any]) -> None:
        meta = raw["metadata"]
        key = (meta["namespace"], meta["name"])
        if node_of(raw) == self._node or key in self._pods:
            self._queue.add(key)

    def _on_services(self, keys: frozenset[ServiceKey]) -> None:
        """A Service may ask its pods for a port that they did not declare."""
        for service_key in keys:
            service = self._view.service(service_key)
            if service is None or not service.selector:
                continue
            for (namespace, _name), pod in self._pods.items():
                if namespace == service_key.namespace and (
                    service.selector.items() <= pod.labels.items()
                ):
                    pod.server.serve(_numbered_ports((service,)))

    def _sync(self, key: PodKey) -> None:
        if not self._running:
            return
        raw = self._api.store.get("pods", key[1], key[0])
        pod = self._pods.get(key)
        if pod is not None and (raw is None or raw["metadata"]["uid"] != pod.uid):
            self._end(key)
            pod = None
        if raw is None or node_of(raw) != self._node:
            return
        if is_deleting(raw):
            self._stop_pod(key, pod, raw)
        elif pod is None and not is_finished(raw):
            self._start_pod(key, raw)
        elif pod is not None:
            self._report(key, pod, raw)

    def _start_pod(self, key: PodKey, raw: dict[str, Any]) -> None:
        meta = raw["metadata"]
        try:
            ip = self._pool.take(self._node_index)
        except HostError as error:
            log.error("pod %s/%s cannot start: %s", *key, error)
            self._queue.add_later(key, NO_ADDRESS_RETRY_SECONDS)
            return
        annotations = meta.get("annotations") or {}
        labels = meta.get("labels") or {}
        identity = Identity(
            pod=key[1],
            namespace=key[0],
            node=self._node,
            ip=ip,
            service=annotations.get(SERVICE_ANNOTATION, ""),
        )
        interface = self._network.pod(ip, f"pod {key[0]}/{key[1]}")
        server = PodServer(interface, app_kind(annotations), identity, self._directory)
        server.serve(container_ports(raw))
        server.serve(_numbered_ports(self._view.selecting(key[0], labels)))
        pod = self._pods[key] = _Pod(meta["uid"], ip, labels, server)
        self._report(key, pod, raw)
        self._queue_call(self._timing.pod_ready, key, pod, self._become_ready)

    def _stop_pod(self, key: PodKey, pod: _Pod | None, raw: dict[str, Any]) -> None:
        if pod is None or pod.exited:
            self._end(key)
            delete(self._api, "pods", key[1], namespace=key[0], grace_seconds=0)
            return
        if pod.draining:
            self._report(key, pod, raw)
            return
        pod.draining = True
        pod.server.drain()
        grace = float(raw["metadata"].get("deletionGracePeriodSeconds") or 0)

        def exited(key: PodKey, pod: _Pod) -> None:
            pod.exited = True
            self._queue.add(key)

        self._queue_call(min(grace, self._timing.pod_shutdown), key, pod, exited)

    def _end(self, key: PodKey) -> None:
        pod = self._pods.pop(key, None)
        if pod is not None:
            pod.server.exit()
            self._network.remove_pod(pod.ip)
            self._pool.release(pod.ip)

    # -- reporting -------------------------------------------------------------------

    def _report(self, key: PodKey, pod: _Pod, raw: dict[str, Any]) -> None:
        status = pod_status(
            raw,
            now=time.time(),
            started_at=pod.started_at,
            pod_ip=pod.ip,
            host_ip=self._node_ip,
            running=pod.running,
            ready=pod.running and pod.made_ready and pod.ready_wanted,
            restarts=pod.restarts,
        )
        present = raw.get("status", {})
        if any(present.get(name) != value for name, value in status.items()):
            patch(
                self._api,
                "pods",
                key[1],
                {"status": status},
                namespace=key[0],
                subresource="status",
            )

    def _become_ready(self, key: PodKey, pod: _Pod) -> None:
        if pod.running:
            pod.made_ready = True
            self._queue.add(key)

    def _restart(self, key: PodKey, pod: _Pod) -> None:
        if pod.running or pod.exited:
            return
        pod.running = True
        pod.restarts += 1
        pod.started_at = time.time()
        pod.server.restart()
        self._queue.add(key)
        self._queue_call(self._timing.pod_ready, key, pod, self._become_ready)

    def _queue_call(
        self, seconds: float, key: PodKey, pod: _Pod, call: Callable[[PodKey, _Pod], None]
    ) -> None:
        """Call later, unless the pod has gone by then."""

        def due() -> None:
            if self._pods.get(key) is pod:
                call(key, pod)

        if seconds > 0:
            self._loop.call_later(seconds, due)
        else:
            self._loop.call_soon(due)


def _numbered_ports(services: tuple[Service, ...]) -> dict[PodPort, str]:
    """The target ports that Services give by number, to the Service ports' names."""
    return {
        (port.protocol, port.target_port): port.name
        for service in services
        for port in service.ports
        if isinstance(port.target_port, int) and port.target_port
    }
