"""What may stand in a Service, refused word for word as the API server does.

Mirrors `ValidateService`, `ValidateServiceUpdate` and `ValidateLoadBalancerStatus` of
`pkg/apis/core/validation/validation.go`, in their order.
"""

import ipaddress
import re
from typing import Any

from nplb.lab.api.errors import (
    FieldError,
    duplicate,
    forbidden_field,
    invalid_value,
    not_supported,
    required,
)
from nplb.lab.api.names import (
    dns_label_problems,
    dns_subdomain_problems,
    port_name_problems,
    qualified_name_problems,
    validate_labels,
)
from nplb.lab.api.store import JsonObject

PROTOCOLS = ("SCTP", "TCP", "UDP")
TYPES = ("ClusterIP", "ExternalName", "LoadBalancer", "NodePort")
AFFINITIES = ("ClientIP", "None")
POLICIES = ("Cluster", "Local")
DISTRIBUTIONS = ("PreferClose", "PreferSameNode", "PreferSameZone")
MAX_AFFINITY_SECONDS = 86400
_ONLY_LOAD_BALANCER = "may only be used when `type` is 'LoadBalancer'"
_PORT_NUMBER = "must be between 1 and 65535, inclusive"
_BAD_IP = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"
_BAD_CIDR = "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)"


def validate_service(object_: JsonObject) -> list[FieldError]:
    """Everything that is wrong with a Service's spec."""
    spec = object_["spec"]
    ports: list[JsonObject] = spec.get("ports", [])
    headless = spec.get("clusterIP") == "None"
    found: list[FieldError] = []
    if not ports and not headless and spec.get("type") != "ExternalName":
        found.append(required("spec.ports"))
    found += _validate_type_rules(spec, ports, headless)
    found += _validate_ports(ports)
    found += validate_labels(spec.get("selector", {}), "spec.selector")
    found += _validate_affinity(spec)
    found += _validate_cluster_ips(spec)
    for index, address in enumerate(spec.get("externalIPs", ())):
        found += _validate_external_ip(f"spec.externalIPs[{index}]", address)
    if spec.get("type") not in TYPES:
        found.append(not_supported("spec.type", spec.get("type", ""), TYPES))
    found += _validate_numbers(spec, ports)
    found += _validate_load_balancer(spec)
    found += _validate_external_policy(spec)
    policy = spec.get("internalTrafficPolicy")
    if policy is not None and policy not in POLICIES:
        found.append(not_supported("spec.internalTrafficPolicy", policy, POLICIES))
    distribution = spec.get("trafficDistribution")
    if distribution is not None and distribution not in DISTRIBUTIONS:
        found.append(not_supported("spec.trafficDistribution", distribution, DISTRIBUTIONS))
    return found


def _validate_type_rules(
    spec: JsonObject, ports: list[JsonObject], headless: bool
) -> list[FieldError]:
    found: list[FieldError] = []
    match spec.get("type"):
        case "LoadBalancer" | "NodePort" as type_:
            if type_ == "LoadBalancer":
                found += [
                    invalid_value(
                        f"spec.ports[{index}]",
                        10250,
                        "may not expose port 10250 externally since it is used by kubelet",
                    )
                    for index, port in enumerate(ports)
                    if port["port"] == 10250
                ]
            if headless:
                detail = f"may not be set to 'None' for {type_} services"
                found.append(invalid_value("spec.clusterIPs[0]", "None", detail))
        case "ExternalName":
            detail = "may not be set for ExternalName services"
            for name in ("clusterIPs", "ipFamilies", "ipFamilyPolicy"):
                if spec.get(name):
                    found.append(forbidden_field(f"spec.{name}", detail))
            name = spec.get("externalName", "").rstrip(".")
            if not name:
                found.append(required("spec.externalName"))
            found += [
                invalid_value("spec.externalName", name, text)
                for text in (dns_subdomain_problems(name) if name else ())
            ]
        case _:
            pass
    return found


def _validate_ports(ports: list[JsonObject]) -> list[FieldError]:
    found: list[FieldError] = []
    names: set[str] = set()
    for index, port in enumerate(ports):
        place = f"spec.ports[{index}]"
        name = port.get("name", "")
        if not name and len(ports) > 1:
            found.append(required(f"{place}.name"))
        elif name:
            found += [invalid_value(f"{place}.name", name, t) for t in dns_label_problems(name)]
            if name in names:
                found.append(duplicate(f"{place}.name", name))
            names.add(name)
        if not 1 <= port["port"] <= 65535:
            found.append(invalid_value(f"{place}.port", port["port"], _PORT_NUMBER))
        if port.get("protocol") not in PROTOCOLS:
            protocol = port.get("protocol", "")
            found.append(not_supported(f"{place}.protocol", protocol, PROTOCOLS))
        found += _validate_target(f"{place}.targetPort", port.get("targetPort"))
        if "appProtocol" in port:
            found += [
                invalid_value(f"{place}.appProtocol", port["appProtocol"], text)
                for text in qualified_name_problems(port["appProtocol"])
            ]
    return found


