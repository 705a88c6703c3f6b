"""What went and came between two tuples, whatever they are."""

from operator import attrgetter, is_

from hypothesis import given
from hypothesis import strategies as st

from nplb.model.difference import difference
from nplb.model.keys import Address
from nplb.model.verdict import ProbeTarget

MANY = 3000
TARGETS = [
    ProbeTarget(address=Address("192.0.2.1", 30000 + number), turn_seconds=turn)
    for number in range(MANY)
    for turn in (0.0, 1.0)
]
Targets = tuple[ProbeTarget, ...]


@st.composite
def plans(draw: st.DrawFn) -> tuple[Targets, Targets]:
    """Two plans of many targets, of which few differ; at most one target of each address."""
    odd = draw(st.dictionaries(st.integers(0, MANY - 1), st.sampled_from((None, 0, 1))))
    other = draw(st.dictionaries(st.integers(0, MANY - 1), st.sampled_from((None, 0, 1))))
    length = draw(st.integers(0, MANY))
    one, two = (
        tuple(
            TARGETS[2 * number + which]
            for number in range(length)
            for which in (chosen.get(number, 0),)
            if which is not None
        )
        for chosen in (odd, other)
    )
    return one, two


@given(plans())
def test_what_is_in_one_alone(both: tuple[Targets, Targets]) -> None:
    before, after = both
    gone, come = difference(before, after, attrgetter("address"))
    in_before, in_after = set(map(id, before)), set(map(id, after))  # they are the same objects
    assert gone == [target for target in before if id(target) not in in_after]
    assert come == [target for target in after if id(target) not in in_before]


@given(st.lists(st.integers(0, 9)), st.lists(st.integers(0, 9)))
def test_in_any_order_it_leads_from_one_to_the_other(one: list[int], other: list[int]) -> None:
    gone, come = difference(one, other, lambda number: number)
    assert sorted([*one, *come]) == sorted([*other, *gone])


@given(st.lists(st.integers(0, 9), unique=True), st.lists(st.integers(0, 9), unique=True))
def test_by_identity_what_is_made_anew_differs(one: list[int], other: list[int]) -> None:
    before, after = ([Address("192.0.2.1", n) for n in sorted(ports)] for ports in (one, other))
    assert difference(before, after, lambda address: address, is_) == (before, after)
