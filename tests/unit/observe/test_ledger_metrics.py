"""The ledgers' metrics: the API server's names where they mean the same, and ours."""

from prometheus_client import CollectorRegistry
from prometheus_client.registry import Collector

from nplb.alloc.allocator import AllocatorCounts
from nplb.alloc.ledger import Ledger
from nplb.alloc.portrange import parse_port_range
from nplb.model.ledger import EdgeLedgerView, EdgePortView, HostPortView
from nplb.observe.ledger_metrics import LEDGER_FAMILIES, AllocatorCollector, LedgerCollector
from tests.support.builders import a_port, a_service, a_snapshot


def registry(collector: Collector) -> CollectorRegistry:
    made = CollectorRegistry()
    made.register(collector)
    return made


def test_counts_a_cluster_by_band_and_namespace() -> None:
    ledger = Ledger("prod", parse_port_range("30000-30063"))
    ledger.observe(a_snapshot([]), 0.0)
    view = ledger.observe(
        a_snapshot(
            [
                a_service("a", a_port(30001)),
                a_service("b", a_port(30020), a_port(30021)),
                a_service("c", a_port(30020), namespace="test"),
                a_service("d", a_port(8080), namespace="test"),
            ]
        ),
        3600.0,
    )
    got = registry(LedgerCollector([view])).get_sample_value
    prod = {"cluster": "prod"}
    assert got("kube_apiserver_nodeport_allocator_allocated_ports", prod) == 3
    assert got("kube_apiserver_nodeport_allocator_available_ports", prod) == 61
    dynamic = {**prod, "band": "dynamic"}
    assert got("nplb_nodeport_band_ports", dynamic) == 48
    assert got("nplb_nodeport_band_used_ports", dynamic) == 2
    assert got("nplb_nodeport_band_used_ports_per_hour", dynamic) == 2.0
    assert got("nplb_nodeport_band_full_timestamp_seconds", dynamic) == 3600 + 46 / 2 * 3600
    assert got("nplb_nodeport_namespace_used_ports", {**prod, "namespace": "default"}) == 3
    assert got("nplb_nodeport_namespace_used_ports", {**prod, "namespace": "test"}) == 1
    assert got("nplb_nodeport_duplicate_ports", prod) == 1
    assert got("nplb_nodeport_outside_ports", prod) == 1
    assert got("nplb_nodeport_leaked_ports", prod) == 0


def test_counts_the_edges_own_ports() -> None:
    edge = EdgeLedgerView(
        ports=(EdgePortView(address="0.0.0.0", port=30080, holder="prod/shop/web:80/TCP"),),
        others=(HostPortView(address="0.0.0.0", port=30080, pid=1, command="nginx"),),
    )
    got = registry(LedgerCollector([], edge)).get_sample_value
    assert got("nplb_edge_ports") == 1
    assert got("nplb_edge_ports_taken_by_others") == 1


def test_every_family_says_what_it_is_and_what_to_do() -> None:
    names = {metric.name for metric in LedgerCollector([]).collect()}
    assert names == {family.name for family in LEDGER_FAMILIES}
    for family in LEDGER_FAMILIES:
        assert family.help.endswith(".")


def test_an_allocator_counts_under_the_api_servers_names() -> None:
    counts = AllocatorCounts(
        allocated=5, available=3, static_allocations=2, dynamic_allocations=3, static_errors=1
    )
    got = registry(AllocatorCollector(counts)).get_sample_value
    prefix = "kube_apiserver_nodeport_allocator"
    assert got(f"{prefix}_allocated_ports") == 5
    assert got(f"{prefix}_available_ports") == 3
    assert got(f"{prefix}_allocation_total", {"scope": "dynamic"}) == 3
    assert got(f"{prefix}_allocation_errors_total", {"scope": "static"}) == 1
    assert got(f"{prefix}_allocation_errors_total", {"scope": "dynamic"}) == 0
