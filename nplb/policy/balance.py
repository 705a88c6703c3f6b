"""Which backend a client is given: one class per balancing method.

Every method keeps these rules. A target that the client was already tried on is not given
again. A target at its limit is not given. None means that nobody is left, and the caller
says why. Methods see targets as loads and weights; health is decided before they are built.

Costs: round robin with equal weights, source hash and Maglev are O(1) a client; the others
are O(log n), and O(n) where clients are being tried again.
"""

from bisect import bisect_right
from collections.abc import Callable, Collection, Sequence
from heapq import heapify, heappop, heappush
from itertools import accumulate
from math import log

from nplb.policy.hashing import mix, text_hash

# Below this many targets a scan is quicker than a heap.
SCAN = 8
SOURCE_BUCKETS = 4096
# A prime well above 100 times the number of targets keeps shares within about a percent.
MAGLEV_SIZE = 4093
MAGLEV_LARGE = 65521
# How finely a random draw is divided by weights.
_FINE = 1 << 30


class Target:
    """One backend as balancing sees it. `load` is its open connections, those that are being
    made included; `limit` is how many it may have, 0 for any number."""

    __slots__ = ("limit", "load", "name", "weight")

    def __init__(self, name: str, weight: float = 1.0, limit: int = 0) -> None:
        self.name = name
        self.weight = weight
        self.limit = limit
        self.load = 0

    @property
    def full(self) -> bool:
        """Whether it is at its limit."""
        return 0 < self.limit <= self.load


class Balancer:
    """What every method can do. `by_client` says whether `pick` looks at the client."""

    by_client = False

    def __init__(self, targets: Sequence[Target]) -> None:
        self.targets = list(targets)

    def pick(self, client: int, tried: Collection[Target] = ()) -> Target | None:
        """A target for this client, or None. `client` is a 64-bit hash of its address (any
        number when `by_client` is false). The caller adds one to the target's `load` before
        it picks again."""
        raise NotImplementedError

    def released(self, target: Target) -> None:
        """A connection of this target has ended; its `load` is already lower."""


class RoundRobin(Balancer):
    """In turn. `start` is where the turn begins, so that workers do not march in step."""

    def __init__(self, targets: Sequence[Target], start: int = 0) -> None:
        super().__init__(targets)
        self._next = start % len(self.targets) if self.targets else 0

    def pick(self, client: int, tried: Collection[Target] = ()) -> Target | None:
        targets = self.targets
        count = len(targets)
        index = self._next
        for _ in range(count):
            target = targets[index]
            index += 1
            if index >= count:
                index = 0
            if target not in tried and (not target.limit or target.load < target.limit):
                self._next = index
                return target
        return None


class WeightedRoundRobin(Balancer):
    """In turn, in proportion to weight, and smoothly: a heavy target's turns are spread out.

    Earliest deadline first, as in Envoy's EDF scheduler: a turn moves a target's deadline by
    one over its weight. `start` in 0..1 shifts the first deadlines.
    """

    def __init__(self, targets: Sequence[Target], start: float = 0.0) -> None:
        super().__init__(targets)
        self._heap: list[tuple[float, int, Target]] = [
            (((i * 0.618034 + start) % 1.0) / max(t.weight, 1e-6), i, t)
            for i, t in enumerate(self.targets)
        ]
        heapify(self._heap)

    def pick(self, client: int, tried: Collection[Target] = ()) -> Target | None:
        heap = self._heap
        aside: list[tuple[float, int, Target]] = []
        found: Target | None = None
        while heap:
            entry = heappop(heap)
            target = entry[2]
            if target in tried or target.full:
                aside.append(entry)
                continue
            heappush(heap, (entry[0] + 1.0 / max(target.weight, 1e-6), entry[1], target))
            found = target
            break
        now = heap[0][0] if heap else 0.0
        for deadline, order, target in aside:  # no saved-up turns for who was passed over
            heappush(heap, (max(deadline, now), order, target))
        return found


