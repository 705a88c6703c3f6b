"""A status as metrics."""

import re
from dataclasses import replace
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import generate_latest as text_page
from prometheus_client.metrics_core import Metric
from prometheus_client.openmetrics.exposition import generate_latest as openmetrics_page
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from nplb.model.applied import (
    BackendCounters,
    FastPathCounters,
    FrontendCounters,
    Traffic,
    WorkerCounters,
)
from nplb.model.decision import DecisionKind
from nplb.model.keys import FrontendKey, Protocol
from nplb.model.ledger import EdgeLedgerView, EphemeralView
from nplb.model.reasons import FastPathEvent
from nplb.model.relay import RelayOptions
from nplb.model.status import Status
from nplb.observe.exposition import OPENMETRICS, TEXT, encode
from nplb.observe.families import FAMILIES, Kind
from nplb.observe.ledger_metrics import LEDGER_FAMILIES
from nplb.observe.metrics import MetricsPage, StatusCollector
from tests.support.status import frontend, large, status, troubled


def read(given: Status, name: str, /, **labels: str) -> float | None:
    registry = CollectorRegistry()
    registry.register(StatusCollector(given, {DecisionKind.STARTED: 1}))
    return registry.get_sample_value(name, labels)


WEB = {"cluster": "prod", "namespace": "shop", "service": "web", "port": "80", "protocol": "TCP"}


def test_frontends_and_backends() -> None:
    state = troubled()
    assert read(state, "nplb_frontend_serving", **WEB) == 1
    assert read(state, "nplb_frontend_serving", **{**WEB, "service": "api"}) == 0
    assert read(state, "nplb_frontends", cluster="prod", state="conflict") == 1
    assert read(state, "nplb_frontends", cluster="prod", state="failed") == 0
    assert read(state, "nplb_frontend_backends", **WEB, state="draining") == 1
    assert read(state, "nplb_backends", cluster="prod", state="down", reason="refused") == 3
    assert read(state, "nplb_node_backends", cluster="prod", node="node-2", state="down") == 1
    assert read(state, "nplb_skipped_ports", cluster="prod", reason="protocol") == 1
    labels = {**WEB, "node": "node-1", "state": "down", "reason": "refused"}
    assert read(state, "nplb_backend_state", **labels) == 1
    assert read(state, "nplb_frontend_connections_accepted_total", **WEB) == 100
    reason = {"reason": "connect_refused"}
    assert read(state, "nplb_frontend_connections_ended_total", **WEB, **reason) == 2


def test_failures_are_counted_from_0_so_that_rate_sees_the_first() -> None:
    fresh = status(replace(frontend(), backends=()), traffic=Traffic())
    name = "nplb_frontend_connections_ended_total"
    rules = Path(__file__).parents[3] / "deploy/prometheus/nplb.rules.yml"
    asked = re.search(rf'rate\({name}{{reason=~"([a-z_|]+)"', rules.read_text())
    assert asked is not None
    for reason in asked[1].split("|"):
        assert read(fresh, name, **WEB, reason=reason) == 0
    assert read(fresh, name, **WEB, reason="client_closed") is None


def test_the_control_process() -> None:
    state = troubled()
    assert read(state, "nplb_ready") == 0
    assert read(state, "nplb_ready_part", part="listeners") == 0
    assert read(state, "nplb_source_state", cluster="prod", state="stale") == 1
    assert read(state, "nplb_source_state", cluster="prod", state="live") == 0
    assert read(state, "nplb_source_snapshot_age_seconds", cluster="prod") == 300
    assert read(state, "nplb_source_failed_attempts", cluster="prod") == 9
    assert read(state, "nplb_config_reloads_total", result="taken") == 2
    assert read(state, "nplb_config_last_reload_successful") == 0
    assert read(state, "nplb_worker_restarts_total", worker="1") == 1
    finding = {"kind": "edge_port_in_use", "severity": "error"}
    assert read(state, "nplb_findings", cluster="prod", **finding) == 1
    assert read(state, "nplb_decisions_total", kind="started") == 1
    assert read(state, "nplb_plan_generation") == 7


def test_a_live_sources_snapshot_is_not_old() -> None:
    assert read(status(), "nplb_source_snapshot_age_seconds", cluster="prod") == 0


def test_source_ports_left_count_the_pool_and_the_busiest_node() -> None:
    one = frontend()
    edge = EdgeLedgerView(ephemeral=EphemeralView(low=30001, high=31000))
    busy = BackendCounters(active=400)
    traffic = Traffic(
        frontends={one.key: FrontendCounters(active=400)},
        backends={one.backends[1].key: busy},
    )
    pool = replace(one, relay=RelayOptions(source_addresses=("10.9.0.1", "10.9.0.2")))
    name = "nplb_frontend_source_ports_left"
    assert read(status(one, edge=edge, traffic=traffic), name, **WEB) == 600
    assert read(status(pool, edge=edge, traffic=traffic), name, **WEB) == 1600


def test_probe_latency_is_a_histogram() -> None:
    state = status(frontend())
    assert read(state, "nplb_probe_duration_seconds_bucket", le="0.001") == 400
    assert read(state, "nplb_probe_duration_seconds_bucket", le="0.01") == 500
    assert read(state, "nplb_probe_duration_seconds_bucket", le="+Inf") == 500
    assert read(state, "nplb_probe_duration_seconds_sum") == 0.6
    assert read(state, "nplb_probes_total", cause="refused") == 3


