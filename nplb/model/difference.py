"""Which values went and came between two sorted tuples, at the cost of those and not of all."""

from collections.abc import Callable, Sequence
from itertools import compress, count
from operator import eq, is_not
from typing import Any, TypeVar

T = TypeVar("T")

# So many values are compared at once: few near a change, more and more away from it.
_SHORTEST = 8
_LONGEST = 1024


def difference(
    before: Sequence[T],
    after: Sequence[T],
    key: Callable[[T], Any],
    same: Callable[[T, T], bool] = eq,
) -> tuple[list[T], list[T]]:
    """What is in `before` alone, and what in `after` alone; a value that has changed and kept its
    `key` is in both.

    Both are sorted by that key and share the objects of what has not changed, so whole stretches
    are the same at a glance. Values in another order are found to differ more often than they do,
    which is harmless: then they are in both lists. So is `same=is_`, which is quicker: then two
    objects that are equal differ.
    """
    gone: list[T] = []
    come: list[T] = []
    if before is after:
        return gone, come
    stretch = _LONGEST
    i = j = 0
    while i < len(before) and j < len(after):
        length = _same_length(before[i : i + stretch], after[j : j + stretch], same)
        i, j = i + length, j + length
        if length == stretch:
            stretch = min(2 * stretch, _LONGEST)
            continue
        stretch = _SHORTEST
        if i >= len(before) or j >= len(after):
            break
        old, new = key(before[i]), key(after[j])
        if old <= new:
            gone.append(before[i])
            i += 1
        if new <= old:
            come.append(after[j])
            j += 1
    return gone + list(before[i:]), come + list(after[j:])


def _same_length(one: Sequence[T], other: Sequence[T], same: Callable[[T, T], bool]) -> int:
    """How many values are the same from the beginning on."""
    for place in compress(count(), map(is_not, one, other)):
        if not same(one[place], other[place]):
            return place
    return min(len(one), len(other))
