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


class EndpointsMirror:
    """Writes the Endpoints of each Service whose slices change."""

    def __init__(self, store: Store, *, write: Write, delete: Delete) -> None:
        self._store = store
        self._write = write
        self._delete = delete

    def start(self) -> Callable[[], None]:
        """Follow the slices. Returns the function that ends it."""
        return self._store.subscribe("endpointslices", self._on_slice)

    def _on_slice(self, _type: str, slice_: JsonObject) -> None:
        service = labels_of(slice_).get(SERVICE_LABEL)
        if service:
            self._mirror(slice_["metadata"]["namespace"], service)

    def _mirror(self, namespace: str, service: str) -> None:
        slices = [
            record.object
            for record in self._store.records("endpointslices", namespace)
            if labels_of(record.object).get(SERVICE_LABEL) == service
            and record.object.get("addressType") == "IPv4"
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
