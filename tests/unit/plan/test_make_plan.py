"""The plan: what is served where, through which nodes, and why not."""

from dataclasses import replace
from typing import Any

import pytest

from nplb.model.annotations import Wish, Wishes
from nplb.model.cluster import ServiceType, Snapshot, TrafficPolicy
from nplb.model.drain import ManualDrain
from nplb.model.keys import Address, FrontendKey, Protocol, ServiceKey
from nplb.model.plan import Backend, Plan
from nplb.model.reasons import BackendReason, BackendState, Balance, Cause, SkipReason
from nplb.model.relay import RelayOptions, SendProxy
from nplb.model.settings import (
    EdgePort,
    FrontendSettings,
    HealthSettings,
    InitialState,
    ListenSettings,
    Settings,
)
from nplb.model.verdict import Verdict
from nplb.plan.make import make_plan
from nplb.plan.memo import Memo
from nplb.plan.overrides import unused_overrides
from nplb.policy.nodes import AUTOSCALER_TAINT, WEIGHT_ANNOTATION
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
    *snapshots: Snapshot,
    settings: Settings = SETTINGS,
    verdicts: list[Verdict] | None = None,
    previous: Plan | None = None,
    now: float = 100.0,
) -> Plan:
    return make_plan(
        settings,
        {s.cluster: s for s in snapshots},
        {v.address: v for v in verdicts or []},
        previous or Plan(),
        now,
    )


def backends(plan: Plan) -> dict[str, tuple[BackendState, BackendReason]]:
    return {b.key.node: (b.state, b.reason) for f in plan.frontends for b in f.backends}


def only_backend(plan: Plan) -> Backend:
    (frontend,) = plan.frontends
    (backend,) = frontend.backends
    return backend


def test_a_node_port_is_mirrored_on_the_edge() -> None:
    plan = plan_of(a_snapshot([a_service()], [a_node(1)]), verdicts=[a_verdict("192.0.2.1")])
    (frontend,) = plan.frontends
    assert frontend.listen == (Address("0.0.0.0", 30080),)
    backend = only_backend(plan)
    assert backend.key.address == Address("192.0.2.1", 30080)
    assert (backend.state, backend.reason) == (BackendState.ACTIVE, BackendReason.PASSING)
    assert [t.address for t in plan.probes] == [Address("192.0.2.1", 30080)]


def test_the_services_own_port_on_several_addresses() -> None:
    settings = replace(
        SETTINGS, listen=ListenSettings(addresses=("127.0.0.1", "::1"), port=EdgePort.SERVICE)
    )
    plan = plan_of(a_snapshot([a_service()], [a_node(1)]), settings=settings)
    assert plan.frontends[0].listen == (Address("127.0.0.1", 80), Address("::1", 80))


@pytest.mark.parametrize(
    ("healthy", "cause", "state", "reason"),
    [
        (None, None, BackendState.DOWN, BackendReason.PROBING),
        (True, Cause.CONNECTED, BackendState.ACTIVE, BackendReason.PASSING),
        (False, Cause.REFUSED, BackendState.DOWN, BackendReason.REFUSED),
        (False, Cause.TIMEOUT, BackendState.DOWN, BackendReason.TIMEOUT),
        (False, Cause.UNREACHABLE, BackendState.DOWN, BackendReason.UNREACHABLE),
    ],
)
def test_probes_decide(
    healthy: bool | None, cause: Cause | None, state: BackendState, reason: BackendReason
) -> None:
    plan = plan_of(
        a_snapshot([a_service()], [a_node(1)]),
        verdicts=[a_verdict("192.0.2.1", healthy=healthy, cause=cause)],
    )
    assert backends(plan) == {"node-1": (state, reason)}


