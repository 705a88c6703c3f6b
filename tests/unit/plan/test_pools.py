"""Services of several clusters behind one frontend."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from nplb.model.cluster import Service, Snapshot
from nplb.model.drain import ManualDrain
from nplb.model.keys import Address, Protocol
from nplb.model.plan import Frontend, Plan
from nplb.model.reasons import BackendReason, BackendState, Balance, SkipReason
from nplb.model.settings import FrontendSettings, PoolMember, PoolSettings, Settings
from nplb.model.verdict import Verdict
from nplb.plan.make import make_plan
from tests.support.builders import a_cluster, a_node, a_port, a_service, a_snapshot

LISTEN = (Address("0.0.0.0", 443),)


def pool(*members: PoolMember) -> PoolSettings:
    return PoolSettings(name="shop/web", listen=LISTEN, members=members)


EVERYWHERE = pool(PoolMember(service="default/web"))
WEIGHTED = pool(
    PoolMember(service="default/web", cluster="east", weight=3),
    PoolMember(service="default/web", cluster="west"),
)


def settings(one: PoolSettings = EVERYWHERE, **changes: object) -> Settings:
    clusters = (a_cluster("east"), a_cluster("west"))
    return replace(Settings(clusters=clusters, pools=(one,)), **changes)  # type: ignore[arg-type]


def snapshot(cluster: str, nodes: int = 2, *services: Service) -> Snapshot:
    third = {"east": 1, "west": 2}[cluster]
    port = {"east": 30080, "west": 31080}[cluster]
    return a_snapshot(
        services or (a_service("web", a_port(port), cluster=cluster),),
        [a_node(n, addresses=[("InternalIP", f"10.0.{third}.{n}")]) for n in range(1, nodes + 1)],
        cluster=cluster,
    )


def verdicts_of(plan: Plan, *, down: str = "") -> dict[Address, Verdict]:
    return {
        target.address: Verdict(
            address=target.address, healthy=not (down and target.address.ip.startswith(down))
        )
        for target in plan.probes
    }


def plan_of(
    *snapshots: Snapshot,
    given_settings: Settings | None = None,
    previous: Plan | None = None,
    down: str = "",
    drains: tuple[ManualDrain, ...] = (),
) -> Plan:
    using = given_settings or settings()
    known = {one.cluster: one for one in snapshots}
    first = make_plan(using, known, {}, previous or Plan(), 1.0, drains=drains)
    return make_plan(using, known, verdicts_of(first, down=down), first, 2.0, drains=drains)


def only(plan: Plan) -> Frontend:
    (frontend,) = plan.frontends
    return frontend


def share(frontend: Frontend, cluster: str) -> float:
    mine = sum(b.weight for b in frontend.backends if b.key.node.startswith(f"{cluster}/"))
    return mine / sum(b.weight for b in frontend.backends)


def test_one_frontend_has_the_nodes_of_both_clusters() -> None:
    frontend = only(plan_of(snapshot("east"), snapshot("west")))
    assert str(frontend.key) == "pool/shop/web:443/TCP"
    assert frontend.listen == LISTEN
    assert [(b.key.node, str(b.key.address), b.weight) for b in frontend.active] == [
        ("east/node-1", "10.0.1.1:30080", 1),
        ("east/node-2", "10.0.1.2:30080", 1),
        ("west/node-1", "10.0.2.1:31080", 1),
        ("west/node-2", "10.0.2.2:31080", 1),
    ]


@given(st.integers(1, 30), st.integers(1, 30), st.integers(1, 20), st.integers(1, 20))
def test_shares_do_not_depend_on_how_many_nodes_a_cluster_has(
    east: int, west: int, weight_east: int, weight_west: int
) -> None:
    weighted = pool(
        PoolMember(service="default/web", cluster="east", weight=weight_east),
        PoolMember(service="default/web", cluster="west", weight=weight_west),
    )
    plan = plan_of(
        snapshot("east", east), snapshot("west", west), given_settings=settings(weighted)
    )
    wanted = weight_east / (weight_east + weight_west)
    assert abs(share(only(plan), "east") - wanted) < 0.02


def test_a_cluster_that_is_not_known_yet_keeps_nobody_from_the_other() -> None:
    frontend = only(plan_of(snapshot("west"), given_settings=settings(WEIGHTED)))
    assert {b.key.node for b in frontend.active} == {"west/node-1", "west/node-2"}


def test_a_cluster_that_fails_changes_its_own_backends_alone() -> None:
    before = plan_of(snapshot("east"), snapshot("west"))
    known = {"east": snapshot("east"), "west": snapshot("west")}
    after = make_plan(settings(), known, verdicts_of(before, down="10.0.1."), before, 3.0)
    old = {b.key.node: b for b in only(before).backends}
    new = {b.key.node: b for b in only(after).backends}
    assert {b.key.node for b in only(after).active} == {"west/node-1", "west/node-2"}
    assert all(new[name] is old[name] for name in ("west/node-1", "west/node-2"))


def test_nothing_new_is_the_same_plan() -> None:
    first = plan_of(snapshot("east"), snapshot("west"))
    known = {"east": snapshot("east"), "west": snapshot("west")}
    assert make_plan(settings(), known, verdicts_of(first), first, 9.0) is first


def test_a_node_is_drained_in_its_own_cluster() -> None:
    drain = ManualDrain(cluster="east", node="node-1")
    plan = plan_of(snapshot("east"), snapshot("west"), drains=(drain,))
    states = {b.key.node: (b.state, b.reason) for b in only(plan).backends}
    assert states["east/node-1"] == (BackendState.DRAINING, BackendReason.MANUAL_DRAIN)
    assert states["west/node-1"][0] is BackendState.ACTIVE


def test_members_have_no_frontend_of_their_own_and_others_do() -> None:
    other = a_service("other", a_port(30090), cluster="east")
    web = a_service("web", a_port(30080, 80, "http"), a_port(30443, 443, "https"), cluster="east")
    named = pool(PoolMember(service="default/web", port="https"))
    plan = plan_of(
        snapshot("east", 1, other, web), snapshot("west"), given_settings=settings(named)
    )
    assert [str(f.key) for f in plan.frontends] == [
        "east/default/other:80/TCP",
        "east/default/web:80/TCP",
        "pool/shop/web:443/TCP",
        "west/default/web:80/TCP",
    ]
    [_, _, made, _] = plan.frontends
    assert [b.key.address.port for b in made.backends] == [30443]
    assert [str(part.frontend.key) for part in plan.pooled] == ["east/default/web:443/TCP"]


def test_an_entry_of_the_file_sets_what_differs_for_the_pool() -> None:
    entry = FrontendSettings(service="shop/web", cluster="pool", balance=Balance.MAGLEV)
    frontend = only(
        plan_of(snapshot("east"), snapshot("west"), given_settings=settings(frontends=(entry,)))
    )
    assert frontend.balance is Balance.MAGLEV


def test_what_can_be_no_member_says_why() -> None:
    udp = a_service("web", a_port(30080, protocol=Protocol.UDP), cluster="east")
    plan = plan_of(snapshot("east", 1, udp), snapshot("west"))
    assert [(s.key.service.cluster, s.reason) for s in plan.skipped] == [
        ("east", SkipReason.PROTOCOL)
    ]
    limited = replace(
        a_service("web", a_port(30080), cluster="east"), source_ranges=("10.0.0.0/8",)
    )
    plan = plan_of(snapshot("east", 1, limited), snapshot("west"))
    assert [s.reason for s in plan.skipped] == [SkipReason.SOURCE_RANGES]
    assert {b.key.node for b in only(plan).backends} == {"west/node-1", "west/node-2"}


def test_a_pool_of_nobody_listens_all_the_same() -> None:
    nobody = pool(PoolMember(service="default/other"))
    plan = plan_of(snapshot("east"), given_settings=settings(nobody))
    made = next(f for f in plan.frontends if f.key.service.cluster == "pool")
    assert made.backends == ()
    assert made.listen == LISTEN
