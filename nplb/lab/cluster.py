"""The lab: a cluster in this process, on loopback without root, or in network namespaces.

    async with Lab(nodes=3) as lab:
        await lab.apply(manifest)
        await lab.service_ready("default/web")
        lab.address("node-1", "default/web")   # 127.0.1.1:30080

An API server, machines with kubelet and kube-proxy, the controllers that make pods and endpoint
slices and watch over nodes, and faults. Everything runs on the event loop that starts it.
"""

import asyncio
import random
import re
import secrets
import shutil
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Any, Self

from nplb.alloc.portrange import parse_port_range
from nplb.lab.addresses import USUAL_NODES, PodPool, parse_network, usual_networks
from nplb.lab.api.errors import ApiError
from nplb.lab.api.server import ApiServer
from nplb.lab.apply import apply_objects, read_objects
from nplb.lab.clusterips import ClusterIps
from nplb.lab.control import PREFIX, make_control
from nplb.lab.endpointslices import EndpointSlices
from nplb.lab.fabric import Fabric
from nplb.lab.faults import Faults
from nplb.lab.kubeconfig import Access, remove_kubeconfig, write_kubeconfig
from nplb.lab.lifecycle import NodeLifecycle
from nplb.lab.loopback import LoopbackFabric
from nplb.lab.netns.site import USUAL_NETWORK, NetnsFabric
from nplb.lab.node import Machine
from nplb.lab.rules import targets_of
from nplb.lab.targets import LabTargets
from nplb.lab.timing import Timing
from nplb.lab.view import CLUSTER, ClusterView
from nplb.lab.workloads import Workloads
from nplb.model.cluster import Service
from nplb.model.errors import ConfigurationError, HostError
from nplb.model.keys import Address, ServiceKey

NODE_PORT_RANGE = "30000-32767"
POLL_SECONDS = 0.01
_NODE_NAME = re.compile(r"[a-z0-9]([-a-z0-9.]{0,61}[a-z0-9])?")


