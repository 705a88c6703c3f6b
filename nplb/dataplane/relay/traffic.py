"""The counters of all workers, dead ones included, as one `Traffic`.

Every worker's memory is read in one piece; a row is turned into an object only when somebody
looks at it, since a plan may have hundreds of thousands.
"""

import os
from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from math import inf
from typing import Generic, TypeVar

from nplb.dataplane.relay.counters import (
    BYTES_IN,
    BYTES_OUT,
    CELL_BYTES,
    CONNECT_BOUNDS,
    CONNECT_BUCKETS,
    CONNECT_FAILURES,
    CONNECT_MICROSECONDS,
    END_CELL,
    ENDS,
    HEADER_CELLS,
    REASONS,
    ROW_CELLS,
    TAKEN,
)
from nplb.model.applied import BackendCounters, FrontendCounters
from nplb.model.reasons import EndReason

K = TypeVar("K")
V = TypeVar("V")
LAST = ENDS + len(REASONS)
_NOTHING = array("Q", [0] * LAST)


def read_cells(fd: int, rows: int) -> "array[int]":
    """Header and the first `rows` rows of a worker's memory."""
    wanted = (HEADER_CELLS + rows * ROW_CELLS) * CELL_BYTES
    cells = array("Q")
    # By reading, not by mapping: rows that were never written stay without memory.
    offset = 0
    while offset < wanted:
        piece = os.pread(fd, wanted - offset, offset)
        if not piece:
            break
        cells.frombytes(piece)
        offset += len(piece)
    return cells


class Ledger:
    """Adds up rows: what live workers show, and what dead ones and earlier owners left.

    `fd` is a file in memory, laid out like a worker's, in which the latter is kept too, so that
    the next control can go on from there; -1 for none. It stays its owner's.
    """

    def __init__(self, fd: int = -1) -> None:
        self._fd = fd
        self._carried: dict[int, list[int]] = {}

    def restore(self, rows: int) -> None:
        """Take over what the file has of the first `rows` rows."""
        cells = read_cells(self._fd, rows)
        for base in range(HEADER_CELLS, len(cells), ROW_CELLS):
            row = cells[base : base + LAST]
            if row != _NOTHING[: len(row)]:
                numbers = [value - (1 << 64) if value >> 63 else value for value in row]
                numbers += [0] * (LAST - len(numbers))
                self._carried[(base - HEADER_CELLS) // ROW_CELLS] = numbers

    def detach(self) -> None:
        """The file is no longer there."""
        self._fd = -1

    def bury(self, cells: "array[int]") -> None:
        """Keep what a dead worker had counted. Its open connections ended with it."""
        for base in range(HEADER_CELLS, len(cells), ROW_CELLS):
            row = cells[base : base + LAST]
            if not row[TAKEN] and not any(row):
                continue
            row[END_CELL[EndReason.INTERNAL]] += row[TAKEN] - sum(row[ENDS:LAST])
            self._add((base - HEADER_CELLS) // ROW_CELLS, list(row), 1)

    def forget(self, row: int, live: list["array[int]"]) -> None:
        """Begin a row anew for another key: what it shows now becomes zero."""
        if self._carried.pop(row, None) is not None:
            self._write(row, _NOTHING)
        for cells in live:
            base = HEADER_CELLS + row * ROW_CELLS
            if base < len(cells):
                self._add(row, list(cells[base : base + LAST]), -1)

    def is_idle(self, row: int, live: list["array[int]"]) -> bool:
        """Whether no connection counts in this row now."""
        base = HEADER_CELLS + row * ROW_CELLS
        if row not in self._carried and all(
            cells[base : base + LAST] == _NOTHING or base >= len(cells) for cells in live
        ):
            return True  # the usual case, and quick
        return open_in(self.total(row, live)) == 0

    def total(self, row: int, live: list["array[int]"]) -> list[int]:
        """All cells of a row, added up."""
        base = HEADER_CELLS + row * ROW_CELLS
        total = list(self._carried.get(row, ())) or [0] * LAST
        for cells in live:
            if base < len(cells):
                for i in range(LAST):
                    total[i] += cells[base + i]
        return total

    def _add(self, row: int, cells: list[int], sign: int) -> None:
        carried = self._carried.setdefault(row, [0] * LAST)
        for i, value in enumerate(cells):
            carried[i] += sign * value
        if self._fd >= 0:
            self._write(row, array("Q", [value % (1 << 64) for value in carried]))

    def _write(self, row: int, cells: "array[int]") -> None:
        if self._fd >= 0:
            os.pwrite(self._fd, cells.tobytes(), (HEADER_CELLS + row * ROW_CELLS) * CELL_BYTES)


class RowMap(Mapping[K, V], Generic[K, V]):
    """Keys to what their rows hold, worked out when looked at."""

    def __init__(self, rows: Mapping[K, int], make: Callable[[int], V]) -> None:
        self._rows = rows
        self._make = make

    def __getitem__(self, key: K) -> V:
        return self._make(self._rows[key])

    def __iter__(self) -> Iterator[K]:
        return iter(self._rows)

    def __len__(self) -> int:
        return len(self._rows)

    def __contains__(self, key: object) -> bool:
        return key in self._rows


def open_in(cells: list[int]) -> int:
    """Connections that were taken and have not ended."""
    return max(cells[TAKEN] - sum(cells[ENDS:LAST]), 0)


def frontend_counters(cells: list[int]) -> FrontendCounters:
    """A frontend's row in words."""
    return FrontendCounters(
        accepted=cells[TAKEN],
        active=open_in(cells),
        bytes_in=cells[BYTES_IN],
        bytes_out=cells[BYTES_OUT],
        ends=_ends(cells),
    )


def backend_counters(cells: list[int]) -> BackendCounters:
    """A backend's row in words."""
    return BackendCounters(
        connections=cells[TAKEN],
        active=open_in(cells),
        connect_failures=cells[CONNECT_FAILURES],
        connect_seconds=cells[CONNECT_MICROSECONDS] / 1e6,
        bytes_in=cells[BYTES_IN],
        bytes_out=cells[BYTES_OUT],
        ends=_ends(cells),
    )


def connect_buckets(header: Sequence[int]) -> tuple[tuple[float, int], ...]:
    """How many connects took up to each bound, and longer than the one before it; seconds."""
    bounds = (*CONNECT_BOUNDS, inf)
    return tuple((bound, header[CONNECT_BUCKETS + i]) for i, bound in enumerate(bounds))


def _ends(cells: list[int]) -> dict[EndReason, int]:
    return {reason: cells[ENDS + i] for i, reason in enumerate(REASONS) if cells[ENDS + i]}
