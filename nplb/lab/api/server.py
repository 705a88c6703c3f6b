"""ApiServer: kube-apiserver's HTTP interface on loopback, and the same operations in process."""

import asyncio
import ipaddress
import json
import logging
import time
from typing import Any

from aiohttp import web

from nplb.aio.tasks import TaskOwner
from nplb.alloc.allocator import AllocatorCounts, PortAllocator
from nplb.alloc.portrange import parse_port_range
from nplb.alloc.repair import INTERVAL_SECONDS, RepairReport
from nplb.lab.api.certificates import make_certificates
from nplb.lab.api.clusterips import ClusterIPs
from nplb.lab.api.endpoints import EndpointsMirror
from nplb.lab.api.errors import ApiError
from nplb.lab.api.faults import ApiFaults, FaultKind
from nplb.lab.api.handler import MAX_BODY_BYTES, Aside, Handler
from nplb.lab.api.kinds import (
    ConfigMapStrategy,
    EventStrategy,
    LeaseStrategy,
    NamespaceStrategy,
    NodeStrategy,
    PodStrategy,
)
from nplb.lab.api.listener import Listener
from nplb.lab.api.metrics import scrape
from nplb.lab.api.operations import Dice, Operations
from nplb.lab.api.patch import MERGE_PATCH
from nplb.lab.api.portrepair import PortRepair
from nplb.lab.api.registry import REGISTRY
from nplb.lab.api.requests import DeleteOptions, Target, WriteOptions
from nplb.lab.api.services import ServiceStrategy
from nplb.lab.api.side import SideDoor
from nplb.lab.api.slices import EndpointSliceStrategy, EndpointsStrategy
from nplb.lab.api.store import JsonObject, Store
from nplb.lab.api.strategy import Strategy
from nplb.lab.api.watch import BOOKMARK_SECONDS

log = logging.getLogger(__name__)

NAMESPACES = ("default", "kube-node-lease", "kube-public", "kube-system")
MANAGER = "nplb-lab"
SERVER = "kube-apiserver"
# An EndpointSlice holds no loopback address: the lab serves 10.x at 127.x.
_LOOPBACK = ipaddress.IPv4Network("127.0.0.0/8")
_STAND_IN = "10"