class Lab:
    """One cluster. Labs run side by side if their networks differ.

    `network` is where the nodes are (node-1 at its first address), `pod_network` and
    `service_network` what the API shows, served at their twins on loopback; unless given they
    follow from `network`. With `netns` machines and pods are network namespaces with these very
    addresses, and the kernel forwards by the rules of kube-proxy: that needs root, and `site`
    tells where the client is. `nodes=0` is the API
    server alone, without a controller. `kubeconfig` None writes it to a temporary directory.
    `manifests` are files applied at start. kubectl sends a token over `tls` only. Raises
    ConfigurationError for a network that makes no sense.
    """

    def __init__(
        self,
        *,
        nodes: int = 3,
        netns: bool = False,
        network: str | None = None,
        pod_network: str | None = None,
        service_network: str | None = None,
        node_port_range: str = NODE_PORT_RANGE,
        host: str = "127.0.0.1",
        port: int = 0,
        kubeconfig: Path | None = None,
        manifests: Sequence[Path] = (),
        tls: bool = True,
        timing: Timing | None = None,
        rng: random.Random | None = None,
    ) -> None:
        usual = USUAL_NETWORK if netns else USUAL_NODES
        self._network = parse_network(network or usual, "the nodes' network", loopback=not netns)
        usual_pods, usual_services = usual_networks(self._network, usual)
        pods = parse_network(pod_network or usual_pods, "the pod network", loopback=False)
        services = parse_network(
            service_network or usual_services, "the service network", loopback=False
        )
        try:
            parse_port_range(node_port_range)
        except ConfigurationError as error:
            raise ConfigurationError(
                f"the NodePort range {node_port_range!r}: {error}; write one such as 30000-32767"
            ) from None
        self._check_node_count(nodes)
        self._wanted_nodes = nodes
        self._host = host
        self._port = port
        self._manifests = tuple(manifests)
        self._timing = timing or Timing()
        self._rng = rng or random.Random()
        self._scratch: Path | None = None
        self._given_kubeconfig = kubeconfig
        self.kubeconfig_path = kubeconfig or Path()
        self.api = ApiServer(
            node_port_range=node_port_range,
            service_cidr=str(services),
            rng=self._rng,
            token=secrets.token_urlsafe(24),
            tls=tls,
        )
        self._pool = PodPool(pods)
        self.site = NetnsFabric(self._network, pods) if netns else None
        self._fabric: Fabric = self.site or LoopbackFabric()
        self._machines: dict[str, Machine] = {}
        self._started = False
        self._controlled = False

    # -- life --------------------------------------------------------------------------

    async def start(self) -> None:
        """Start everything. When this returns the API answers, the kubeconfig is written, the
        nodes are registered and the manifests applied."""
        loop = self._loop = asyncio.get_running_loop()
        manifests = [(path, read_objects(path)) for path in self._manifests]
        self._view = ClusterView(loop, self.api.store)
        self._slices = EndpointSlices(loop, self.api, self._view, self._rng)
        self._workloads = Workloads(loop, self.api, self._view, self._rng)
        self._lifecycle = NodeLifecycle(loop, self.api, self._timing)
        self._cluster_ips = ClusterIps(self._view, self._fabric)
        self.faults = Faults(
            loop, LabTargets(self.api, self._machines), real_network=self._fabric.real
        )
        self.api.add_aside(PREFIX, make_control(self))
        self._started = True
        try:
            self._fabric.start(loop, self._rng)
            await self.api.start(self._host, self._port)
            self._view.start()
            for _ in range(self._wanted_nodes):
                await self.add_node()
            self._require_addresses()
            for path, objects in manifests:
                try:
                    apply_objects(self.api, objects)
                except ApiError as error:
                    raise ConfigurationError(f"{path}: {error}") from None
            self._write_kubeconfig()
        except BaseException:
            await self.stop()
            raise

    def _require_addresses(self) -> None:
        """Two labs on one network would fight for every port: the second one does not begin."""
        if self.problems:
            raise HostError(
                f"the lab's nodes cannot listen on {'; '.join(self.problems)}. Does another lab "
                "run? Choose another network with --network"
            )

    async def stop(self) -> None:
        """Stop everything, and remove the kubeconfig. Safe to call twice."""
        if not self._started:
            return
        self._started = False
        self.faults.close()
        if self._controlled:
            self._controlled = False
            for controller in (
                self._workloads, self._slices, self._lifecycle, self._cluster_ips,
            ):  # fmt: skip
                controller.stop()
        for machine in self._machines.values():
            machine.stop()
        self._view.stop()
        await self._fabric.stop()
        if self.kubeconfig_path != Path():
            remove_kubeconfig(self.kubeconfig_path, self._access())
        if self._scratch is not None:
            shutil.rmtree(self._scratch, ignore_errors=True)
            self._scratch = None
        await self.api.stop()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.stop()

    def _control(self) -> None:
        self._controlled = True
        self._slices.start()
        self._workloads.start()
        self._lifecycle.start()
        self._cluster_ips.start()

    def _access(self) -> Access:
        return Access(
            url=self.api.url,
            token=self.api.token,
            ca_pem=self.api.ca_pem,
            control_url=self.api.side_url,
        )

    def _write_kubeconfig(self) -> None:
        if self._given_kubeconfig is None:
            self._scratch = Path(tempfile.mkdtemp(prefix="nplb-lab-"))
            self.kubeconfig_path = self._scratch / "kubeconfig"
        else:
            self.kubeconfig_path = self._given_kubeconfig.absolute()
        write_kubeconfig(self.kubeconfig_path, self._access())

    # -- nodes -------------------------------------------------------------------------

    @property
    def nodes(self) -> Mapping[str, Machine]:
        """Every machine by name, in the order in which they came."""
        return MappingProxyType(self._machines)

    def node(self, name: str) -> Machine:
        """A machine. Raises KeyError if there is none of this name."""
        return self._machines[name]

    async def add_node(self, name: str = "") -> Machine:
        """Add a machine and register its Node, `node-N` unless named. Raises ConfigurationError
        if the name is taken or the network is full."""
        index = len(self._machines) + 1
        self._check_node_count(index)
        name = name or f"node-{index}"
        if not _NODE_NAME.fullmatch(name):
            raise ConfigurationError(
                f"{name!r} is no name for a node: lower case letters, digits, '-' and '.'"
            )
        if name in self._machines:
            raise ConfigurationError(f"there is a node {name} already")
        address = str(self._network[index])
        machine = Machine(
            self._loop,
            self.api,
            self._view,
            name=name,
            address=address,
            index=index,
            pool=self._pool,
            network=self._fabric.machine(name, address, self._pool.range_of(index)),
            directory=self._fabric.directory,
            timing=self._timing,
            rng=self._rng,
        )
        if not self._controlled:
            self._control()
        machine.start()
        self._machines[name] = machine
        return machine

    def _check_node_count(self, count: int) -> None:
        room = self._network.num_addresses - 3  # without first, last, and one for a sibling
        if not 0 <= count <= room:
            raise ConfigurationError(
                f"{count} nodes do not fit into {self._network}, which has room for {room}"
            )

    @property
    def problems(self) -> tuple[str, ...]:
        """What the lab should serve and cannot, and why."""
        return tuple(p for machine in self._machines.values() for p in machine.proxy.problems)

    # -- objects -----------------------------------------------------------------------

    async def apply(self, text: str, *, file: str = "manifest") -> tuple[str, ...]:
        """Create or change every object of a YAML text. Returns `service/web created` and the
        like. Raises YamlError, ApiError."""
        return apply_objects(self.api, read_objects(text, file=file))

    @property
    def services(self) -> tuple[Service, ...]:
        """Every Service, sorted by namespace and name."""
        return self._view.services()

    def service(self, name: str) -> Service:
        """A Service, of `namespace/name` or a name in `default`. Raises KeyError."""
        found = self._view.service(_key(name))
        if found is None:
            raise KeyError(f"there is no Service {name}")
        return found

    def node_port(self, service: str, port: int | str | None = None) -> int:
        """The NodePort of a Service's port, by number or name; its first one unless said.
        Raises KeyError."""
        for candidate in self.service(service).ports:
            if port is None or port in (candidate.port, candidate.name):
                return candidate.node_port
        raise KeyError(f"the Service {service} has no port {port}")

    def address(self, node: str, service: str, port: int | str | None = None) -> Address:
        """NodeIP:NodePort."""
        return Address(self.node(node).address, self.node_port(service, port))

    def pods(self, service: str) -> tuple[dict[str, Any], ...]:
        """The Pod objects that a Service selects, sorted by name."""
        key = _key(service)
        selector = dict(self.service(service).selector)
        return tuple(
            pod
            for pod in self.api.store.list("pods", key.namespace)
            if selector and selector.items() <= (pod["metadata"].get("labels") or {}).items()
        )

    # -- waiting -----------------------------------------------------------------------

    async def service_ready(self, service: str, *, timeout: float = 20.0) -> None:
        """Wait until a Service has all its pods ready and every node forwards to them. Without
        a selector: until it has a ready endpoint. Raises TimeoutError."""
        await self.wait_for(
            lambda: self._is_ready(_key(service)), f"Service {service} to be ready", timeout=timeout
        )

    async def wait_for(
        self, condition: Callable[[], bool], what: str, *, timeout: float = 20.0
    ) -> None:
        """Wait until something is so. Raises TimeoutError that says what was waited for."""
        deadline = time.monotonic() + timeout
        while not condition():
            if time.monotonic() > deadline:
                raise TimeoutError(f"waited {timeout:g} s in vain for {what}")
            await asyncio.sleep(POLL_SECONDS)

    @property
    def is_settled(self) -> bool:
        """Whether endpoint slices and kube-proxies have taken in every change so far."""
        return self._slices.settled and self._view.settled and self._fabric.settled

    def _is_ready(self, key: ServiceKey) -> bool:
        service = self._view.service(key)
        if service is None or not self.is_settled:
            return False
        slices = self._view.slices(key)
        if not service.selector:
            return any(t.ready for port in service.ports for t in targets_of(port, slices))
        wanted = self._workloads.wanted(key)
        ready = [pod for port in service.ports[:1] for pod in targets_of(port, slices) if pod.ready]
        return len(ready) >= wanted


def _key(name: str) -> ServiceKey:
    namespace, slash, rest = name.partition("/")
    return ServiceKey(CLUSTER, namespace, rest) if slash else ServiceKey(CLUSTER, "default", name)
