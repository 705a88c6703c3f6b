"""The relay's workers: started, watched, replaced when they die, retired, and taken over.

`active` workers take clients; there are as many as wanted, each with its index. `retired` ones
have connections of before, and end with the last of them. What a worker has to know is its
owner's to tell (`introduce`).
"""

import asyncio
import logging
import os
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from nplb.aio.tasks import TaskOwner
from nplb.dataplane.relay.process import YOUNG_SECONDS, WorkerProcess
from nplb.dataplane.relay.runtime import RuntimeDirectory
from nplb.dataplane.relay.safe import ACCESS_WRITE, AFFINITY, COUNTERS, Safe
from nplb.dataplane.relay.survivors import Survivor, find_survivors, take_line
from nplb.model.decision import Decision, DecisionKind
from nplb.model.errors import HostError
from nplb.model.keys import Address
from nplb.model.reasons import EndReason

log = logging.getLogger(__name__)

READY_SECONDS = 10.0
STOP_SECONDS = 2.0
# Each young death in a row doubles the wait.
RESTART_SECONDS = 0.05
RESTART_LIMIT_SECONDS = 15.0
SILENT_SECONDS = 5.0
HUNG_SECONDS = 20.0
WATCH_SECONDS = 1.0
# How often workers are looked for that nobody has.
STRAYS_SECONDS = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Uses:
    """What the pool's owner does: `introduce` tells a new worker everything, `said` takes what a
    worker says, `ended` is called with a worker that has ended, while its memory can still be
    read, and returns how many connections ended with it; `swept` is called after workers that
    nobody has were looked for, `decide` notes a decision."""

    introduce: Callable[[WorkerProcess], None]
    said: Callable[[WorkerProcess, dict[str, Any]], None]
    ended: Callable[[WorkerProcess], int]
    swept: Callable[[], None]
    decide: Callable[[Decision], None]


