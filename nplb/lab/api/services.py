"""Services: defaults, addresses and ports allocated, what each type keeps.

Mirrors `pkg/apis/core/v1/defaults.go`, `pkg/registry/core/service/strategy.go` and
`pkg/registry/core/service/storage/{storage,alloc}.go`.
"""

from collections.abc import Callable
from typing import Any

from nplb.alloc.allocator import PortAllocator
from nplb.alloc.errors import Refused
from nplb.alloc.services import Change, begin_create, begin_update, release
from nplb.lab.api import errors
from nplb.lab.api.clusterips import AddressError, ClusterIPs
from nplb.lab.api.errors import ApiError, FieldError, invalid_value, required
from nplb.lab.api.names import dns_label_problems
from nplb.lab.api.registry import Resource
from nplb.lab.api.service_validation import (
    validate_service,
    validate_service_status,
    validate_service_update,
)
from nplb.lab.api.store import JsonObject
from nplb.lab.api.strategy import Allocation, Strategy
from nplb.model.cluster import Service, ServicePort, ServiceType, TrafficPolicy
from nplb.model.keys import Protocol, ServiceKey

NODE_PORT_TYPES = ("NodePort", "LoadBalancer")
CLUSTER_IP_TYPES = ("ClusterIP", *NODE_PORT_TYPES)
AFFINITY_SECONDS = 10800


class ServiceStrategy(Strategy):
    """Writes Services, with one allocator for their ports and one for their addresses."""

    name_problems = staticmethod(dns_label_problems)
    has_status = True
    returns_deleted = True
    creates_on_update = True

    def __init__(self, resource: Resource, ports: PortAllocator, addresses: ClusterIPs) -> None:
        super().__init__(resource)
        self.ports = ports
        self.addresses = addresses

    def default(self, object_: JsonObject) -> None:
        """`SetDefaults_Service`."""
        spec = object_["spec"]
        affinity = spec.setdefault("sessionAffinity", "None")
        if affinity == "None":
            spec.pop("sessionAffinityConfig", None)
        elif affinity == "ClientIP":
            client = spec.setdefault("sessionAffinityConfig", {}).setdefault("clientIP", {})
            client.setdefault("timeoutSeconds", AFFINITY_SECONDS)
        type_ = spec.setdefault("type", "ClusterIP")
        for port in spec.get("ports", ()):
            port.setdefault("protocol", "TCP")
            if not port.get("targetPort"):
                port["targetPort"] = port["port"]
        if externally_accessible(spec):
            spec.setdefault("externalTrafficPolicy", "Cluster")
        if type_ in CLUSTER_IP_TYPES:
            spec.setdefault("internalTrafficPolicy", "Cluster")
        if type_ == "LoadBalancer":
            spec.setdefault("allocateLoadBalancerNodePorts", True)
            for ingress in object_["status"]["loadBalancer"].get("ingress", ()):
                if ingress.get("ip"):
                    ingress.setdefault("ipMode", "VIP")

    def prepare_create(self, object_: JsonObject) -> None:
        """Normalize the two spellings of the ClusterIP."""
        super().prepare_create(object_)
        spec = object_["spec"]
        if spec.get("clusterIP") and not spec.get("clusterIPs"):
            spec["clusterIPs"] = [spec["clusterIP"]]

    def prepare_update(self, new: JsonObject, old: JsonObject) -> None:
        """Carry over the addresses that were left out, drop what the new type has no use for."""
        super().prepare_update(new, old)
        _carry_cluster_ips(new["spec"], old["spec"])
        _drop_type_dependent(new, old)

    def begin_create(self, object_: JsonObject, *, dry_run: bool) -> Allocation:
        """Families, then addresses, then ports, as `allocServiceNodePorts` follows them."""
        spec = object_["spec"]
        name = object_["metadata"].get("name", "")
        if not name:
            # `preAllocIPs`: a name is wanted before anything is taken in it.
            nameless = required("metadata.name", "name or generateName is required")
            raise errors.invalid("Service", name, [nameless])
        _init_families(name, spec)
        addresses = self._allocate_addresses(name, spec, dry_run=dry_run)
        try:
            change = self._refusing(
                name, lambda: begin_create(self.ports, model_of(object_), dry_run=dry_run)
            )
        except ApiError:
            addresses.rollback()
            raise
        _write_ports(spec, change.service)
        return _Both(addresses, change)

    def begin_update(self, new: JsonObject, old: JsonObject, *, dry_run: bool) -> Allocation:
        """Take what the new type needs, plan to give back what it does not."""
        spec, name = new["spec"], new["metadata"]["name"]
        addresses = _Addresses(self.addresses)
        needed, needs = _holds_addresses(old["spec"]), spec["type"] in CLUSTER_IP_TYPES
        if needs:
            _init_families(name, spec)
            if not needed:
                addresses = self._allocate_addresses(name, spec, dry_run=dry_run)
        if needed and not _holds_addresses(spec) and not dry_run:
            addresses.given_back = list(old["spec"].get("clusterIPs", ()))
        try:
            change = self._refusing(
                name,
                lambda: begin_update(
                    self.ports, model_of(old), model_of(new), dry_run=dry_run, validate=False
                ),
            )
        except ApiError:
            addresses.rollback()
            raise
        _write_ports(spec, change.service)
        return _Both(addresses, change)

    def finish_delete(self, object_: JsonObject) -> None:
        """Give back ports and addresses at once."""
        release(self.ports, model_of(object_))
        if _holds_addresses(object_["spec"]):
            for address in object_["spec"].get("clusterIPs", ()):
                self.addresses.release(address)

    def validate(self, object_: JsonObject) -> list[FieldError]:
        """`ValidateService`."""
        return validate_service(object_)

    def validate_update(self, new: JsonObject, old: JsonObject) -> list[FieldError]:
        """`ValidateServiceUpdate`."""
        return validate_service_update(new, old)

    def validate_status(self, new: JsonObject, old: JsonObject) -> list[FieldError]:
        """`ValidateServiceStatusUpdate`."""
        del old
        return validate_service_status(new)

    def _allocate_addresses(self, name: str, spec: JsonObject, *, dry_run: bool) -> "_Addresses":
        taken = _Addresses(self.addresses)
        if spec["type"] not in CLUSTER_IP_TYPES or spec.get("clusterIP") == "None":
            return taken
        wanted = spec.get("clusterIPs", [])
        try:
            if wanted:
                for address in wanted[:1]:
                    try:
                        self.addresses.allocate(address, dry_run=dry_run)
                    except AddressError as error:
                        detail = f"failed to allocate IP {address}: {error}"
                        raise errors.invalid(
                            "Service", name, [invalid_value("spec.clusterIPs", wanted, detail)]
                        ) from error
                    taken.taken = [] if dry_run else [address]
            else:
                address = self.addresses.allocate_next(dry_run=dry_run)
                taken.taken = [] if dry_run else [address]
                spec["clusterIP"], spec["clusterIPs"] = address, [address]
        except AddressError as error:
            raise errors.internal_error(f"failed to allocate a serviceIP: {error}") from error
        return taken

    def _refusing(self, name: str, begin: Callable[[], Change]) -> Change:
        try:
            return begin()
        except Refused as refused:
            raise _api_error(name, refused) from refused


