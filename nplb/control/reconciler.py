"""The one reconcile loop: the latest inputs in, a plan out, applied by the plane."""

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Mapping
from typing import NamedTuple, Protocol

from nplb.control.annotations import AnnotationBook
from nplb.control.books import Books
from nplb.control.findings import FindingBook
from nplb.control.inputs import Inputs
from nplb.control.interfaces import Interfaces
from nplb.control.outbox import Outbox
from nplb.control.pace import Pace
from nplb.dataplane import Plane
from nplb.model.applied import Applied
from nplb.model.cluster import SourceState, SourceStatus
from nplb.model.decision import Decision, DecisionKind
from nplb.model.drain import ManualDrain
from nplb.model.plan import Plan
from nplb.model.verdict import ProbeTarget
from nplb.observe.journal import Journal
from nplb.plan.diff import plan_decisions
from nplb.plan.make import make_plan
from nplb.plan.memo import Memo

log = logging.getLogger(__name__)

MIN_INTERVAL_SECONDS = 0.02  # gathers what changes together into one pass
MAX_INTERVAL_SECONDS = 30.0  # a whole pass now and then repairs damage from outside
RETRY_SECONDS = 1.0  # after a pass that failed
ERROR_INTERVAL_SECONDS = 60.0  # between different errors of one outage


class _SourceNote(NamedTuple):
    """What was told of a source last, and when; never yet is minus infinity."""

    state: SourceState
    error: str
    told_at: float


class Prober(Protocol):
    """The one arrow back: the plan tells the prober its targets."""

    def retarget(self, targets: tuple[ProbeTarget, ...]) -> None:
        """Probe these from now on, and nothing else."""


