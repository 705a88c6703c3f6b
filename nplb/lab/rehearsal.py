"""What an API server would answer to Services, without sending them: the lab's own admission,
run over a copy of another cluster's Services and numbers.

The whole way of a request is walked (decoding, defaults, namespace, addresses, ports, validation,
existence), so a refusal is the API server's, whatever it is about. Numbers come from an
`alloc.scratch.Scratch`, so what would be drawn is told as the set that it would be drawn from.
"""

import contextlib
import ipaddress
import random
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from nplb.alloc.errors import Refused
from nplb.alloc.ledger import Ledger
from nplb.alloc.predict import Batch, Prediction
from nplb.alloc.scratch import FIRST_TOKEN
from nplb.lab.api.clusterips import AddressError, ClusterIPs
from nplb.lab.api.errors import ApiError, FieldError
from nplb.lab.api.kinds import NamespaceStrategy
from nplb.lab.api.operations import Operations
from nplb.lab.api.registry import REGISTRY
from nplb.lab.api.requests import Target, Validation, WriteOptions
from nplb.lab.api.services import ServiceStrategy, model_of
from nplb.lab.api.store import JsonObject, Store
from nplb.lab.api.strategy import Allocation
from nplb.model.cluster import Service
from nplb.model.keys import ServiceKey

_SERVICES = REGISTRY.resources["services"]
_NAMESPACES = REGISTRY.resources["namespaces"]
_WIDEST_PREFIX = 12
_FAMILY_FIELDS = ("clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy")


class Rehearsal:
    """Services sent one after the other, each on top of those before it.

    `raws` are the cluster's own Services as the API has them. `namespaces` None means that any
    namespace may exist; `service_cidr` None that it is guessed from the addresses in use. With
    `apply` a Service that exists is updated, as `kubectl apply` would.
    """

    def __init__(
        self,
        ledger: Ledger,
        raws: Iterable[Mapping[str, Any]] = (),
        *,
        namespaces: Iterable[str] | None = None,
        service_cidr: str | None = None,
        apply: bool = False,
    ) -> None:
        self._batch = Batch(ledger, apply=apply)
        self._cluster = ledger.cluster
        self._raws = {_identity(raw): raw for raw in raws}
        self._any_namespace = namespaces is None
        addresses = _cluster_ips(ledger.services.values(), service_cidr)
        # Never what decides: numbers are not drawn here, and a ClusterIP is not shown.
        rng = random.Random(0)
        self._store = Store()
        self._operations = Operations(
            self._store,
            {
                "services": _Services(self._batch, addresses),
                "namespaces": NamespaceStrategy(_NAMESPACES),
            },
            rng,
        )
        for name in namespaces or ():
            self._add_namespace(name)

    def send(self, raw: Any, namespace: str = "default") -> Prediction:
        """The answer for one Service, as its manifest has it. `namespace` is the request's: an
        object with another one is refused."""
        name = _text(raw, "name")
        key = ServiceKey(self._cluster, namespace, name)
        if self._any_namespace:
            self._add_namespace(namespace)
        self._recall(namespace, name)
        old = self._store.record("services", name, namespace)
        target = Target(
            resource=_SERVICES, served=_SERVICES.served[0], namespace=namespace, name=""
        )
        options = WriteOptions(manager="kubectl", validation=Validation.STRICT)
        try:
            if old is not None and self._batch.apply:
                stored, _ = self._operations.update(
                    replace(target, name=name), _merged(raw, old.object), options
                )
            else:
                stored = self._operations.create(target, raw, options)
        except ApiError as error:
            cause = error.__cause__
            return self._batch.refuse(
                key,
                code=error.code,
                reason=error.reason,
                message=str(error),
                refused=cause if isinstance(cause, Refused) else None,
            )
        given = _keyed(model_of(stored), self._cluster)
        before = _keyed(model_of(old.object), self._cluster) if old is not None else None
        return self._batch.accept(_asked(raw, given), before, given)

    def _recall(self, namespace: str, name: str) -> None:
        """Put a Service that the cluster has into the store, on the first mention of it."""
        raw = self._raws.pop((namespace, name), None)
        if raw is None:
            return
        metadata = {
            field: raw["metadata"][field]
            for field in ("name", "namespace", "uid", "labels", "annotations")
            if raw["metadata"].get(field)
        }
        object_ = {"kind": "Service", "apiVersion": "v1", **raw, "metadata": metadata}
        object_["spec"] = dict(raw.get("spec") or {})
        object_["status"] = raw.get("status") or {"loadBalancer": {}}
        self._operations.strategies["services"].default(object_)
        spec = object_["spec"]
        is_local = (spec["type"], spec.get("externalTrafficPolicy")) == ("LoadBalancer", "Local")
        if is_local and not spec.get("healthCheckNodePort"):
            # Out of a manifest: which number it got is not known. As of a nodePort, the set is told
            # that one is drawn from, as for a Service that becomes Local by this update.
            spec["externalTrafficPolicy"] = "Cluster"
        self._store.put("services", object_)

    def _add_namespace(self, name: str) -> None:
        if self._store.record("namespaces", name, "") is None:
            self._store.put("namespaces", {"metadata": {"name": name}})