def test_not_ready_and_cordoned_nodes_that_work_stay_in() -> None:
    plan = plan_of(
        a_snapshot([a_service()], [a_node(1, ready=False), a_node(2, unschedulable=True)]),
        verdicts=[a_verdict("192.0.2.1"), a_verdict("192.0.2.2")],
    )
    assert {b.state for f in plan.frontends for b in f.backends} == {BackendState.ACTIVE}


def test_what_a_backend_is_before_its_first_probe_can_be_set() -> None:
    snapshot = a_snapshot([a_service()], [a_node(1)])
    up = replace(SETTINGS, health=HealthSettings(initial=InitialState.UP))
    assert only_backend(plan_of(snapshot, settings=up)).reason is BackendReason.UNPROBED
    off = replace(SETTINGS, health=HealthSettings(enabled=False))
    plan = plan_of(snapshot, settings=off)
    assert only_backend(plan).reason is BackendReason.PROBES_OFF
    assert plan.probes == ()


def test_an_empty_service_is_not_the_nodes_fault() -> None:
    gone = a_slice(an_endpoint(1, "10.1.0.1", ready=False, serving=False))
    plan = plan_of(
        a_snapshot([a_service()], [a_node(1)], [gone]),
        verdicts=[a_verdict("192.0.2.1", healthy=False, cause=Cause.REFUSED)],
    )
    assert only_backend(plan).reason is BackendReason.SERVICE_EMPTY
    assert [t.expect_refusal for t in plan.probes] == [True]
    back = a_snapshot([a_service()], [a_node(1)], [a_slice(an_endpoint(1, "10.1.0.1"))])
    assert [t.expect_refusal for t in plan_of(back, previous=plan).probes] == [False]


def test_a_service_whose_last_endpoints_terminate_is_not_empty() -> None:
    leaving = a_slice(an_endpoint(1, "10.1.0.1", ready=False, terminating=True))
    plan = plan_of(
        a_snapshot([a_service()], [a_node(1)], [leaving]),
        verdicts=[a_verdict("192.0.2.1", healthy=False, cause=Cause.REFUSED)],
    )
    assert only_backend(plan).reason is BackendReason.REFUSED


def test_a_node_that_is_left_out_says_why_and_is_not_probed() -> None:
    nodes = [a_node(1), a_node(2, taints=[AUTOSCALER_TAINT])]
    plan = plan_of(
        a_snapshot([a_service()], nodes),
        verdicts=[a_verdict("192.0.2.1"), a_verdict("192.0.2.2")],
    )
    assert backends(plan)["node-2"] == (BackendState.DRAINING, BackendReason.AUTOSCALER_TAINT)
    assert [t.address.ip for t in plan.probes] == ["192.0.2.1"]


def test_a_node_without_a_usable_address_is_named() -> None:
    plan = plan_of(a_snapshot([a_service()], [a_node(1, addresses=[("Hostname", "node-1")])]))
    (frontend,) = plan.frontends
    assert frontend.backends == ()
    (out,) = frontend.left_out
    assert (out.node, out.reason) == ("node-1", BackendReason.NO_ADDRESS)
    assert "InternalIP or ExternalIP" in out.detail


def test_local_services_weigh_nodes_by_their_endpoints() -> None:
    slices = [
        a_slice(
            an_endpoint(1, "10.1.0.1"),
            an_endpoint(1, "10.1.0.2"),
            an_endpoint(1, "10.1.0.3"),
            an_endpoint(2, "10.1.0.4"),
        )
    ]
    nodes = [a_node(1), a_node(2), a_node(3)]
    plan = plan_of(
        a_snapshot([a_service(policy=TrafficPolicy.LOCAL)], nodes, slices),
        verdicts=[a_verdict(f"192.0.2.{n}") for n in (1, 2, 3)],
    )
    assert [(b.key.node, b.weight) for b in plan.frontends[0].active] == [
        ("node-1", 3),
        ("node-2", 1),
    ]
    assert backends(plan)["node-3"][1] is BackendReason.NO_LOCAL_ENDPOINT


