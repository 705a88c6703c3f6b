"""A plan made with what the pass before knew is the plan that is made without it."""

from collections.abc import Callable
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from nplb.model.annotations import Wish, Wishes
from nplb.model.cluster import Node, Service, Snapshot, TrafficPolicy
from nplb.model.drain import ManualDrain
from nplb.model.health import (
    BlastRadius,
    HealthSettings,
    KubeProxyUse,
    ProbeSharing,
    SharingSettings,
)
from nplb.model.keys import Address, FrontendKey, ServiceKey
from nplb.model.plan import Plan
from nplb.model.reasons import Balance, Cause
from nplb.model.settings import (
    AnnotationSettings,
    FrontendSettings,
    PoolMember,
    PoolSettings,
    Settings,
)
from nplb.model.verdict import Verdict
from nplb.plan.make import make_plan
from nplb.plan.memo import Memo
from nplb.policy.nodes import AUTOSCALER_TAINT, EXCLUDE_LABEL
from tests.support.builders import a_cluster, a_node, a_port, a_service, a_slice, an_endpoint

NODES = 4
NAMES = ("a", "b", "c", "d")
POOL = PoolSettings(
    name="default/pool",
    listen=(Address("0.0.0.0", 443),),
    members=(PoolMember(service="default/d"),),
)
BASE = Settings(
    clusters=(a_cluster(),),
    annotations=AnnotationSettings(ports=("8000-8010",)),
    pools=(POOL,),
    blast_radius=BlastRadius(share=0.5, window_seconds=30.0),
)
VARIANTS = (
    BASE,
    replace(BASE, health=HealthSettings(fail_open=True, kube_proxy=KubeProxyUse.REQUIRE)),
    replace(BASE, nodes_per_service=2),
    replace(
        BASE,
        health=HealthSettings(kube_proxy=KubeProxyUse.PREFER),
        frontends=(
            FrontendSettings(
                service="default/b",
                health=HealthSettings(fall=1, kube_proxy=KubeProxyUse.PREFER),
            ),
        ),
        sharing=SharingSettings(mode=ProbeSharing.NODE, budget=3.0),
    ),
    replace(
        BASE,
        nodes_per_service=2,
        frontends=(
            FrontendSettings(service="default/c", health=HealthSettings(interval_seconds=1.0)),
        ),
        sharing=SharingSettings(mode=ProbeSharing.AUTO, budget=1.5),
    ),
    replace(BASE, prefer_pods=True, frontends=(FrontendSettings(service="default/a", port="80"),)),
)


class World:
    """All that a plan is made of, changed step by step."""

    def __init__(self) -> None:
        self.services: dict[str, Service] = {}
        self.nodes: dict[int, Node] = {n: a_node(n) for n in range(1, NODES + 1)}
        self.pods: dict[str, tuple[int, ...]] = {}
        self.verdicts: dict[Address, Verdict] = {}
        self.drains: tuple[ManualDrain, ...] = ()
        self.wishes: dict[ServiceKey, Wish] = {}
        self.settings = BASE
        self.now = 1000.0
        self._snapshot: Snapshot | None = None

    def changed(self, *, nodes: bool = False, services: bool = False, slices: bool = False) -> None:
        """Make what changed anew, and keep the rest as it is: as a source does."""
        old = self._snapshot
        self._snapshot = Snapshot(
            cluster="prod",
            taken_at=0.0,
            services=tuple(self.services[name] for name in sorted(self.services))
            if services or old is None
            else old.services,
            nodes=tuple(self.nodes[n] for n in sorted(self.nodes))
            if nodes or old is None
            else old.nodes,
            slices=tuple(
                a_slice(*(an_endpoint(n, f"10.0.0.{n}") for n in where), service=name)
                for name, where in sorted(self.pods.items())
            )
            if slices or old is None
            else old.slices,
        )

    @property
    def snapshot(self) -> Snapshot:
        if self._snapshot is None:
            self.changed()
        assert self._snapshot is not None
        return self._snapshot


def put_service(world: World, draw: Callable[[int], int]) -> None:
    index = draw(len(NAMES))
    policy = TrafficPolicy.LOCAL if draw(3) == 0 else TrafficPolicy.CLUSTER
    port = a_port(30080 + (index if draw(4) else 0))
    world.services[NAMES[index]] = a_service(
        NAMES[index], port, policy=policy, created=float(draw(5)), labels={"n": str(draw(9))}
    )
    world.changed(services=True)


