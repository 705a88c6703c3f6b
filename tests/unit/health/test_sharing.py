"""The shared probes of a node: whom they ask, and when the node is down."""

import random

from nplb.health.sharing import JURY, NodeStream
from nplb.model.health import HealthSettings
from nplb.model.reasons import Cause


class One:
    def __init__(self, name: str, *, works: bool = True, expects_refusal: bool = False) -> None:
        self.name = name
        self.works = works
        self.expects_refusal = expects_refusal


def stream(*members: One, fall: int = 2, rise: int = 2) -> NodeStream[One]:
    made: NodeStream[One] = NodeStream(
        5.0, HealthSettings(fall=fall, rise=rise, jitter=0.0, timeout_seconds=1.0)
    )
    for member in members:
        made.add(member)
    return made


def services(count: int) -> list[One]:
    return [One(f"s{n}") for n in range(count)]


def turn(node: NodeStream[One], *causes: Cause, at: float = 0.0) -> list[One]:
    """One turn, whose probes end so; the last cause counts for all that are left."""
    asked = node.take_turn(at, random.Random(1).random)
    told = [*causes, *[causes[-1]] * len(asked)]
    for member, cause in zip(asked, told, strict=False):
        node.hear(member, cause)
    assert not node.is_busy
    return asked


def test_while_all_is_well_each_service_is_asked_in_its_turn() -> None:
    node = stream(*services(3))
    asked = [turn(node, Cause.CONNECTED) for _ in range(6)]
    assert [len(one) for one in asked] == [1] * 6
    assert len({one[0].name for one in asked[:3]}) == 3
    assert [one[0].name for one in asked[:3]] == [one[0].name for one in asked[3:]]


def test_one_service_that_fails_does_not_take_the_node_down() -> None:
    node = stream(*services(20))
    (bad,) = turn(node, Cause.TIMEOUT)
    bad.works = False
    jury = turn(node, Cause.TIMEOUT, Cause.CONNECTED)
    assert len(jury) == JURY
    assert bad not in jury
    assert not node.is_down
    assert node.history.streak == 0
    assert len(turn(node, Cause.CONNECTED)) == 1, "it is calm again"


def test_a_silent_node_is_down_after_fall_turns() -> None:
    node = stream(*services(20), fall=3)
    for expected in (False, False, True):
        turn(node, Cause.TIMEOUT)
        assert node.is_down is expected
    assert node.cause is Cause.TIMEOUT
    assert "5 services" in node.detail


def test_one_failed_turn_never_speaks_for_a_node() -> None:
    node = stream(*services(3), fall=1)
    turn(node, Cause.TIMEOUT)
    assert not node.is_down
    turn(node, Cause.TIMEOUT)
    assert node.is_down


def test_a_node_that_answers_again_is_back_after_rise_turns() -> None:
    node = stream(*services(10))
    turn(node, Cause.REFUSED)
    turn(node, Cause.REFUSED)
    assert node.is_down
    turn(node, Cause.CONNECTED)
    assert node.is_down
    turn(node, Cause.TIMEOUT, Cause.CONNECTED)  # one that answers is enough
    assert not node.is_down


def test_wrong_answers_are_answers() -> None:
    node = stream(*services(4))
    for _ in range(5):
        turn(node, Cause.UNEXPECTED_ANSWER)
    assert not node.is_down


def test_an_empty_services_refusal_says_that_the_node_is_there() -> None:
    node = stream(One("empty", works=False, expects_refusal=True))
    for _ in range(5):
        turn(node, Cause.REFUSED)
    assert not node.is_down


def test_probes_that_could_not_be_made_say_nothing() -> None:
    node = stream(*services(3))
    for _ in range(5):
        for member in node.take_turn(0.0, random.Random(1).random):
            assert node.hear(member, None)
    assert not node.is_down
    assert node.history.streak == 0


def test_a_turn_does_not_wait_for_a_service_that_left() -> None:
    node = stream(*services(1))
    (member,) = node.take_turn(0.0, random.Random(1).random)
    node.remove(member)
    assert not node.is_busy
    assert node.take_turn(1.0, random.Random(1).random) == []


def test_turns_are_quick_in_doubt_and_the_bound_holds() -> None:
    node = stream(*services(10))
    draw = random.Random(3).random
    node.take_turn(100.0, draw)
    assert node.next_at(draw) == 105.0
    for member in list(node.members)[:1]:
        node.hear(member, Cause.TIMEOUT)
    assert node.next_at(draw) == 101.0


def test_an_alarm_asks_a_jury_at_once() -> None:
    node = stream(*services(10))
    node.alarmed = True
    assert len(turn(node, Cause.CONNECTED)) == JURY
    assert len(turn(node, Cause.CONNECTED)) == 1
