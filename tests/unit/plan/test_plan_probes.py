"""How often what is probed, and what bound that keeps."""

from dataclasses import replace

import pytest

from nplb.model.health import HealthSettings, KubeProxyUse, ProbeSharing, SharingSettings
from nplb.model.plan import Plan
from nplb.model.settings import FrontendSettings, Settings
from nplb.plan.make import make_plan
from nplb.plan.memo import Memo
from tests.support.builders import a_cluster, a_node, a_port, a_service, a_snapshot

SETTINGS = Settings(clusters=(a_cluster(),))


def plan_of(
    services: int,
    nodes: int,
    *,
    mode: ProbeSharing = ProbeSharing.AUTO,
    budget: float = 1000.0,
    settings: Settings = SETTINGS,
    previous: Plan | None = None,
) -> Plan:
    settings = replace(settings, sharing=SharingSettings(mode=mode, budget=budget))
    snapshot = a_snapshot(
        [a_service(f"s{n}", a_port(30000 + n)) for n in range(services)],
        [a_node(n) for n in range(1, nodes + 1)],
    )
    return make_plan(settings, {"prod": snapshot}, {}, previous or Plan(), 0.0)


def test_a_small_cluster_is_probed_exactly() -> None:
    plan = plan_of(10, 10)
    assert {t.turn_seconds for t in plan.probes} == {0.0}
    detection = plan.detection
    assert not detection.shared
    assert detection.rate == 20.0
    assert detection.node_seconds == detection.service_seconds == 5.0 * 2 + 1.0


def test_beyond_the_budget_a_nodes_services_share_its_probes() -> None:
    plan = plan_of(100, 50, budget=100.0)
    detection = plan.detection
    assert detection.shared
    assert detection.rate <= 100.0
    assert not detection.over_budget
    assert detection.node_seconds == 11.0, "a silent node is found as soon as without"
    assert {t.turn_seconds for t in plan.probes} == {5.0 / 8}
    assert detection.service_seconds == 100 * 5.0 / 8 + 11.0


@pytest.mark.parametrize(("mode", "shared"), [(ProbeSharing.OFF, False), (ProbeSharing.NODE, True)])
def test_sharing_can_be_forced_and_forbidden(mode: ProbeSharing, shared: bool) -> None:
    small = plan_of(3, 3, mode=mode)
    large = plan_of(100, 50, mode=mode, budget=10.0)
    assert small.detection.shared is large.detection.shared is shared


def test_the_bound_goes_before_the_budget_and_says_so() -> None:
    plan = plan_of(20, 100, budget=10.0)
    assert plan.detection.over_budget
    assert plan.detection.rate == 20.0, "one a node and interval"
    assert plan.detection.node_seconds == 11.0


def test_one_failed_turn_never_speaks_for_a_node_so_its_bound_is_twice() -> None:
    once = replace(SETTINGS, health=HealthSettings(fall=1))
    assert plan_of(3, 3, settings=once).detection.node_seconds == 6.0
    shared = plan_of(3, 3, settings=once, mode=ProbeSharing.NODE)
    assert shared.detection.node_seconds == 12.0


def test_the_plan_stays_while_services_come_and_go() -> None:
    first = plan_of(100, 20, budget=50.0)
    more = plan_of(103, 20, budget=50.0, previous=first)
    assert {t.turn_seconds for t in first.probes} == {t.turn_seconds for t in more.probes}
    known = {t.address: t for t in first.probes}
    again = [t for t in more.probes if t.address in known]
    assert all(t is known[t.address] for t in again)


def test_kube_proxies_are_asked_as_the_first_frontend_says_whichever_changes() -> None:
    general = HealthSettings(kube_proxy=KubeProxyUse.PREFER)
    own = FrontendSettings(service="default/s1", health=replace(general, interval_seconds=1.0))
    settings = replace(SETTINGS, health=general, frontends=(own,))
    memo, plan = Memo(), Plan()
    for port in (30001, 30002):
        services = [a_service("s0", a_port(30000)), a_service("s1", a_port(port))]
        snapshots = {"prod": a_snapshot(services, [a_node(1)])}
        plan = make_plan(settings, snapshots, {}, plan, 0.0, memo=memo)
    assert {t.address.port: t.health.interval_seconds for t in plan.probes} == {
        10256: 5.0,
        30000: 5.0,
        30002: 1.0,
    }


def test_a_service_may_have_probes_of_its_own() -> None:
    own = HealthSettings(interval_seconds=1.0, timeout_seconds=0.5)
    off = HealthSettings(enabled=False)
    settings = replace(
        SETTINGS,
        frontends=(
            FrontendSettings(service="default/s0", health=own),
            FrontendSettings(service="default/s1", health=off),
        ),
    )
    plan = plan_of(3, 1, settings=settings)
    assert {t.address.port: t.health.interval_seconds for t in plan.probes} == {
        30000: 1.0,
        30002: 5.0,
    }
    assert plan.detection.rate == 1.2