class ApiServer:
    """One API server: its store, its allocators, its listener, its faults.

    `rng` draws ports, addresses and UIDs; `token` is the bearer token that requests must carry.
    With `tls` it serves HTTPS under a certificate of its own, whose authority is `ca_pem`
    (kubectl sends tokens in no other way); without, plain HTTP, and `ca_pem` is empty.
    `mirror_endpoints` keeps Endpoints in step with the EndpointSlices.
    `cache_size` is how many changes of a kind a watch can go back, `bookmark_seconds` how often
    one that asked for bookmarks gets one. The operations can be used
    before `start`, and are synchronous: when they return, every subscriber of the store has been
    told.
    """

    def __init__(
        self,
        *,
        node_port_range: str = "30000-32767",
        service_cidr: str = "10.96.0.0/16",
        rng: Dice,
        token: str,
        repair_seconds: float = INTERVAL_SECONDS,
        cache_size: int = 2048,
        tls: bool = False,
        mirror_endpoints: bool = True,
        bookmark_seconds: float = BOOKMARK_SECONDS,
    ) -> None:
        self.token = token
        self.url = ""
        self.ca_pem = ""
        self._tls = tls
        self.store = Store(cache_size=cache_size)
        self.faults = ApiFaults()
        self._counts = AllocatorCounts()
        self.ports = PortAllocator(parse_port_range(node_port_range), rng, counts=self._counts)
        self.cluster_ips = ClusterIPs(service_cidr, rng)
        self.operations = Operations(self.store, self._strategies(), rng)
        self.repair = PortRepair(
            self.store,
            self.ports,
            create=lambda event: self.create("events", event, manager=SERVER),
            update=lambda event: self.update("events", event, manager=SERVER),
        )
        self._repair_seconds = repair_seconds
        self._handler = Handler(
            self.store, self.operations, self.faults, token, bookmark_seconds, self._scrape
        )
        self._side = SideDoor(self._handler)
        self._tasks = TaskOwner("lab-api")
        self._runner: web.AppRunner | None = None
        self._listener: Listener | None = None
        self._reopening: asyncio.Task[None] | None = None
        self.faults.on_change = self._on_fault
        self.faults.on_restart = self._on_restart
        for name in NAMESPACES:
            self.create("namespaces", {"metadata": {"name": name}}, manager=SERVER)
        if mirror_endpoints:
            EndpointsMirror(
                self.store, write=self._write_endpoints, delete=self._delete_endpoints
            ).start()

    def _strategies(self) -> dict[str, Strategy]:
        known = REGISTRY.resources
        strategies: list[Strategy] = [
            ConfigMapStrategy(known["configmaps"]),
            EndpointsStrategy(known["endpoints"]),
            EndpointSliceStrategy(known["endpointslices"]),
            EventStrategy(known["events"]),
            LeaseStrategy(known["leases"]),
            NamespaceStrategy(known["namespaces"]),
            NodeStrategy(known["nodes"]),
            PodStrategy(known["pods"]),
            ServiceStrategy(known["services"], self.ports, self.cluster_ips),
        ]
        return {strategy.resource.name: strategy for strategy in strategies}

    # -- life -----------------------------------------------------------------

    async def start(self, host: str = "127.0.0.1", port: int = 0) -> None:
        """Listen; port 0 picks a free one. `url` is set when this returns. Raises HostError."""
        app = web.Application(client_max_size=MAX_BODY_BYTES)
        app.router.add_route("*", "/{path:.*}", self._handler.handle)
        # A client that leaves ends its request, hanging or watching.
        runner = web.AppRunner(app, handler_cancellation=True, access_log=None)
        await runner.setup()
        assert runner.server is not None
        context = None
        if self._tls:
            certificates = make_certificates((host, "127.0.0.1", "::1", "localhost"))
            self.ca_pem, context = certificates.ca_pem, certificates.server_context()
        listener = Listener(runner.server, context)
        try:
            await listener.bind(host, port)
        except BaseException:
            await runner.cleanup()
            raise
        self._runner, self._listener = runner, listener
        bound_host, bound_port = listener.address
        self.url = listener.url
        if self._handler.has_asides:
            await self._side.open(host, context)
        self._publish_itself(bound_host, bound_port)
        self._tasks.spawn(self._keep_published(bound_host, bound_port), "publish")
        self._tasks.spawn(self._repair_ports(), "repair-ports")
        self._tasks.spawn(self._expire_pods(), "expire-pods")

    async def stop(self) -> None:
        """Cut every connection and stop. Safe to call twice, and without `start`."""
        await self._tasks.close()
        await self._side.close()
        if self._listener is not None:
            self._listener.end()
            self._listener = None
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    def add_aside(self, prefix: str, aside: Aside) -> None:
        """Serve the paths below `prefix` by `aside`, which faults do not touch; before `start`.
        It takes an aiohttp request that carried the token. Faults that close the port do not
        reach `side_url`, which serves these paths alone."""
        self._handler.add_aside(prefix, aside)

    @property
    def side_url(self) -> str:
        """Where the paths aside are served whatever happens; empty if there are none."""
        return self._side.url

    def repair_ports(self) -> RepairReport | None:
        """Run the port allocator's repair loop once, now. None if it could not be finished."""
        return self.repair.run_once()

    # -- operations in process --------------------------------------------------

    def create(
        self,
        resource: str,
        obj: JsonObject,
        namespace: str | None = None,
        *,
        manager: str = MANAGER,
    ) -> JsonObject:
        """Create an object and return it as stored. The namespace is the argument's, the
        object's own, or `default`. Raises ApiError."""
        target = self._target(resource, _space(obj, namespace))
        created = self.operations.create(target, _copy(obj), WriteOptions(manager=manager))
        copied: JsonObject = _copy(created)
        return copied

    def update(
        self,
        resource: str,
        obj: JsonObject,
        namespace: str | None = None,
        *,
        manager: str = MANAGER,
    ) -> JsonObject:
        """Replace an object, but for its status, and return it as stored. With a
        resourceVersion in it, only if that is still the object's. Raises ApiError."""
        name = obj.get("metadata", {}).get("name", "")
        target = self._target(resource, _space(obj, namespace), name)
        updated, _ = self.operations.update(target, _copy(obj), WriteOptions(manager=manager))
        copied: JsonObject = _copy(updated)
        return copied

    def patch(
        self,
        resource: str,
        name: str,
        patch: Any,
        *,
        namespace: str | None = None,
        content_type: str = MERGE_PATCH,
        subresource: str = "",
        manager: str = MANAGER,
        force: bool = False,
    ) -> JsonObject:
        """Patch an object and return it as stored. Raises ApiError."""
        target = self._target(resource, namespace, name, subresource)
        options = WriteOptions(manager=manager, force=force)
        patched, _ = self.operations.patch(target, _copy(patch), content_type, options)
        copied: JsonObject = _copy(patched)
        return copied

    def delete(
        self,
        resource: str,
        name: str,
        namespace: str | None = None,
        *,
        grace_seconds: int | None = None,
    ) -> None:
        """Delete an object. A pod that is bound to a node is told to stop first, and stays for
        `grace_seconds` (its own period, unless given) or until it is deleted with 0. An object
        with finalizers stays until they are gone. Raises ApiError."""
        options = DeleteOptions(grace_seconds=grace_seconds)
        self.operations.deletion.delete(self._target(resource, namespace, name), options)

    def _target(
        self, resource: str, namespace: str | None, name: str = "", subresource: str = ""
    ) -> Target:
        known = REGISTRY.resources[resource]
        return Target(
            resource=known,
            served=known.served[0],
            namespace=(namespace or "default") if known.namespaced else "",
            name=name,
            subresource=subresource,
        )

    def _scrape(self, accept: str) -> tuple[bytes, str]:
        return scrape(accept, self._counts, self.repair.problems, self.repair.failures)

    # -- what runs beside ---------------------------------------------------------

    def _publish_itself(self, host: str, port: int) -> None:
        """The `kubernetes` Service, as the API server keeps it, and its slice."""
        service = {
            "metadata": {
                "name": "kubernetes",
                "labels": {"component": "apiserver", "provider": "kubernetes"},
            },
            "spec": {
                "clusterIP": self.cluster_ips.first,
                "ipFamilyPolicy": "SingleStack",
                "ports": [{"name": "https", "port": 443, "targetPort": port}],
            },
        }
        address = ipaddress.ip_address(host)
        if address in _LOOPBACK:
            host = ".".join([_STAND_IN, *host.split(".")[1:]])
        elif address.is_loopback or address.is_unspecified:
            host = f"{_STAND_IN}.0.0.1"
        slice_ = {
            "metadata": {
                "name": "kubernetes",
                "labels": {"kubernetes.io/service-name": "kubernetes"},
            },
            "addressType": "IPv4" if ":" not in host else "IPv6",
            "endpoints": [{"addresses": [host], "conditions": {"ready": True}}],
            "ports": [{"name": "https", "protocol": "TCP", "port": port}],
        }
        if self.store.record("services", "kubernetes", "default") is None:
            self.create("services", service, manager=SERVER)
        if self.store.record("endpointslices", "kubernetes", "default") is None:
            self.create("endpointslices", slice_, manager=SERVER)

    async def _keep_published(self, host: str, port: int) -> None:
        """Bring the `kubernetes` Service and its slice back when somebody deletes them."""
        changed = asyncio.Event()
        stops = [
            self.store.on_change(resource, changed.set)
            for resource in ("services", "endpointslices")
        ]
        try:
            while True:
                await changed.wait()
                changed.clear()
                try:
                    self._publish_itself(host, port)
                except ApiError as error:
                    log.warning("the kubernetes Service cannot be published: %s", error)
        finally:
            for stop in stops:
                stop()

    async def _repair_ports(self) -> None:
        while True:
            self.repair.run_once()
            self.operations.deletion.expire_events(time.time())
            await asyncio.sleep(self._repair_seconds)

    async def _expire_pods(self) -> None:
        changed = asyncio.Event()
        stop = self.store.on_change("pods", changed.set)
        try:
            while True:
                changed.clear()
                now = time.time()
                due = self.operations.deletion.expire_pods(now)
                try:
                    async with asyncio.timeout(None if due is None else max(0.0, due - now)):
                        await changed.wait()
                except TimeoutError:
                    continue
        finally:
            stop()

    def _write_endpoints(self, namespace: str, endpoints: JsonObject) -> None:
        try:
            self.update("endpoints", endpoints, namespace, manager="endpoint-controller")
        except ApiError as error:
            log.warning("Endpoints were refused: %s", error)

    def _delete_endpoints(self, namespace: str, name: str) -> None:
        self.delete("endpoints", name, namespace)

    # -- faults -------------------------------------------------------------------

    def _on_fault(self) -> None:
        self._handler.wake_streams()
        if self._listener is None or not self.faults.is_active(FaultKind.DOWN):
            return
        self._listener.close()
        if self._reopening is None or self._reopening.done():
            self._reopening = self._tasks.spawn(self._reopen(self._listener), "reopen")

    async def _reopen(self, listener: Listener) -> None:
        while True:
            await self.faults.until_over(FaultKind.DOWN)
            await listener.reopen()
            if not self.faults.is_active(FaultKind.DOWN):
                return
            listener.close()  # it was told to go down again meanwhile

    def _on_restart(self) -> None:
        self.store.forget()
        if self._listener is not None:
            self._listener.cut()


def _space(obj: JsonObject, namespace: str | None) -> str | None:
    return namespace or (obj.get("metadata") or {}).get("namespace")


def _copy(value: Any) -> Any:
    """A deep copy of JSON, and a refusal of what is not JSON."""
    return json.loads(json.dumps(value))
