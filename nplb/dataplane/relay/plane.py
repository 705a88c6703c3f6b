"""`RelayPlane`: takes plans, and sees to it that every worker has them.

It compares a plan with what it really has: which rows are given, which addresses are bound,
what each worker was told. So the same plan twice changes nothing, and a plan after a failure
(a port that was in use, a worker that died) repairs what is missing.

With a runtime directory, its workers outlive it, and the next plane there goes on with them: at
once with those that run the same code, and by new ones in place of the others, or of all when it
is the `successor` of a plane that still lives (an upgrade).
"""

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from typing import Any

from nplb.dataplane.relay.accesspipe import AccessPipe
from nplb.dataplane.relay.accounts import Accounts
from nplb.dataplane.relay.acknowledged import commit, send_commit
from nplb.dataplane.relay.bindings import Bindings
from nplb.dataplane.relay.pool import Uses, WorkerPool
from nplb.dataplane.relay.process import WorkerProcess
from nplb.dataplane.relay.runtime import RuntimeDirectory
from nplb.dataplane.relay.safe import CARRIED, COUNTERS, ROWS, Safe
from nplb.dataplane.relay.seats import Seats
from nplb.dataplane.relay.survivors import Survivor, find_survivors
from nplb.dataplane.relay.told import Told
from nplb.model.applied import Applied, ListenError, Traffic
from nplb.model.decision import Decision
from nplb.model.keys import Address, FrontendKey
from nplb.model.plan import Plan
from nplb.model.reasons import Cause, EndReason

log = logging.getLogger(__name__)

RETRY_SECONDS = 1.0

_CAUSES = {
    EndReason.CONNECT_REFUSED.value: Cause.REFUSED,
    EndReason.CONNECT_TIMEOUT.value: Cause.TIMEOUT,
    EndReason.CONNECT_UNREACHABLE.value: Cause.UNREACHABLE,
}


