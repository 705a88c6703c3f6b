"""Keeps the status: everything above as one value, for web, metrics and command line."""

import time
from collections.abc import Callable
from dataclasses import replace

from nplb import __version__
from nplb.control.books import Books
from nplb.control.findings import FindingBook
from nplb.control.inputs import Inputs
from nplb.control.outbox import Outbox
from nplb.control.readiness import Readiness
from nplb.control.reconciler import Reconciler
from nplb.dataplane import Plane
from nplb.health.prober import Prober
from nplb.model.status import ReloadStatus, Status
from nplb.observe.journal import Journal


class StatusKeeper:
    """Puts the status together when asked; whoever reads it changes nothing."""

    def __init__(
        self,
        *,
        inputs: Inputs,
        reconciler: Reconciler,
        plane: Plane,
        journal: Journal,
        books: Books,
        findings: FindingBook,
        prober: Prober,
        outbox: Outbox,
        config_path: str,
        now: Callable[[], float],
    ) -> None:
        self._inputs = inputs
        self._reconciler = reconciler
        self._plane = plane
        self._journal = journal
        self._books = books
        self._findings = findings
        self._prober = prober
        self._outbox = outbox
        self._config_path = config_path
        self._now = now
        self._started_at = now()
        self._readiness = Readiness(started_at=self._started_at)
        self.reload = ReloadStatus(at=self._started_at)
        self.stopping = False

    def upgrade_failed(self, why: str) -> None:
        """An upgrade was tried and failed."""
        failed = self.reload.upgrades_failed + 1
        self.reload = replace(self.reload, upgrades_failed=failed, upgrade_error=why)

    @property
    def probed_once(self) -> bool:
        """Whether every backend's first probe has ended, at least once."""
        return self._readiness.probed_once

    def restore(self, *, reload: ReloadStatus, probed_once: bool) -> None:
        """Go on from what another keeper knew."""
        self.reload = reload
        self._readiness.probed_once = probed_once

    def status(self) -> Status:
        """Everything that runs, at this moment."""
        now = self._now()
        settings = self._inputs.settings.get()
        sources = self._inputs.sources.get()
        traffic = self._plane.traffic()
        reconciler = self._reconciler
        return Status(
            version=__version__,
            now=now,
            started_at=self._started_at,
            # The age is right also when the wall clock has just been set.
            loop_at=now - max(time.monotonic() - reconciler.turned_at, 0.0),
            passes=reconciler.passes,
            config_path=self._config_path,
            reload=self.reload,
            sources=tuple(sources[name] for name in sorted(sources)),
            ready=self._readiness.parts(
                settings=settings,
                snapshots=self._inputs.snapshots.get(),
                sources=sources,
                plan=reconciler.plan,
                applied=reconciler.applied,
                traffic=traffic,
                reload=self.reload,
                stopping=self.stopping,
                now=now,
            ),
            plan=reconciler.plan,
            applied=reconciler.applied,
            verdicts=self._prober.verdicts(),
            traffic=traffic,
            probing=self._prober.probing(),
            findings=self._findings.findings,
            ledgers=self._books.ledgers,
            edge=self._books.edge,
            drains=self._inputs.drains.get(),
            writers=self._outbox.statuses,
            decisions=self._journal.latest(),
            stopping=self.stopping,
            last_error=reconciler.last_error,
        )
