"""`RelayPlane`: takes plans, keeps the workers, closes and drains.

It compares a plan with what it really has: which rows are given, which addresses are bound,
what each worker was told. So the same plan twice changes nothing, and a plan after a failure
(a port that was in use, a worker that died) repairs what is missing.
"""

import asyncio
import logging
import os
import socket
import time
from array import array
from collections.abc import Callable
from typing import Any

from nplb.aio.tasks import TaskOwner
from nplb.dataplane.relay.counters import (
    ACCEPT_PAUSES,
    ACCESS_DROPPED,
    CONNECT_TIME,
    GENERATION,
    LOOPS,
    OPEN,
)
from nplb.dataplane.relay.listeners import ListenFailedError, inode_of, open_listeners
from nplb.dataplane.relay.process import WorkerProcess
from nplb.dataplane.relay.rows import Rows
from nplb.dataplane.relay.spec import (
    Change,
    frontend_message,
    quick_changes,
    row_name,
    sources_name,
)
from nplb.dataplane.relay.traffic import (
    Ledger,
    RowMap,
    backend_counters,
    connect_buckets,
    frontend_counters,
    read_cells,
)
from nplb.dataplane.relay.wire import encode
from nplb.dataplane.relay.worker.affinity import FILE_BYTES as AFFINITY_BYTES
from nplb.model.applied import Applied, ListenError, Traffic, WorkerCounters
from nplb.model.decision import Decision, DecisionKind
from nplb.model.errors import HostError
from nplb.model.keys import Address, BackendKey, FrontendKey
from nplb.model.plan import Frontend, Plan
from nplb.model.reasons import Cause, EndReason
from nplb.model.relay import NoBackend
from nplb.policy.prefixes import admitted_sources

log = logging.getLogger(__name__)

RETRY_SECONDS = 1.0
READY_SECONDS = 10.0
ACKNOWLEDGE_SECONDS = 15.0
STOP_SECONDS = 2.0
# A worker that lived less than this died young; each young death in a row doubles the wait.
YOUNG_SECONDS = 10.0
RESTART_SECONDS = 0.05
RESTART_LIMIT_SECONDS = 15.0
SILENT_SECONDS = 5.0
# A worker that stands still this long is not waited for when a plan is applied.
STUCK_SECONDS = 2.0
HUNG_SECONDS = 20.0
WATCH_SECONDS = 1.0
# After so many frontends, other tasks get their turn.
BATCH = 50

_CAUSES = {
    EndReason.CONNECT_REFUSED.value: Cause.REFUSED,
    EndReason.CONNECT_TIMEOUT.value: Cause.TIMEOUT,
    EndReason.CONNECT_UNREACHABLE.value: Cause.UNREACHABLE,
}

# What a row is kept under: a frontend's key as text, or what `row_name` makes of a backend's.
RowName = str | tuple[str, str, str, int]


class _Served:
    """One frontend as the workers know it. `backend_rows` are in the order of its backends,
    `listeners` has one socket per worker."""

    __slots__ = ("backend_rows", "frontend", "listeners", "name", "row", "sources")

    def __init__(self, frontend: Frontend, name: str, row: int) -> None:
        self.frontend = frontend
        self.name = name
        self.row = row
        self.backend_rows: list[int] = []
        self.sources = ""
        self.listeners: dict[Address, list[socket.socket]] = {}


