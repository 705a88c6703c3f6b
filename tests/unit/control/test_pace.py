"""How soon a pass may follow another."""

from itertools import pairwise

from nplb.control.pace import MOST_SECONDS, Pace

BURST = [number * 0.04 for number in range(100)]  # a source gathers for so long


def passes_of(changes: list[float], *costs: float) -> list[float]:
    """When passes begin, if something changes at these times. The last cost is that of all
    further passes."""
    pace, end, left = Pace(), 0.0, [*costs]
    began: list[float] = []
    while (done := sum(change <= began[-1] for change in changes) if began else 0) < len(changes):
        at = max(changes[done], end, pace.free_at)
        cost = left.pop(0) if len(left) > 1 else left[0]
        end = at + cost
        pace.passed(at, end, cost, sum(change <= at for change in changes))
        began.append(at)
    return began


def test_what_changes_now_and_then_is_served_at_once() -> None:
    changes = [number * 0.25 for number in range(40)]
    assert passes_of(changes, 0.03) == changes


def test_after_one_pass_that_took_long_what_changes_now_and_then_soon_waits_no_more() -> None:
    changes = [number * 0.25 for number in range(40)]
    assert passes_of(changes, 3.0, 0.03)[-20:] == changes[-20:]


def test_a_burst_costs_a_handful_of_passes_and_its_last_change_is_served_within_a_second() -> None:
    began = passes_of(BURST, 0.03)
    assert began[0] == 0.0
    assert len(began) <= 8
    assert BURST[-1] <= began[-1] <= BURST[-1] + MOST_SECONDS


def test_a_small_cluster_is_followed_closely_in_a_burst() -> None:
    assert passes_of(BURST, 0.002) == BURST
    denser = [number * 0.001 for number in range(4000)]
    assert max(after - before for before, after in pairwise(passes_of(denser, 0.002))) < 0.11


def test_after_a_quiet_moment_a_burst_is_forgotten() -> None:
    began = passes_of([*BURST, 9.0, 9.2, 9.4], 0.03)
    assert began[-3:] == [9.0, 9.2, 9.4]