class _Services(ServiceStrategy):
    """Services whose numbers come from a batch. In a cluster that is not plain IPv4, which the
    lab's rules do not know, addresses and families are left to the cluster itself."""

    def __init__(self, batch: Batch, addresses: ClusterIPs | None) -> None:
        super().__init__(
            _SERVICES, batch.scratch, addresses or ClusterIPs("10.0.0.0/12", random.Random(0))
        )
        self._knows_addresses = addresses is not None

    def validate(self, object_: JsonObject) -> list[FieldError]:
        """As the API server does. A health check's number that is not known yet is a good one."""
        spec = object_["spec"]
        if spec.get("healthCheckNodePort", 0) >= FIRST_TOKEN:
            object_ = {**object_, "spec": {**spec, "healthCheckNodePort": 1}}
        return super().validate(object_)

    def begin_create(self, object_: JsonObject, *, dry_run: bool) -> Allocation:
        """As the API server does, if the addresses are known."""
        self._leave_out(object_)
        return super().begin_create(object_, dry_run=dry_run)

    def begin_update(self, new: JsonObject, old: JsonObject, *, dry_run: bool) -> Allocation:
        """The same for an update."""
        self._leave_out(new)
        return super().begin_update(new, old, dry_run=dry_run)

    def _leave_out(self, object_: JsonObject) -> None:
        spec = object_["spec"]
        if not self._knows_addresses and spec.get("clusterIP") != "None":
            for name in _FAMILY_FIELDS:
                spec.pop(name, None)


def _cluster_ips(services: Iterable[Service], cidr: str | None) -> ClusterIPs | None:
    """The addresses of a plain IPv4 cluster, those in use taken; None for any other."""
    used = {ip for service in services for ip in service.cluster_ips}
    families = {family for service in services for family in service.ip_families}
    if "IPv6" in families or any(":" in ip for ip in used) or (cidr and ":" in cidr):
        return None
    addresses = ClusterIPs(cidr or _guessed_cidr(services, used), random.Random(0))
    for ip in used:
        with contextlib.suppress(AddressError):  # not of this network: a guess may be wrong
            addresses.allocate(ip)
    return addresses


def _guessed_cidr(services: Iterable[Service], used: Iterable[str]) -> str:
    """The widest network that begins one below the `kubernetes` Service's address, which is the
    first of its CIDR. Too wide a guess lets an address pass, too narrow a one would refuse it."""
    for service in services:
        if service.key.short == "default/kubernetes" and service.cluster_ips:
            base = int(ipaddress.IPv4Address(service.cluster_ips[0])) - 1
            prefix = next(p for p in range(_WIDEST_PREFIX, 33) if base % (1 << (32 - p)) == 0)
            return f"{ipaddress.IPv4Address(base)}/{prefix}"
    some = min(used, key=ipaddress.IPv4Address, default="10.96.0.1")
    return str(ipaddress.IPv4Interface(f"{some}/{_WIDEST_PREFIX}").network)


def _identity(raw: Mapping[str, Any]) -> tuple[str, str]:
    metadata = raw.get("metadata") or {}
    return metadata.get("namespace") or "default", metadata.get("name") or ""


def _text(raw: Any, name: str) -> str:
    metadata = raw.get("metadata") if isinstance(raw, dict) else None
    value = metadata.get(name) if isinstance(metadata, dict) else None
    return value if isinstance(value, str) else ""


def _keyed(service: Service, cluster: str) -> Service:
    return replace(service, key=ServiceKey(cluster, service.key.namespace, service.key.name))


def _asked(raw: Any, given: Service) -> Service:
    """What a Service asked for, of what it was given. `raw` was accepted, so its types are
    right."""
    spec = raw["spec"]
    ports = zip(given.ports, spec.get("ports") or (), strict=True)
    return replace(
        given,
        ports=tuple(replace(port, node_port=sent.get("nodePort") or 0) for port, sent in ports),
        health_check_node_port=spec.get("healthCheckNodePort") or 0,
    )


def _merged(raw: Any, old: JsonObject) -> Any:
    """A manifest as `kubectl apply` sends it: a port that names no nodePort keeps the one that
    the same port and protocol has, since lists of ports are merged by these."""
    spec = raw.get("spec") if isinstance(raw, dict) else None
    if not isinstance(spec, dict):
        return raw
    ports = spec.get("ports")
    if not isinstance(ports, list) or not all(isinstance(port, dict) for port in ports):
        return raw
    had = {
        (port["port"], port.get("protocol", "TCP")): port.get("nodePort", 0)
        for port in old["spec"].get("ports", ())
    }
    merged = [
        {**port, "nodePort": number}
        if "nodePort" not in port
        and (number := had.get((port.get("port"), port.get("protocol", "TCP"))))
        else port
        for port in ports
    ]
    kept = {
        name: old["spec"][name]
        for name in ("type", "clusterIP", "clusterIPs", "healthCheckNodePort")
        if name in old["spec"] and name not in spec
    }
    return {**raw, "spec": {**kept, **spec, "ports": merged}}