def _validate_target(place: str, target: Any) -> list[FieldError]:
    if isinstance(target, str):
        return [invalid_value(place, target, text) for text in port_name_problems(target)]
    if not isinstance(target, int) or not 1 <= target <= 65535:
        return [invalid_value(place, target, _PORT_NUMBER)]
    return []


def _validate_affinity(spec: JsonObject) -> list[FieldError]:
    affinity = spec.get("sessionAffinity", "")
    place = "spec.sessionAffinityConfig.clientIP.timeoutSeconds"
    if affinity not in AFFINITIES:
        return [not_supported("spec.sessionAffinity", affinity, AFFINITIES)]
    if affinity != "ClientIP":
        return []
    seconds = spec.get("sessionAffinityConfig", {}).get("clientIP", {}).get("timeoutSeconds")
    if seconds is None or not 0 < seconds <= MAX_AFFINITY_SECONDS:
        detail = f"must be greater than 0 and less than {MAX_AFFINITY_SECONDS}"
        return [invalid_value(place, seconds, detail)]
    return []


def _validate_cluster_ips(spec: JsonObject) -> list[FieldError]:
    """`ValidateServiceClusterIPsRelatedFields`, for one family."""
    if spec.get("type") == "ExternalName":
        return []
    addresses = spec.get("clusterIPs", [])
    found: list[FieldError] = []
    if addresses and spec.get("clusterIP") != addresses[0]:
        detail = "first value must match `clusterIP`"
        found.append(invalid_value("spec.clusterIPs", addresses, detail))
    if len(addresses) > 1:
        detail = "only one IP can be set on this cluster, which is not configured for dual-stack"
        found.append(invalid_value("spec.clusterIPs", addresses, detail))
    for index, address in enumerate(addresses):
        if address != "None" and not _is_ip(address):
            found.append(invalid_value(f"spec.clusterIPs[{index}]", address, _BAD_IP))
    return found


def _validate_numbers(spec: JsonObject, ports: list[JsonObject]) -> list[FieldError]:
    """nodePorts where they may not be, and duplicates of nodePorts and of ports."""
    found: list[FieldError] = []
    numbers: set[tuple[str, int]] = set()
    keys: set[tuple[str, int]] = set()
    for index, port in enumerate(ports):
        number = port.get("nodePort", 0)
        place = f"spec.ports[{index}].nodePort"
        if number and spec.get("type") == "ClusterIP":
            detail = "may not be used when `type` is 'ClusterIP'"
            found.append(forbidden_field(place, detail))
        elif number:
            if (port["protocol"], number) in numbers:
                found.append(duplicate(place, number))
            numbers.add((port["protocol"], number))
    for index, port in enumerate(ports):
        key = (port.get("protocol", ""), port["port"])
        if key in keys:
            # The key itself is printed: a ServicePort with nothing but these two.
            value = {
                "Name": "", "Protocol": key[0], "AppProtocol": None, "Port": key[1],
                "TargetPort": 0, "NodePort": 0,
            }  # fmt: skip
            found.append(duplicate(f"spec.ports[{index}]", value))
        keys.add(key)
    return found


def _validate_load_balancer(spec: JsonObject) -> list[FieldError]:
    found: list[FieldError] = []
    is_balancer = spec.get("type") == "LoadBalancer"
    for index, text in enumerate(spec.get("loadBalancerSourceRanges", ())):
        if not is_balancer:
            found.append(forbidden_field("spec.LoadBalancerSourceRanges", _ONLY_LOAD_BALANCER))
            break
        if not _is_cidr(text.strip()):
            place = f"spec.LoadBalancerSourceRanges[{index}]"
            found.append(invalid_value(place, text, _BAD_CIDR))
    if not is_balancer and "allocateLoadBalancerNodePorts" in spec:
        found.append(forbidden_field("spec.allocateLoadBalancerNodePorts", _ONLY_LOAD_BALANCER))
    class_ = spec.get("loadBalancerClass")
    if class_ is not None and not is_balancer:
        found.append(forbidden_field("spec.loadBalancerClass", _ONLY_LOAD_BALANCER))
    elif class_ is not None:
        found += [
            invalid_value("spec.loadBalancerClass", class_, text)
            for text in qualified_name_problems(class_)
        ]
    return found