class _Addresses:
    """ClusterIPs taken for one write, and those to give back after it."""

    def __init__(self, addresses: ClusterIPs) -> None:
        self._addresses = addresses
        self.taken: list[str] = []
        self.given_back: list[str] = []

    def commit(self) -> None:
        for address in self.given_back:
            self._addresses.release(address)

    def rollback(self) -> None:
        for address in self.taken:
            self._addresses.release(address)


class _Both:
    """Addresses and ports, kept or given back together."""

    def __init__(self, addresses: _Addresses, ports: Change) -> None:
        self._addresses = addresses
        self._ports = ports

    def commit(self) -> None:
        self._addresses.commit()
        self._ports.commit()

    def rollback(self) -> None:
        self._ports.rollback()
        self._addresses.rollback()


def externally_accessible(spec: JsonObject) -> bool:
    """`ExternallyAccessible`: reachable from outside by type or by external IPs."""
    type_ = spec.get("type")
    return type_ in NODE_PORT_TYPES or (type_ == "ClusterIP" and bool(spec.get("externalIPs")))


def model_of(object_: JsonObject) -> Service:
    """As much of a raw Service as the port allocator looks at. What is not valid, and will be
    refused by validation after allocation, counts as its default."""
    spec, metadata = object_["spec"], object_["metadata"]
    known = {type_.value: type_ for type_ in ServiceType}
    local = spec.get("externalTrafficPolicy") == "Local"
    return Service(
        key=ServiceKey("", metadata.get("namespace", ""), metadata.get("name", "")),
        type=known.get(spec.get("type", ""), ServiceType.CLUSTER_IP),
        ports=tuple(
            ServicePort(
                name=port.get("name", ""),
                protocol=_protocol(port.get("protocol", "TCP")),
                port=port["port"],
                node_port=port.get("nodePort", 0),
            )
            for port in spec.get("ports", ())
        ),
        external_traffic_policy=TrafficPolicy.LOCAL if local else TrafficPolicy.CLUSTER,
        health_check_node_port=spec.get("healthCheckNodePort", 0),
        allocate_load_balancer_node_ports=spec.get("allocateLoadBalancerNodePorts", True),
    )


