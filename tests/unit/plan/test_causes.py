"""Not only that a backend is down, but whose fault it is."""

from dataclasses import replace

from nplb.model.cluster import Service, ServiceType, Snapshot, TrafficPolicy
from nplb.model.health import HealthSettings, KubeProxyUse
from nplb.model.keys import Address, Protocol
from nplb.model.plan import Plan
from nplb.model.reasons import BackendReason, BackendState, Cause
from nplb.model.settings import FrontendSettings, Settings
from nplb.model.verdict import ProbeRole, Verdict
from nplb.plan.make import make_plan
from tests.support.builders import (
    a_cluster,
    a_node,
    a_port,
    a_service,
    a_slice,
    a_snapshot,
    a_verdict,
    an_endpoint,
)

SETTINGS = Settings(clusters=(a_cluster(),))


def plan_of(
    snapshot: Snapshot, verdicts: list[Verdict], settings: Settings = SETTINGS, now: float = 1.0
) -> Plan:
    return make_plan(settings, {"prod": snapshot}, {v.address: v for v in verdicts}, Plan(), now)


def reasons(plan: Plan) -> dict[tuple[str, str], BackendReason]:
    return {(f.key.service.name, b.key.node): b.reason for f in plan.frontends for b in f.backends}


def down(ip: str, port: int, cause: Cause) -> Verdict:
    return a_verdict(ip, port, healthy=False, cause=cause)


TWO = [a_service("a", a_port(30001)), a_service("b", a_port(30002))]


def test_silence_of_all_services_is_the_nodes_or_its_networks() -> None:
    verdicts = [
        down("192.0.2.1", 30001, Cause.TIMEOUT),
        down("192.0.2.1", 30002, Cause.UNREACHABLE),
        a_verdict("192.0.2.2", 30001),
        a_verdict("192.0.2.2", 30002),
    ]
    found = reasons(plan_of(a_snapshot(TWO, [a_node(1), a_node(2)]), verdicts))
    assert found["a", "node-1"] is found["b", "node-1"] is BackendReason.NODE_SILENT
    assert found["a", "node-2"] is BackendReason.PASSING


def test_silence_of_one_service_is_not() -> None:
    verdicts = [down("192.0.2.1", 30001, Cause.TIMEOUT), a_verdict("192.0.2.1", 30002)]
    found = reasons(plan_of(a_snapshot(TWO, [a_node(1)]), verdicts))
    assert found["a", "node-1"] is BackendReason.TIMEOUT
    assert found["b", "node-1"] is BackendReason.PASSING


def test_refusal_by_all_services_is_kube_proxys() -> None:
    verdicts = [down("192.0.2.1", port, Cause.REFUSED) for port in (30001, 30002)]
    found = reasons(plan_of(a_snapshot(TWO, [a_node(1)]), verdicts))
    assert set(found.values()) == {BackendReason.KUBE_PROXY_DOWN}


def test_a_node_is_not_blamed_for_services_that_are_empty() -> None:
    gone = [
        a_slice(an_endpoint(1, "10.1.0.1", ready=False, serving=False), service=name)
        for name in ("a", "b")
    ]
    verdicts = [down("192.0.2.1", port, Cause.REFUSED) for port in (30001, 30002)]
    found = reasons(plan_of(a_snapshot(TWO, [a_node(1)], gone), verdicts))
    assert set(found.values()) == {BackendReason.SERVICE_EMPTY}


def test_where_no_slice_tells_a_service_that_every_node_refuses_is_empty() -> None:
    nodes = [a_node(1), a_node(2)]
    verdicts = [
        *(down(f"192.0.2.{n}", 30001, Cause.REFUSED) for n in (1, 2)),
        *(a_verdict(f"192.0.2.{n}", 30002) for n in (1, 2)),
    ]
    snapshot = a_snapshot(TWO, nodes)
    plan = plan_of(snapshot, verdicts)
    found = reasons(plan)
    assert found["a", "node-1"] is found["a", "node-2"] is BackendReason.SERVICE_EMPTY
    # The same again is the same plan, also where reasons were made of reasons.
    known = {v.address: v for v in verdicts}
    assert make_plan(SETTINGS, {"prod": snapshot}, known, plan, 2.0) is plan


