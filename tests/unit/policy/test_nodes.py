"""Which nodes may serve: the vectors of Kubernetes' service controller, and Local."""

import pytest

from nplb.model.cluster import Node, TrafficPolicy
from nplb.model.reasons import BackendReason
from nplb.policy.nodes import (
    AUTOSCALER_TAINT,
    EXCLUDE_LABEL,
    count_endpoints,
    node_exclusion,
    node_ip,
    service_exclusion,
)
from nplb.policy.selectors import parse_selector
from tests.support.builders import a_node, a_service, a_slice, an_endpoint

EVERYTHING = parse_selector("")


# controller_test.go, Test_respectsPredicates
@pytest.mark.parametrize(
    ("node", "reason"),
    [
        (a_node(), None),
        (a_node(labels={EXCLUDE_LABEL: ""}), BackendReason.EXCLUDE_LABEL),
        (a_node(labels={EXCLUDE_LABEL: "false"}), None),
        (a_node(labels={EXCLUDE_LABEL: "true"}), BackendReason.EXCLUDE_LABEL),
        (a_node(labels={EXCLUDE_LABEL: "foo"}), BackendReason.EXCLUDE_LABEL),
        (a_node(labels={EXCLUDE_LABEL: "F"}), None),
        (a_node(taints=[AUTOSCALER_TAINT]), BackendReason.AUTOSCALER_TAINT),
        (a_node(taints=["node.kubernetes.io/not-ready"]), None),
        (a_node(ready=False), None),
        (a_node(ready=None), None),
        (a_node(unschedulable=True), None),
        (a_node(deleting=True), BackendReason.NODE_DELETING),
    ],
)
def test_what_the_api_says_of_a_node(node: Node, reason: BackendReason | None) -> None:
    out = node_exclusion(node, EVERYTHING)
    assert (out.reason if out else None) == reason


def test_a_node_outside_the_selector_says_which_selector() -> None:
    selector = parse_selector("pool=edge")
    assert node_exclusion(a_node(labels={"pool": "edge"}), selector) is None
    out = node_exclusion(a_node(labels={"pool": "batch"}), selector)
    assert out is not None
    assert out.reason is BackendReason.NODE_NOT_SELECTED
    assert "pool=edge" in out.detail


@pytest.mark.parametrize(
    ("addresses", "types", "families", "expected"),
    [
        ([("InternalIP", "10.0.0.1")], ["InternalIP"], ["IPv4"], "10.0.0.1"),
        ([("ExternalIP", "192.0.2.1"), ("InternalIP", "10.0.0.1")],
         ["InternalIP", "ExternalIP"], ["IPv4"], "10.0.0.1"),
        ([("ExternalIP", "192.0.2.1")], ["InternalIP", "ExternalIP"], ["IPv4"], "192.0.2.1"),
        ([("InternalIP", "10.0.0.1"), ("InternalIP", "2001:db8::1")],
         ["InternalIP"], ["IPv6"], "2001:db8::1"),
        ([("InternalIP", "10.0.0.1"), ("InternalIP", "2001:db8::1")],
         ["InternalIP"], ["IPv6", "IPv4"], "2001:db8::1"),
        ([("InternalIP", "10.0.0.1")], ["InternalIP"], ["IPv6"], None),
        ([("InternalIP", "10.0.0.1")], ["InternalIP"], [], "10.0.0.1"),
        ([("Hostname", "node-1")], ["InternalIP"], ["IPv4"], None),
    ],
)  # fmt: skip
def test_the_address_of_a_node(
    addresses: list[tuple[str, str]], types: list[str], families: list[str], expected: str | None
) -> None:
    assert node_ip(a_node(addresses=addresses), types, families) == expected


@pytest.mark.parametrize(
    "claimed",
    ["", "localhost", "javascript:alert(1)", "10.0.0.1:22", "010.0.0.1", "0.0.0.0", "::",
     "224.0.0.1", "ff02::1", "fe80::1%eth0", "10.0.0.1\n", "1" * 10_000],
)  # fmt: skip
def test_what_nobody_can_connect_to_is_no_address(claimed: str) -> None:
    node = a_node(addresses=[("InternalIP", claimed)])
    assert node_ip(node, ["InternalIP"], []) is None
    both = a_node(addresses=[("InternalIP", claimed), ("InternalIP", "10.0.0.1")])
    assert node_ip(both, ["InternalIP"], ["IPv4"]) == "10.0.0.1"


def test_a_node_cannot_send_clients_out_of_its_networks() -> None:
    networks = ("10.0.0.0/16", "2001:db8:1::/48")
    for claimed, is_taken in (
        ("10.0.255.255", True),
        ("2001:db8:1::7", True),
        ("10.1.0.1", False),
        ("127.0.0.1", False),
        ("169.254.169.254", False),
        ("::ffff:10.0.0.1", True),
        ("::1", False),
    ):
        node = a_node(addresses=[("InternalIP", claimed)])
        assert (node_ip(node, ["InternalIP"], [], networks) == claimed) is is_taken, claimed


def test_local_services_use_nodes_with_ready_endpoints_by_their_number() -> None:
    service = a_service(policy=TrafficPolicy.LOCAL)
    endpoints = count_endpoints(
        [
            a_slice(an_endpoint(1, "10.1.0.1"), an_endpoint(1, "10.1.0.2")),
            a_slice(an_endpoint(1, "10.1.0.2")),  # the same address in a second slice
            a_slice(an_endpoint(2, "10.1.0.3", ready=False, terminating=True)),
            a_slice(an_endpoint(3, "10.1.0.4", ready=False, serving=False)),
        ]
    )
    assert service_exclusion(service, a_node(1), endpoints) == (None, 2)
    draining, _ = service_exclusion(service, a_node(2), endpoints)
    nothing, _ = service_exclusion(service, a_node(3), endpoints)
    assert draining is not None
    assert draining.reason is BackendReason.LOCAL_TERMINATING
    assert nothing is not None
    assert nothing.reason is BackendReason.NO_LOCAL_ENDPOINT


def test_local_without_any_slice_leaves_it_to_the_probes() -> None:
    service = a_service(policy=TrafficPolicy.LOCAL)
    assert service_exclusion(service, a_node(1), count_endpoints([])) == (None, 1)


def test_cluster_services_use_every_node() -> None:
    endpoints = count_endpoints([a_slice(an_endpoint(1, "10.1.0.1"))])
    assert service_exclusion(a_service(), a_node(2), endpoints) == (None, 1)