def drop_service(world: World, draw: Callable[[int], int]) -> None:
    world.services.pop(NAMES[draw(len(NAMES))], None)
    world.changed(services=True)


def put_node(world: World, draw: Callable[[int], int]) -> None:
    number = 1 + draw(NODES)
    world.nodes[number] = a_node(
        number,
        ready=draw(3) != 0,
        taints=[AUTOSCALER_TAINT] if draw(4) == 0 else [],
        labels={EXCLUDE_LABEL: ""} if draw(4) == 0 else {},
    )
    world.changed(nodes=True)


def drop_node(world: World, draw: Callable[[int], int]) -> None:
    world.nodes.pop(1 + draw(NODES), None)
    world.changed(nodes=True)


def put_pods(world: World, draw: Callable[[int], int]) -> None:
    name = NAMES[draw(len(NAMES))]
    if draw(4) == 0:
        world.pods.pop(name, None)
    else:
        world.pods[name] = tuple(n for n in range(1, NODES + 1) if draw(2))
    world.changed(slices=True)


def put_verdicts(world: World, draw: Callable[[int], int]) -> None:
    verdicts = dict(world.verdicts)
    for _ in range(1 + draw(6)):
        port = (30080, 30081, 30082, 30083, 10256)[draw(5)]
        address = Address(f"192.0.2.{1 + draw(NODES)}", port)
        if draw(8) == 0:
            verdicts.pop(address, None)
            continue
        healthy = draw(2) == 0
        cause = Cause.CONNECTED if healthy else (Cause.REFUSED, Cause.TIMEOUT)[draw(2)]
        verdicts[address] = Verdict(address=address, healthy=healthy, cause=cause)
    world.verdicts = verdicts


def silence(world: World, draw: Callable[[int], int]) -> None:
    """A node answers nowhere any more, or everywhere again."""
    ip, healthy = f"192.0.2.{1 + draw(NODES)}", draw(2) == 0
    cause = Cause.CONNECTED if healthy else Cause.TIMEOUT
    world.verdicts = {
        address: Verdict(address=address, healthy=healthy, cause=cause)
        if address.ip == ip
        else verdict
        for address, verdict in world.verdicts.items()
    }


def put_drain(world: World, draw: Callable[[int], int]) -> None:
    drain = ManualDrain(cluster="prod", node=f"node-{1 + draw(NODES)}")
    world.drains = () if world.drains else (drain,)


def put_wish(world: World, draw: Callable[[int], int]) -> None:
    key = ServiceKey("prod", "default", NAMES[draw(len(NAMES))])
    wishes = dict(world.wishes)
    if draw(3) == 0:
        wishes.pop(key, None)
    else:
        options = FrontendSettings(service=key.short, balance=list(Balance)[draw(len(Balance))])
        wishes[key] = Wish(options=options, ports={FrontendKey(key, 80): 8000 + draw(2)})
    world.wishes = wishes


def configure(world: World, draw: Callable[[int], int]) -> None:
    world.settings = VARIANTS[draw(len(VARIANTS))]


def wait(world: World, draw: Callable[[int], int]) -> None:
    world.now += draw(60)


STEPS = (
    put_service, put_service, drop_service, put_node, put_node, drop_node, put_pods,
    put_verdicts, put_verdicts, silence, put_drain, put_wish, configure, wait,
)  # fmt: skip


@given(st.data())
def test_with_or_without_a_memo(data: st.DataObject) -> None:
    world, memo, plan = World(), Memo(), Plan()

    def draw(below: int) -> int:
        return data.draw(st.integers(0, below - 1))

    for _ in range(data.draw(st.integers(1, 25))):
        data.draw(st.sampled_from(STEPS))(world, draw)
        world.now += 1.0
        if draw(10) == 0:  # a pass that does not come to its end
            memo.begin(world.settings, {}, plan)
        with_memo, without = (
            make_plan(
                world.settings,
                {"prod": world.snapshot},
                world.verdicts,
                plan,
                world.now,
                drains=world.drains,
                wishes=Wishes(by_service=world.wishes),
                memo=one,
            )
            for one in (memo, None)
        )
        assert with_memo == without
        plan = with_memo