def test_silence_of_a_local_service_on_a_node_that_answers_is_a_missing_pod() -> None:
    local = a_service("a", a_port(30001), policy=TrafficPolicy.LOCAL)
    verdicts = [down("192.0.2.1", 30001, Cause.TIMEOUT), a_verdict("192.0.2.1", 30002)]
    found = reasons(plan_of(a_snapshot([local, TWO[1]], [a_node(1)]), verdicts))
    assert found["a", "node-1"] is BackendReason.LOCAL_SILENT


def test_udp_is_out_on_a_node_that_is_silent_for_all_others() -> None:
    dns = a_service("dns", a_port(30053, protocol=Protocol.UDP))
    settings = replace(SETTINGS, frontends=(FrontendSettings(service="default/dns", plane=None),))
    from nplb.model.kernel import PlaneKind

    settings = replace(
        SETTINGS, frontends=(FrontendSettings(service="default/dns", plane=PlaneKind.KERNEL),)
    )
    snapshot = a_snapshot([*TWO, dns], [a_node(1), a_node(2)])
    verdicts = [
        *(down("192.0.2.1", port, Cause.TIMEOUT) for port in (30001, 30002)),
        *(a_verdict("192.0.2.2", port) for port in (30001, 30002)),
    ]
    found = reasons(plan_of(snapshot, verdicts, settings))
    assert found["dns", "node-1"] is BackendReason.NODE_SILENT
    assert found["dns", "node-2"] is BackendReason.PROBES_OFF


# -- the node's own word ------------------------------------------------------------------


def a_local_load_balancer() -> Service:
    return replace(
        a_service("web", type=ServiceType.LOAD_BALANCER, policy=TrafficPolicy.LOCAL),
        load_balancer_class="nplb.io/edge",
        health_check_node_port=31000,
    )


def said(ip: str, *, weight: int | None = None, answer: int | None = None) -> Verdict:
    """What a health check node port answered."""
    good = answer == 200
    cause = Cause.CONNECTED if good else Cause.UNEXPECTED_ANSWER
    if answer is None:
        cause = Cause.TIMEOUT
    return Verdict(
        address=Address(ip, 31000), healthy=good, cause=cause, answer=answer, weight=weight
    )


def local_plan(*spoken: Verdict, settings: Settings = SETTINGS) -> Plan:
    """Three nodes: slices say that node-1 has two pods, node-2 one, node-3 none."""
    pods = a_slice(
        an_endpoint(1, "10.1.0.1"), an_endpoint(1, "10.1.0.2"), an_endpoint(2, "10.1.0.3")
    )
    snapshot = a_snapshot([a_local_load_balancer()], [a_node(n) for n in (1, 2, 3)], [pods])
    working = [a_verdict(f"192.0.2.{n}") for n in (1, 2, 3)]
    return plan_of(snapshot, [*working, *spoken], settings)


def test_the_health_check_node_port_is_asked_on_every_node() -> None:
    plan = local_plan()
    asked = [t for t in plan.probes if t.role is ProbeRole.HEALTH_CHECK]
    assert [t.address for t in asked] == [Address(f"192.0.2.{n}", 31000) for n in (1, 2, 3)]
    assert [b.weight for b in plan.frontends[0].active] == [2, 1], "until it answers, slices count"
    off = replace(SETTINGS, health=HealthSettings(health_check_port=False))
    assert {t.role for t in local_plan(settings=off).probes} == {ProbeRole.NODE_PORT}


def test_its_weight_goes_before_the_slices() -> None:
    plan = local_plan(
        said("192.0.2.1", answer=200, weight=5), said("192.0.2.3", answer=200, weight=4)
    )
    weights = {b.key.node: b.weight for b in plan.frontends[0].active}
    assert weights == {"node-1": 5, "node-2": 1, "node-3": 4}


def test_503_drains_and_does_not_kill() -> None:
    plan = local_plan(said("192.0.2.1", answer=503))
    first = plan.frontends[0].backends[0]
    assert (first.state, first.reason) == (
        BackendState.DRAINING,
        BackendReason.HEALTH_CHECK_PORT,
    )