@pytest.mark.parametrize(
    ("service", "reason"),
    [
        (a_service("s", a_port(0)), SkipReason.NO_NODE_PORT),
        (a_service("s", a_port(protocol=Protocol.UDP)), SkipReason.PROTOCOL),
        (a_service("s", deleting=True), SkipReason.SERVICE_DELETING),
        (
            a_service("s", type=ServiceType.LOAD_BALANCER, load_balancer_class="other.io/lb"),
            SkipReason.OTHER_CLASS,
        ),
        (a_service("s", type=ServiceType.LOAD_BALANCER), SkipReason.UNCLASSED),
    ],
)
def test_a_port_that_is_not_served_says_why(service: "object", reason: SkipReason) -> None:
    plan = plan_of(a_snapshot([service], [a_node(1)]))  # type: ignore[list-item]
    assert plan.frontends == ()
    (skipped,) = plan.skipped
    assert skipped.reason is reason


def test_services_outside_the_selection_are_nobodys_business() -> None:
    cluster = a_cluster(namespaces=("shop",), service_selector="tier=edge")
    services = [
        a_service("in", namespace="shop", labels={"tier": "edge"}),
        a_service("other-label", a_port(30081), namespace="shop"),
        a_service("other-namespace", a_port(30082), labels={"tier": "edge"}),
        a_service("cluster-ip", a_port(0), namespace="shop", type=ServiceType.CLUSTER_IP,
                  labels={"tier": "edge"}),
    ]  # fmt: skip
    plan = plan_of(a_snapshot(services, [a_node(1)]), settings=Settings(clusters=(cluster,)))
    assert [f.key.service.name for f in plan.frontends] == ["in"]
    assert plan.skipped == ()


def test_overrides_by_service_and_by_port() -> None:
    settings = replace(
        SETTINGS,
        frontends=(
            FrontendSettings(service="default/web", balance=Balance.ROUND_ROBIN),
            FrontendSettings(
                service="default/web", port="https", listen=(Address("127.0.0.1", 443),)
            ),
        ),
    )
    service = a_service("web", a_port(30080, 80, "http"), a_port(30443, 443, "https"))
    plan = plan_of(a_snapshot([service], [a_node(1)]), settings=settings)
    http, https = plan.frontends
    assert {http.balance, https.balance} == {Balance.ROUND_ROBIN}
    assert http.listen == (Address("0.0.0.0", 30080),)
    assert https.listen == (Address("127.0.0.1", 443),)


def test_two_clusters_that_want_one_edge_port_are_settled_by_age() -> None:
    settings = Settings(clusters=(a_cluster("a"), a_cluster("b")))
    old = a_service("old", cluster="b", created=1.0)
    new = a_service("new", cluster="a", created=2.0)
    plan = plan_of(
        a_snapshot([new], [a_node(1)], cluster="a"),
        a_snapshot([old], [a_node(1)], cluster="b"),
        settings=settings,
    )
    assert [f.key.service.name for f in plan.frontends] == ["old"]
    (skipped,) = plan.skipped
    assert skipped.reason is SkipReason.EDGE_PORT_TAKEN
    assert "b/default/old" in skipped.detail


def test_the_same_input_is_the_same_plan_and_the_same_objects() -> None:
    snapshot = a_snapshot([a_service()], [a_node(1)])
    first = plan_of(snapshot, verdicts=[a_verdict("192.0.2.1")])
    again = plan_of(snapshot, verdicts=[a_verdict("192.0.2.1")], previous=first, now=200.0)
    assert again is first


