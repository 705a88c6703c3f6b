"""What the workers have been told of the plan's frontends, and what of the next plan is news."""

import asyncio
from collections.abc import Sequence
from operator import attrgetter, is_

from nplb.dataplane.relay.accounts import Accounts
from nplb.dataplane.relay.admitted import forget_admitted, send_admitted
from nplb.dataplane.relay.pool import WorkerPool
from nplb.dataplane.relay.process import WorkerProcess
from nplb.dataplane.relay.seats import Seats
from nplb.dataplane.relay.spec import (
    Change,
    frontend_message,
    quick_changes,
    row_name,
    sources_name,
)
from nplb.dataplane.relay.wire import encode
from nplb.model.difference import difference
from nplb.model.keys import FrontendKey
from nplb.model.plan import Frontend

# After so many frontends, other tasks get their turn.
BATCH = 50
_KEY = attrgetter("key")


class Served:
    """One frontend as the workers know it. `backend_rows` are in the order of its backends."""

    __slots__ = ("backend_rows", "frontend", "name", "row", "sources")

    def __init__(self, frontend: Frontend, name: str, row: int) -> None:
        self.frontend = frontend
        self.name = name
        self.row = row
        self.backend_rows: list[int] = []
        self.sources = ""


class Told:
    """Tells workers of frontends. `served` are those that they have; `inherited_rows` the rows of
    frontends that they have from a plan of before, until there is one of ours."""

    def __init__(self, pool: WorkerPool, seats: Seats, accounts: Accounts) -> None:
        self._pool = pool
        self._seats = seats
        self._accounts = accounts
        self.served: dict[FrontendKey, Served] = {}
        self.inherited_rows: set[int] = set()
        # What every worker has, None while some may not.
        self._all: tuple[Frontend, ...] | None = None

    async def tell(self, frontends: tuple[Frontend, ...]) -> Sequence[Frontend]:
        """Tell the workers of these, and that there are no others. Returns those that they may not
        have had as they are. Until `have` is called, that is all of them the next time."""
        gone, come = self._news(frontends)
        self._all = None
        for key in gone:
            self._remove(key)
        if self.inherited_rows:
            self._forget_inherited(frontends)
        changes: list[Change] = []
        for count, frontend in enumerate(come, 1):
            served = self.served.get(frontend.key)
            if served is None:
                self._add(frontend)
            elif served.frontend is not frontend:
                self._change(served, frontend, changes)
            if count % BATCH == 0:  # the workers begin while the rest is prepared
                self._pool.flush()
                await asyncio.sleep(0)
        if changes:
            self._pool.send(encode({"op": "backends", "changes": changes}))
        return come

    def have(self, frontends: tuple[Frontend, ...]) -> None:
        """The workers have been told all of these."""
        self._all = frontends
        if any(worker.told_sources for worker in self._pool.everyone):
            used = {served.sources for served in self.served.values()}
            forget_admitted(self._pool.everyone, used)

    def doubt(self) -> None:
        """Somebody else may have told them something: go through all the next time."""
        self._all = None

    def tell_again(self) -> None:
        """Tell everything anew: limits are shared out otherwise."""
        for served in self.served.values():
            self._send(served)

    def introduce(self, worker: WorkerProcess) -> None:
        """Tell a new worker everything."""
        for served in self.served.values():
            self._send(served, worker)

    def inherited(self) -> frozenset[FrontendKey]:
        """The frontends that workers have from a plan of before."""
        return self._accounts.frontends(self.inherited_rows)

    # -- one frontend ----------------------------------------------------------

    def _news(
        self, frontends: tuple[Frontend, ...]
    ) -> tuple[list[FrontendKey], Sequence[Frontend]]:
        """Those that the workers have and that are not among these, and those of these that they
        may not have as they are."""
        if self._all is None:
            keys = {frontend.key for frontend in frontends}
            return [key for key in self.served if key not in keys], frontends
        gone, come = difference(self._all, frontends, _KEY, is_)
        changed = {frontend.key for frontend in come}
        return [frontend.key for frontend in gone if frontend.key not in changed], come

    def _forget_inherited(self, wanted: Sequence[Frontend]) -> None:
        """Remove the frontends of a plan of before that are not in this one."""
        stay = {self._accounts.row(str(frontend.key)) for frontend in wanted}
        for row in sorted(self.inherited_rows - stay):
            self._pool.send({"op": "remove", "row": row})
            self._seats.leave(row)
        self.inherited_rows.clear()

    def _add(self, frontend: Frontend) -> None:
        name = str(frontend.key)
        row = self._accounts.take(name, frontend.key, self._pool.counting)
        served = Served(frontend, name, row)
        served.backend_rows = self._backend_rows(name, frontend)
        self.served[frontend.key] = served
        self._send(served)
        self._unlisten_others(served)  # which it may have had in a plan of before

    def _change(self, served: Served, frontend: Frontend, changes: list[Change]) -> None:
        old, served.frontend = served.frontend, frontend
        quick = quick_changes(old, frontend, served.row, served.backend_rows)
        if quick is not None:
            changes += quick
            return
        name = served.name
        stay = {row_name(name, backend.key) for backend in frontend.backends}
        for backend in old.backends:
            if (left := row_name(name, backend.key)) not in stay:
                self._accounts.leave(left)
        served.backend_rows = self._backend_rows(name, frontend)
        self._unlisten_others(served)
        self._send(served)

    def _remove(self, key: FrontendKey) -> None:
        served = self.served.pop(key)
        self._pool.send({"op": "remove", "row": served.row})
        self._seats.leave(served.row)
        for backend in served.frontend.backends:
            self._accounts.leave(row_name(served.name, backend.key))
        self._accounts.leave(served.name)

    def _backend_rows(self, name: str, frontend: Frontend) -> list[int]:
        counting = self._pool.counting
        take = self._accounts.take
        return [take(row_name(name, b.key), b.key, counting) for b in frontend.backends]

    def _send(self, served: Served, only: WorkerProcess | None = None) -> None:
        self._accounts.write_down()
        frame = encode(frontend_message(served.frontend, served.row, served.backend_rows))
        served.sources = sources_name(served.frontend.relay)
        for worker in (only,) if only is not None else self._pool.everyone:
            if served.sources:
                send_admitted(worker, served.sources, served.frontend.relay)
            worker.send(frame)

    def _unlisten_others(self, served: Served) -> None:
        for address in self._seats.of(served.row):
            if address not in served.frontend.listen:
                self._seats.unlisten(served.row, address)