class LeastConnections(Balancer):
    """The target with the fewest connections for its weight; among equals, in turn."""

    def __init__(self, targets: Sequence[Target], start: int = 0) -> None:
        super().__init__(targets)
        count = len(self.targets)
        self._turn = start % count if count else 0
        self._heap: list[tuple[float, int, int, Target]] = []
        self._scan = count <= SCAN
        if not self._scan:
            self._rebuild()

    def pick(self, client: int, tried: Collection[Target] = ()) -> Target | None:
        if self._scan or tried:
            return self._pick_by_scan(tried)
        heap = self._heap
        if len(heap) > 4 * len(self.targets) + 64:
            self._rebuild()
            heap = self._heap
        full: list[tuple[float, int, int, Target]] = []
        found: Target | None = None
        while heap:
            entry = heappop(heap)
            target = entry[3]
            if entry[2] != target.load:
                # A higher load than noted is noted again; a lower one has its own entry.
                if target.load > entry[2]:
                    heappush(heap, self._entry(target, target.load))
                continue
            if target.full:
                full.append(entry)
                continue
            heappush(heap, self._entry(target, target.load + 1))
            found = target
            break
        for entry in full:
            heappush(heap, entry)
        return found

    def released(self, target: Target) -> None:
        if not self._scan:
            heappush(self._heap, self._entry(target, target.load))

    def _entry(self, target: Target, load: int) -> tuple[float, int, int, Target]:
        self._turn += 1
        return ((load + 1) / max(target.weight, 1e-6), self._turn, load, target)

    def _rebuild(self) -> None:
        self._heap = [self._entry(target, target.load) for target in self.targets]
        heapify(self._heap)

    def _pick_by_scan(self, tried: Collection[Target]) -> Target | None:
        targets = self.targets
        count = len(targets)
        if not count:
            return None
        best: Target | None = None
        best_score = 0.0
        index = self._turn % count
        for _ in range(count):
            target = targets[index]
            index += 1
            if index == count:
                index = 0
            if target in tried or (target.limit and target.load >= target.limit):
                continue
            score = (target.load + 1) / target.weight
            if best is None or score < best_score:
                best = target
                best_score = score
        self._turn += 1
        return best


class Random(Balancer):
    """Any target at random, in proportion to weight. `draw(n)` gives a number in 0..n-1."""

    def __init__(self, targets: Sequence[Target], draw: Callable[[int], int]) -> None:
        super().__init__(targets)
        self._draw = draw
        self._sums = list(accumulate(target.weight for target in self.targets))

    def pick(self, client: int, tried: Collection[Target] = ()) -> Target | None:
        targets, sums = self.targets, self._sums
        if not targets:
            return None
        target = targets[self._at(sums)]
        if target not in tried and not target.full:
            return target
        usable = [t for t in targets if t not in tried and not t.full]
        if not usable:
            return None
        return usable[self._at(list(accumulate(t.weight for t in usable)))]

    def _at(self, sums: list[float]) -> int:
        point = self._draw(_FINE) / _FINE * sums[-1]
        return min(bisect_right(sums, point), len(sums) - 1)


class RandomTwoChoices(Balancer):
    """The less loaded of two drawn at random: nearly as even as least connections, and it
    does not herd when several edges decide apart. `draw(n)` gives a number in 0..n-1."""

    def __init__(self, targets: Sequence[Target], draw: Callable[[int], int]) -> None:
        super().__init__(targets)
        self._draw = draw
        self._limited = any(target.limit for target in self.targets)

    def pick(self, client: int, tried: Collection[Target] = ()) -> Target | None:
        usable = self.targets
        if tried or self._limited:
            usable = [t for t in usable if t not in tried and not t.full]
        count = len(usable)
        if count < 2:
            return usable[0] if usable else None
        first = self._draw(count)
        second = self._draw(count - 1)
        if second >= first:
            second += 1
        one, two = usable[first], usable[second]
        return one if (one.load + 1) * two.weight <= (two.load + 1) * one.weight else two


