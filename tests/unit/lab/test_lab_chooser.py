"""Which pod a client gets: at random, or the one that it had."""

import random
from collections import Counter

from nplb.lab.rules import Action, Rule, Target
from nplb.lab.serviceports import Chooser

PODS = tuple(Target(ip=f"10.0.0.{n}", port=8080) for n in range(1, 5))


class Clock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def rule(targets: tuple[Target, ...], affinity: int | None = None) -> Rule:
    return Rule(action=Action.FORWARD, targets=targets, affinity_seconds=affinity)


def test_pods_are_chosen_evenly() -> None:
    chooser = Chooser(random.Random(1))
    chooser.rule = rule(PODS)
    counts = Counter(chooser.choose("127.0.0.1") for _ in range(4000))
    assert set(counts) == set(PODS)
    assert min(counts.values()) > 800


def test_nobody_to_choose() -> None:
    assert Chooser(random.Random(1)).choose("127.0.0.1") is None


def test_a_client_keeps_its_pod_until_it_has_been_away_too_long() -> None:
    clock = Clock()
    chooser = Chooser(random.Random(1), clock)
    chooser.rule = rule(PODS, affinity=60)
    first = chooser.choose("127.0.0.1")
    for _ in range(20):
        clock.now += 59  # every connection counts as having been seen
        assert chooser.choose("127.0.0.1") == first
    seen = set()
    for _ in range(40):
        clock.now += 61
        seen.add(chooser.choose("127.0.0.1"))
    assert len(seen) > 1


def test_a_client_whose_pod_has_gone_gets_another_and_keeps_that() -> None:
    chooser = Chooser(random.Random(1), Clock())
    chooser.rule = rule(PODS, affinity=60)
    first = chooser.choose("127.0.0.1")
    chooser.rule = rule(tuple(pod for pod in PODS if pod != first), affinity=60)
    second = chooser.choose("127.0.0.1")
    assert second != first
    chooser.rule = rule(PODS, affinity=60)
    assert {chooser.choose("127.0.0.1") for _ in range(20)} == {second}


def test_a_pods_new_conditions_do_not_move_its_clients() -> None:
    chooser = Chooser(random.Random(1), Clock())
    chooser.rule = rule(PODS, affinity=60)
    first = chooser.choose("127.0.0.1")
    assert first is not None
    draining = tuple(
        Target(ip=pod.ip, port=pod.port, ready=False, serving=True, terminating=True)
        for pod in PODS
    )
    chooser.rule = rule(draining, affinity=60)
    again = chooser.choose("127.0.0.1")
    assert again is not None
    assert again.ip == first.ip
