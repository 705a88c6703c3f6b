"""What went and came between two plans' targets, whatever the plans are."""

from hypothesis import given
from hypothesis import strategies as st

from nplb.health.difference import difference
from nplb.model.keys import Address
from nplb.model.verdict import ProbeTarget

TARGETS = [
    ProbeTarget(address=Address("192.0.2.1", 30000 + number), turn_seconds=turn)
    for number in range(700)
    for turn in (0.0, 1.0)
]


@st.composite
def plans(draw: st.DrawFn) -> tuple[tuple[ProbeTarget, ...], tuple[ProbeTarget, ...]]:
    """Two plans of many targets, of which few differ; at most one target of each address."""
    odd = draw(st.dictionaries(st.integers(0, 699), st.sampled_from((None, 0, 1)), max_size=20))
    other = draw(st.dictionaries(st.integers(0, 699), st.sampled_from((None, 0, 1)), max_size=20))
    length = draw(st.integers(0, 700))
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
def test_what_is_in_one_plan_alone(
    both: tuple[tuple[ProbeTarget, ...], tuple[ProbeTarget, ...]],
) -> None:
    before, after = both
    gone, come = difference(before, after)
    in_before, in_after = set(map(id, before)), set(map(id, after))  # they are the same objects
    assert gone == [target for target in before if id(target) not in in_after]
    assert come == [target for target in after if id(target) not in in_before]
