"""Who sits where: shares are exact, the order depends on nothing but the backends, and a
change moves few."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from nplb.dataplane.kernel.seats import MAX_SEATS, seats_by_client, seats_in_turn
from nplb.model.reasons import Balance
from nplb.policy.balance import Maglev, SourceHash, Target

BACKENDS = st.lists(
    st.tuples(st.integers(0, 40).map(lambda n: f"192.0.2.{n}"), st.integers(1, 9), st.booleans()),
    unique_by=lambda backend: backend[0],
    max_size=20,
).map(tuple)


@given(BACKENDS)
def test_every_active_backend_has_its_share(backends: tuple[tuple[str, int, bool], ...]) -> None:
    seats = Counter(seats_in_turn(backends))
    active = {name: weight for name, weight, is_active in backends if is_active}
    assert seats.keys() == active.keys()
    for name, weight in active.items():
        for other, other_weight in active.items():
            assert seats[name] * other_weight == seats[other] * weight


@given(BACKENDS)
def test_the_order_of_a_list_does_not_matter(
    backends: tuple[tuple[str, int, bool], ...],
) -> None:
    assert seats_in_turn(tuple(reversed(backends))) == seats_in_turn(backends)


def moved(one: tuple[str, ...], other: tuple[str, ...]) -> int:
    return sum(a != b for a, b in zip(one, other, strict=False))


def test_one_that_goes_down_moves_one_other() -> None:
    backends = [(f"192.0.2.{n}", 1, True) for n in range(100)]
    whole = seats_in_turn(tuple(backends))
    for down in range(100):
        changed = [(n, w, i != down) for i, (n, w, _) in enumerate(backends)]
        after = seats_in_turn(tuple(changed))
        assert len(after) == 99
        assert moved(whole, after) <= 1


def test_one_that_leaves_for_good_moves_few() -> None:
    backends = tuple((f"192.0.2.{n}", 1, True) for n in range(100))
    whole = seats_in_turn(backends)
    total = sum(
        moved(whole, seats_in_turn(backends[:gone] + backends[gone + 1 :])) for gone in range(100)
    )
    assert total / 100 < 15


def test_huge_weights_are_scaled_down() -> None:
    seats = seats_in_turn(tuple((f"192.0.2.{n}", 997 + n, True) for n in range(50)))
    assert len(seats) <= MAX_SEATS + 50


def test_hashed_tables_are_the_relays() -> None:
    backends = tuple((f"192.0.2.{n}:30080", 1 + n % 3) for n in range(7))
    targets = [Target(name, weight) for name, weight in backends]
    table = seats_by_client(Balance.MAGLEV, backends)
    assert [backends[i][0] for i in table] == [t.name for t in Maglev(targets).table]
    relay = SourceHash(targets)
    for bucket, index in enumerate(seats_by_client(Balance.SOURCE_HASH, backends)[:200]):
        target = relay.pick(bucket)
        assert target is not None
        assert target.name == backends[index][0]


def test_when_one_of_ten_leaves_about_a_tenth_of_the_clients_move() -> None:
    backends = tuple((f"192.0.2.{n}:30080", 1) for n in range(10))
    for balance in (Balance.MAGLEV, Balance.SOURCE_HASH):
        before = [backends[i][0] for i in seats_by_client(balance, backends)]
        after = [backends[i][0] for i in seats_by_client(balance, backends[:-1])]
        assert moved(tuple(before), tuple(after)) / len(before) < 0.15
