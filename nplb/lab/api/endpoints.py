"""Endpoints, the old form of EndpointSlices, kept for clients that still read them (`kubectl
describe service` before 1.31).

A real cluster has a controller for each; here the slices are the truth and Endpoints follow.
"""

from collections.abc import Callable, Iterable
from typing import Any

from nplb.lab.api.store import JsonObject, Store, labels_of

SERVICE_LABEL = "kubernetes.io/service-name"
MANAGED_BY = "endpointslice.kubernetes.io/managed-by"
MANAGER = "nplb-lab"

Write = Callable[[str, JsonObject], object]
Delete = Callable[[str, str], object]
_Named = tuple[str, str]


class EndpointsMirror:
    """Writes the Endpoints of each Service whose slices change."""

    def __init__(self, store: Store, *, write: Write, delete: Delete) -> None:
        self._store = store
        self._write = write
        self._delete = delete
        # The slices of each Service by name, so that a slice costs no look at all others.
        self._slices: dict[_Named, dict[str, JsonObject]] = {}
        self._service_of: dict[_Named, str] = {}

    def start(self) -> Callable[[], None]:
        """Follow the slices. Returns the function that ends it."""
        self._slices.clear()
        self._service_of.clear()
        for record in self._store.records("endpointslices"):
            self._enter(record.object)
        return self._store.subscribe("endpointslices", self._on_slice)

    def _on_slice(self, type_: str, slice_: JsonObject) -> None:
        metadata = slice_["metadata"]
        namespace, name = metadata["namespace"], metadata["name"]
        before = self._service_of.pop((namespace, name), None)
        if before is not None:
            mine = self._slices[namespace, before]
            del mine[name]
            if not mine:
                del self._slices[namespace, before]
        service = self._enter(slice_) if type_ != "DELETED" else None
        for affected in dict.fromkeys((before, service)):
            if affected:
                self._mirror(namespace, affected)

    def _enter(self, slice_: JsonObject) -> str | None:
        """Take in a slice. Returns its Service."""
        metadata = slice_["metadata"]
        service = labels_of(slice_).get(SERVICE_LABEL)
        if service:
            self._slices.setdefault((metadata["namespace"], service), {})[metadata["name"]] = slice_
            self._service_of[metadata["namespace"], metadata["name"]] = service
        return service

    def _mirror(self, namespace: str, service: str) -> None:
        slices = [
            slice_
            for _, slice_ in sorted(self._slices.get((namespace, service), {}).items())
            if slice_.get("addressType") == "IPv4"
        ]
        present = self._store.record("endpoints", service, namespace)
        if not slices:
            if present is not None:
                self._delete(namespace, service)
            return
        subsets = subsets_of(slices)
        if present is not None and present.object.get("subsets", []) == subsets:
            return
        self._write(
            namespace,
            {
                "metadata": {
                    "name": service,
                    "namespace": namespace,
                    "labels": {MANAGED_BY: MANAGER},
                },
                "subsets": subsets,
            },
        )


def subsets_of(slices: Iterable[JsonObject]) -> list[JsonObject]:
    """The subsets of Endpoints that say the same as these slices: one for each set of ports,
    addresses sorted."""
    grouped: dict[str, JsonObject] = {}
    for slice_ in slices:
        ports = [_port(port) for port in slice_.get("ports") or () if port.get("port")]
        subset = grouped.setdefault(
            repr(ports), {"addresses": {}, "notReadyAddresses": {}, "ports": ports}
        )
        for endpoint in slice_.get("endpoints") or ():
            # Unknown counts as ready, as the API says.
            is_ready = endpoint.get("conditions", {}).get("ready", True)
            listed = subset["addresses" if is_ready else "notReadyAddresses"]
            for address in endpoint.get("addresses") or ():
                listed[address] = _address(address, endpoint)
    subsets: list[JsonObject] = []
    for key in sorted(grouped):
        subset = grouped[key]
        written: JsonObject = {}
        for name in ("addresses", "notReadyAddresses"):
            if subset[name]:
                written[name] = [subset[name][address] for address in sorted(subset[name])]
        if written:
            if subset["ports"]:
                written["ports"] = subset["ports"]
            subsets.append(written)
    return subsets


def _port(port: JsonObject) -> JsonObject:
    found: JsonObject = {}
    if port.get("name"):
        found["name"] = port["name"]
    found["port"] = port["port"]
    found["protocol"] = port.get("protocol", "TCP")
    return found


def _address(address: str, endpoint: JsonObject) -> JsonObject:
    found: dict[str, Any] = {"ip": address}
    for name in ("nodeName", "targetRef"):
        if endpoint.get(name):
            found[name] = endpoint[name]
    return found
