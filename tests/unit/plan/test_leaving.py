"""The blast-radius cap, and panic: what many nodes at once may do to a Service."""

from collections.abc import Iterable
from dataclasses import replace

import pytest

from nplb.model.cluster import Node
from nplb.model.drain import ManualDrain
from nplb.model.health import BlastRadius, HealthSettings
from nplb.model.plan import Plan
from nplb.model.reasons import BackendReason, BackendState, Cause
from nplb.model.settings import Settings
from nplb.model.verdict import Verdict
from nplb.plan.make import make_plan
from nplb.policy.nodes import AUTOSCALER_TAINT, EXCLUDE_LABEL
from tests.support.builders import a_cluster, a_node, a_service, a_snapshot, a_verdict

CAP = BlastRadius(share=0.5, window_seconds=600.0)
SETTINGS = Settings(clusters=(a_cluster(node_selector="!out"),), blast_radius=CAP)
NODES = 6
GOOD = [a_verdict(f"192.0.2.{n}") for n in range(1, NODES + 1)]


class Story:
    """Passes one after another, each with the plan before."""

    def __init__(self, settings: Settings = SETTINGS) -> None:
        self.settings = settings
        self.plan = Plan()
        self.go_on([a_node(n) for n in range(1, NODES + 1)], at=0.0)

    def go_on(
        self,
        nodes: Iterable[Node],
        *,
        at: float,
        verdicts: Iterable[Verdict] = GOOD,
        drains: tuple[ManualDrain, ...] = (),
    ) -> None:
        snapshot = a_snapshot([a_service()], list(nodes))
        known = {v.address: v for v in verdicts}
        self.plan = make_plan(
            self.settings, {"prod": snapshot}, known, self.plan, at, drains=drains
        )

    @property
    def reasons(self) -> dict[str, BackendReason]:
        return {b.key.node: b.reason for b in self.plan.frontends[0].backends}

    @property
    def active(self) -> set[str]:
        return {b.key.node for b in self.plan.frontends[0].active}

    def names(self, reason: BackendReason) -> list[str]:
        return [name for name, why in self.reasons.items() if why is reason]


def marked(node: Node, signal: str) -> Node:
    if signal == "label":
        return replace(node, labels={EXCLUDE_LABEL: "true"})
    if signal == "taint":
        return replace(node, taints=a_node(taints=[AUTOSCALER_TAINT]).taints)
    if signal == "selector":
        return replace(node, labels={"out": ""})
    if signal == "deletion":
        return replace(node, deleting=True)
    return replace(node, addresses=())


def cluster(*gone: int, signal: str = "label") -> list[Node]:
    """Six nodes, of which some are marked, or missing."""
    nodes = []
    for n in range(1, NODES + 1):
        if n not in gone:
            nodes.append(a_node(n))
        elif signal != "gone":
            nodes.append(marked(a_node(n), signal))
    return nodes


SIGNALS = ("label", "taint", "selector", "deletion", "address", "gone")


@pytest.mark.parametrize("signal", SIGNALS)
def test_a_few_may_leave_and_most_may_not(signal: str) -> None:
    story = Story()
    story.go_on(cluster(1, 2, signal=signal), at=10.0)
    assert story.active == {"node-3", "node-4", "node-5", "node-6"}
    assert not story.names(BackendReason.KEPT)
    story.go_on(cluster(1, 2, 3, 4, 5, signal=signal), at=20.0)
    assert story.active == {"node-4", "node-5", "node-6"}
    assert story.names(BackendReason.KEPT) == ["node-4", "node-5"]
    kept = story.plan.frontends[0].active[0]
    assert "at most 3 of 6 nodes may leave in 10 minutes" in kept.detail
    assert kept.key.address in [t.address for t in story.plan.probes]


@pytest.mark.parametrize("signal", SIGNALS)
def test_the_same_again_is_the_same_plan(signal: str) -> None:
    story = Story()
    story.go_on(cluster(1, 2, 3, 4, 5, signal=signal), at=20.0)
    before = story.plan
    story.go_on(cluster(1, 2, 3, 4, 5, signal=signal), at=30.0)
    assert story.plan is before


def test_what_probes_say_counts_all_the_time() -> None:
    story = Story()
    story.go_on(cluster(*range(1, 6)), at=20.0)
    assert "node-5" in story.names(BackendReason.KEPT)
    bad = a_verdict("192.0.2.5", healthy=False, cause=Cause.TIMEOUT)
    verdicts = [v for v in GOOD if v.address != bad.address] + [bad]
    story.go_on(cluster(*range(1, 6)), at=30.0, verdicts=verdicts)
    assert "node-5" not in story.active
    story.go_on(cluster(*range(1, 6)), at=40.0, verdicts=verdicts)
    assert story.reasons["node-5"] is BackendReason.EXCLUDE_LABEL


def test_nodes_that_probes_have_taken_out_may_go() -> None:
    story = Story()
    down = [
        a_verdict(f"192.0.2.{n}", healthy=False, cause=Cause.TIMEOUT) if n <= 4 else GOOD[n - 1]
        for n in range(1, NODES + 1)
    ]
    story.go_on(cluster(), at=10.0, verdicts=down)
    story.go_on(cluster(1, 2, 3, 4), at=20.0, verdicts=down)
    assert len(story.names(BackendReason.EXCLUDE_LABEL)) == 4
    assert not story.names(BackendReason.KEPT)