class WorkerPool:
    """The workers of one relay plane. `restarts` counts by index.

    While it is `frozen`, another control is about to take the workers over: nothing is started,
    and what ends is seen to afterwards.
    """

    def __init__(
        self,
        *,
        count: int,
        safe: Safe,
        uses: Uses,
        runtime: RuntimeDirectory | None,
        fd_limit: int,
        orphan_seconds: float,
    ) -> None:
        self.count = count
        self.active: list[WorkerProcess] = []
        self.retired: list[WorkerProcess] = []
        self.restarts: list[int] = [0] * count
        self.frozen = False
        self._safe = safe
        self._uses = uses
        self._runtime = runtime
        self._fd_limit = fd_limit
        self._orphan_seconds = orphan_seconds
        self._young_deaths: dict[int, int] = {}
        self._ended_frozen: list[WorkerProcess] = []
        self._warned: set[int] = set()
        self._tasks = TaskOwner("relay-pool")
        self._looked_at = 0.0
        self._started = False
        self._stopped = False

    @property
    def everyone(self) -> list[WorkerProcess]:
        """All of them, retired ones too."""
        return [*self.active, *self.retired]

    @property
    def counting(self) -> list[WorkerProcess]:
        """Those whose counters can be read."""
        return [w for w in self.everyone if w.memory >= 0 and w.understood]

    def send(self, message: dict[str, Any] | bytes) -> None:
        """Queue one frame for everyone."""
        for worker in self.everyone:
            worker.send(message)

    def flush(self) -> None:
        """Send what is queued."""
        for worker in self.everyone:
            worker.flush()

    # -- start ---------------------------------------------------------------

    def take(self, survivors: Iterable[Survivor], *, replace: bool) -> list[WorkerProcess]:
        """Take over workers of a control before: those that run this code become active, of
        several with one index the first; the others, or with `replace` all, are to be retired
        once there are new ones. Returns the latter."""
        heirs: dict[int, WorkerProcess] = {}
        leaving = []
        for survivor in survivors:
            worker = WorkerProcess.of(survivor, survivor.index)
            if survivor.understood:
                for row, text, seat in survivor.listeners:
                    of = worker.seats.setdefault(row, {})
                    of.setdefault(parse_address(text), set()).add(seat)
            stays = survivor.same_code and not survivor.retired and not replace
            if stays and survivor.index < self.count and survivor.index not in heirs:
                heirs[survivor.index] = worker
            else:
                worker.retired = True
                self.retired.append(worker)
                leaving.append(worker)
        self.active = [heirs[i] if i in heirs else self._new(i) for i in range(self.count)]
        return leaving

    def start_missing(self) -> None:
        """Start what is missing. Needs no event loop. Errors: HostError."""
        for index in range(len(self.active), self.count):
            self.active.append(self._new(index))

    async def start(self) -> None:
        """Wait until every new worker answers, and watch over all from then on.

        Errors: HostError when a worker does not come up.
        """
        for worker in self.everyone:
            worker.attach(self._uses.said, self._on_exit)
        until = time.monotonic() + READY_SECONDS
        while not all(worker.ready for worker in self.active):
            dead = next((w for w in self.active if w.exit_text), None)
            if dead is not None or time.monotonic() > until:
                why = dead.exit_text if dead else f"no answer in {READY_SECONDS:.0f} s"
                raise HostError(f"a relay worker did not come up: {why}")
            await asyncio.sleep(0.005)
        self._started = True
        self._tasks.spawn(self._watch(), "watch")

    def _new(self, index: int) -> WorkerProcess:
        worker = WorkerProcess(index)
        worker.start(
            workers=self.count,
            affinity=self._safe.get(AFFINITY),
            access=self._safe.get(ACCESS_WRITE),
            fd_limit=self._fd_limit,
            orphan_seconds=self._orphan_seconds,
            runtime=self._runtime,
        )
        self.give(worker)
        if self._runtime is not None:
            self._safe.put(COUNTERS + worker.rendezvous, os.dup(worker.memory))
        return worker

    def give(self, worker: WorkerProcess) -> None:
        """Give it everything that is to be kept."""
        if self._runtime is not None:
            for name, version, fd in self._safe:
                worker.send(_keep(name, version), fd)

    def give_all(self, name: str, version: int, fd: int) -> None:
        """Give everyone a new version of one thing that is to be kept."""
        if self._runtime is not None:
            for worker in self.everyone:
                worker.send(_keep(name, version), fd)
                worker.flush()

    def drop_all(self, name: str) -> None:
        """Tell everyone that one thing need not be kept any more."""
        if self._runtime is not None:
            self.send({"op": "drop", "name": name})

    # -- taking over -----------------------------------------------------------

    def take_lines(self) -> None:
        """Become the control of every worker taken over. One that does not answer is left: it is
        found again as one that nobody has. Blocks for a moment."""
        for worker in self.everyone:
            if worker.connected or not worker.alive or self._runtime is None:
                continue
            try:
                worker.connect(take_line(self._runtime, worker.rendezvous))
            except OSError as error:
                log.warning("relay worker %d (pid %d): %s", worker.index, worker.pid, error)
            else:
                self.give(worker)
                if self._started:
                    worker.attach(self._uses.said, self._on_exit)

    def retire(self, worker: WorkerProcess) -> None:
        """It takes no more clients, and ends with its last connection."""
        worker.retired = True
        worker.seats.clear()
        worker.send({"op": "retire"})
        worker.flush()

    async def take_strays(self) -> int:
        """Take over workers that nobody has, such as those of a control that failed to start,
        and retire them. Returns how many they were."""
        assert self._runtime is not None
        known = frozenset(worker.rendezvous for worker in self.everyone)
        if known.issuperset(self._runtime.names()):
            return 0
        found = await asyncio.to_thread(find_survivors, self._runtime, known=known)
        if found and (self.frozen or self._stopped):
            for survivor in found:
                survivor.close()
            return 0
        self._safe.outdo(found)
        for survivor in found:
            worker = WorkerProcess.of(survivor, survivor.index)
            survivor.close()
            self.retired.append(worker)
            log.warning("relay worker %d (pid %d) had no control: it is retired", *_who(worker))
            self.retire(worker)
        self.take_lines()
        return len(found)

    def freeze(self) -> None:
        """Another control is about to take over."""
        self.frozen = True

    def thaw(self) -> None:
        """It has not, or this is the one that has: see to what has ended meanwhile."""
        self.frozen = False
        ended, self._ended_frozen = self._ended_frozen, []
        for worker in ended:
            self._on_exit(worker)

    # -- how many --------------------------------------------------------------

    def resize(self, count: int) -> list[WorkerProcess]:
        """Have so many from now on. Returns the new ones, which are to be introduced, and those
        too many stay in `active` until `drop_surplus`. Errors: HostError, and then nothing has
        changed."""
        new: list[WorkerProcess] = []
        try:
            new.extend(self._new(index) for index in range(len(self.active), count))
        except HostError:
            for worker in new:
                worker.close()
            raise
        self.count = count
        self.active += new
        self.restarts += [0] * (count - len(self.restarts))
        for worker in new:
            worker.attach(self._uses.said, self._on_exit)
        return new

    def drop_surplus(self) -> None:
        """Retire those that are too many."""
        surplus = self.active[self.count :]
        del self.active[self.count :]
        for worker in surplus:
            if worker.alive:
                self.retired.append(worker)
                self.retire(worker)

    # -- ends ------------------------------------------------------------------

    def _on_exit(self, worker: WorkerProcess) -> None:
        """A worker has ended: keep its counters, start another one."""
        if self.frozen:
            self._ended_frozen.append(worker)
            return
        lost = self._uses.ended(worker)
        worker.close()
        self._forget(worker)
        if worker in self.retired:
            self.retired.remove(worker)
            if not self._stopped:
                self._tell_retired(worker, lost)
            return
        if self._stopped or not self._started or worker not in self.active:
            return
        lived = time.monotonic() - worker.started_at
        young = self._young_deaths.get(worker.index, 0) + 1 if lived < YOUNG_SECONDS else 0
        self._young_deaths[worker.index] = young
        wait = min(RESTART_SECONDS * (1 << min(young, 12)), RESTART_LIMIT_SECONDS)
        text = (
            f"relay worker {worker.index} (pid {worker.pid}) ended: {worker.exit_text}; "
            f"{lost} connections ended with it; a new one starts in {wait:.2g} s"
        )
        self._decide(DecisionKind.WORKER_DIED, worker, text)
        self._tasks.spawn(self._restart(worker.index, wait), f"restart-{worker.index}")

    def _forget(self, worker: WorkerProcess) -> None:
        """A worker that has ended can't be found, nor need its counters be kept."""
        if self._runtime is not None and worker.rendezvous:
            self._runtime.remove(worker.rendezvous)
            self._safe.drop(COUNTERS + worker.rendezvous)

    def _tell_retired(self, worker: WorkerProcess, lost: int) -> None:
        if lost:
            text = (
                f"retired relay worker {worker.index} (pid {worker.pid}) ended: "
                f"{worker.exit_text}; {lost} connections ended with it"
            )
            self._decide(DecisionKind.WORKER_DIED, worker, text)
        else:
            log.info("retired relay worker %d (pid %d) has ended", *_who(worker))

    async def _restart(self, index: int, wait: float) -> None:
        await asyncio.sleep(wait)
        while True:
            if self._stopped or index >= self.count or self.active[index].alive:
                return
            if not self.frozen:
                try:
                    worker = self._new(index)
                    break
                except HostError as error:
                    log.error("%s", error)
            await asyncio.sleep(0.1 if self.frozen else RESTART_LIMIT_SECONDS)
        self.active[index] = worker
        self.restarts[index] += 1
        # Nothing awaits from here on, so no plan can come between.
        worker.attach(self._uses.said, self._on_exit)
        self._uses.introduce(worker)
        text = f"relay worker {index} (pid {worker.pid}) has taken over"
        self._decide(DecisionKind.WORKER_STARTED, worker, text)

    async def _watch(self) -> None:
        """Say when a worker's loop stands still; end it when it does for long. Look for workers
        that nobody has."""
        while True:
            await asyncio.sleep(WATCH_SECONDS)
            if self.frozen:
                continue
            for worker in self.everyone:
                if worker.alive:
                    self._look_at(worker)
            if self._runtime is not None and time.monotonic() - self._looked_at >= STRAYS_SECONDS:
                self._looked_at = time.monotonic()
                await self.take_strays()
                self._uses.swept()

    def _look_at(self, worker: WorkerProcess) -> None:
        if not worker.ready:
            if time.monotonic() - worker.started_at > READY_SECONDS:
                log.error("relay worker %d does not come up: ended", worker.index)
                worker.kill()
            return
        silent = worker.silent_seconds
        if silent < SILENT_SECONDS:
            self._warned.discard(worker.pid)
        elif silent >= HUNG_SECONDS:
            log.error("relay worker %d hangs since %.0f s: ended", worker.index, silent)
            worker.kill()
        elif worker.pid not in self._warned:
            self._warned.add(worker.pid)
            log.warning(
                "relay worker %d (pid %d) has not turned its loop for %.0f s", *_who(worker), silent
            )

    def _decide(self, kind: DecisionKind, worker: WorkerProcess, text: str) -> None:
        subject = f"worker {worker.index}"
        self._uses.decide(Decision(at=time.time(), kind=kind, subject=subject, text=text))

    # -- the end -----------------------------------------------------------------

    def retire_all(self) -> None:
        """No worker takes a client any more, and none is started again."""
        self._stopped = True
        for worker in self.everyone:
            self.retire(worker)

    async def stop(self) -> None:
        """End all workers; what is still open ends with them, as a shutdown. Before `start` nobody
        listens to them: then it is `abort`."""
        if not self._started:
            await self.abort()
            return
        self._stopped = True
        await self._tasks.close()
        for worker in self.everyone:
            worker.send({"op": "reset_all", "reason": EndReason.SHUTDOWN.value})
            worker.send({"op": "stop"})
            worker.flush()
        for worker in self.everyone:
            if worker.alive and not await worker.wait(STOP_SECONDS):
                log.warning("relay worker %d did not stop: ended", worker.index)
                worker.kill()
                await worker.wait(STOP_SECONDS)
            worker.close()
            self._forget(worker)

    async def abort(self) -> None:
        """The start has failed: end the workers that were started, and leave the others."""
        self._stopped = True
        await self._tasks.close()
        for worker in self.everyone:
            if not worker.is_child:
                worker.let_go()
                continue
            worker.close()
            self._forget(worker)

    async def let_go(self) -> None:
        """Leave the workers to the next control."""
        self._stopped = True
        await self._tasks.close()
        for worker in self.everyone:
            worker.let_go()


def _keep(name: str, version: int) -> dict[str, Any]:
    return {"op": "keep", "name": name, "version": version}


def _who(worker: WorkerProcess) -> tuple[int, int]:
    return worker.index, worker.pid


def parse_address(text: str) -> Address:
    """An address back from its text."""
    ip, _, port = text.rpartition(":")
    return Address(ip.strip("[]"), int(port))


def own_pids(pool: WorkerPool) -> set[int]:
    """This process and every worker."""
    return {os.getpid(), *(worker.pid for worker in pool.everyone)}
