"""Which targets went and came between two plans, at the cost of those and not of all. Pure."""

from collections.abc import Sequence

from nplb.model.verdict import ProbeTarget

_STRETCH = 256


def difference(
    before: Sequence[ProbeTarget], after: Sequence[ProbeTarget]
) -> tuple[list[ProbeTarget], list[ProbeTarget]]:
    """What is in `before` alone, and what in `after` alone; a target that has changed is in both.

    Plans are sorted by address and keep the objects of what has not changed, so whole stretches
    of two plans are compared at once. Targets in another order are found to differ more often
    than they do, which is harmless: then they are in both lists.
    """
    gone: list[ProbeTarget] = []
    come: list[ProbeTarget] = []
    i = j = 0
    while i < len(before) and j < len(after):
        same = _same_length(before[i : i + _STRETCH], after[j : j + _STRETCH])
        i, j = i + same, j + same
        if same == _STRETCH or i >= len(before) or j >= len(after):
            continue
        old, new = before[i], after[j]
        if old.address <= new.address:
            gone.append(old)
            i += 1
        if new.address <= old.address:
            come.append(new)
            j += 1
    return gone + list(before[i:]), come + list(after[j:])


def _same_length(one: Sequence[ProbeTarget], other: Sequence[ProbeTarget]) -> int:
    """How many targets are the same from the beginning on."""
    if one == other:
        return len(one)
    low, high = 0, min(len(one), len(other))
    while low < high:
        middle = (low + high + 1) // 2
        if one[low:middle] == other[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low
