"""Keeps the EndpointSlices of every Service with a selector: who of its pods can be used, and how.

Mirrors the EndpointSlice controller (staging/src/k8s.io/endpointslice): pods matched by selector,
one group of slices per set of resolved target ports, at most a hundred endpoints in each,
`ready`, `serving` and `terminating` as EndpointConditions documents them. Slices of others, the
ones written by hand, are left alone.
"""

import asyncio
import random
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from nplb.lab.api.server import ApiServer
from nplb.lab.podobjects import find_port, ip_of, is_deleting, is_finished, is_ready, node_of
from nplb.lab.view import CLUSTER, ClusterView
from nplb.lab.writes import WorkQueue, delete
from nplb.model.keys import Protocol, ServiceKey

MAX_ENDPOINTS = 100
MANAGED_BY_LABEL = "endpointslice.kubernetes.io/managed-by"
MANAGER = "endpointslice-controller.k8s.io"
SERVICE_LABEL = "kubernetes.io/service-name"
_LETTERS = "bcdfghjklmnpqrstvwxz2456789"

JsonObject = dict[str, Any]


class EndpointSlices:
    """The controller. `start` makes it follow Services and pods."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        api: ApiServer,
        view: ClusterView,
        rng: random.Random,
    ) -> None:
        self._api = api
        self._view = view
        self._rng = rng
        self._pods: dict[str, dict[str, JsonObject]] = {}
        self._slices: dict[ServiceKey, dict[str, JsonObject]] = {}
        self._queue: WorkQueue[ServiceKey] = WorkQueue(loop, "endpoint slices", self._sync)
        self._unsubscribe: list[Callable[[], None]] = []

    def start(self) -> None:
        """Follow the cluster."""
        self._unsubscribe = [
            self._api.store.subscribe("pods", self._on_pod),
            self._api.store.subscribe("endpointslices", self._on_slice),
            self._api.store.subscribe("services", self._on_service),
        ]

    def stop(self) -> None:
        """Follow it no longer."""
        for unsubscribe in self._unsubscribe:
            unsubscribe()
        self._unsubscribe = []
        self._queue.close()

    @property
    def settled(self) -> bool:
        """Whether every slice is as it should be."""
        return not self._queue

    # -- following ---------------------------------------------------------------------

    def _on_service(self, _type: str, raw: JsonObject) -> None:
        self._queue.add(_key(raw["metadata"]["namespace"], raw["metadata"]["name"]))

    def _on_pod(self, type_: str, pod: JsonObject) -> None:
        meta = pod["metadata"]
        pods = self._pods.setdefault(meta["namespace"], {})
        before = pods.pop(meta["name"], None)
        if type_ != "DELETED":
            pods[meta["name"]] = pod
        for version in (before, pod):
            if version is not None:
                labels = version["metadata"].get("labels") or {}
                for service in self._view.selecting(meta["namespace"], labels):
                    self._queue.add(service.key)

    def _on_slice(self, type_: str, raw: JsonObject) -> None:
        meta = raw["metadata"]
        labels = meta.get("labels") or {}
        key = _key(meta["namespace"], labels.get(SERVICE_LABEL, ""))
        if labels.get(MANAGED_BY_LABEL) != MANAGER or not key.name:
            return
        slices = self._slices.setdefault(key, {})
        if type_ == "DELETED":
            slices.pop(meta["name"], None)
        else:
            slices[meta["name"]] = raw
        self._queue.add(key)

    # -- making it so --------------------------------------------------------------------

    def _sync(self, key: ServiceKey) -> None:
        service = self._api.store.get("services", key.name, key.namespace)
        if service is None:
            # The garbage collector's work: slices go with the Service that owns them.
            self._remove(key, tuple(self._slices.get(key, {})))
            self._slices.pop(key, None)
            return
        selector = service["spec"].get("selector")
        if not selector or service["spec"].get("type") == "ExternalName":
            return
        wanted = self._wanted(service, selector)
        present = dict(sorted(self._slices.get(key, {}).items()))
        for ports, endpoints in wanted:
            name = next((n for n, s in present.items() if (s.get("ports") or []) == ports), None)
            if name is None:
                self._create(service, ports, endpoints)
                continue
            old = present.pop(name)
            if (old.get("endpoints") or []) != endpoints:
                self._api.update("endpointslices", {**old, "endpoints": endpoints}, key.namespace)
        self._remove(key, tuple(present))

    def _wanted(
        self, service: JsonObject, selector: Mapping[str, str]
    ) -> list[tuple[list[JsonObject], list[JsonObject]]]:
        """Ports and endpoints of every slice that there should be."""
        groups: dict[str, tuple[list[JsonObject], list[JsonObject]]] = {}
        pods = self._pods.get(service["metadata"]["namespace"], {})
        publish_not_ready = bool(service["spec"].get("publishNotReadyAddresses"))
        for name in sorted(pods):
            pod = pods[name]
            labels = pod["metadata"].get("labels") or {}
            if not selector.items() <= labels.items() or is_finished(pod) or not ip_of(pod):
                continue
            ports = _ports(service, pod)
            endpoint = self._endpoint(pod, publish_not_ready)
            groups.setdefault(repr(ports), (ports, []))[1].append(endpoint)
        wanted = [
            (ports, endpoints[start : start + MAX_ENDPOINTS])
            for ports, endpoints in groups.values()
            for start in range(0, len(endpoints), MAX_ENDPOINTS)
        ]
        # A Service without pods has one empty slice, as in a real cluster.
        return wanted or [([], [])]

    def _endpoint(self, pod: JsonObject, publish_not_ready: bool) -> JsonObject:
        meta = pod["metadata"]
        serving, terminating = is_ready(pod), is_deleting(pod)
        endpoint: JsonObject = {
            "addresses": [ip_of(pod)],
            "conditions": {
                "ready": publish_not_ready or (serving and not terminating),
                "serving": serving,
                "terminating": terminating,
            },
            "targetRef": {
                "kind": "Pod",
                "namespace": meta["namespace"],
                "name": meta["name"],
                "uid": meta["uid"],
            },
            "nodeName": node_of(pod),
        }
        zone = self._zone(node_of(pod))
        return {**endpoint, "zone": zone} if zone else endpoint

    def _zone(self, node_name: str) -> str:
        node = self._api.store.get("nodes", node_name) or {}
        labels = node.get("metadata", {}).get("labels") or {}
        zone: str = labels.get("topology.kubernetes.io/zone", "")
        return zone

    def _create(
        self, service: JsonObject, ports: list[JsonObject], endpoints: list[JsonObject]
    ) -> None:
        meta = service["metadata"]
        suffix = "".join(self._rng.choice(_LETTERS) for _ in range(5))
        slice_ = {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {
                "name": f"{meta['name']}-{suffix}",
                "generateName": f"{meta['name']}-",
                "namespace": meta["namespace"],
                "labels": {SERVICE_LABEL: meta["name"], MANAGED_BY_LABEL: MANAGER},
                "ownerReferences": [
                    {
                        "apiVersion": "v1",
                        "kind": "Service",
                        "name": meta["name"],
                        "uid": meta["uid"],
                        "controller": True,
                        "blockOwnerDeletion": True,
                    }
                ],
            },
            "addressType": "IPv4",
            "endpoints": endpoints,
            "ports": ports,
        }
        self._api.create("endpointslices", slice_, meta["namespace"])

    def _remove(self, key: ServiceKey, names: Iterable[str]) -> None:
        for name in names:
            delete(self._api, "endpointslices", name, namespace=key.namespace)


def _key(namespace: str, name: str) -> ServiceKey:
    return ServiceKey(CLUSTER, namespace, name)


def _ports(service: JsonObject, pod: JsonObject) -> list[JsonObject]:
    """A slice's ports for one pod: those of the Service that the pod can serve."""
    ports = []
    for port in service["spec"].get("ports") or ():
        protocol = port.get("protocol") or "TCP"
        target = port.get("targetPort") or port["port"]
        number = find_port(pod, target, Protocol(protocol))
        if number is not None:
            made = {"name": port.get("name", ""), "protocol": protocol, "port": number}
            if port.get("appProtocol"):
                made["appProtocol"] = port["appProtocol"]
            ports.append(made)
    return ports