def test_since_when_outlives_passes_and_changes_with_the_reason() -> None:
    snapshot = a_snapshot([a_service()], [a_node(1), a_node(2)])
    good = [a_verdict("192.0.2.1"), a_verdict("192.0.2.2")]
    first = plan_of(snapshot, verdicts=good, now=100.0)
    bad = [a_verdict("192.0.2.1"), a_verdict("192.0.2.2", healthy=False, cause=Cause.TIMEOUT)]
    second = plan_of(snapshot, verdicts=bad, previous=first, now=200.0)
    assert second.generation == first.generation + 1
    assert {b.key.node: b.since for b in second.frontends[0].backends} == {
        "node-1": 100.0,
        "node-2": 200.0,
    }


def test_order_of_discovery_does_not_show() -> None:
    services = [a_service("a", a_port(30081)), a_service("b", a_port(30082))]
    nodes = [a_node(1), a_node(2)]
    forward = plan_of(a_snapshot(services, nodes))
    backward = plan_of(a_snapshot(services[::-1], nodes[::-1]))
    assert forward == backward


def test_a_cluster_without_a_snapshot_contributes_nothing_yet() -> None:
    settings = Settings(clusters=(a_cluster("a"), a_cluster("b")))
    plan = plan_of(
        a_snapshot([a_service(cluster="a")], [a_node(1)], cluster="a"), settings=settings
    )
    assert [f.key for f in plan.frontends] == [
        FrontendKey(ServiceKey("a", "default", "web"), 80, Protocol.TCP)
    ]


def test_options_of_connections_are_those_of_the_port_or_the_general_ones() -> None:
    general = RelayOptions(slow_start_seconds=10.0)
    own = RelayOptions(send_proxy=SendProxy.V2)
    settings = Settings(
        clusters=(a_cluster(),),
        relay=general,
        frontends=(
            FrontendSettings(service="default/web", port="https", relay=own),
            FrontendSettings(service="default/web", balance=Balance.FIRST),
        ),
    )
    service = a_service("web", a_port(30080, 80, "http"), a_port(30443, 443, "https"))
    snapshot = a_snapshot([service], [a_node(1)])
    http, https = make_plan(settings, {"prod": snapshot}, {}, Plan(), 0.0).frontends
    assert (http.relay, https.relay) == (general, own)
    assert (http.balance, https.balance) == (Balance.FIRST, Balance.FIRST)


def test_weights_by_annotation_times_local_endpoints() -> None:
    heavy = replace(a_node(1), annotations={WEIGHT_ANNOTATION: "5"})
    wrong = replace(a_node(2), annotations={WEIGHT_ANNOTATION: "heavy"})
    slices = [
        a_slice(an_endpoint(1, "10.1.0.1"), an_endpoint(1, "10.1.0.2"), an_endpoint(2, "10.1.0.3"))
    ]
    plan = plan_of(
        a_snapshot([a_service(policy=TrafficPolicy.LOCAL)], [heavy, wrong], slices),
        verdicts=[a_verdict("192.0.2.1"), a_verdict("192.0.2.2")],
    )
    assert [b.weight for b in plan.frontends[0].backends] == [10, 1]


def test_nodes_of_the_edges_zone_are_preferred() -> None:
    zone = "topology.kubernetes.io/zone"
    nodes = [a_node(1, labels={zone: "a"}), a_node(2, labels={zone: "b"}), a_node(3)]
    plan = plan_of(a_snapshot([a_service()], nodes), settings=replace(SETTINGS, zone="b"))
    assert [b.tier > 0 for b in plan.frontends[0].backends] == [True, False, True]
    plan = plan_of(a_snapshot([a_service()], nodes))
    assert [b.tier for b in plan.frontends[0].backends] == [0, 0, 0]


def test_what_the_service_asks_for_holds_unless_the_file_says_otherwise() -> None:
    service = replace(
        a_service(type=ServiceType.LOAD_BALANCER, load_balancer_class="nplb.io/edge"),
        affinity_seconds=600,
        source_ranges=("10.0.0.0/8 ", "192.0.2.0/24"),
    )
    snapshot = a_snapshot([service], [a_node(1)])
    (frontend,) = plan_of(snapshot).frontends
    assert frontend.relay.affinity_seconds == 600
    assert frontend.relay.service_ranges == ("10.0.0.0/8", "192.0.2.0/24")
    options = RelayOptions(affinity_seconds=5, source_ranges=("127.0.0.0/8",))
    (frontend,) = plan_of(snapshot, settings=replace(SETTINGS, relay=options)).frontends
    assert frontend.relay == options


