"""Which frontend or backend has which row of counters.

A key that leaves keeps its row for a while: its connections may live on, and when it comes
back its counters go on from where they were. Rows are given to another key only when many
are left behind, and never while a connection counts in them.

Who has which row is also written down in a file in memory that outlives control, a line for
some rows that were handed out together; what is said last of a row is what counts.
"""

import json
import os
from collections.abc import Callable, Sequence
from heapq import heappop, heappush
from itertools import chain
from typing import Generic, TypeVar

from nplb.dataplane.relay.counters import MAX_ROWS
from nplb.model.errors import HostError

K = TypeVar("K", bound=int | str | tuple[str | int, ...])

# So often are rows given to others before the file is written anew.
REUSED_LINES = 100_000


class Rows(Generic[K]):
    """Hands out rows, the lowest free one first. `keep` is how many rows of keys that have
    left are kept before the oldest are given to others. `fd` is the file, -1 for none, which
    stays its owner's."""

    def __init__(self, keep: int = 4096, fd: int = -1) -> None:
        self._keep = keep
        self._fd = fd
        self._read_to = 0
        self._reused = 0
        self._next = 0
        self._unwritten: list[tuple[int, K]] = []
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

    def row(self, key: K) -> int:
        """The row of a key in use or one that has left, -1 if it has none."""
        row = self._held.get(key)
        return self._left.get(key, -1) if row is None else row

    def take(self, key: K) -> tuple[int, bool]:
        """The key's row, and whether another key had it before. To be followed by `write_down`
        before anything counts in it. Errors: HostError when there are no rows left."""
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
            self._reused += 1
            self._unwritten.append((row, key))
            return row, True
        if self._next >= MAX_ROWS:
            raise HostError(
                f"no counters left: a plan may have {MAX_ROWS} frontends and backends in all"
            )
        row = self._next
        self._next += 1
        self._held[key] = row
        self._unwritten.append((row, key))
        return row, False

    def read_on(self) -> None:
        """Take in what the file has that this table has not: all of it at the beginning, or what
        another control has handed out meanwhile. Keys that are new here count as left."""
        data = b""
        while piece := os.pread(self._fd, 4 << 20, self._read_to + len(data)):
            data += piece
        whole = data[: data.rfind(b"\n") + 1]
        self._read_to += len(whole)
        owners = {row: key for key, row in (*self._left.items(), *self._held.items())}
        for row, name in chain.from_iterable(map(json.loads, whole.splitlines())):
            key: K = tuple(name) if isinstance(name, list) else name  # type: ignore[assignment]
            if (before := owners.get(row)) is not None and before != key:
                self._left.pop(before, None)
                self._held.pop(before, None)
            if self._held.get(key) != row:
                self._left[key] = row
            owners[row] = key
            self._next = max(self._next, row + 1)
        given = {*self._held.values(), *self._left.values()}
        self._free = [row for row in range(self._next) if row not in given]

    def rewrite(self) -> int | None:
        """A new file with each row once, when the one before has become long; the caller owns it
        and gives it back with `use`. None as long as there is no need."""
        if self._fd < 0 or self._reused < REUSED_LINES:
            return None
        fd = os.memfd_create("nplb-rows", os.MFD_CLOEXEC)
        data = _line([(row, key) for key, row in (*self._left.items(), *self._held.items())])
        while data:
            data = data[os.write(fd, data) :]
        return fd

    def use(self, fd: int) -> None:
        """From now on, this is the file: it has what this table has. -1 for none."""
        self._fd = fd
        self._read_to = os.fstat(fd).st_size if fd >= 0 else 0
        self._reused = 0
        self._unwritten.clear()

    def write_down(self) -> None:
        """Write into the file which rows were taken since the last time."""
        if self._unwritten and self._fd >= 0:
            line = _line(self._unwritten)
            os.pwrite(self._fd, line, self._read_to)
            self._read_to += len(line)
        self._unwritten.clear()

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


def _line(rows: Sequence[tuple[int, int | str | tuple[str | int, ...]]]) -> bytes:
    return json.dumps(rows, separators=(",", ":")).encode() + b"\n"