def test_connect_latency_is_a_histogram_of_each_worker() -> None:
    buckets = ((0.001, 7), (0.01, 2), (float("inf"), 1))
    worker = WorkerCounters(
        worker=3,
        pid=9,
        alive=True,
        generation=1,
        restarts=0,
        connect_buckets=buckets,
        connect_seconds=4.5,
    )
    state = status(frontend(), traffic=Traffic(workers=(worker,)))
    name = "nplb_connect_duration_seconds"
    for bound, count in (("0.001", 7), ("0.01", 9), ("+Inf", 10)):
        assert read(state, f"{name}_bucket", worker="3", le=bound) == count
    assert read(state, f"{name}_sum", worker="3") == 4.5


def test_the_fast_path_where_there_is_one() -> None:
    name = "nplb_kernel_fast_path"
    counters = FastPathCounters(
        connections={4: 7, 6: 2},
        room=100,
        events={FastPathEvent.NO_ROOM: 3, FastPathEvent.EXPIRED: 0},
    )
    state = status(frontend(), traffic=Traffic(fast_path=counters))
    assert read(state, f"{name}_connections", family="ipv4") == 7
    assert read(state, f"{name}_connections", family="ipv6") == 2
    assert read(state, f"{name}_room", family="ipv6") == 100
    assert read(state, f"{name}_events_total", event="no_room") == 3
    assert read(state, f"{name}_events_total", event="expired") == 0
    assert read(status(frontend()), f"{name}_room", family="ipv4") is None


def test_a_service_that_left_the_plan_keeps_its_counters() -> None:
    state = status(frontend())
    gone = status(frontend("other"), traffic=state.traffic)
    assert read(gone, "nplb_frontend_connections_accepted_total", **WEB) == 100


def test_too_many_backends_leave_out_their_own_series_and_nothing_else() -> None:
    state = large(services=10, nodes=20)
    page, _ = MetricsPage(max_backends=150).render(state)
    text = page.decode()
    assert "nplb_backend_series_omitted 200.0" in text
    assert "nplb_backend_weight{" not in text
    assert text.count("nplb_frontend_serving{") == 10
    assert text.count("nplb_node_backends{") >= 20
    whole, _ = MetricsPage(max_backends=200).render(state)
    assert whole.decode().count("nplb_backend_weight{") == 200


def test_tcp_and_udp_of_one_port_are_two_series() -> None:
    tcp = frontend()
    udp = replace(tcp, key=FrontendKey(tcp.key.service, 80, Protocol.UDP), backends=())
    state = status(tcp, udp)
    assert read(state, "nplb_frontend_serving", **WEB) == 1
    assert read(state, "nplb_frontend_serving", **{**WEB, "protocol": "UDP"}) == 0


def test_two_addresses_of_one_node_do_not_repeat_a_series() -> None:
    one = frontend(states=("passing",))
    two = frontend(states=("passing", "deleting")).backends[1]
    renamed = type(two.key)(two.key.frontend, one.backends[0].key.node, two.key.address)
    both = replace(one, backends=(*one.backends, replace(two, key=renamed)))
    page, _ = MetricsPage().render(status(both))
    lines = [line for line in page.decode().splitlines() if not line.startswith("#")]
    series = [line.rsplit(" ", 1)[0] for line in lines]
    assert len(series) == len(set(series))


@pytest.mark.parametrize("state", [status(), troubled(), large(50, 10)], ids=["empty", "3", "50"])
def test_the_page_parses_and_holds_exactly_the_families_of_the_table(state: Status) -> None:
    text, content_type = MetricsPage().render(state)
    assert content_type.startswith("text/plain")
    families = {family.name: family for family in parse_text(text.decode())}
    page, content_type = MetricsPage().render(state, "application/openmetrics-text;version=1.0.0")
    assert content_type.startswith("application/openmetrics-text")
    assert {family.name for family in _openmetrics(page.decode())} == set(families)
    table = (*FAMILIES, *LEDGER_FAMILIES)
    expected = {family.name.removesuffix("_total") for family in table}
    assert {name for name in families if not name.startswith("process_")} == expected


def test_names_units_and_help_follow_the_guides() -> None:
    assert len({family.name for family in FAMILIES}) == len(FAMILIES)
    for family in FAMILIES:
        assert re.fullmatch(r"nplb(_[a-z]+)+", family.name)
        assert family.name.endswith("_total") == (family.kind is Kind.COUNTER), family.name
        assert family.help.endswith("."), family.name
        assert not re.search(r"milli|_ms|_kb|percent", family.name)


def test_the_page_is_what_the_library_would_write() -> None:
    registry = CollectorRegistry()
    odd = frontend('we"b\\x\n', namespace="sh\u00f6p")
    registry.register(StatusCollector(status(odd, frontend())))
    ours = encode(registry.collect(), TEXT).decode()
    theirs = text_page(registry).decode()
    assert list(parse_text(ours)) == list(parse_text(theirs))
    ours = encode(registry.collect(), OPENMETRICS).decode()
    theirs = openmetrics_page(registry).decode()  # type: ignore[no-untyped-call]
    assert _openmetrics(ours) == _openmetrics(theirs)


def _openmetrics(page: str) -> list[Metric]:
    return list(parse_openmetrics(page))  # type: ignore[no-untyped-call]