def test_time_lets_more_of_them_go_but_never_the_last() -> None:
    story = Story()
    everyone = range(1, NODES + 1)
    story.go_on(cluster(*everyone), at=0.0)
    sizes = [len(story.active)]
    for minutes in range(11, 100, 11):
        story.go_on(cluster(*everyone), at=minutes * 60.0)
        sizes.append(len(story.active))
    assert sizes[:3] == [3, 2, 1]
    assert sizes[-1] == 1
    assert "last node" in story.plan.frontends[0].active[0].detail


def test_an_empty_list_is_not_believed() -> None:
    story = Story()
    story.go_on([], at=10.0)
    assert story.names(BackendReason.KEPT) == [f"node-{n}" for n in range(1, NODES + 1)]
    assert "no node at all" in story.plan.frontends[0].active[0].detail
    story.go_on(cluster(), at=20.0)
    assert set(story.reasons.values()) == {BackendReason.PASSING}


def test_a_node_that_comes_back_does_not_count_any_more() -> None:
    story = Story()
    for n in range(1, NODES + 1):
        # One after another is taken out and put back, within one window.
        story.go_on(cluster(n), at=n * 10.0)
        assert story.reasons[f"node-{n}"] is BackendReason.EXCLUDE_LABEL
    story.go_on(cluster(), at=100.0)
    assert len(story.active) == NODES
    for n in range(1, NODES + 1):
        story.go_on(cluster(n, signal="gone"), at=200.0 + n * 10.0)
        assert f"node-{n}" not in story.reasons


def test_nodes_that_are_gone_are_named_while_they_count() -> None:
    story = Story()
    story.go_on(cluster(1, signal="gone"), at=10.0)
    (left,) = story.plan.frontends[0].left_out
    assert (left.node, left.reason, left.since) == ("node-1", BackendReason.NODE_GONE, 10.0)
    story.go_on(cluster(1, signal="gone"), at=700.0)
    assert story.plan.frontends[0].left_out == ()


def test_one_that_drained_before_it_was_deleted_counts_once() -> None:
    story = Story()
    story.go_on(cluster(1, 2, 3, signal="taint"), at=10.0)
    assert len(story.active) == 3
    story.go_on(cluster(1, 2, 3, signal="gone"), at=20.0)
    assert len(story.active) == 3
    assert [left.since for left in story.plan.frontends[0].left_out] == [10.0] * 3
    story.go_on([n for n in cluster(4) if n.name not in ("node-1", "node-2", "node-3")], at=30.0)
    assert story.names(BackendReason.KEPT) == ["node-4"]


def test_a_fresh_start_takes_the_api_at_its_word() -> None:
    story = Story()
    story.plan = Plan()
    story.go_on(cluster(1, 2, 3, 4, 5), at=0.0)
    assert story.active == {"node-6"}
    # And those that never were in do not count among those that left.
    story.plan = Plan()
    story.go_on(cluster(1, 2), at=0.0)
    story.go_on(cluster(1, 2, 3, 4), at=1.0)
    assert story.active == {"node-5", "node-6"}


def test_an_operators_word_is_no_signal_of_the_api() -> None:
    story = Story()
    drains = tuple(ManualDrain(cluster="prod", node=f"node-{n}") for n in range(1, NODES + 1))
    story.go_on(cluster(), at=10.0, drains=drains)
    assert story.active == set()


def test_a_share_of_one_is_no_limit() -> None:
    story = Story(replace(SETTINGS, blast_radius=BlastRadius(share=1.0)))
    story.go_on(cluster(*range(1, NODES + 1)), at=10.0)
    assert story.active == set()


# -- panic -----------------------------------------------------------------------------------


def failing(*numbers: int, cause: Cause = Cause.TIMEOUT) -> list[Verdict]:
    return [
        a_verdict(f"192.0.2.{n}", healthy=False, cause=cause) if n in numbers else GOOD[n - 1]
        for n in range(1, NODES + 1)
    ]


OPEN = replace(SETTINGS, health=HealthSettings(panic_below=0.5, fail_open=True))


def test_a_panic_is_seen_and_opens_only_if_it_is_told_to() -> None:
    closed, opened = Story(), Story(OPEN)
    for story in (closed, opened):
        story.go_on(cluster(), at=10.0, verdicts=failing(1, 2, 3))
        assert not story.plan.frontends[0].panic, "half of them is not less than half"
        story.go_on(cluster(), at=20.0, verdicts=failing(1, 2, 3, 4))
        assert story.plan.frontends[0].panic
    assert closed.active == {"node-5", "node-6"}
    assert len(opened.active) == NODES
    assert len(opened.names(BackendReason.FAIL_OPEN)) == 4
    assert opened.plan.frontends[0].active[0].detail.startswith("timeout")
    before = opened.plan
    opened.go_on(cluster(), at=30.0, verdicts=failing(1, 2, 3, 4))
    assert opened.plan is before
    opened.go_on(cluster(), at=40.0)
    assert set(opened.reasons.values()) == {BackendReason.PASSING}
    assert not opened.plan.frontends[0].panic


def test_nodes_without_a_verdict_make_no_panic() -> None:
    story = Story(OPEN)
    story.plan = Plan()
    story.go_on(cluster(), at=0.0, verdicts=[])
    assert not story.plan.frontends[0].panic
    assert story.active == set()


def test_a_drained_node_is_neither_good_nor_bad() -> None:
    story = Story(OPEN)
    drains = tuple(ManualDrain(cluster="prod", node=f"node-{n}") for n in (1, 2, 3, 4))
    story.go_on(cluster(), at=10.0, drains=drains)
    assert not story.plan.frontends[0].panic
    assert {b.state for b in story.plan.frontends[0].backends} == {
        BackendState.DRAINING,
        BackendState.ACTIVE,
    }