class SourceHash(Balancer):
    """The same client, the same target: weighted rendezvous hashing over client buckets.

    When one of N targets leaves, only its own clients move. The mapping depends on names and
    weights alone, so several edges agree.
    """

    by_client = True

    def __init__(self, targets: Sequence[Target]) -> None:
        super().__init__(targets)
        self._hashed = [(text_hash(target.name), target) for target in self.targets]
        self._buckets: list[Target | None] = [None] * SOURCE_BUCKETS

    def pick(self, client: int, tried: Collection[Target] = ()) -> Target | None:
        bucket = client % SOURCE_BUCKETS
        target = self._buckets[bucket]
        if target is None:
            target = self._best(bucket, ())
            self._buckets[bucket] = target
        if target is not None and target not in tried and not target.full:
            return target
        return self._best(bucket, tried)

    def _best(self, bucket: int, tried: Collection[Target]) -> Target | None:
        best: Target | None = None
        best_score = -1.0
        key = mix(bucket)
        for hashed, target in self._hashed:
            if tried and target in tried:
                continue
            unit = ((mix(hashed ^ key) >> 11) + 1) / (1 << 53)
            score = target.weight / max(-log(unit), 1e-300)
            if score > best_score and (not tried or not target.full):
                best = target
                best_score = score
        if best is not None and best.full:  # the bucket's own target: look beyond it
            return self._best(bucket, (best, *tried))
        return best


class Maglev(Balancer):
    """The same client, the same target: Maglev hashing (Eisenbud and others, NSDI 2016).

    The table depends on the set of names and weights, not on their order, so several edges
    with the same plan have the same table.
    """

    by_client = True

    def __init__(self, targets: Sequence[Target]) -> None:
        super().__init__(targets)
        self.targets.sort(key=lambda target: target.name)
        self._table: list[Target] = []  # made for the first client

    def pick(self, client: int, tried: Collection[Target] = ()) -> Target | None:
        if not self.targets:
            return None
        table = self._table or self._fill()
        size = len(table)
        index = client % size
        target = table[index]
        if target not in tried and not target.full:
            return target
        if all(t in tried or t.full for t in self.targets):
            return None
        step = 1 + client // size % (size - 1)
        while target in tried or target.full:
            index = (index + step) % size
            target = table[index]
        return target

    @property
    def table(self) -> tuple[Target, ...]:
        """The lookup table: position is the client's hash modulo its length."""
        return tuple(self._table or self._fill()) if self.targets else ()

    def _fill(self) -> list[Target]:
        targets = self.targets
        size = MAGLEV_SIZE if len(targets) * 10 <= MAGLEV_SIZE else MAGLEV_LARGE
        heaviest = max(target.weight for target in targets)
        table: list[Target | None] = [None] * size
        position: list[int] = []
        step: list[int] = []
        for target in targets:
            hashed = text_hash(target.name)
            position.append(hashed % size)
            step.append(1 + mix(hashed) % (size - 1))
        due = [0.0] * len(targets)
        filled = 0
        while filled < size:
            for i, target in enumerate(targets):
                due[i] += target.weight / heaviest
                if due[i] < 1.0:
                    continue
                due[i] -= 1.0
                at = position[i]
                while table[at] is not None:
                    at = (at + step[i]) % size
                table[at] = target
                position[i] = (at + step[i]) % size
                filled += 1
                if filled == size:
                    break
        self._table = [target for target in table if target is not None]
        return self._table


class First(Balancer):
    """The first in order that is not at its limit: fills one target before the next."""

    def pick(self, client: int, tried: Collection[Target] = ()) -> Target | None:
        for target in self.targets:
            if target not in tried and not target.full:
                return target
        return None


def make_balancer(
    method: str, targets: Sequence[Target], draw: Callable[[int], int], start: int = 0
) -> Balancer:
    """The balancer of a method (the words of `model.reasons.Balance`) over these targets.

    `draw(n)` gives a random number in 0..n-1, `start` is where turns begin.
    Errors: ValueError for a word that is no method.
    """
    if method == "round_robin":
        if len({target.weight for target in targets}) <= 1:
            return RoundRobin(targets, start)
        return WeightedRoundRobin(targets, (start % 1000) / 1000)
    if method == "least_connections":
        return LeastConnections(targets, start)
    if method == "random":
        return Random(targets, draw)
    if method == "random_two_choices":
        return RandomTwoChoices(targets, draw)
    if method == "source_hash":
        return SourceHash(targets)
    if method == "maglev":
        return Maglev(targets)
    if method == "first":
        return First(targets)
    raise ValueError(f"no balancing method {method!r}")


def ramp(age_seconds: float, slow_start_seconds: float) -> float:
    """The share of its weight that a backend has at this age: linear, from a tenth to all."""
    if slow_start_seconds <= 0 or age_seconds >= slow_start_seconds:
        return 1.0
    return max(age_seconds / slow_start_seconds, 0.1)