def test_where_it_does_not_answer_slices_count() -> None:
    plan = local_plan(said("192.0.2.1"), said("192.0.2.2", answer=404))
    assert {b.key.node for b in plan.frontends[0].active} == {"node-1", "node-2"}


def kube_proxy(ip: str, *, healthy: bool) -> Verdict:
    cause = Cause.CONNECTED if healthy else Cause.UNEXPECTED_ANSWER
    detail = "" if healthy else "answered 503, not 200"
    return Verdict(address=Address(ip, 10256), healthy=healthy, cause=cause, detail=detail)


def proxied(use: KubeProxyUse) -> Plan:
    """Two nodes that pass, of which one's kube-proxy does not."""
    settings = replace(SETTINGS, health=HealthSettings(kube_proxy=use))
    snapshot = a_snapshot([a_service()], [a_node(1), a_node(2)])
    verdicts = [
        a_verdict("192.0.2.1"),
        a_verdict("192.0.2.2"),
        kube_proxy("192.0.2.1", healthy=False),
        kube_proxy("192.0.2.2", healthy=True),
    ]
    return plan_of(snapshot, verdicts, settings)


def test_kube_proxys_own_word_can_be_left_out_preferred_or_required() -> None:
    off = proxied(KubeProxyUse.OFF)
    assert {t.role for t in off.probes} == {ProbeRole.NODE_PORT}
    prefer = proxied(KubeProxyUse.PREFER)
    assert [t.address.port for t in prefer.probes].count(10256) == 2
    assert [b.tier > 0 for b in prefer.frontends[0].active] == [True, False]
    assert "503" in prefer.frontends[0].active[0].detail
    require = proxied(KubeProxyUse.REQUIRE).frontends[0].backends[0]
    assert (require.state, require.reason) == (
        BackendState.DRAINING,
        BackendReason.KUBE_PROXY_UNWELL,
    )


# -- Ready, and where the pods are -----------------------------------------------------------


def tiers(plan: Plan) -> dict[str, bool]:
    """Of each active node, whether others go before it."""
    return {b.key.node: b.tier > 0 for b in plan.frontends[0].active}


def test_not_ready_lowers_a_nodes_priority_and_no_more() -> None:
    nodes = [
        a_node(1),
        a_node(2),
        a_node(3, ready=False),
        replace(a_node(4, ready=None), ready_reason="NodeStatusUnknown"),
        a_node(5, ready=None),  # as in a manifest: nothing is said
    ]
    verdicts = [a_verdict(f"192.0.2.{n}") for n in range(1, 6)]
    plan = plan_of(a_snapshot([a_service()], nodes), verdicts)
    assert tiers(plan) == {
        "node-1": False,
        "node-2": False,
        "node-3": True,
        "node-4": True,
        "node-5": False,
    }
    assert "NotReady" in plan.frontends[0].active[2].detail
    assert plan.ready_ignored == ()


def test_when_most_are_not_ready_ready_counts_for_nothing() -> None:
    nodes = [a_node(1), *(a_node(n, ready=False) for n in (2, 3, 4))]
    verdicts = [a_verdict(f"192.0.2.{n}") for n in range(1, 5)]
    plan = plan_of(a_snapshot([a_service()], nodes), verdicts)
    assert not any(tiers(plan).values())
    assert plan.ready_ignored == ("prod",)


def test_nodes_that_hold_ready_pods_can_be_preferred() -> None:
    pods = a_slice(
        an_endpoint(1, "10.1.0.1"), an_endpoint(2, "10.1.0.2", ready=False, terminating=True)
    )
    snapshot = a_snapshot([a_service()], [a_node(n) for n in (1, 2, 3)], [pods])
    verdicts = [a_verdict(f"192.0.2.{n}") for n in (1, 2, 3)]
    plain = plan_of(snapshot, verdicts)
    assert not any(tiers(plain).values())
    prefer = plan_of(snapshot, verdicts, replace(SETTINGS, prefer_pods=True))
    assert tiers(prefer) == {"node-1": False, "node-2": True, "node-3": True}
    # Without any ready pod nobody is preferred.
    none = a_snapshot([a_service()], [a_node(1), a_node(2)], [a_slice()])
    assert not any(tiers(plan_of(none, verdicts, replace(SETTINGS, prefer_pods=True))).values())
