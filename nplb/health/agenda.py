"""An agenda: what is to happen when, soonest first, where entries may be moved. No clock."""

import heapq
from collections.abc import Hashable, Iterator
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)

_SPARE = 16


class Agenda(Generic[K]):
    """At most one time per key. A key that is put again moves; the heap forgets its old entry
    when that comes up, or when it has more of them than of others, so an operation costs a
    logarithm on average."""

    __slots__ = ("_heap", "_marks", "_next_mark")

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, K]] = []
        self._marks: dict[K, tuple[int, float]] = {}
        self._next_mark = 0

    def __len__(self) -> int:
        return len(self._marks)

    def __contains__(self, key: K) -> bool:
        return key in self._marks

    def put(self, key: K, when: float) -> None:
        """Set or move a key's time."""
        mark = self._next_mark
        self._next_mark += 1
        self._marks[key] = (mark, when)
        heapq.heappush(self._heap, (when, mark, key))
        if len(self._heap) > _SPARE + 2 * len(self._marks):
            self._heap = [(when, mark, key) for key, (mark, when) in self._marks.items()]
            heapq.heapify(self._heap)

    def drop(self, key: K) -> None:
        """Take a key off. Unknown ones are ignored."""
        self._marks.pop(key, None)

    def when(self, key: K) -> float | None:
        """A key's time, None if it has none."""
        entry = self._marks.get(key)
        return None if entry is None else entry[1]

    def soonest(self) -> float | None:
        """The first time on the agenda, None if it is empty."""
        heap = self._heap
        while heap:
            when, mark, key = heap[0]
            entry = self._marks.get(key)
            if entry is not None and entry[0] == mark:
                return when
            heapq.heappop(heap)
        return None

    def due(self, at: float) -> Iterator[K]:
        """Take off and give what is due, soonest first, until the caller stops."""
        while True:
            when = self.soonest()
            if when is None or when > at:
                return
            _, _, key = heapq.heappop(self._heap)
            del self._marks[key]
            yield key
