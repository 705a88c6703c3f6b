"""What status and plan show to eyes: states, reasons, ages and counts."""

from dataclasses import replace

import click
import pytest

from nplb.cli.status import render_text
from nplb.cli.views import detection_line, frontends_table, headline
from nplb.model.plan import LeftOut, Plan
from nplb.model.reasons import BackendReason
from nplb.model.status import ReadyPart
from nplb.web.render import render, render_status
from tests.support.status import NOW, frontend, large, status, troubled


def text_of(document: dict[str, object], *, verbose: bool = False) -> str:
    return click.unstyle(render_text(document, verbose=verbose))


def test_a_status_where_all_is_well_is_short() -> None:
    lines = text_of(render_status(status(frontend()))).splitlines()
    assert lines == [
        "nplb 0.1.0: ready, up 60m, 1 frontend, 2 workers, 3 connections open, plan 7",
        "",
        "CLUSTER  STATE  SNAPSHOT  ERROR",
        "prod     live   current",
        "",
        "SERVICE                  LISTEN         STATE    NODES  OPEN  TOTAL",
        "prod/shop/web:80 (http)  0.0.0.0:30080  serving  3/3    3     100",
    ]


def test_trouble_is_shown_with_its_reason_and_since_when() -> None:
    lines = text_of(render_status(troubled())).splitlines()
    assert lines == [
        "nplb 0.1.0: not ready, up 60m, 3 frontends, 2 workers, 9 connections open, plan 7",
        "not ready: listeners: prod/shop/api:80/TCP: port in use",
        "reload refused 100s ago, the configuration before stays in force:",
        "  nplb.yaml:3:1: unknown key 'lisen'",
        "",
        "CLUSTER  STATE  SNAPSHOT  ERROR",
        "prod     stale  5m ago    https://10.0.0.9:6443: connection refused",
        "",
        "SERVICE                   LISTEN         STATE       NODES  OPEN  TOTAL",
        "prod/shop/api:80 (http)   0.0.0.0:30081  conflict    3/3    3     100",
        "  held by process 4711 (nginx); stop it or set another port",
        "prod/shop/mail:25 (http)  0.0.0.0:30025  no_backend  0/2    3     100",
        "  node-0  10.0.0.1:30025  down  refused  60s",
        "  node-1  10.0.0.2:30025  down  refused  2m",
        "prod/shop/web:80 (http)   0.0.0.0:30080  serving     1/4    3     100",
        "  node-1  10.0.0.2:30080  down      refused        2m",
        "  node-2  10.0.0.3:30080  down      timeout        3m",
        "  node-3  10.0.0.4:30080  draining  node_deleting  4m",
        "",
        "NOT SERVED           REASON    DETAIL",
        "prod/dns/dns:53/UDP  protocol  UDP is not carried",
        "",
        "FINDING  KIND                SUBJECT               SINCE  WHAT, AND WHAT TO DO",
        (
            "error    edge_port_in_use    prod/shop/api:80/TCP  3m20s  0.0.0.0:30081 is held by "
            "process 4711 (nginx); stop that process, or give the frontend another port"
        ),
        (
            "warning  port_range_filling  30000-32767           33m    91% of the NodePort range "
            "is used; widen the range with --service-node-port-range"
        ),
    ]


def test_verbose_shows_the_nodes_that_work_too() -> None:
    document = render_status(status(frontend(states=("passing", "timeout"))))
    assert "passing" not in text_of(document)
    assert "  node-0  10.0.0.1:30080  active  passing  60s" in text_of(document, verbose=True)


def test_many_nodes_out_are_counted_by_reason() -> None:
    one = frontend(states=("timeout",) * 12 + ("refused",) * 3 + ("passing",))
    lines = text_of(render_status(status(one))).splitlines()
    assert lines[-1] == "  and 5 more: refused 3, timeout 2 (-v shows them)"
    assert sum("down" in line for line in lines) == 10
    assert "more:" not in text_of(render_status(status(one)), verbose=True)


def test_nodes_that_cannot_be_backends_are_shown_as_left_out() -> None:
    out = LeftOut(node="node-9", reason=BackendReason.NO_ADDRESS, detail="no InternalIP")
    one = replace(frontend(states=("passing",)), left_out=(out,))
    lines = text_of(render_status(status(one))).splitlines()
    assert lines[-1] == "  node-9    left out  no_address    no InternalIP"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"stopping": True}, "stopping, up"),
        ({"ready": (ReadyPart(name="plan", ok=False, detail="none"),)}, "not ready, up"),
    ],
)
def test_the_headline_says_how_it_stands(changes: dict[str, object], words: str) -> None:
    assert words in headline(render_status(status(frontend(), **changes)))


def test_dead_workers_are_counted() -> None:
    base = status(frontend())
    first, second = base.traffic.workers
    traffic = replace(base.traffic, workers=(replace(first, alive=False), second))
    assert "1 of 2 workers" in headline(render_status(replace(base, traffic=traffic)))


def test_no_frontend_and_no_snapshot() -> None:
    base = status()
    sources = (replace(base.sources[0], last_snapshot_at=None),)
    text = text_of(render_status(replace(base, sources=sources, applied=None)))
    assert text.endswith("no frontend")
    assert "prod     live   none" in text


def test_a_plan_has_no_counters_and_no_ages() -> None:
    plan = Plan(generation=1, frontends=(frontend(states=("passing", "deleting")),))
    lines = click.unstyle(frontends_table({"plan": render(plan)}, verbose=True)).splitlines()
    assert lines == [
        "SERVICE                  LISTEN         NODEPORT  BALANCE            NODES",
        "prod/shop/web:80 (http)  0.0.0.0:30080  30080     least_connections  1/2",
        "  node-0  10.0.0.1:30080  active    passing",
        "  node-1  10.0.0.2:30080  draining  node_deleting",
    ]


def test_texts_of_others_stay_on_their_line() -> None:
    base = status(frontend())
    source = replace(base.sources[0], error="evil\n\x1b[31mFAKE LINE\x1b[0m")
    text = render_text(render_status(replace(base, sources=(source,))), verbose=False)
    assert "evil  [31mFAKE LINE [0m" in text


def test_a_large_status_is_shown_whole() -> None:
    text = text_of(render_status(large(300, 20)))
    assert text.count("\nprod/team-") == 300
    assert NOW > 0


def test_how_soon_probes_find_a_fault_is_said() -> None:
    def line(**values: object) -> str:
        detection = {
            "shared": False, "rate": 20.0, "budget": 1000.0, "node_seconds": 11.0,
            "service_seconds": 11.0, "over_budget": False, **values,
        }  # fmt: skip
        return detection_line({"plan": {"detection": detection}})

    assert "20 a second" in line()
    assert "after 11 s at the latest" in line()
    shared = line(shared=True, service_seconds=73.5)
    assert "shared" in shared
    assert "73.5 s" in shared
    assert "over the budget of 10" in line(shared=True, over_budget=True, budget=10.0)
    assert line(node_seconds=0.0) == ""
