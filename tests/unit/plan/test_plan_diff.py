"""The journal's entries: what changed between two plans, in words."""

from dataclasses import replace

from nplb.model.decision import Decision, DecisionKind
from nplb.model.keys import Address
from nplb.model.plan import Plan
from nplb.model.reasons import Cause
from nplb.model.settings import Settings
from nplb.model.verdict import Verdict
from nplb.plan.diff import plan_decisions
from nplb.plan.make import make_plan
from tests.support.builders import a_cluster, a_node, a_port, a_service, a_snapshot, a_verdict

SETTINGS = Settings(clusters=(a_cluster(),))


def plan(services: list[str], verdicts: list[Verdict], previous: Plan, nodes: int = 2) -> Plan:
    snapshot = a_snapshot(
        [a_service(name, a_port(30080 + i)) for i, name in enumerate(services)],
        [a_node(n + 1) for n in range(nodes)],
    )
    by_address = {v.address: v for v in verdicts}
    return make_plan(SETTINGS, {"prod": snapshot}, by_address, previous, 5.0)


def kinds(decisions: tuple[Decision, ...]) -> list[tuple[DecisionKind, str]]:
    return [(d.kind, d.node) for d in decisions]


def test_a_frontends_life() -> None:
    good = [a_verdict("192.0.2.1"), a_verdict("192.0.2.2")]
    first = plan(["web"], good, Plan())
    assert kinds(plan_decisions(Plan(), first, 5.0)) == [
        (DecisionKind.FRONTEND_ADDED, ""),
        (DecisionKind.BACKEND_JOINED, "node-1"),
        (DecisionKind.BACKEND_JOINED, "node-2"),
    ]
    bad = [a_verdict("192.0.2.1"), a_verdict("192.0.2.2", healthy=False, cause=Cause.REFUSED)]
    second = plan(["web"], bad, first)
    (down,) = plan_decisions(first, second, 6.0)
    assert (down.kind, down.node, down.reason) == (DecisionKind.BACKEND_DOWN, "node-2", "refused")
    assert "it was active: passing" in down.text
    third = plan(["web"], bad, second, nodes=1)
    assert kinds(plan_decisions(second, third, 7.0)) == [(DecisionKind.BACKEND_REMOVED, "node-2")]
    gone = plan([], [], third)
    (removed,) = plan_decisions(third, gone, 8.0)
    assert removed.kind is DecisionKind.FRONTEND_REMOVED
    assert removed.service == "prod/default/web"


def test_nothing_changed_is_no_entry() -> None:
    first = plan(["web"], [], Plan())
    assert plan_decisions(first, plan(["web"], [], first), 9.0) == ()


def test_a_moved_listener_is_an_entry() -> None:
    first = plan(["web"], [], Plan())
    (frontend,) = first.frontends

    moved = replace(first, frontends=(replace(frontend, listen=(Address("127.0.0.1", 80),)),))
    (entry,) = plan_decisions(first, moved, 1.0)
    assert entry.kind is DecisionKind.FRONTEND_CHANGED
    assert "127.0.0.1:80" in entry.text
