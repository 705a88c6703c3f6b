"""The strategies of EndpointSlices, and of the Endpoints that are derived from them.

Mirrors `pkg/registry/discovery/endpointslice/strategy.go`, `pkg/apis/discovery/validation` and
the part of `pkg/apis/core/validation` that checks addresses.
"""

import functools
import ipaddress

from nplb.lab.api.errors import (
    FieldError,
    duplicate,
    invalid_value,
    not_supported,
    required,
)
from nplb.lab.api.names import (
    dns_label_problems,
    dns_subdomain_problems,
)
from nplb.lab.api.service_validation import PROTOCOLS, special_ip_problems
from nplb.lab.api.store import JsonObject
from nplb.lab.api.strategy import Strategy

ADDRESS_TYPES = ("FQDN", "IPv4", "IPv6")
_MAX_ENDPOINTS = 1000
_PORT_NUMBER = "must be between 1 and 65535, inclusive"


class EndpointSliceStrategy(Strategy):
    """EndpointSlices."""

    has_generation = True

    def default(self, object_: JsonObject) -> None:
        """`SetDefaults_EndpointPort`."""
        for port in object_.get("ports") or ():
            port.setdefault("name", "")
            port.setdefault("protocol", "TCP")

    def validate(self, object_: JsonObject) -> list[FieldError]:
        """`ValidateEndpointSlice`."""
        type_ = object_.get("addressType", "")
        found: list[FieldError] = []
        if not type_:
            found.append(required("addressType"))
        elif type_ not in ADDRESS_TYPES:
            found.append(not_supported("addressType", type_, ADDRESS_TYPES))
        endpoints = object_.get("endpoints") or []
        if len(endpoints) > _MAX_ENDPOINTS:
            detail = f"Too many: {len(endpoints)}: must have at most {_MAX_ENDPOINTS} items"
            found.append(FieldError(field="endpoints", reason="FieldValueTooMany", message=detail))
            return found
        for index, endpoint in enumerate(endpoints):
            found += _validate_endpoint(f"endpoints[{index}]", endpoint, type_)
        names: set[str] = set()
        for index, port in enumerate(object_.get("ports") or ()):
            found += _validate_endpoint_port(f"ports[{index}]", port, names)
        return found

    def validate_update(self, new: JsonObject, old: JsonObject) -> list[FieldError]:
        """`ValidateEndpointSliceUpdate`."""
        if new.get("addressType") != old.get("addressType"):
            value = new.get("addressType", "")
            return [invalid_value("addressType", value, "field is immutable")]
        return []


def _validate_endpoint(place: str, endpoint: JsonObject, type_: str) -> list[FieldError]:
    found: list[FieldError] = []
    addresses = endpoint.get("addresses") or []
    if not addresses:
        found.append(required(f"{place}.addresses", "must contain at least 1 address"))
    for index, address in enumerate(addresses):
        where = f"{place}.addresses[{index}]"
        if type_ == "FQDN":
            found += [
                invalid_value(where, address, text) for text in dns_subdomain_problems(address)
            ]
        elif type_ in ADDRESS_TYPES:
            found += _validate_endpoint_ip(where, address, 4 if type_ == "IPv4" else 6)
    node = endpoint.get("nodeName")
    if node is not None:
        found += [
            invalid_value(f"{place}.nodeName", node, text) for text in dns_subdomain_problems(node)
        ]
    host = endpoint.get("hostname")
    if host is not None:
        found += [
            invalid_value(f"{place}.hostname", host, text) for text in dns_label_problems(host)
        ]
    return found


def _validate_endpoint_ip(place: str, address: str, version: int) -> list[FieldError]:
    problems = _endpoint_ip_problems(address, version)
    return [invalid_value(place, address, text) for text in problems]


@functools.lru_cache(maxsize=4096)
def _endpoint_ip_problems(address: str, version: int) -> tuple[str, ...]:
    """Remembered: a slice is written again and again with the same addresses."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        parsed = None
    if parsed is None or parsed.version != version:
        return (f"must be a valid IPv{version} address",)
    return tuple(special_ip_problems(address))


def _validate_endpoint_port(place: str, port: JsonObject, names: set[str]) -> list[FieldError]:
    found: list[FieldError] = []
    name, number = port.get("name") or "", port.get("port")
    if name in names:
        found.append(duplicate(f"{place}.name", name))
    names.add(name)
    if name:
        found += [invalid_value(f"{place}.name", name, text) for text in dns_label_problems(name)]
    if port.get("protocol") not in PROTOCOLS:
        found.append(not_supported(f"{place}.protocol", port.get("protocol"), PROTOCOLS))
    if number is not None and not 1 <= number <= 65535:
        found.append(invalid_value(f"{place}.port", number, _PORT_NUMBER))
    return found


class EndpointsStrategy(Strategy):
    """Endpoints, which this server derives from the slices."""

    creates_on_update = True

    def validate(self, object_: JsonObject) -> list[FieldError]:
        """`ValidateEndpoints`: the addresses."""
        found: list[FieldError] = []
        for number, subset in enumerate(object_.get("subsets", ())):
            for name in ("addresses", "notReadyAddresses"):
                for index, address in enumerate(subset.get(name, ())):
                    place = f"subsets[{number}].{name}[{index}].ip"
                    try:
                        problems = special_ip_problems(address["ip"])
                    except ValueError:
                        problems = ["must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"]
                    found += [invalid_value(place, address["ip"], text) for text in problems]
        return found
