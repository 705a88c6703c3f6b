"""How soon a pass may follow another."""

from itertools import pairwise

from nplb.control.pace import MOST_SECONDS, Pace


def passes_of(changes: list[float], cost: float) -> list[float]:
    """When passes begin that cost so much each, if something changes at these times."""
    pace, began, end = Pace(), [], 0.0
    while changes:
        first = max(changes[0], end)
        at = max(pace.begin_at(first), first)
        changes = [change for change in changes if change > at]
        began.append(at)
        end = at + cost
        pace.passed(end, cost)
    return began


def test_what_changes_now_and_then_is_served_at_once() -> None:
    changes = [number * 0.1 for number in range(100)]
    assert passes_of(changes, 0.03) == changes


def test_a_burst_costs_a_handful_of_passes_and_its_last_change_is_served_within_a_second() -> None:
    changes = [number / 1000 for number in range(4000)]
    began = passes_of(changes, 0.03)
    assert began[0] == 0.0
    assert len(began) <= 8
    assert changes[-1] <= began[-1] <= changes[-1] + MOST_SECONDS


def test_a_small_cluster_is_followed_closely_in_a_burst() -> None:
    began = passes_of([number / 1000 for number in range(4000)], 0.001)
    gaps = [after - before for before, after in pairwise(began)]
    assert 0.05 <= max(gaps) <= 0.06


def test_after_a_quiet_moment_a_burst_is_forgotten() -> None:
    began = passes_of([*(number / 1000 for number in range(4000)), 9.0, 9.1], 0.03)
    assert began[-2:] == [9.0, 9.1]