def test_source_ranges_that_cant_be_read_let_nobody_in() -> None:
    service = replace(a_service(), source_ranges=("10.0.0.0/8", "everybody"))
    plan = plan_of(a_snapshot([service], [a_node(1)]))
    assert plan.frontends == ()
    (skipped,) = plan.skipped
    assert skipped.reason is SkipReason.SOURCE_RANGES
    assert "everybody" in skipped.detail


def test_a_node_drained_by_hand_drains_with_who_and_why() -> None:
    snapshot = a_snapshot([a_service()], [a_node(1), a_node(2)])
    drain = ManualDrain(cluster="prod", node="node-2", who="ann", why="disk", at=1.0)
    elsewhere = ManualDrain(cluster="other", node="node-1")
    plan = make_plan(SETTINGS, {"prod": snapshot}, {}, Plan(), 0.0, drains=(drain, elsewhere))
    backend = plan.frontends[0].backends[1]
    assert (backend.state, backend.reason) == (BackendState.DRAINING, BackendReason.MANUAL_DRAIN)
    assert backend.detail == "drained by ann: disk"
    assert plan.frontends[0].backends[0].reason is BackendReason.PROBING


def test_an_override_that_no_service_answers_to_is_found() -> None:
    used = FrontendSettings(service="default/web", port="http")
    typo = FrontendSettings(service="default/wbe")
    other_port = FrontendSettings(service="default/web", port="https")
    other_cluster = FrontendSettings(service="default/web", cluster="staging")
    services = [a_service("web", a_port(30080, 80, "http"))]
    unused = unused_overrides([used, typo, other_port, other_cluster], services)
    assert unused == (typo, other_port, other_cluster)


def test_a_node_with_a_wrong_address_is_left_out_and_nobody_else() -> None:
    liar = a_node(2, addresses=[("InternalIP", "169.254.169.254")])
    broken = a_node(3, addresses=[("InternalIP", "no address")])
    cluster = replace(SETTINGS.clusters[0], node_networks=("192.0.2.0/24",))
    settings = replace(SETTINGS, clusters=(cluster,))
    (frontend,) = plan_of(
        a_snapshot([a_service()], [a_node(1), liar, broken]), settings=settings
    ).frontends
    assert [backend.key.node for backend in frontend.backends] == [a_node(1).name]
    details = {left.node: left.detail for left in frontend.left_out}
    assert "within node_networks (192.0.2.0/24); it says 169.254.169.254" in details[liar.name]
    assert "it says no address" in details[broken.name]


def test_after_a_pass_that_failed_halfway_nothing_of_it_is_left() -> None:
    class Failing(dict[ServiceKey, Wish]):
        """Stands for any fault in the middle of a pass."""

        def get(self, key: ServiceKey, default: Any = None) -> Any:
            if key.name == "b":
                raise RuntimeError
            return super().get(key, default)

    memo, plan = Memo(), Plan()
    good = {"prod": a_snapshot([a_service("a", a_port(30080))], [a_node(1)])}
    later = a_snapshot([a_service("a", a_port(30081)), a_service("b")], [a_node(1)])
    plan = make_plan(SETTINGS, good, {}, plan, 100.0, memo=memo)
    failing = Wishes(by_service=Failing())
    with pytest.raises(RuntimeError):
        make_plan(SETTINGS, {"prod": later}, {}, plan, 101.0, wishes=failing, memo=memo)
    assert make_plan(SETTINGS, good, {}, plan, 102.0, memo=memo) == plan
