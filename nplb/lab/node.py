"""A machine of the lab: an address, a kube-proxy, a kubelet, and their Node object.

Faults set the machine's `Condition`: a level that says how the machine is. Everything else,
silence, refusal, heartbeats, follows from it.
"""

import asyncio
import logging
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from nplb.lab.addresses import PodPool
from nplb.lab.api.errors import ApiError
from nplb.lab.api.server import ApiServer
from nplb.lab.fabric import Impairment, MachineNetwork
from nplb.lab.interface import Reach
from nplb.lab.kubelet import Kubelet
from nplb.lab.kubeproxy import KubeProxy
from nplb.lab.nodeobjects import (
    AUTOSCALER_TAINT,
    LEASE_NAMESPACE,
    has_taint,
    new_lease,
    new_node,
    node_conditions,
)
from nplb.lab.pods import Directory
from nplb.lab.timing import Timing
from nplb.lab.view import DELETED, ClusterView
from nplb.lab.writes import micro_timestamp, patch

log = logging.getLogger(__name__)

ZONES = ("zone-a", "zone-b", "zone-c")


WELL = Impairment()


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """How a machine is. `powered` false: it is off, with its pods and its kubelet.

    `kubelet` false: heartbeats stop. `ready` false: the kubelet reports Ready False.
    `delay_seconds` holds up every piece of data through its NodePorts, each way.
    `impairment` is what is wrong with its way to others.
    """

    powered: bool = True
    reach: Reach = Reach.UP
    delay_seconds: float = 0.0
    kubelet: bool = True
    ready: bool = True
    proxy_stuck: bool = False
    impairment: Impairment = WELL


class Machine:
    """One machine. `address` is the node's InternalIP."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        api: ApiServer,
        view: ClusterView,
        *,
        name: str,
        address: str,
        index: int,
        pool: PodPool,
        network: MachineNetwork,
        directory: Directory,
        timing: Timing,
        rng: random.Random,
    ) -> None:
        self.name = name
        self.address = address
        self.index = index
        self.zone = ZONES[(index - 1) % len(ZONES)]
        self.interface = network.interface
        self._network = network
        self.kubelet = Kubelet(
            loop,
            api,
            view,
            node=name,
            node_ip=address,
            node_index=index,
            pool=pool,
            network=network,
            directory=directory,
            timing=timing,
        )
        self.proxy = KubeProxy(
            network,
            name,
            view,
            eligible=lambda: self._eligible,
            health_seconds=timing.proxy_health,
        )
        self._loop = loop
        self._api = api
        self._timing = timing
        self._pod_cidr = str(pool.range_of(index))
        self._uid = f"{rng.getrandbits(128):032x}"
        self._condition = Condition()
        self._registered = False
        self._eligible = False
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._unsubscribe: Callable[[], None] | None = None

    # -- life --------------------------------------------------------------------------

    def start(self) -> None:
        """Boot: register the Node, run kubelet and kube-proxy."""
        self._unsubscribe = self._api.store.subscribe("nodes", self._on_node)
        self.register()
        self.proxy.start()
        self.kubelet.start()
        self._beat()
        self._report()

    def stop(self) -> None:
        """Switch off for good."""
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()
        if self._unsubscribe is not None:
            self._unsubscribe()
            self._unsubscribe = None
        self.kubelet.stop()
        self.proxy.stop()

    def register(self) -> None:
        """Create the Node object and its Lease, unless they exist."""
        now = time.time()
        node = new_node(
            name=self.name,
            ip=self.address,
            zone=self.zone,
            pod_cidr=self._pod_cidr,
            uid=self._uid,
            now=now,
        )
        for resource, obj, namespace in (
            ("nodes", node, None),
            ("leases", new_lease(self.name, now), LEASE_NAMESPACE),
        ):
            try:
                self._api.create(resource, obj, namespace)
            except ApiError as error:
                if error.reason != "AlreadyExists":
                    raise

    @property
    def registered(self) -> bool:
        """Whether the cluster has a Node object for this machine."""
        return self._registered

    # -- faults ------------------------------------------------------------------------

    @property
    def condition(self) -> Condition:
        """How the machine is."""
        return self._condition

    @condition.setter
    def condition(self, condition: Condition) -> None:
        before, self._condition = self._condition, condition
        if before.powered and not condition.powered:
            self.interface.reach = Reach.SILENT
            self.kubelet.power_off()
            return
        if not before.powered and condition.powered:
            self._boot()
        if not condition.powered:
            return
        self._network.impair(condition.impairment)
        self.interface.delay_seconds = condition.delay_seconds
        self.interface.reach = condition.reach
        self.proxy.stuck = condition.proxy_stuck
        self.kubelet.running = condition.kubelet
        if before != condition:
            self._beat()
            self._report()

    def _boot(self) -> None:
        """The machine was off: it knows nothing of the connections that it had."""
        self.interface.reset_connections()
        self.kubelet.power_on()
        self.register()

    # -- heartbeats ----------------------------------------------------------------------

    def _beats(self) -> bool:
        return self._condition.powered and self._condition.kubelet

    def _beat(self) -> None:
        self._again("lease", self._timing.lease_renew, self._beat)
        if self._beats():
            renewed = {"spec": {"renewTime": micro_timestamp(time.time())}}
            patch(self._api, "leases", self.name, renewed, namespace=LEASE_NAMESPACE)

    def _report(self) -> None:
        self._again("status", self._timing.status_report, self._report)
        if not self._beats():
            return
        node = self._api.store.get("nodes", self.name)
        if node is None:
            return
        present = node.get("status", {}).get("conditions") or ()
        conditions = node_conditions(present, ready=self._condition.ready, now=time.time())
        change = {"status": {"conditions": conditions}}
        patch(self._api, "nodes", self.name, change, subresource="status")

    def _again(self, name: str, seconds: float, call: Callable[[], None]) -> None:
        if name in self._timers:
            self._timers[name].cancel()
        self._timers[name] = self._loop.call_later(seconds, call)

    def _on_node(self, type_: str, node: dict[str, Any]) -> None:
        if node["metadata"]["name"] != self.name:
            return
        self._registered = type_ != DELETED
        # What kube-proxy knows of its node (KEP-3836).
        self._eligible = (
            self._registered
            and node["metadata"].get("deletionTimestamp") is None
            and not has_taint(node, AUTOSCALER_TAINT)
        )
