"""The agenda: soonest first, moves, and forgets."""

from itertools import islice

from hypothesis import given
from hypothesis import strategies as st

from nplb.health.agenda import Agenda


def test_a_key_that_is_put_again_moves() -> None:
    agenda: Agenda[str] = Agenda()
    agenda.put("a", 1.0)
    agenda.put("b", 2.0)
    agenda.put("a", 3.0)
    assert agenda.soonest() == 2.0
    assert list(agenda.due(5.0)) == ["b", "a"]
    assert agenda.soonest() is None


def test_what_the_caller_does_not_take_stays() -> None:
    agenda: Agenda[int] = Agenda()
    for n in range(5):
        agenda.put(n, float(n))
    assert list(islice(agenda.due(10.0), 2)) == [0, 1]
    assert len(agenda) == 3
    assert list(agenda.due(3.0)) == [2, 3]
    assert 4 in agenda


def test_a_key_that_moves_all_the_time_leaves_nothing_behind() -> None:
    agenda: Agenda[int] = Agenda()
    for step in range(1000):
        agenda.put(step % 3, 1e6 - step)
    assert len(agenda._heap) < 50
    assert list(agenda.due(1e6)) == [0, 2, 1]


@given(
    st.lists(st.tuples(st.integers(0, 5), st.one_of(st.none(), st.integers(0, 9))), max_size=60),
    st.integers(0, 9),
)
def test_it_is_a_sorted_dictionary(steps: list[tuple[int, int | None]], at: int) -> None:
    agenda: Agenda[int] = Agenda()
    plain: dict[int, float] = {}
    for key, when in steps:
        if when is None:
            agenda.drop(key)
            plain.pop(key, None)
        else:
            agenda.put(key, when)
            plain[key] = when
    assert agenda.soonest() == min(plain.values(), default=None)
    taken = list(agenda.due(at))
    assert sorted(taken) == sorted(key for key, when in plain.items() if when <= at)
    assert [plain[key] for key in taken] == sorted(plain[key] for key in taken)
    assert len(agenda) == sum(when > at for when in plain.values())
