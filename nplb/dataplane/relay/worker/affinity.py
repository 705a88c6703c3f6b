"""Which backend a client came to last, for `sessionAffinity: ClientIP`.

The table is in memory that all workers share and control keeps, so a client finds its
backend again through whichever worker takes it, after a reload, and after a worker's death.

A fixed number of entries of two 64-bit cells: the hash of frontend and client, and the
backend's row with the second at which the entry ends. Workers write without locks. Two that
write the same entry at once may leave a mixture of both; the worst that comes of it is that
one client is given a backend anew, since a row is only used if it is one of the frontend's.
"""

ENTRIES = 1 << 17
PROBES = 8
FILE_BYTES = ENTRIES * 16


class AffinityTable:
    """The shared table. `cells` is its memory as 64-bit cells."""

    __slots__ = ("_cells",)

    def __init__(self, cells: memoryview) -> None:
        self._cells = cells

    def find(self, key: int, now: int) -> int:
        """The row for this key (a 64-bit hash), or -1."""
        cells = self._cells
        key = key or 1
        at = key % ENTRIES
        for _ in range(PROBES):
            if cells[2 * at] == key:
                value = cells[2 * at + 1]
                return value >> 32 if value & 0xFFFFFFFF > now else -1
            at = (at + 1) % ENTRIES
        return -1

    def keep(self, key: int, row: int, now: int, until: int) -> None:
        """Remember the row for this key until that second. When there is no room near its
        place, the entry that ends first makes way."""
        cells = self._cells
        key = key or 1
        at = key % ENTRIES
        best, best_end = at, 1 << 33
        for _ in range(PROBES):
            if cells[2 * at] == key:
                best = at
                break
            end = cells[2 * at + 1] & 0xFFFFFFFF
            if end <= now:
                end = 0
            if end < best_end:
                best, best_end = at, end
            at = (at + 1) % ENTRIES
        cells[2 * best] = key
        cells[2 * best + 1] = row << 32 | until & 0xFFFFFFFF
