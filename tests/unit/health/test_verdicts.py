"""What is shown of targets, and when it is worth publishing."""

from collections.abc import Mapping

from nplb.health.probe import Probe
from nplb.health.probes.conversation import Result
from nplb.health.verdicts import Verdicts
from nplb.model.health import HealthSettings
from nplb.model.keys import Address
from nplb.model.reasons import Cause
from nplb.model.verdict import ProbeTarget, Verdict

WHERE = Address("192.0.2.1", 31000)
HEALTH = HealthSettings(rise=2, fall=2)
THREE = Result(cause=Cause.CONNECTED, answer=200, weight=3)
NONE_LEFT = Result(cause=Cause.UNEXPECTED_ANSWER, detail="503", answer=503)


class Story:
    """One target that answers as a health check node port does."""

    def __init__(self) -> None:
        self.published: list[Mapping[Address, Verdict]] = []
        self.hurried = 0
        self.verdicts = Verdicts(self.published.append, self.hurry, lambda: 1000.0)
        self.probe = Probe(ProbeTarget(address=WHERE, health=HEALTH))
        self.verdicts.begin(self.probe)

    def hurry(self) -> None:
        self.hurried += 1

    def sees(self, result: Result | None, cause: Cause = Cause.TIMEOUT) -> Verdict:
        self.verdicts.observe(self.probe, result.cause if result else cause, "", 0.001, 0.0, result)
        self.verdicts.publish_if_due(1.0, lambda: 1.0)
        return self.verdicts.copy()[WHERE]


def test_one_missed_probe_does_not_change_a_nodes_weight() -> None:
    story = Story()
    assert story.sees(THREE).weight == 3
    missed = story.sees(None)
    assert (missed.healthy, missed.streak, missed.weight, missed.answer) == (True, 1, 3, 200)
    assert story.sees(NONE_LEFT).answer == 503, "the second one counts"


def test_a_node_that_says_503_says_so_until_it_is_up_again() -> None:
    story = Story()
    story.sees(THREE)
    for _ in range(3):
        down = story.sees(NONE_LEFT)
    assert (down.healthy, down.answer, down.weight) == (False, 503, None)
    rising = story.sees(THREE)
    assert (rising.healthy, rising.answer, rising.weight) == (False, 503, None)
    up = story.sees(THREE)
    assert (up.healthy, up.answer, up.weight) == (True, 200, 3)


def test_another_weight_is_published_and_the_same_is_not() -> None:
    story = Story()
    story.sees(THREE)
    known = len(story.published)
    story.sees(THREE)
    assert len(story.published) == known
    story.sees(Result(cause=Cause.CONNECTED, answer=200, weight=4))
    assert len(story.published) == known + 1
    assert story.published[-1][WHERE].weight == 4


def test_what_was_judged_before_and_is_judged_otherwise_now_cannot_wait() -> None:
    story = Story()
    story.sees(THREE)
    assert (len(story.published), story.hurried) == (1, 0), "the first verdict of a new target"
    story.sees(NONE_LEFT)
    assert story.hurried == 1