def _validate_external_policy(spec: JsonObject) -> list[FieldError]:
    """`validateServiceExternalTrafficFieldsValue`."""
    found: list[FieldError] = []
    place = "spec.externalTrafficPolicy"
    policy = spec.get("externalTrafficPolicy", "")
    type_ = spec.get("type")
    accessible = type_ in ("NodePort", "LoadBalancer") or (
        type_ == "ClusterIP" and bool(spec.get("externalIPs"))
    )
    if not accessible:
        if policy:
            detail = "may only be set for externally-accessible services"
            found.append(invalid_value(place, policy, detail))
    elif not policy:
        found.append(required(place))
    elif policy not in POLICIES:
        found.append(not_supported(place, policy, POLICIES))
    number = spec.get("healthCheckNodePort", 0)
    if type_ == "LoadBalancer" and policy == "Local":
        if not 1 <= number <= 65535:
            found.append(invalid_value("spec.healthCheckNodePort", number, _PORT_NUMBER))
    elif number:
        detail = (
            "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'"
        )
        found.append(invalid_value("spec.healthCheckNodePort", number, detail))
    return found


def validate_service_update(new: JsonObject, old: JsonObject) -> list[FieldError]:
    """What may not change once a Service exists."""
    after, before = new["spec"], old["spec"]
    found: list[FieldError] = []
    if after["type"] != "ExternalName" and before["type"] != "ExternalName":
        addresses = before.get("clusterIPs", [])
        if addresses and after.get("clusterIPs", [])[:1] != addresses[:1]:
            detail = "may not change once set"
            value = after.get("clusterIPs", [])
            found.append(invalid_value("spec.clusterIPs[0]", value, detail))
    both_check = _needs_health_check(before) and _needs_health_check(after)
    if both_check and before.get("healthCheckNodePort") != after.get("healthCheckNodePort"):
        found.append(forbidden_field("spec.healthCheckNodePort", "field is immutable"))
    both_balance = before["type"] == after["type"] == "LoadBalancer"
    if both_balance and before.get("loadBalancerClass") != after.get("loadBalancerClass"):
        detail = "may not change once set"
        value = after.get("loadBalancerClass")
        found.append(invalid_value("spec.loadBalancerClass", value, detail))
    return found


def _needs_health_check(spec: JsonObject) -> bool:
    return spec["type"] == "LoadBalancer" and spec.get("externalTrafficPolicy") == "Local"


def validate_service_status(object_: JsonObject) -> list[FieldError]:
    """`ValidateLoadBalancerStatus`."""
    ingress = object_.get("status", {}).get("loadBalancer", {}).get("ingress", [])
    if ingress and object_["spec"]["type"] != "LoadBalancer":
        detail = "may only be used when `spec.type` is 'LoadBalancer'"
        return [forbidden_field("status.loadBalancer.ingress", detail)]
    found: list[FieldError] = []
    for index, entry in enumerate(ingress):
        place = f"status.loadBalancer.ingress[{index}]"
        address, mode, host = entry.get("ip"), entry.get("ipMode"), entry.get("hostname")
        if address and not _is_ip(address):
            found.append(invalid_value(f"{place}.ip", address, _BAD_IP))
        if mode is not None and not address:
            detail = "may not be specified when `ip` is not set"
            found.append(forbidden_field(f"{place}.ipMode", detail))
        elif mode is not None and mode not in ("Proxy", "VIP"):
            found.append(not_supported(f"{place}.ipMode", mode, ("Proxy", "VIP")))
        if host and _is_ip(host):
            detail = "must be a DNS name, not an IP address"
            found.append(invalid_value(f"{place}.hostname", host, detail))
        elif host:
            found += [
                invalid_value(f"{place}.hostname", host, text)
                for text in dns_subdomain_problems(host)
            ]
    return found


def _validate_external_ip(place: str, address: str) -> list[FieldError]:
    problems = special_ip_problems(address) if _is_ip(address) else [_BAD_IP]
    return [invalid_value(place, address, text) for text in problems]


def special_ip_problems(address: str) -> list[str]:
    """`ValidateEndpointIP`: what no endpoint and no external IP may be. Raises ValueError for
    what is no address."""
    number = ipaddress.ip_address(address)
    found: list[str] = []
    if number.is_unspecified:
        found.append("may not be unspecified (0.0.0.0 or ::)")
    if number.is_loopback:
        found.append("may not be in the loopback range (127.0.0.0/8, ::1/128)")
    if number.is_link_local:
        found.append("may not be in the link-local range (169.254.0.0/16, fe80::/10)")
    if number.is_multicast and (number.version == 6 or str(number).startswith("224.0.0.")):
        low = "224.0.0.0/24" if number.version == 4 else "ff02::/10"
        found.append(f"may not be in the link-local multicast range ({low})")
    return found


def _is_ip(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return "%" not in text


def _is_cidr(text: str) -> bool:
    if not re.fullmatch(r"[0-9a-fA-F:.]+/[0-9]+", text):
        return False
    try:
        ipaddress.ip_network(text, strict=False)
    except ValueError:
        return False
    return True