class RelayPlane:
    """The relay plane. `start_workers` may be called before there is an event loop; then
    `start`, then `apply` as often as wanted; at the end `close_listeners`, `drain`, `stop`.

    `on_failure` hears of connects that failed (a few a second for each address), `on_decision`
    of workers that died and were started, `on_access` gets access log lines, several whole
    ones at a time. `fd_limit` bounds each worker's descriptors, `max_connections` the
    connections of all of them (0: as many as the system allows).
    """

    def __init__(
        self,
        *,
        workers: int = 1,
        fd_limit: int = 0,
        orphan_seconds: float = 600.0,
        max_connections: int = 0,
        on_access: Callable[[bytes], None] | None = None,
        on_failure: Callable[[Address, Cause], None] | None = None,
        on_decision: Callable[[Decision], None] | None = None,
    ) -> None:
        if workers < 1:
            raise ValueError("a relay needs at least one worker")
        self._count = workers
        self._fd_limit = fd_limit
        self._orphan_seconds = orphan_seconds
        self._max_connections = max_connections
        self._on_access = on_access
        self._access = (-1, -1)
        self._access_rest = b""
        self._affinity = -1
        self._on_failure = on_failure
        self._on_decision = on_decision
        self._workers: list[WorkerProcess] = []
        self._restarts = [0] * workers
        self._young_deaths = [0] * workers
        self._warned: set[int] = set()
        self._tasks = TaskOwner("relay")
        self._rows: Rows[RowName] = Rows()
        self._keys: dict[int, FrontendKey | BackendKey] = {}
        self._served: dict[FrontendKey, _Served] = {}
        # Listeners that have just lost their frontend: another one may want the address.
        self._spare: dict[Address, list[socket.socket]] = {}
        self._dual: set[Address] = set()
        self._ledger = Ledger()
        self._generation = 0
        self._serial = 0
        self._lock = asyncio.Lock()
        self._started = False
        self._closing = False
        self._stopped = False

    # -- start ---------------------------------------------------------------

    def start_workers(self) -> None:
        """Start the processes. Needs no event loop. Errors: HostError."""
        if self._affinity < 0:
            self._affinity = os.memfd_create("nplb-affinity", os.MFD_CLOEXEC)
            os.ftruncate(self._affinity, AFFINITY_BYTES)
            if self._on_access is not None:
                self._access = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        for index in range(len(self._workers), self._count):
            self._workers.append(self._new_worker(index))

    async def start(self) -> None:
        """Wait until every worker answers, and watch over them from then on.

        Errors: HostError when a worker does not come up.
        """
        self.start_workers()
        for worker in self._workers:
            worker.attach(self._on_message, self._on_exit)
            self._send_limits(worker)
        if self._access[0] >= 0:
            asyncio.get_running_loop().add_reader(self._access[0], self._read_access)
        until = time.monotonic() + READY_SECONDS
        while not all(worker.ready for worker in self._workers):
            dead = next((w for w in self._workers if w.exit_text), None)
            if dead is not None or time.monotonic() > until:
                why = dead.exit_text if dead else f"no answer in {READY_SECONDS:.0f} s"
                await self.stop()
                raise HostError(f"a relay worker did not come up: {why}")
            await asyncio.sleep(0.005)
        self._started = True
        self._tasks.spawn(self._watch(), "watch")

    def _new_worker(self, index: int) -> WorkerProcess:
        worker = WorkerProcess(
            index,
            workers=self._count,
            affinity=self._affinity,
            access=self._access[1],
            fd_limit=self._fd_limit,
            orphan_seconds=self._orphan_seconds,
        )
        worker.start()
        return worker

    def _send_limits(self, worker: WorkerProcess) -> None:
        worker.send({"op": "limits", "max_connections": self._max_connections})

    def set_max_connections(self, limit: int) -> None:
        """How many connections all workers may have open from now on; 0 for any number."""
        if limit != self._max_connections:
            self._max_connections = limit
            for worker in self._workers:
                self._send_limits(worker)
                worker.flush()

    def _read_access(self) -> None:
        """Take access log lines, and pass on the whole ones."""
        try:
            data = os.read(self._access[0], 1 << 20)
        except BlockingIOError:
            return
        whole, newline, rest = (self._access_rest + data).rpartition(b"\n")
        self._access_rest = rest
        if newline and self._on_access is not None:
            self._on_access(whole + newline)

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

    async def _apply(self, plan: Plan) -> dict[FrontendKey, tuple[ListenError, ...]]:
        wanted = {frontend.key: frontend for frontend in plan.frontends}
        for key in [key for key in self._served if key not in wanted]:
            self._remove(key)
        changes: list[Change] = []
        for count, (key, frontend) in enumerate(wanted.items(), 1):
            served = self._served.get(key)
            if served is None:
                self._add(frontend)
            elif served.frontend is not frontend:
                self._change(served, frontend, changes)
            else:
                continue
            if count % BATCH == 0:  # the workers begin while the rest is prepared
                for worker in self._workers:
                    worker.flush()
                await asyncio.sleep(0)
        if changes:
            frame = encode({"op": "backends", "changes": changes})
            for worker in self._workers:
                worker.send(frame)
        errors: dict[FrontendKey, tuple[ListenError, ...]] = {}
        self._generation = plan.generation
        if not self._closing:
            errors = await self._listen(wanted)
        else:
            await self._close_spare()
        if any(worker.told_sources for worker in self._workers):
            self._forget_sources()
        await self._commit()
        self._recycle_rows()
        return errors

    def _add(self, frontend: Frontend) -> None:
        name = str(frontend.key)
        served = _Served(frontend, name, self._row(name, frontend.key))
        served.backend_rows = self._backend_rows(name, frontend)
        self._served[frontend.key] = served
        self._tell(served)

    def _change(self, served: _Served, frontend: Frontend, changes: list[Change]) -> None:
        old, served.frontend = served.frontend, frontend
        quick = quick_changes(old, frontend, served.row, served.backend_rows)
        if quick is not None:
            changes += quick
            return
        name = served.name
        stay = {row_name(name, backend.key) for backend in frontend.backends}
        for backend in old.backends:
            if (left := row_name(name, backend.key)) not in stay:
                self._rows.leave(left)
        served.backend_rows = self._backend_rows(name, frontend)
        for address in [a for a in served.listeners if a not in frontend.listen]:
            self._unlisten(served, address)
        self._tell(served)

    def _remove(self, key: FrontendKey) -> None:
        served = self._served.pop(key)
        for worker in self._workers:
            worker.send({"op": "remove", "row": served.row})
        self._spare.update(served.listeners)
        for backend in served.frontend.backends:
            self._rows.leave(row_name(served.name, backend.key))
        self._rows.leave(served.name)

    def _backend_rows(self, name: str, frontend: Frontend) -> list[int]:
        return [self._row(row_name(name, b.key), b.key) for b in frontend.backends]

    def _row(self, name: RowName, key: FrontendKey | BackendKey) -> int:
        row, reused = self._rows.take(name)
        if reused:
            self._ledger.forget(row, self._read())
        self._keys[row] = key
        return row

    def _tell(self, served: _Served, only: WorkerProcess | None = None) -> None:
        frame = encode(frontend_message(served.frontend, served.row, served.backend_rows))
        served.sources = sources_name(served.frontend.relay)
        for worker in (only,) if only is not None else self._workers:
            if served.sources and served.sources not in worker.told_sources:
                self._send_sources(served, worker)
            worker.send(frame)

    def _send_sources(self, served: _Served, worker: WorkerProcess) -> None:
        """Hand a worker the clients that are admitted: once, for they may be many."""
        sources = admitted_sources(served.frontend.relay)
        assert sources is not None
        data = sources.to_bytes()
        memory = os.memfd_create("nplb-sources", os.MFD_CLOEXEC)
        try:
            with os.fdopen(memory, "wb", closefd=False) as file:
                file.write(data)
            message = {"op": "sources", "name": served.sources, "bytes": len(data)}
            worker.send(message, memory)
        finally:
            os.close(memory)
        worker.told_sources.add(served.sources)

    def _forget_sources(self) -> None:
        used = {served.sources for served in self._served.values()}
        for worker in self._workers:
            gone = worker.told_sources - used
            if gone:
                worker.send({"op": "forget_sources", "names": sorted(gone)})
                worker.told_sources -= gone

    def _recycle_rows(self) -> None:
        live: list[array[int]] = []

        def is_idle(row: int) -> bool:
            if not live:
                live.extend(self._read())
            return self._ledger.is_idle(row, live)

        self._rows.recycle(is_idle)

    # -- listeners -----------------------------------------------------------

    async def _listen(
        self, wanted: dict[FrontendKey, Frontend]
    ) -> dict[FrontendKey, tuple[ListenError, ...]]:
        """Bind what is not bound yet; what can't be, and why."""
        ipv4_ports = {a.port for f in wanted.values() for a in f.listen if ":" not in a.ip}
        missing: list[tuple[_Served, Address, bool]] = []
        for served in self._served.values():
            if _is_unbound(served.frontend):
                for address in list(served.listeners):
                    self._unlisten(served, address)
                continue
            for address in served.frontend.listen:
                dual = address.ip == "::" and address.port not in ipv4_ports
                if address in served.listeners and dual != (address in self._dual):
                    self._unlisten(served, address)  # IPv4 clients are to go elsewhere now
                if address not in served.listeners:
                    missing.append((served, address, dual))
        # An address that goes from one frontend to another is never closed in between.
        if self._spare:
            rest = []
            for served, address, dual in missing:
                if address in self._spare and dual == (address in self._dual):
                    served.listeners[address] = self._spare.pop(address)
                    for worker in self._workers:
                        self._hand_over(served, address, worker)
                else:
                    rest.append((served, address, dual))
            missing = rest
        await self._close_spare()
        if not missing:
            return {}
        ours: set[int] = set()
        for served in self._served.values():
            for sockets in served.listeners.values():
                ours.update(inode_of(sock) for sock in sockets)
        errors: dict[FrontendKey, list[ListenError]] = {}
        for count, (served, address, dual) in enumerate(missing, 1):
            try:
                sockets = open_listeners(address, self._count, dual_stack=dual, ours=ours)
            except ListenFailedError as failure:
                errors.setdefault(served.frontend.key, []).append(failure.error)
            else:
                ours.update(inode_of(sock) for sock in sockets)
                served.listeners[address] = sockets
                (self._dual.add if dual else self._dual.discard)(address)
                for worker in self._workers:
                    self._hand_over(served, address, worker)
            if count % BATCH == 0:
                for worker in self._workers:
                    worker.flush()
                await asyncio.sleep(0)
        return {key: tuple(found) for key, found in errors.items()}

    def _hand_over(self, served: _Served, address: Address, worker: WorkerProcess) -> None:
        sock = served.listeners[address][worker.index]
        message = {"op": "listen", "row": served.row, "address": str(address)}
        worker.send(message, sock.fileno())

    def _unlisten(self, served: _Served, address: Address) -> None:
        for worker in self._workers:
            worker.send({"op": "unlisten", "row": served.row, "address": str(address)})
        self._spare[address] = served.listeners.pop(address)

    async def _close_spare(self) -> None:
        """Give up addresses that nobody wants now. They are free when this returns."""
        if self._spare:
            for sockets in self._spare.values():
                for sock in sockets:
                    sock.close()
            self._spare.clear()
            await self._commit()  # the workers have closed theirs too

    # -- generations ---------------------------------------------------------

    async def _commit(self) -> None:
        """Wait until every worker has taken all that was sent. A worker that dies meanwhile
        is not waited for: its successor is told everything anew."""
        self._serial += 1
        serial = self._serial
        waiting = [worker for worker in self._workers if worker.alive]
        for worker in waiting:
            worker.applied = asyncio.Event()
            self._send_commit(worker, serial)
        until = time.monotonic() + ACKNOWLEDGE_SECONDS
        for worker in waiting:
            while worker.alive and worker.serial < serial and time.monotonic() < until:
                # One that stands still must not keep the others from the next plan.
                if worker.ready and worker.silent_seconds > STUCK_SECONDS:
                    break
                assert worker.applied is not None
                worker.applied.clear()
                if worker.serial >= serial or not worker.alive:
                    break
                try:
                    left = until - time.monotonic()
                    await asyncio.wait_for(worker.applied.wait(), min(left, STUCK_SECONDS / 4))
                except TimeoutError:
                    continue
            if worker.alive and worker.serial < serial:
                log.error(
                    "relay worker %d (pid %d) has not taken generation %d",
                    worker.index,
                    worker.pid,
                    self._generation,
                )

    def _send_commit(self, worker: WorkerProcess, serial: int) -> None:
        worker.send({"op": "commit", "generation": self._generation, "serial": serial})
        worker.flush()

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

    def _on_exit(self, worker: WorkerProcess) -> None:
        """A worker has ended: keep its counters, start another one."""
        cells = read_cells(worker.memory, self._rows.used)
        self._ledger.bury(cells)
        worker.close()
        if self._stopped or not self._started:
            return
        lived = time.monotonic() - worker.started_at
        young = self._young_deaths[worker.index] = (
            self._young_deaths[worker.index] + 1 if lived < YOUNG_SECONDS else 0
        )
        wait = min(RESTART_SECONDS * (1 << min(young, 12)), RESTART_LIMIT_SECONDS)
        text = (
            f"relay worker {worker.index} (pid {worker.pid}) ended: {worker.exit_text}; "
            f"{cells[OPEN]} connections ended with it; a new one starts in {wait:.2g} s"
        )
        log.error("%s", text)
        self._decide(DecisionKind.WORKER_DIED, worker, text)
        self._tasks.spawn(self._restart(worker.index, wait), f"restart-{worker.index}")

    async def _restart(self, index: int, wait: float) -> None:
        await asyncio.sleep(wait)
        while not self._stopped:
            try:
                worker = self._new_worker(index)
                break
            except HostError as error:
                log.error("%s", error)
                await asyncio.sleep(RESTART_LIMIT_SECONDS)
        else:
            return
        self._workers[index] = worker
        self._restarts[index] += 1
        # Nothing awaits from here on, so no plan can come between.
        worker.attach(self._on_message, self._on_exit)
        self._send_limits(worker)
        for served in self._served.values():
            self._tell(served, worker)
            for address in served.listeners:
                self._hand_over(served, address, worker)
        self._send_commit(worker, self._serial)
        self._decide(
            DecisionKind.WORKER_STARTED,
            worker,
            f"relay worker {index} (pid {worker.pid}) has taken over",
        )

    async def _watch(self) -> None:
        """Say when a worker's loop stands still; end it when it does for long."""
        while True:
            await asyncio.sleep(WATCH_SECONDS)
            for worker in self._workers:
                if not worker.alive:
                    continue
                if not worker.ready:
                    if time.monotonic() - worker.started_at > READY_SECONDS:
                        log.error("relay worker %d does not come up: ended", worker.index)
                        worker.kill()
                    continue
                silent = worker.silent_seconds
                if silent < SILENT_SECONDS:
                    self._warned.discard(worker.pid)
                elif silent >= HUNG_SECONDS:
                    log.error("relay worker %d hangs since %.0f s: ended", worker.index, silent)
                    worker.kill()
                elif worker.pid not in self._warned:
                    self._warned.add(worker.pid)
                    log.warning(
                        "relay worker %d (pid %d) has not turned its loop for %.0f s",
                        worker.index,
                        worker.pid,
                        silent,
                    )

    def _decide(self, kind: DecisionKind, worker: WorkerProcess, text: str) -> None:
        if self._on_decision is not None:
            self._on_decision(
                Decision(at=time.time(), kind=kind, subject=f"worker {worker.index}", text=text)
            )

    # -- counters ------------------------------------------------------------

    def _read(self) -> list["array[int]"]:
        used = self._rows.used
        return [read_cells(w.memory, used) for w in self._workers if w.memory >= 0]

    def traffic(self) -> Traffic:
        """All counters at this moment. Keys that have left the plan are in it while they have
        connections open."""
        cells = {
            w.index: read_cells(w.memory, self._rows.used) for w in self._workers if w.memory >= 0
        }
        live = list(cells.values())
        ledger = self._ledger
        frontends: dict[FrontendKey, int] = {}
        backends: dict[BackendKey, int] = {}
        for row in self._rows.held.values():
            key = self._keys[row]
            if isinstance(key, BackendKey):
                backends[key] = row
            else:
                frontends[key] = row
        for row in self._rows.left.values():
            key = self._keys[row]
            if not ledger.is_idle(row, live):
                if isinstance(key, BackendKey):
                    backends[key] = row
                else:
                    frontends[key] = row
        workers = []
        for worker in self._workers:
            header = cells.get(worker.index)
            workers.append(
                WorkerCounters(
                    worker=worker.index,
                    pid=worker.pid,
                    alive=worker.alive,
                    generation=header[GENERATION] if header else 0,
                    restarts=self._restarts[worker.index],
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

    # -- the end -------------------------------------------------------------

    def close_listeners(self) -> None:
        """Listen no more, from now on. Clients already in a queue are still taken."""
        self._closing = True
        for served in self._served.values():
            for sockets in served.listeners.values():
                for sock in sockets:
                    sock.close()
            served.listeners.clear()
        for worker in self._workers:
            worker.send({"op": "unlisten_all"})
            worker.flush()

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
            for worker in self._workers:
                worker.send({"op": "reset_all", "reason": EndReason.SHUTDOWN.value})
            async with self._lock:
                await self._commit()
        return rest

    def _open(self) -> int:
        return sum(worker.open_connections for worker in self._workers)

    async def stop(self) -> None:
        """End the workers. What is still open ends with them, as a shutdown. Safe to call
        twice."""
        if self._stopped:
            return
        self.close_listeners()
        self._stopped = True
        await self._tasks.close()
        for worker in self._workers:
            worker.send({"op": "reset_all", "reason": EndReason.SHUTDOWN.value})
            worker.send({"op": "stop"})
            worker.flush()
        for worker in self._workers:
            if worker.alive and not await worker.wait(STOP_SECONDS):
                log.warning("relay worker %d did not stop: ended", worker.index)
                worker.kill()
                await worker.wait(STOP_SECONDS)
            worker.close()
        if self._access[0] >= 0:
            asyncio.get_running_loop().remove_reader(self._access[0])
            self._read_access()
        for fd in (*self._access, self._affinity):
            if fd >= 0:
                os.close(fd)
        self._access, self._affinity = (-1, -1), -1


def _is_unbound(frontend: Frontend) -> bool:
    """Whether nobody is to listen for it now, so that what is in front goes elsewhere."""
    return frontend.relay.no_backend is NoBackend.UNBIND and not frontend.active
