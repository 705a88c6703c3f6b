"""A part of a large cluster's nodes for each Service."""

from collections import Counter
from dataclasses import replace

import pytest

from nplb.model.cluster import Snapshot, TrafficPolicy
from nplb.model.keys import Address, ServiceKey
from nplb.model.plan import Plan
from nplb.model.reasons import BackendState
from nplb.model.settings import Settings
from nplb.model.verdict import Verdict
from nplb.plan.make import make_plan
from nplb.plan.spread import BUDGET, FEWEST, Ring, nodes_limit
from nplb.policy.nodes import EXCLUDE_LABEL
from tests.support.builders import (
    a_cluster,
    a_node,
    a_port,
    a_service,
    a_slice,
    a_snapshot,
    an_endpoint,
)

NODES = 40
SETTINGS = Settings(clusters=(a_cluster(),), nodes_per_service=8)


def snapshot(services: int = 10, *, without: int = 0, excluded: int = 0) -> Snapshot:
    return a_snapshot(
        [a_service(f"s{i}", a_port(30000 + i)) for i in range(services)],
        [
            a_node(n, labels={EXCLUDE_LABEL: ""} if n == excluded else {})
            for n in range(1, NODES + 1)
            if n != without
        ],
    )


def plan_of(one: Snapshot, previous: Plan | None = None, settings: Settings = SETTINGS) -> Plan:
    first = make_plan(settings, {"prod": one}, {}, previous or Plan(), 1.0)
    verdicts = {t.address: Verdict(address=t.address, healthy=True) for t in first.probes}
    return make_plan(settings, {"prod": one}, verdicts, first, 2.0)


def nodes(plan: Plan, index: int = 0) -> set[str]:
    return {b.key.node for b in plan.frontends[index].active}


def test_each_service_has_its_part_and_probes_are_of_those_alone() -> None:
    plan = plan_of(snapshot())
    assert {len(f.backends) for f in plan.frontends} == {8}
    assert len(plan.probes) == 80
    assert len({frozenset(nodes(plan, i)) for i in range(10)}) > 5, "not all the same ones"


def test_a_node_that_goes_is_replaced_and_the_others_stay() -> None:
    before = plan_of(snapshot())
    gone = int(min(nodes(before)).removeprefix("node-"))
    after = plan_of(snapshot(without=gone), before)
    assert len(nodes(after)) == 8
    assert len(nodes(before) & nodes(after)) == 7
    untouched = [i for i in range(10) if f"node-{gone}" not in nodes(before, i)]
    assert untouched
    assert all(nodes(before, i) == nodes(after, i) for i in untouched)


def test_a_node_that_may_not_serve_drains_and_another_one_comes() -> None:
    before = plan_of(snapshot())
    excluded = int(min(nodes(before)).removeprefix("node-"))
    after = plan_of(snapshot(excluded=excluded), before)
    assert len(nodes(after)) == 8
    states = {b.key.node: b.state for b in after.frontends[0].backends}
    assert states[f"node-{excluded}"] is BackendState.DRAINING


def test_nodes_that_are_left_to_others_do_not_count_as_gone() -> None:
    everybody = plan_of(snapshot(), settings=replace(SETTINGS, nodes_per_service=0))
    assert len(nodes(everybody)) == NODES
    few = plan_of(snapshot(), everybody)
    assert len(few.frontends[0].backends) == 8
    assert few.frontends[0].left_out == ()


def test_where_it_matters_which_node_it_is_all_count() -> None:
    local = a_service("s0", a_port(30000), policy=TrafficPolicy.LOCAL)
    pods = a_slice(*(an_endpoint(n, f"10.0.0.{n}") for n in range(1, 21)), service="s0")
    one = replace(snapshot(), services=(local,), slices=(pods,))
    assert len(nodes(plan_of(one))) == 20


@pytest.mark.parametrize(
    ("setting", "ports", "count", "limit"),
    [
        (None, 100, 1000, 0),
        (None, 5000, 40, 0),
        (None, 5000, 1000, 32),
        (None, 50_000, 1000, FEWEST),
        (0, 5000, 1000, 0),
        (7, 1, 1, 7),
    ],
)
def test_the_budget(setting: int | None, ports: int, count: int, limit: int) -> None:
    assert nodes_limit(setting, ports, count) == limit
    if limit > FEWEST and setting is None:
        assert ports * limit <= BUDGET


def test_nodes_are_used_evenly() -> None:
    ring = Ring([f"node-{n}" for n in range(1000)])
    used: Counter[int] = Counter()
    for number in range(5000):
        chosen = ring.choose(ServiceKey("prod", "default", f"s{number}"), 32)
        assert len(set(chosen)) == 32
        assert chosen == sorted(chosen)
        used.update(chosen)
    assert len(used) == 1000
    assert max(used.values()) < 2.2 * 160
    assert min(used.values()) > 160 / 2.2


def test_a_ring_is_the_same_whoever_builds_it() -> None:
    names = [f"node-{n}" for n in range(50)]
    key = ServiceKey("prod", "default", "web")
    one = {names[i] for i in Ring(names).choose(key, 9)}
    mixed = list(reversed(names))
    assert one == {mixed[i] for i in Ring(mixed).choose(key, 9)}


def test_addresses_are_those_of_the_chosen() -> None:
    plan = plan_of(snapshot(1))
    for backend in plan.frontends[0].backends:
        number = backend.key.node.removeprefix("node-")
        assert backend.key.address == Address(f"192.0.2.{number}", 30000)
