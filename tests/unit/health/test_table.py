"""The hysteresis table."""

import inspect
import textwrap

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nplb.health import table
from nplb.health.table import Event, History, State, start, step
from nplb.model.verdict import InitialState


def walk(initial: InitialState, observations: str, *, rise: int = 2, fall: int = 2) -> str:
    """The states after each of `+` and `-`, as one letter each."""
    history = start(initial)
    letters = []
    for observation in observations:
        history = step(history, observation == "+", rise=rise, fall=fall)
        letters.append({"up": "U", "falling": "f", "down": "D", "rising": "r"}[history.state])
    return "".join(letters)


def test_the_docstring_shows_the_table() -> None:
    shown = inspect.getdoc(table) or ""
    assert textwrap.indent(table.drawn(), "    ") in shown


def test_every_state_answers_every_event() -> None:
    assert set(table.TRANSITIONS) == set(State)
    assert all(set(row) == set(Event) for row in table.TRANSITIONS.values())
    assert set(table.START) == set(InitialState)


@pytest.mark.parametrize(
    ("initial", "observations", "states"),
    [
        (InitialState.PROBE, "+", "U"),
        (InitialState.PROBE, "-", "D"),
        (InitialState.PROBE, "-++", "DrU"),
        (InitialState.PROBE, "+-+--", "UfUfD"),
        (InitialState.UP, "--", "fD"),
        (InitialState.UP, "-+", "fU"),
        (InitialState.DOWN, "++", "rU"),
        (InitialState.DOWN, "+-++", "rDrU"),
        (InitialState.DOWN, "-", "D"),
    ],
)
def test_a_walk(initial: InitialState, observations: str, states: str) -> None:
    assert walk(initial, observations) == states


def test_a_rise_and_fall_of_one_change_at_once() -> None:
    assert walk(InitialState.PROBE, "+-+-", rise=1, fall=1) == "UDUD"


def test_nothing_is_known_before_the_first_observation() -> None:
    assert [start(initial).healthy for initial in InitialState] == [None, None, None]


def test_a_smaller_fall_counts_from_the_next_observation() -> None:
    history = start(InitialState.PROBE)
    for passed in (True, False, False):
        history = step(history, passed, rise=2, fall=5)
    assert history == History(state=State.FALLING, streak=2)
    assert step(history, False, rise=2, fall=2).healthy is False


@given(
    initial=st.sampled_from(InitialState),
    observations=st.lists(st.booleans(), min_size=1, max_size=40),
    rise=st.integers(1, 5),
    fall=st.integers(1, 5),
)
def test_it_is_what_counting_by_hand_gives(
    initial: InitialState, observations: list[bool], rise: int, fall: int
) -> None:
    """A plain reading of rise and fall: look back over the whole list each time."""
    up: bool | None = {InitialState.PROBE: None, InitialState.UP: True, InitialState.DOWN: False}[
        initial
    ]
    history = start(initial)
    changed_at = 0
    for n, passed in enumerate(observations, start=1):
        history = step(history, passed, rise=rise, fall=fall)
        if up is None:
            up, changed_at = passed, n
        elif up is not passed:
            needed = rise if passed else fall
            recent = observations[max(changed_at, n - needed) : n]
            if len(recent) == needed and all(one is passed for one in recent):
                up, changed_at = passed, n
        assert history.healthy is up
        if history.streak:
            assert history.streak < (fall if up else rise)