class Reconciler:
    """Runs passes until cancelled. `plan`, `applied`, `passes`, `loop_at` and `last_error`
    say where it stands, `annotations` what Services have by theirs.

    Nothing is planned before the first snapshot of any cluster; afterwards a source that
    fails changes nothing.
    """

    def __init__(
        self,
        *,
        inputs: Inputs,
        plane: Plane,
        prober: Prober,
        journal: Journal,
        books: Books,
        findings: FindingBook,
        now: Callable[[], float],
        outbox: Outbox | None = None,
    ) -> None:
        self._outbox = outbox
        self._inputs = inputs
        self._plane = plane
        self._prober = prober
        self._journal = journal
        self._books = books
        self._findings = findings
        self._now = now
        self.plan = Plan()
        self.applied: Applied | None = None
        self.passes = 0
        self.loop_at = now()
        self.turned_at = time.monotonic()
        self.last_error = ""
        self._drains: tuple[ManualDrain, ...] = inputs.drains.get()
        self._source_notes: dict[str, _SourceNote] = {}
        self.annotations = AnnotationBook()
        self._memo = Memo()
        self._interfaces = Interfaces()
        self._passed = asyncio.Event()
        self.pace = Pace()

    def restore(self, plan: Plan, sources: Mapping[str, SourceStatus]) -> None:
        """Go on from another reconciler's plan, and from what it has told of its sources."""
        self.plan = plan
        self._drains = self._inputs.drains.get()
        for name, status in sources.items():
            self._source_notes[name] = _SourceNote(status.state, status.error, self._now())

    async def wait_pass(self, seconds: float) -> None:
        """Until the next pass has ended, or so many seconds are over."""
        self._passed.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._passed.wait()

    async def run(self) -> None:
        """Turn until cancelled: wait for a change, a retry or the longest interval, then make
        one pass."""
        wait: float | None = None
        while True:
            await self._wait(MAX_INTERVAL_SECONDS if wait is None else wait)
            loop, inputs = asyncio.get_running_loop(), self._inputs
            changes = inputs.snapshots.version + inputs.verdicts.version
            began, cost = loop.time(), -time.thread_time()
            try:
                wait = await self.turn()
            except asyncio.CancelledError:
                raise
            except Exception as error:
                # The loop is what keeps everything else alive: it survives any fault of a
                # pass, says so, and makes a whole pass next.
                log.exception("a reconcile pass failed; the plan before stays in force")
                self.last_error = f"{type(error).__name__}: {error}"
                wait = RETRY_SECONDS
            self.pace.passed(began, loop.time(), cost + time.thread_time(), changes)
            self._passed.set()

    async def _wait(self, seconds: float) -> None:
        """Until an input changes and a pass may begin, or the time is over, in steps that show
        the loop turns."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + seconds
        while not self._inputs.changed.is_set():
            self.loop_at = self._now()
            self.turned_at = time.monotonic()
            left = deadline - loop.time()
            if left <= 0:
                return
            try:
                # Not wait_for: before Python 3.12 it swallows a cancellation that comes together
                # with the change, and whoever ends this loop would wait for ever.
                async with asyncio.timeout(min(left, 1.0)):
                    await self._inputs.changed.wait()
            except TimeoutError:
                continue
        await asyncio.sleep(MIN_INTERVAL_SECONDS)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout_at(self.pace.free_at):
                await self._inputs.urgent.wait()

    async def turn(self) -> float | None:
        """One whole pass. Returns after how many seconds the plane wants another one."""
        self._inputs.changed.clear()
        self._inputs.urgent.clear()
        now = self._now()
        self.loop_at = now
        self.turned_at = time.monotonic()
        settings = self._interfaces.resolved(self._inputs.settings.get())
        snapshots = self._inputs.snapshots.get()
        self._note_sources(now)
        self._note_drains(now)
        if not snapshots and self.applied is None:
            self.passes += 1
            return None
        plan = make_plan(
            settings,
            snapshots,
            self._inputs.verdicts.get(),
            self.plan,
            now,
            drains=self._inputs.drains.get(),
            wishes=self.annotations.read(settings, snapshots),
            memo=self._memo,
        )
        before, self.plan = self.plan, plan
        self.annotations.note(plan.frontends)
        self._prober.retarget(plan.probes)
        try:
            applied = await self._plane.apply(plan)
        finally:  # clients first
            self._journal.extend(plan_decisions(before, plan, now))
        self._note_listeners(applied, now)
        self.applied = applied
        found = await self._books.observe(
            settings, snapshots, plan, applied, now, self._inputs.sources.get()
        )
        if self._outbox is not None:
            self._outbox.update(settings, snapshots, plan, applied, now)
            found = (*found, *self._outbox.findings(now))
        self._journal.extend(self._findings.update(found, now))
        self.passes += 1
        self.last_error = ""
        return applied.retry_seconds

    def _note_sources(self, now: float) -> None:
        """A source's new state is told, and in an outage what is wrong: another error at once if
        there was none to tell, or after a while, since each attempt may meet its own."""
        for name, status in sorted(self._inputs.sources.get().items()):
            before = self._source_notes.get(name)
            if before is not None and before.state is status.state:
                same = status.error in ("", before.error)
                if same or 0.0 <= now - before.told_at < ERROR_INTERVAL_SECONDS:
                    continue
            told = status.state is not SourceState.CONNECTING or status.error != ""
            self._source_notes[name] = _SourceNote(
                status.state, status.error, now if told else float("-inf")
            )
            if told:
                kind, text = _source_entry(status)
                self._journal.append(
                    Decision(at=now, kind=kind, subject=name, text=text, cluster=name)
                )

    def _note_drains(self, now: float) -> None:
        before, after = set(self._drains), set(self._inputs.drains.get())
        self._drains = self._inputs.drains.get()
        out = {(d.cluster, d.node) for d in after}
        for drain in sorted(before | after, key=lambda d: (d.cluster, d.node)):
            if (drain in before and drain in after) or (
                drain in before and (drain.cluster, drain.node) in out
            ):
                continue
            kind = DecisionKind.DRAINED if drain in after else DecisionKind.UNDRAINED
            self._journal.append(
                Decision(
                    at=now,
                    kind=kind,
                    subject=f"{drain.cluster}/{drain.node}",
                    text=drain.text if drain in after else "put back",
                    node=drain.node,
                    cluster=drain.cluster,
                )
            )

    def _note_listeners(self, applied: Applied, now: float) -> None:
        before = self.applied.listen_errors if self.applied is not None else {}
        for key in sorted(before.keys() | applied.listen_errors.keys()):
            old, new = before.get(key, ()), applied.listen_errors.get(key, ())
            if old == new:
                continue
            kind = DecisionKind.LISTEN_FAILED if new else DecisionKind.LISTENING
            text = "; ".join(error.detail for error in new) or "listening again"
            self._journal.append(
                Decision(
                    at=now,
                    kind=kind,
                    subject=str(key),
                    text=text,
                    service=str(key.service),
                    cluster=key.service.cluster,
                )
            )


def _source_entry(status: SourceStatus) -> tuple[DecisionKind, str]:
    match status.state:
        case SourceState.LIVE:
            return DecisionKind.SOURCE_LIVE, "the cluster's state is current"
        case SourceState.STALE:
            text = f"the last snapshot stays in force: {status.error}"
            return DecisionKind.SOURCE_STALE, text
        case SourceState.CONNECTING:
            return DecisionKind.SOURCE_FAILING, f"can't be read yet: {status.error}"