def _protocol(name: str) -> Protocol:
    return Protocol(name) if name in Protocol.__members__ else Protocol.TCP


def _api_error(name: str, refused: Refused) -> ApiError:
    if refused.reason == "Invalid":
        error = FieldError(
            field=refused.field, reason=refused.cause.value, message=refused.cause_message
        )
        return errors.invalid("Service", name, [error])
    if refused.reason == "InternalError":
        return errors.internal_error(refused.detail)
    return errors.unknown_error(refused.detail)


def _write_ports(spec: JsonObject, service: Service) -> None:
    for raw, port in zip(spec.get("ports", ()), service.ports, strict=True):
        _set_or_drop(raw, "nodePort", port.node_port)
    _set_or_drop(spec, "healthCheckNodePort", service.health_check_node_port)


def _set_or_drop(target: JsonObject, name: str, number: int) -> None:
    if number:
        target[name] = number
    else:
        target.pop(name, None)


def _holds_addresses(spec: JsonObject) -> bool:
    return spec["type"] in CLUSTER_IP_TYPES and spec.get("clusterIP") not in (None, "None")


def _carry_cluster_ips(new: JsonObject, old: JsonObject) -> None:
    """`NormalizeClusterIPs` and the address part of `patchAllocatedValues`."""
    before, after = old.get("clusterIPs"), new.get("clusterIPs")
    if old.get("clusterIP") and not new.get("clusterIP") and before == after:
        new.pop("clusterIPs", None)
    elif new.get("clusterIP") and old.get("clusterIP") != new["clusterIP"] and before == after:
        new["clusterIPs"] = [new["clusterIP"]]
    both_need = old["type"] in CLUSTER_IP_TYPES and new["type"] in CLUSTER_IP_TYPES
    if both_need:
        if not new.get("clusterIP") and old.get("clusterIP"):
            new["clusterIP"] = old["clusterIP"]
        if not new.get("clusterIPs") and new.get("clusterIP") == old.get("clusterIP") and before:
            new["clusterIPs"] = list(before)
        for name in ("ipFamilies", "ipFamilyPolicy"):
            if not new.get(name) and old.get(name):
                new[name] = old[name]


def _drop_type_dependent(new: JsonObject, old: JsonObject) -> None:
    """`dropTypeDependentFields`, but for the ports, which the allocator's twin drops: what the
    new type has no use for goes, unless the user changed it as well."""
    spec, before = new["spec"], old["spec"]

    def drop(applies: Callable[[JsonObject], bool], *names: str) -> None:
        if applies(before) and not applies(spec):
            for name in names:
                if spec.get(name) == before.get(name):
                    spec.pop(name, None)

    drop(
        lambda s: s["type"] in CLUSTER_IP_TYPES,
        "clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy", "internalTrafficPolicy",
        "trafficDistribution",
    )  # fmt: skip
    drop(externally_accessible, "externalTrafficPolicy")
    drop(
        lambda s: s["type"] == "LoadBalancer", "allocateLoadBalancerNodePorts", "loadBalancerClass"
    )
    if before["type"] == "LoadBalancer" and spec["type"] != "LoadBalancer":
        new["status"] = {**new["status"], "loadBalancer": {}}


def _init_families(name: str, spec: JsonObject) -> None:
    """`initIPFamilyFields` of a single-stack IPv4 cluster."""
    if spec["type"] not in CLUSTER_IP_TYPES:
        return
    found: list[FieldError] = []
    if spec.get("ipFamilyPolicy") == "RequireDualStack" and _dual_stack_matters(spec):
        found.append(
            invalid_value(
                "spec.ipFamilyPolicy",
                "RequireDualStack",
                "this cluster is not configured for dual-stack services",
            )
        )
    families: list[Any] = spec.get("ipFamilies", [])
    if _dual_stack_matters(spec):
        found += [
            invalid_value(f"spec.ipFamilies[{i}]", family, "not configured on this cluster")
            for i, family in enumerate(families)
            if family == "IPv6"
        ]
    if found:
        raise errors.invalid("Service", name, found)
    if _dual_stack_matters(spec):
        spec.setdefault("ipFamilies", ["IPv4"])
        spec.setdefault("ipFamilyPolicy", "SingleStack")
    else:
        # Headless and without a selector: its endpoints are somebody else's, of any family.
        spec.setdefault("ipFamilyPolicy", "RequireDualStack")
        both = ["IPv4", "IPv6"]
        spec.setdefault("ipFamilies", both if spec["ipFamilyPolicy"] != "SingleStack" else both[:1])


def _dual_stack_matters(spec: JsonObject) -> bool:
    return not (spec.get("clusterIP") == "None" and not spec.get("selector"))
