"""What kube-proxy does with a NodePort, for every mixture of endpoints."""

from typing import Any

import pytest

from nplb.lab.rules import (
    Action,
    cluster_ip_rule,
    local_ready_endpoints,
    node_port_rule,
    targets_of,
)
from nplb.model.cluster import Endpoint, EndpointSlice, Service, ServicePort, TrafficPolicy
from nplb.model.keys import ServiceKey

PORT = ServicePort(name="http", port=80, node_port=30080)
READY: dict[str, Any] = {"ready": True, "serving": True, "terminating": False}
DRAINING: dict[str, Any] = {"ready": False, "serving": True, "terminating": True}
STOPPED: dict[str, Any] = {"ready": False, "serving": False, "terminating": True}
UNREADY: dict[str, Any] = {"ready": False, "serving": False, "terminating": False}


def service(policy: TrafficPolicy = TrafficPolicy.CLUSTER, affinity: int | None = None) -> Service:
    return Service(
        key=ServiceKey("lab", "default", "web"),
        ports=(PORT,),
        external_traffic_policy=policy,
        affinity_seconds=affinity,
    )


def slice_of(*endpoints: tuple[str, str, dict[str, Any]], name: str = "web-1") -> EndpointSlice:
    return EndpointSlice(
        namespace="default",
        name=name,
        service="web",
        endpoints=tuple(
            Endpoint(addresses=(ip,), node_name=node, **conditions)
            for ip, node, conditions in endpoints
        ),
        ports={"http": 8080},
    )


def ips(rule_targets: object) -> list[str]:
    return [target.ip for target in rule_targets]  # type: ignore[attr-defined]


def test_no_endpoint_at_all_is_refused() -> None:
    assert node_port_rule(service(), PORT, (), "node-1").action is Action.REFUSE


@pytest.mark.parametrize("conditions", [UNREADY, STOPPED])
def test_endpoints_that_serve_nobody_are_refused(conditions: dict[str, Any]) -> None:
    slices = (slice_of(("10.0.0.1", "node-1", conditions)),)
    for policy in TrafficPolicy:
        rule = node_port_rule(service(policy), PORT, slices, "node-1")
        assert rule.action is Action.REFUSE


def test_any_node_forwards_to_every_ready_pod() -> None:
    slices = (
        slice_of(
            ("10.0.0.1", "node-1", READY),
            ("10.0.0.2", "node-2", READY),
            ("10.0.0.3", "node-2", UNREADY),
        ),
    )
    rule = node_port_rule(service(), PORT, slices, "node-3")
    assert rule.action is Action.FORWARD
    assert ips(rule.targets) == ["10.0.0.1", "10.0.0.2"]
    assert not rule.preserve_source


def test_terminating_pods_serve_when_nobody_is_ready() -> None:
    slices = (slice_of(("10.0.0.1", "node-1", DRAINING), ("10.0.0.2", "node-1", STOPPED)),)
    assert ips(node_port_rule(service(), PORT, slices, "node-2").targets) == ["10.0.0.1"]


def test_terminating_pods_get_nothing_while_one_is_ready() -> None:
    slices = (slice_of(("10.0.0.1", "node-1", DRAINING), ("10.0.0.2", "node-1", READY)),)
    assert ips(node_port_rule(service(), PORT, slices, "node-2").targets) == ["10.0.0.2"]


def test_local_forwards_to_its_own_pods_and_keeps_the_source() -> None:
    slices = (slice_of(("10.0.0.1", "node-1", READY), ("10.0.0.2", "node-2", READY)),)
    rule = node_port_rule(service(TrafficPolicy.LOCAL), PORT, slices, "node-2")
    assert ips(rule.targets) == ["10.0.0.2"]
    assert rule.preserve_source


def test_local_without_a_pod_here_drops() -> None:
    slices = (slice_of(("10.0.0.1", "node-1", READY)),)
    rule = node_port_rule(service(TrafficPolicy.LOCAL), PORT, slices, "node-3")
    assert rule.action is Action.DROP


def test_local_uses_its_terminating_pod_though_others_are_ready_elsewhere() -> None:
    slices = (slice_of(("10.0.0.1", "node-1", READY), ("10.0.0.2", "node-2", DRAINING)),)
    rule = node_port_rule(service(TrafficPolicy.LOCAL), PORT, slices, "node-2")
    assert ips(rule.targets) == ["10.0.0.2"]


def test_an_endpoint_in_two_slices_counts_once_and_as_ready() -> None:
    slices = (
        slice_of(("10.0.0.1", "node-1", UNREADY), name="web-1"),
        slice_of(("10.0.0.1", "node-1", READY), name="web-2"),
    )
    (target,) = targets_of(PORT, slices)
    assert target.ready


def test_slices_of_another_family_or_without_the_port_do_not_count() -> None:
    ipv6 = EndpointSlice(
        namespace="default",
        name="six",
        service="web",
        address_type="IPv6",
        endpoints=(Endpoint(addresses=("fd00::1",)),),
        ports={"http": 8080},
    )
    other_port = EndpointSlice(
        namespace="default",
        name="admin",
        service="web",
        endpoints=(Endpoint(addresses=("10.0.0.9",)),),
        ports={"admin": 9000},
    )
    assert targets_of(PORT, (ipv6, other_port)) == ()


def test_the_health_check_counts_ready_pods_of_this_node_only() -> None:
    slices = (
        slice_of(
            ("10.0.0.1", "node-1", READY),
            ("10.0.0.2", "node-1", DRAINING),
            ("10.0.0.3", "node-2", READY),
        ),
    )
    assert local_ready_endpoints(service(TrafficPolicy.LOCAL), slices, "node-1") == 1
    assert local_ready_endpoints(service(TrafficPolicy.LOCAL), slices, "node-3") == 0


def test_the_cluster_ip_goes_to_every_ready_pod_whatever_the_external_policy() -> None:
    slices = (slice_of(("10.0.0.1", "node-1", READY), ("10.0.0.2", "node-2", READY)),)
    rule = cluster_ip_rule(service(TrafficPolicy.LOCAL, affinity=60), PORT, slices)
    assert ips(rule.targets) == ["10.0.0.1", "10.0.0.2"]
    assert rule.affinity_seconds == 60
