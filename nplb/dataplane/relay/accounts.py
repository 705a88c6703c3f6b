"""Who has which row, and what all rows amount to, over reloads, deaths of workers, and control's.

Rows are handed out, the memories of live workers are read, and what dead ones had counted is
added; what must outlive this process is in two files in memory.
"""

import os
import sys
from array import array
from collections.abc import Collection, Sequence

from nplb.dataplane.relay.counters import (
    ACCEPT_PAUSES,
    ACCESS_DROPPED,
    BURIED,
    CELL_BYTES,
    CONNECT_TIME,
    GENERATION,
    LOOPS,
    OPEN,
)
from nplb.dataplane.relay.process import WorkerProcess
from nplb.dataplane.relay.rows import Rows
from nplb.dataplane.relay.spec import RowName, key_of
from nplb.dataplane.relay.traffic import (
    Ledger,
    RowMap,
    backend_counters,
    connect_buckets,
    frontend_counters,
    read_cells,
)
from nplb.model.applied import Traffic, WorkerCounters
from nplb.model.keys import BackendKey, FrontendKey


class Accounts:
    """Nothing until `use`."""

    def __init__(self) -> None:
        self._rows: Rows[RowName] = Rows(fd=-1)
        self._keys: dict[int, FrontendKey | BackendKey] = {}
        self._carried = -1
        self._ledger = Ledger(-1)

    def use(self, *, rows: int, carried: int) -> None:
        """Go on with what these files have, and keep it there. They stay their owner's."""
        self._rows = Rows(fd=rows)
        self._carried = carried
        self.read_on()

    def read_on(self) -> None:
        """Take in what the files have and this has not."""
        self._rows.read_on()
        for name, row in self._rows.left.items():
            self._keys[row] = key_of(name)
        self._ledger = Ledger(self._carried)
        self._ledger.restore(self._rows.used)

    # -- rows ------------------------------------------------------------------

    def row(self, name: RowName) -> int:
        """The row of a name, -1 if it has none."""
        return self._rows.row(name)

    def frontends(self, rows: Collection[int]) -> frozenset[FrontendKey]:
        """The frontends among those who have these rows."""
        keys = (self._keys.get(row) for row in rows)
        return frozenset(key for key in keys if isinstance(key, FrontendKey))

    def take(
        self, name: RowName, key: FrontendKey | BackendKey, workers: Sequence[WorkerProcess]
    ) -> int:
        """The row of a key of the plan, and if it was another key's, beginning at zero. To be
        followed by `write_down` before a worker hears of it. Errors: HostError when there are
        no rows left."""
        row, reused = self._rows.take(name)
        if reused:
            self._ledger.forget(row, self._read(workers))
        self._keys[row] = key
        return row

    def write_down(self) -> None:
        """Let the next control know which rows were taken."""
        self._rows.write_down()

    def leave(self, name: RowName) -> None:
        """The key has left the plan."""
        self._rows.leave(name)

    def recycle(self, workers: Sequence[WorkerProcess]) -> int | None:
        """Free rows of keys that have left, when they are many. A file of rows to be kept in
        place of the one before, owned by the caller, or None if that one is good."""
        live: list[array[int]] = []

        def is_idle(row: int) -> bool:
            if not live:
                live.extend(self._read(workers))
            return self._ledger.is_idle(row, live)

        self._rows.recycle(is_idle)
        fd = self._rows.rewrite()
        if fd is not None:
            self._rows.use(fd)
        return fd

    # -- counters --------------------------------------------------------------

    def bury(self, memory: int, *, understood: bool = True) -> int:
        """Keep what a worker that has ended had counted in its memory. Returns how many
        connections it had open."""
        cells = read_cells(memory, self._rows.used if understood else 0)
        # Another control may have done it, just before this one takes its place.
        if not cells[BURIED]:
            self._ledger.bury(cells)
            os.pwrite(memory, (1).to_bytes(CELL_BYTES, sys.byteorder), BURIED * CELL_BYTES)
        return cells[OPEN]

    def _read(self, workers: Sequence[WorkerProcess]) -> list["array[int]"]:
        return [read_cells(worker.memory, self._rows.used) for worker in workers]

    def traffic(
        self,
        active: Sequence[WorkerProcess],
        counting: Sequence[WorkerProcess],
        restarts: Sequence[int],
    ) -> Traffic:
        """All counters at this moment: of those `active`, one by one, and of all those that are
        `counting`, in sum. Keys that have left the plan are in it while they have connections
        open."""
        cells = dict(zip((w.pid for w in counting), self._read(counting), strict=True))
        live = list(cells.values())
        ledger = self._ledger
        frontends: dict[FrontendKey, int] = {}
        backends: dict[BackendKey, int] = {}
        left = [row for row in self._rows.left.values() if not ledger.is_idle(row, live)]
        for row in (*self._rows.held.values(), *left):
            key = self._keys[row]
            if isinstance(key, BackendKey):
                backends[key] = row
            else:
                frontends[key] = row
        workers = []
        for worker in active:
            header = cells.get(worker.pid)
            workers.append(
                WorkerCounters(
                    worker=worker.index,
                    pid=worker.pid,
                    alive=worker.alive,
                    generation=header[GENERATION] if header else 0,
                    restarts=restarts[worker.index],
                    accept_pauses=header[ACCEPT_PAUSES] if header else 0,
                    open_connections=header[OPEN] if header else 0,
                    loops=header[LOOPS] if header else 0,
                    access_lines_dropped=header[ACCESS_DROPPED] if header else 0,
                    connect_buckets=connect_buckets(header) if header else (),
                    connect_seconds=header[CONNECT_TIME] / 1e6 if header else 0.0,
                )
            )
        return Traffic(
            frontends=RowMap(frontends, lambda row: frontend_counters(ledger.total(row, live))),
            backends=RowMap(backends, lambda row: backend_counters(ledger.total(row, live))),
            workers=tuple(workers),
        )

    def detach(self) -> None:
        """The files are no longer there; what was counted can still be told."""
        self._ledger.detach()
        self._rows.use(-1)
