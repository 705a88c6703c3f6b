"""Findings about nodes and their probes."""

from dataclasses import replace

from nplb.control.alarms import Alarming, plan_findings
from nplb.model.finding import FindingKind
from nplb.model.keys import Address, FrontendKey, ServiceKey
from nplb.model.plan import Backend, Frontend, Plan
from nplb.model.reasons import BackendReason, BackendState, Balance
from nplb.model.verdict import Detection
from tests.support.plans import make_backend


def frontend(name: str, *reasons: BackendReason, panic: bool = False) -> Frontend:
    key = FrontendKey(ServiceKey("prod", "shop", name), 80)
    backends = tuple(
        make_backend(key, f"node-{n}", Address(f"192.0.2.{n}", 30080))
        for n, _ in enumerate(reasons, 1)
    )
    return Frontend(
        key=key,
        node_port=30080,
        listen=(Address("0.0.0.0", 30080),),
        balance=Balance.ROUND_ROBIN,
        panic=panic,
        backends=tuple(
            _as(backend, reason) for backend, reason in zip(backends, reasons, strict=True)
        ),
    )


def _as(backend: Backend, reason: BackendReason) -> Backend:
    return replace(
        backend,
        state=BackendState.ACTIVE,
        reason=reason,
        detail="the Node has the label x; at most 1 of 3 nodes may leave in 10 minutes",
    )


def found(plan: Plan) -> dict[FindingKind, str]:
    return {finding.kind: finding.text for finding in plan_findings(plan, 1.0)}


def test_a_good_plan_gives_no_alarm() -> None:
    assert found(Plan(frontends=(frontend("web", BackendReason.PASSING),))) == {}


def test_kept_nodes_are_named_once_for_all_services_with_why() -> None:
    plan = Plan(
        frontends=(
            frontend("a", BackendReason.KEPT, BackendReason.PASSING),
            frontend("b", BackendReason.KEPT, BackendReason.KEPT),
        )
    )
    text = found(plan)[FindingKind.BLAST_RADIUS]
    assert "2 services: node-1, node-2 (the Node has the label x: 2)" in text


def test_a_panic_says_whether_it_is_open() -> None:
    closed = Plan(frontends=(frontend("a", BackendReason.PASSING, panic=True),))
    assert "only those that pass are used" in found(closed)[FindingKind.PANIC]
    opened = Plan(frontends=(frontend("a", BackendReason.FAIL_OPEN, panic=True),))
    assert "those that fail are used as well" in found(opened)[FindingKind.PANIC]
    assert "shop/a" in found(opened)[FindingKind.PANIC]


def test_many_names_are_counted() -> None:
    many = tuple(frontend(f"s{n}", BackendReason.PASSING, panic=True) for n in range(9))
    assert "and 4 more" in found(Plan(frontends=many))[FindingKind.PANIC]


def test_a_mass_not_ready_and_a_passed_budget_are_said() -> None:
    detection = Detection(shared=True, rate=20.0, budget=10.0, node_seconds=11.0)
    said = found(Plan(ready_ignored=("prod",), detection=detection))
    assert "Ready counts for nothing" in said[FindingKind.MASS_NOT_READY]
    assert "20 probes a second" in said[FindingKind.PROBE_BUDGET]
    assert "11 s" in said[FindingKind.PROBE_BUDGET]


def test_what_is_known_of_the_plan_before_changes_no_finding() -> None:
    alarming = Alarming()
    kept, fine = BackendReason.KEPT, BackendReason.PASSING
    for frontends in (
        (frontend("a", kept), frontend("b", fine, panic=True)),
        (frontend("a", fine), frontend("b", fine, panic=True), frontend("c", kept)),
        (frontend("b", kept, panic=False), frontend("c", kept)),
        (),
    ):
        plan = Plan(frontends=frontends)
        assert list(plan_findings(plan, 1.0, alarming)) == list(plan_findings(plan, 1.0))
