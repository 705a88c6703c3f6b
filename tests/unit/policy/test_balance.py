"""Each balancing method keeps its law."""

import itertools
import random
from collections import Counter
from collections.abc import Callable

import pytest

from nplb.model.reasons import Balance
from nplb.policy.balance import Balancer, Maglev, Target, make_balancer
from nplb.policy.hashing import mix, text_hash

CLIENTS = [mix(i) for i in range(30_000)]


def make_targets(count: int, weight: Callable[[int], float] = lambda i: 1.0) -> list[Target]:
    return [Target(f"10.0.0.{i}:30080", weight(i)) for i in range(count)]


def make(method: Balance, targets: list[Target], start: int = 0) -> Balancer:
    return make_balancer(method.value, targets, random.Random(4).randrange, start)


def deal(balancer: Balancer, clients: list[int]) -> Counter[str]:
    """Give every client a target; who got how many."""
    found: Counter[str] = Counter()
    for client in clients:
        target = balancer.pick(client)
        assert target is not None
        target.load += 1
        found[target.name] += 1
    return found


@pytest.mark.parametrize("method", list(Balance))
@pytest.mark.parametrize("count", [1, 3, 20])
def test_tried_targets_are_not_given_again_and_then_nobody_is(method: Balance, count: int) -> None:
    targets = make_targets(count)
    balancer = make(method, targets)
    tried: list[Target] = []
    for _ in range(count):
        target = balancer.pick(77, tried)
        assert target is not None
        assert target not in tried
        tried.append(target)
    assert balancer.pick(77, tried) is None


@pytest.mark.parametrize("method", list(Balance))
@pytest.mark.parametrize("count", [2, 20])
def test_a_target_at_its_limit_is_passed_over(method: Balance, count: int) -> None:
    targets = make_targets(count)
    for target in targets:
        target.limit = 3
    balancer = make(method, targets)
    for client in CLIENTS[: 3 * count]:
        given = balancer.pick(client)
        assert given is not None
        given.load += 1
    assert [target.load for target in targets] == [3] * count
    assert balancer.pick(1) is None
    targets[1].load -= 1
    balancer.released(targets[1])
    assert balancer.pick(CLIENTS[-1]) is targets[1]


@pytest.mark.parametrize("method", list(Balance))
def test_without_targets_there_is_nobody(method: Balance) -> None:
    assert make(method, []).pick(1) is None


def test_round_robin_is_exact_and_smooth() -> None:
    targets = make_targets(3)
    balancer = make(Balance.ROUND_ROBIN, targets)
    order = [balancer.pick(0) for _ in range(9)]
    assert order == targets * 3


def test_weighted_round_robin_spreads_a_heavy_target_out() -> None:
    targets = make_targets(3, lambda i: (5.0, 1.0, 1.0)[i])
    balancer = make(Balance.ROUND_ROBIN, targets)
    order = [balancer.pick(0) for _ in range(700)]
    assert Counter(order) == {targets[0]: 500, targets[1]: 100, targets[2]: 100}
    for light in targets[1:]:
        turns = [i for i, target in enumerate(order) if target is light]
        gaps = {b - a for a, b in itertools.pairwise(turns)}
        assert max(gaps) <= 8


@pytest.mark.parametrize("count", [3, 30])
def test_least_connections_evens_out_what_ends_at_random(count: int) -> None:
    rng = random.Random(1)
    targets = make_targets(count, lambda i: 1.0 if i % 2 else 3.0)
    balancer = make(Balance.LEAST_CONNECTIONS, targets)
    open_connections: list[Target] = []
    for client in CLIENTS:
        target = balancer.pick(client)
        assert target is not None
        least = min((t.load + 1) / t.weight for t in targets)
        assert (target.load + 1) / target.weight == pytest.approx(least)
        target.load += 1
        open_connections.append(target)
        if rng.random() < 0.9 and len(open_connections) > 10 * count:
            ended = open_connections.pop(rng.randrange(len(open_connections)))
            ended.load -= 1
            balancer.released(ended)


def test_two_choices_stay_close_together() -> None:
    targets = make_targets(20)
    found = deal(make(Balance.RANDOM_TWO_CHOICES, targets), CLIENTS)
    assert max(found.values()) - min(found.values()) <= 8  # one choice: some 150


def test_first_fills_one_after_the_other() -> None:
    targets = make_targets(3)
    for target in targets:
        target.limit = 10
    balancer = make(Balance.FIRST, targets)
    deal(balancer, CLIENTS[:15])
    assert [target.load for target in targets] == [10, 5, 0]


@pytest.mark.parametrize("method", [Balance.SOURCE_HASH, Balance.MAGLEV])
def test_hashing_gives_a_client_the_same_target_on_every_edge(method: Balance) -> None:
    targets = make_targets(7)
    one = make(method, targets)
    shuffled = make_targets(7)
    random.Random(3).shuffle(shuffled)
    other = make(method, shuffled, start=5)
    for client in CLIENTS[:2000]:
        mine, theirs = one.pick(client), other.pick(client)
        assert mine is not None
        assert theirs is not None
        assert mine.name == theirs.name


@pytest.mark.parametrize(("method", "most"), [(Balance.SOURCE_HASH, 0.0), (Balance.MAGLEV, 0.05)])
def test_when_one_of_n_leaves_hardly_more_than_its_clients_move(
    method: Balance, most: float
) -> None:
    targets = make_targets(10)
    before = make(method, targets)
    after = make(method, targets[:4] + targets[5:])
    moved = stayed = 0
    for client in CLIENTS:
        had, has = before.pick(client), after.pick(client)
        if had is targets[4]:
            continue
        if had is has:
            stayed += 1
        else:
            moved += 1
    assert moved / (moved + stayed) <= most


@pytest.mark.parametrize("method", [Balance.SOURCE_HASH, Balance.MAGLEV])
def test_hashing_spreads_by_weight(method: Balance) -> None:
    targets = make_targets(6, lambda i: 2.0 if i == 0 else 1.0)
    found = deal(make(method, targets), CLIENTS)
    share = len(CLIENTS) / 7
    assert found[targets[0].name] == pytest.approx(2 * share, rel=0.1)
    for target in targets[1:]:
        assert found[target.name] == pytest.approx(share, rel=0.15)


def test_the_maglev_table_is_full_and_even() -> None:
    targets = make_targets(9)
    table = Counter(target.name for target in Maglev(targets).table)
    assert sum(table.values()) == 4093
    assert max(table.values()) - min(table.values()) <= 1
    assert len(Maglev(make_targets(500)).table) == 65521


def test_hashes_never_change() -> None:
    # Edges of different versions must agree; so these numbers are part of the format.
    assert text_hash("192.0.2.1:30080") == 0x015CCFA95AFBEDC2
    assert mix(0) == 0xE220A8397B1DCDAF  # splitmix64's published first output for seed 0


def test_an_unknown_method_is_refused() -> None:
    with pytest.raises(ValueError, match="no balancing method"):
        make_balancer("fastest", [], random.Random(1).randrange)
