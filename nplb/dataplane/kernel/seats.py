"""Which backend sits at which place of the table that a new connection draws a number in.

In turn and at random, every backend has as many seats as its weight says, so shares are
exact. The order depends on the backends alone, never on what was before, so that a fresh
start writes what a thousand changes have led to; and it moves few: a backend that goes down
gives its seat to the last one, and a backend that comes or goes for good moves a handful.
For source hash and Maglev the table is the relay's own.
"""

from collections.abc import Callable
from functools import lru_cache
from math import gcd

from nplb.model.reasons import Balance
from nplb.policy.balance import SOURCE_BUCKETS, Maglev, SourceHash, Target
from nplb.policy.hashing import mix, text_hash

# More seats than this would make tables that nobody can read: weights are scaled down.
MAX_SEATS = 4096
HASHED = frozenset({Balance.SOURCE_HASH, Balance.MAGLEV})


@lru_cache(maxsize=512)
def seats_in_turn(backends: tuple[tuple[str, int, bool], ...]) -> tuple[str, ...]:
    """The name at each seat. `backends` are name, weight, and whether it is active, all of a
    frontend's; only active ones get seats."""
    weights = _scaled(tuple(weight for _, weight, _ in backends))
    tickets = [
        (f"{name}#{number}", name, active)
        for (name, _, active), weight in zip(backends, weights, strict=True)
        for number in range(weight)
    ]
    homes = _homes(tuple(ticket for ticket, _, _ in tickets))
    count = sum(active for _, _, active in tickets)
    seats: list[str | None] = [None] * len(tickets)
    for (_, name, active), home in zip(tickets, homes, strict=True):
        if active:
            seats[home] = name
    # Who sits beyond the last seat moves into one that is free.
    beyond = [name for name in seats[count:] if name is not None]
    filled = iter(beyond)
    return tuple(name if name is not None else next(filled) for name in seats[:count])


@lru_cache(maxsize=512)
def _homes(tickets: tuple[str, ...]) -> tuple[int, ...]:
    """A seat for every ticket: in the order of their hashes, each takes the first free seat
    of a walk of its own. When one leaves, only those move that would have liked its seat."""
    count = len(tickets)
    size = 1 << max(count - 1, 0).bit_length()
    taken = [False] * count
    homes = [0] * count
    for hashed, index in sorted((text_hash(ticket), index) for index, ticket in enumerate(tickets)):
        at = hashed % size
        step = (mix(hashed) % size) | 1  # odd: the walk visits every place
        while at >= count or taken[at]:
            at = (at + step) % size
        taken[at] = True
        homes[index] = at
    return tuple(homes)


def _scaled(weights: tuple[int, ...]) -> tuple[int, ...]:
    """The same shares with fewer seats."""
    divisor = gcd(*weights) or 1
    total = sum(weights) // divisor
    if total <= MAX_SEATS:
        return tuple(max(1, weight // divisor) for weight in weights)
    return tuple(max(1, round(weight / divisor * MAX_SEATS / total)) for weight in weights)


@lru_cache(maxsize=256)
def seats_by_client(balance: Balance, backends: tuple[tuple[str, int], ...]) -> tuple[int, ...]:
    """The index of the backend at each place of the relay's table for `source_hash` or
    `maglev`. `backends` are the active ones, as `ip:port` and weight."""
    targets = [Target(name, weight) for name, weight in backends]
    index = {id(target): position for position, target in enumerate(targets)}
    if balance is Balance.MAGLEV:
        return tuple(index[id(target)] for target in Maglev(targets).table)
    pick: Callable[[int], Target | None] = SourceHash(targets).pick
    found = (pick(bucket) for bucket in range(SOURCE_BUCKETS))
    return tuple(index[id(target)] for target in found if target is not None)