class RelayPlane:
    """The relay plane. `start_workers` may be called before there is an event loop; then
    `start`, then `apply` as often as wanted; at the end `close_listeners`, `drain`, `stop`, or
    `let_go` if the workers are to live on.

    `on_failure` hears of connects that failed (a few a second for each address), `on_decision`
    of workers that died and were started, `on_access` gets access log lines, several whole
    ones at a time. `fd_limit` bounds each worker's descriptors, `max_connections` the
    connections of all of them (0: as many as the system allows). `runtime` is where workers are
    found by the next plane, and where those of the one before are; without it they end with this
    plane. `orphan_seconds` is how long they take new clients without one (0: for ever).

    `inherited` is whether there was anything to go on from; `access` is where access log lines
    come from.
    """

    def __init__(
        self,
        *,
        workers: int = 1,
        fd_limit: int = 0,
        orphan_seconds: float = 0.0,
        max_connections: int = 0,
        runtime: RuntimeDirectory | None = None,
        successor: bool = False,
        on_access: Callable[[bytes], None] | None = None,
        on_failure: Callable[[Address, Cause], None] | None = None,
        on_decision: Callable[[Decision], None] | None = None,
    ) -> None:
        if workers < 1:
            raise ValueError("a relay needs at least one worker")
        self._max_connections = max_connections
        self._runtime = runtime
        self._successor = successor
        self._on_failure = on_failure
        self._on_decision = on_decision
        self.inherited = False
        self.safe = Safe(self._keep, self._drop)
        self.access = AccessPipe(self.safe, on_access)
        uses = Uses(
            introduce=self._introduce,
            said=self._on_message,
            ended=self._bury,
            swept=self._bury_lost,
            decide=self._decide,
        )
        self._pool = WorkerPool(
            count=workers,
            safe=self.safe,
            uses=uses,
            runtime=runtime,
            fd_limit=fd_limit,
            orphan_seconds=orphan_seconds,
        )
        self._seats = Seats(self._pool, self._commit)
        self._accounts = Accounts()
        self._told = Told(self._pool, self._seats, self._accounts)
        self._bindings = Bindings(self._seats, self._told.served)
        self._leaving: list[WorkerProcess] = []
        self._generation = 0
        self._serial = 0
        self._lock = asyncio.Lock()
        self._closing = False
        self._stopped = False

    # -- start ---------------------------------------------------------------

    def start_workers(self) -> None:
        """Start the processes, or take over those of the plane before. Needs no event loop.
        Errors: HostError."""
        if self._pool.active:
            return
        survivors: list[Survivor] = []
        if self._runtime is not None:
            survivors = find_survivors(self._runtime)
        self.inherited = bool(survivors)
        self.access.began_before = bool(survivors) and not self._successor
        # Those that run now before those that are only ending.
        survivors.sort(key=lambda s: (s.retired, not s.same_code))
        self.safe.inherit(s for s in survivors if s.understood)
        self.safe.fill()
        self._accounts.use(rows=self.safe.get(ROWS), carried=self.safe.get(CARRIED))
        if not survivors:
            self._pool.start_missing()
            return
        self._leaving = self._pool.take(survivors, replace=self._successor)
        rows = self._told.inherited_rows
        for survivor in survivors:
            if survivor.understood:
                rows.update(survivor.frontends)
        self._seats.inherit(survivors, rows)
        self._bindings.seats_missing = True
        for survivor in survivors:
            survivor.close()
        self._bury_lost()

    async def start(self) -> None:
        """Wait until every worker answers, and watch over them from then on.

        Errors: HostError when a worker does not come up.
        """
        self.start_workers()
        for worker in self._pool.active:
            self._send_limits(worker)
        self.access.start()
        if self._successor:
            self._pool.freeze()
        else:
            self._pool.take_lines()
        try:
            await self._pool.start()
        except BaseException:
            self._stopped = True
            await self._pool.abort()
            self._give_back()
            raise

    # -- handing over ----------------------------------------------------------

    async def freeze(self) -> None:
        """A successor is about to start: from now on nothing is changed, so that what it finds
        stays true. What was put in the safe before is with every worker when this returns."""
        async with self._lock:
            await self._commit()
            self._pool.freeze()
            self.access.stop()

    async def resume(self) -> None:
        """The successor has failed: go on as before, and take over what it has left."""
        async with self._lock:
            self._told.doubt()
            self._accounts.read_on()
            self._pool.thaw()
            await self._pool.take_strays()
            self._bury_lost()
            self.access.start()

    async def succeed(self) -> None:
        """The plane before is done: take its workers, and have them end with their last
        connections. Ours have the plan already."""
        async with self._lock:
            self._successor = False
            self._pool.take_lines()
            self._retire_leaving()
            self._pool.thaw()
            self._bury_lost()
            await self._commit()

    async def let_go(self) -> None:
        """Leave the workers to the successor, with everything that is open. Safe to call twice."""
        if not self._stopped:
            self._stopped = True
            await self._pool.let_go()
            self._give_back()

    def _retire_leaving(self) -> None:
        for worker in self._leaving:
            if worker.alive:
                self._pool.retire(worker)
        self._leaving = []

    @property
    def restarts(self) -> tuple[int, ...]:
        """How often each worker was started again, by index."""
        return tuple(self._pool.restarts)

    def restore_restarts(self, restarts: Sequence[int]) -> None:
        """Go on counting from these."""
        for index, count in enumerate(restarts[: len(self._pool.restarts)]):
            self._pool.restarts[index] = count

    # -- settings --------------------------------------------------------------

    def _send_limits(self, worker: WorkerProcess) -> None:
        limits = {"max_connections": self._max_connections, "workers": self._pool.count}
        worker.send({"op": "limits", **limits})

    def set_max_connections(self, limit: int) -> None:
        """How many connections all workers may have open from now on; 0 for any number."""
        if limit != self._max_connections:
            self._max_connections = limit
            for worker in self._pool.everyone:
                self._send_limits(worker)
                worker.flush()

    async def set_workers(self, count: int) -> None:
        """Have so many workers from now on: new ones join, those that are too many are retired.
        Errors: HostError when a new one can't be started, and then all is as before."""
        if count < 1:
            raise ValueError("a relay needs at least one worker")
        async with self._lock:
            if count == self._pool.count or self._closing:
                return
            new = self._pool.resize(count)
            for worker in self._pool.everyone:
                self._send_limits(worker)
            self._told.tell_again()
            for worker in new:
                worker.flush()
            self._bindings.fill_all()
            self._pool.drop_surplus()
            await self._commit()

    # -- plans ---------------------------------------------------------------

    async def apply(self, plan: Plan) -> Applied:
        """Make the plan so in every worker. Returns when all that live have taken it."""
        async with self._lock:
            errors = await self._apply(plan)
        return Applied(
            generation=plan.generation,
            listen_errors=errors,
            retry_seconds=RETRY_SECONDS if errors else None,
        )

    def inherited_frontends(self) -> frozenset[FrontendKey]:
        """Those that workers serve from a plan of before, until there is one of ours."""
        return self._told.inherited()

    async def _apply(self, plan: Plan) -> dict[FrontendKey, tuple[ListenError, ...]]:
        changed = await self._told.tell(plan.frontends)
        self._generation = plan.generation
        errors: dict[FrontendKey, tuple[ListenError, ...]] = {}
        if not self._closing:
            errors = await self._bindings.listen(changed)
        else:
            await self._seats.close_spare()
        self._told.have(plan.frontends)
        await self._commit()
        if not self._successor:
            self._retire_leaving()
            if (rows := self._accounts.recycle(self._pool.counting)) is not None:
                self.safe.put(ROWS, rows)
        return errors

    # -- generations ---------------------------------------------------------

    async def _commit(self) -> None:
        """Wait until every worker has taken all that was sent. A worker that dies meanwhile
        is not waited for: its successor is told everything anew."""
        self._serial += 1
        waiting = [w for w in self._pool.everyone if w.alive and w.connected and w.understood]
        await commit(waiting, self._generation, self._serial)

    # -- workers -------------------------------------------------------------

    def _on_message(self, worker: WorkerProcess, message: dict[str, Any]) -> None:
        op = message["op"]
        if op == "applied":
            worker.serial = max(worker.serial, int(message["serial"]))
            if worker.applied is not None:
                worker.applied.set()
        elif op == "ready":
            worker.ready = True
        elif op == "failure":
            cause = _CAUSES.get(message["reason"])
            if self._on_failure is not None and cause is not None:
                self._on_failure(Address(message["ip"], message["port"]), cause)
        elif op == "log":
            level = logging.ERROR if message["level"] == "error" else logging.WARNING
            log.log(
                level, "relay worker %d: %s: %s", worker.index, message["event"], message["text"]
            )

    def _introduce(self, worker: WorkerProcess) -> None:
        """Tell a new worker everything."""
        self._send_limits(worker)
        self._told.introduce(worker)
        self._seats.introduce(worker)
        send_commit(worker, self._generation, self._serial)

    def _keep(self, name: str, version: int, fd: int) -> None:
        self._pool.give_all(name, version, fd)

    def _drop(self, name: str) -> None:
        self._pool.drop_all(name)

    def _decide(self, decision: Decision) -> None:
        if self._on_decision is not None:
            self._on_decision(decision)

    # -- counters ------------------------------------------------------------

    def _bury(self, worker: WorkerProcess) -> int:
        """A worker has ended: keep its counters. Returns how many connections ended with it."""
        return self._accounts.bury(worker.memory, understood=worker.understood)

    def _bury_lost(self) -> None:
        """Keep the counters of workers that ended while there was no control."""
        if self._runtime is None or self._pool.frozen:
            return
        known = {worker.rendezvous for worker in self._pool.everyone}
        known.update(self._runtime.names())
        for name, _, fd in list(self.safe):
            if name.startswith(COUNTERS) and name.removeprefix(COUNTERS) not in known:
                self._accounts.bury(fd)
                self.safe.drop(name)

    def traffic(self) -> Traffic:
        """All counters at this moment. Keys that have left the plan are in it while they have
        connections open."""
        return self._accounts.traffic(self._pool.active, self._pool.counting, self._pool.restarts)

    # -- the end -------------------------------------------------------------

    def close_listeners(self) -> None:
        """Listen no more, from now on. Clients already in a queue are still taken."""
        self._closing = True
        self._seats.close_for_good()
        # They end by themselves with their last connection, even if this process is killed now.
        self._pool.retire_all()

    async def drain(self, seconds: float) -> int:
        """Wait until no connection is open, at most so long; reset the rest, and return how
        many those were."""
        async with self._lock:
            await self._commit()
        until = time.monotonic() + seconds
        while self._open() and time.monotonic() < until:  # noqa: ASYNC110 -- shared memory
            await asyncio.sleep(0.05)
        rest = self._open()
        if rest:
            self._pool.send({"op": "reset_all", "reason": EndReason.SHUTDOWN.value})
            async with self._lock:
                await self._commit()
        return rest

    def _open(self) -> int:
        return sum(worker.open_connections for worker in self._pool.everyone)

    async def stop(self) -> None:
        """End the workers. What is still open ends with them, as a shutdown. Safe to call
        twice."""
        if self._stopped:
            return
        self.close_listeners()
        self._stopped = True
        await self._pool.stop()
        self.access.read()
        self._give_back()

    def _give_back(self) -> None:
        self.access.stop()
        self._seats.close()
        # The counters of what has ended can still be read.
        self._accounts.detach()
        self.safe.close()
