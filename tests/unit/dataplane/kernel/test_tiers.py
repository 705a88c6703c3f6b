"""Which nodes get clients where some are preferred to others, in more than two steps."""

from nplb.dataplane.kernel.serving import serve
from nplb.model.reasons import BackendState

ACTIVE, DOWN = BackendState.ACTIVE, BackendState.DOWN


def served(*nodes: tuple[int, BackendState], spill_below: float = 0.5) -> list[bool]:
    """Of nodes with these tiers and states, who gets clients."""
    rows = tuple((f"192.0.2.{n}", 1, state, tier) for n, (tier, state) in enumerate(nodes))
    return list(serve(rows, fail_open=False, spill_below=spill_below))


def test_the_lowest_tier_alone_serves_while_enough_of_it_works() -> None:
    assert served((0, ACTIVE), (0, DOWN), (2, ACTIVE), (4, ACTIVE)) == [True, False, False, False]


def test_the_next_one_helps_when_too_few_work_and_no_more_than_that() -> None:
    nodes = ((0, ACTIVE), (0, DOWN), (0, DOWN), (2, ACTIVE), (2, ACTIVE), (4, ACTIVE))
    assert served(*nodes) == [True, False, False, True, True, False]


def test_all_serve_when_even_that_is_too_little() -> None:
    nodes = ((0, DOWN), (0, DOWN), (0, DOWN), (2, ACTIVE), (4, ACTIVE))
    assert served(*nodes) == [False, False, False, True, True]


def test_a_tier_that_is_alone_serves() -> None:
    assert served((4, ACTIVE), (4, ACTIVE)) == [True, True]
