"""Which frontend or backend has which row of counters.

A key that leaves keeps its row for a while: its connections may live on, and when it comes
back its counters go on from where they were. Rows are given to another key only when many
are left behind, and never while a connection counts in them.
"""

from collections.abc import Callable
from heapq import heappop, heappush
from typing import Generic, TypeVar

from nplb.dataplane.relay.counters import MAX_ROWS
from nplb.model.errors import HostError

K = TypeVar("K")


class Rows(Generic[K]):
    """Hands out rows, the lowest free one first. `keep` is how many rows of keys that have
    left are kept before the oldest are given to others."""

    def __init__(self, keep: int = 4096) -> None:
        self._keep = keep
        self._next = 0
        self._free: list[int] = []
        self._held: dict[K, int] = {}
        self._left: dict[K, int] = {}

    @property
    def used(self) -> int:
        """How many rows were ever handed out: all of them lie below this number."""
        return self._next

    @property
    def held(self) -> dict[K, int]:
        """The keys in use and their rows."""
        return self._held

    @property
    def left(self) -> dict[K, int]:
        """The keys that have left and still have a row, oldest first."""
        return self._left

    def take(self, key: K) -> tuple[int, bool]:
        """The key's row, and whether another key had it before. Errors: HostError when
        there are no rows left."""
        row = self._held.get(key)
        if row is not None:
            return row, False
        row = self._left.pop(key, None)
        if row is not None:
            self._held[key] = row
            return row, False
        if self._free:
            row = heappop(self._free)
            self._held[key] = row
            return row, True
        if self._next >= MAX_ROWS:
            raise HostError(
                f"no counters left: a plan may have {MAX_ROWS} frontends and backends in all"
            )
        row = self._next
        self._next += 1
        self._held[key] = row
        return row, False

    def leave(self, key: K) -> None:
        """The key has left the plan."""
        row = self._held.pop(key, None)
        if row is not None:
            self._left[key] = row

    def recycle(self, is_idle: Callable[[int], bool]) -> None:
        """Free the oldest rows beyond `keep`, but only those in which nothing counts."""
        surplus = len(self._left) - self._keep
        if surplus <= 0:
            return
        for key, row in list(self._left.items()):
            if surplus <= 0:
                break
            if is_idle(row):
                del self._left[key]
                heappush(self._free, row)
                surplus -= 1
