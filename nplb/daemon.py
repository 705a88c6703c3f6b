"""Wires the balancer together: tasks, signals, service manager notification.

The order of a start: workers, listeners' rights checked by use, sources, prober, reconciler,
admin server. The order of a stop: not ready, wait, close listeners, drain, end.
"""

import asyncio
import logging
import os
import random
import signal
import socket
import time
import uuid
from collections.abc import Callable, Coroutine
from dataclasses import replace
from pathlib import Path
from typing import Any

from nplb.aio.tasks import TaskOwner
from nplb.control.books import Books
from nplb.control.drains import Drains
from nplb.control.feeds import Feeds
from nplb.control.findings import FindingBook
from nplb.control.inputs import Inputs
from nplb.control.keeper import StatusKeeper
from nplb.control.outbox import Outbox
from nplb.control.reconciler import Reconciler
from nplb.dataplane.kernel.plane import KernelPlane, left_behind
from nplb.dataplane.relay.plane import RelayPlane
from nplb.dataplane.split import SplitPlane
from nplb.health.prober import Prober
from nplb.lab.portcheck import ManifestCheck
from nplb.model.cluster import Service, SourceState, SourceStatus
from nplb.model.decision import Decision, DecisionKind
from nplb.model.errors import ConfigurationError, NplbError
from nplb.model.kernel import PlaneKind
from nplb.model.outbound import WriterStatus
from nplb.model.settings import ClusterSettings, Settings
from nplb.observe.accesslog import AccessLog
from nplb.observe.journal import Journal
from nplb.observe.logs import set_up_logging
from nplb.observe.systemd import notify, watchdog_seconds
from nplb.sources import Source, Writer
from nplb.sources.factory import make_source, make_writer
from nplb.web.server import AdminServer

log = logging.getLogger(__name__)

# What a reload can't change: it needs another process.
_FIXED = ("workers", "admin", "state_dir")


class Daemon:
    """One balancer. `load` reads the configuration anew, and raises ConfigurationError with
    every error in its message."""

    def __init__(self, *, config_path: Path, load: Callable[[], Settings]) -> None:
        self._load = load
        self._settings = load()
        self._config_path = config_path
        self._stop = asyncio.Event()
        self._stop_now = asyncio.Event()
        self._reload = asyncio.Event()
        self._tasks = TaskOwner("daemon")
        self._inputs = Inputs(self._settings)
        self._drains = Drains(
            self._settings.state_dir and self._settings.state_dir / "drains.json",
            self._inputs.drains,
            time.time,
        )
        self._journal = Journal()
        self._books = Books(own_pids=self._own_pids)
        self._findings = FindingBook()
        self._rng = random.Random()
        self._prober = Prober(publish=self._inputs.verdicts.set, rng=self._rng, now=time.time)
        self._access = AccessLog(self._settings.log.access_file)
        self._relay = RelayPlane(
            workers=self._settings.workers,
            max_connections=self._settings.max_connections,
            on_failure=self._prober.report,  # a connect that failed is probed at once
            on_decision=self._record,
            on_access=self._access.write,
        )
        self._plane = SplitPlane(
            self._relay, lambda: KernelPlane(on_damage=self._inputs.changed.set), left_behind
        )
        self._identity = f"{socket.gethostname()}_{uuid.uuid4().hex[:8]}"
        self._outbox = Outbox(self._make_writer, self._inputs.changed.set)
        self._reconciler = Reconciler(
            inputs=self._inputs,
            plane=self._plane,
            prober=self._prober,
            journal=self._journal,
            books=self._books,
            findings=self._findings,
            now=time.time,
            outbox=self._outbox,
        )
        self._keeper = StatusKeeper(
            inputs=self._inputs,
            reconciler=self._reconciler,
            plane=self._plane,
            journal=self._journal,
            books=self._books,
            findings=self._findings,
            prober=self._prober,
            outbox=self._outbox,
            config_path=str(config_path),
            now=time.time,
        )
        self._feeds = Feeds(self._inputs, self._make_source)

    def _make_source(self, cluster: ClusterSettings, settings: Settings) -> Source:
        return make_source(
            cluster,
            publish=self._inputs.publish,
            report=self._inputs.report,
            now=time.time,
            rng=self._rng,
            state_dir=settings.state_dir,
        )

    def _make_writer(
        self, cluster: ClusterSettings, report: Callable[[WriterStatus], None]
    ) -> Writer:
        return make_writer(
            cluster, identity=self._identity, report=report, now=time.time, rng=self._rng
        )

    async def run(self) -> int:
        """Run until SIGTERM or SIGINT. Returns the exit code."""
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, self._on_stop)
        loop.add_signal_handler(signal.SIGINT, self._on_stop)
        loop.add_signal_handler(signal.SIGHUP, self._reload.set)
        admin = await self._start()
        try:
            await self._serve()
            await self._wind_down()
        finally:
            await self._outbox.close()
            await self._feeds.close()
            await self._tasks.close()
            await self._plane.stop()
            await self._relay.stop()
            self._access.close()
            if admin is not None:
                await admin.stop()
        log.info("stopped")
        return 0

    async def _start(self) -> AdminServer | None:
        settings = self._settings
        self._note(DecisionKind.STARTED, f"started with {self._config_path}")
        self._relay.start_workers()
        if _wants_kernel(settings):
            await self._plane.start_kernel()
        await self._relay.start()
        for cluster in settings.clusters:
            self._inputs.report(
                SourceStatus(cluster=cluster.name, state=SourceState.CONNECTING, since=time.time())
            )
        admin = None
        if settings.admin.listen is not None:
            admin = AdminServer(
                status=self._keeper.status,
                listen=settings.admin.listen,
                journal=self._journal,
                settings=settings.admin,
                drains=self._drains,
                check_manifest=ManifestCheck(self._inputs.settings.get, self._services),
            )
            await admin.start()
        await self._feeds.follow(settings)
        await self._outbox.follow(settings)
        self._tasks.spawn(self._prober.run(), "prober")
        self._tasks.spawn(self._reconciler.run(), "reconciler")
        self._tasks.spawn(self._tell_service_manager(), "service-manager")
        return admin

    def _services(self, cluster: str) -> tuple[Service, ...]:
        """A cluster's Services as they were last seen."""
        snapshot = self._inputs.snapshots.get().get(cluster)
        return snapshot.services if snapshot is not None else ()

    async def _serve(self) -> None:
        """Until told to stop, or a part that nothing works without has failed."""
        while not self._stop.is_set():
            waiting = {
                self._tasks.spawn(self._stop.wait(), "wait-stop"),
                self._tasks.spawn(self._reload.wait(), "wait-reload"),
                self._tasks.spawn(self._tasks.failed.wait(), "wait-failure"),
            }
            try:
                await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for task in waiting:
                    task.cancel()
            if self._tasks.failure is not None:
                raise NplbError(f"a part of nplb failed: {self._tasks.failure!r}")
            if self._reload.is_set():
                self._reload.clear()
                await self._take_configuration()

    async def _take_configuration(self) -> None:
        """Reload: validated whole, then swapped whole; on any error the old one stays."""
        notify("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")
        reload = replace(self._keeper.reload, at=time.time(), count=self._keeper.reload.count + 1)
        try:
            settings = self._load()
        except ConfigurationError as error:
            errors = tuple(str(error).splitlines())
            self._keeper.reload = replace(reload, refused=reload.refused + 1, errors=errors)
            for line in errors:
                text = f"reload refused, the old configuration stays: {line}"
                self._note(DecisionKind.RELOAD_REFUSED, text)
        else:
            for name in _FIXED:
                if getattr(settings, name) != getattr(self._settings, name):
                    log.warning("%s has changed: it takes effect at the next start", name)
                    settings = replace(settings, **{name: getattr(self._settings, name)})
            self._settings = settings
            set_up_logging(settings.log)
            self._access.reopen(settings.log.access_file)
            self._inputs.settings.set(settings)
            await self._feeds.follow(settings)
            await self._outbox.follow(settings)
            self._keeper.reload = replace(reload, errors=())
            self._note(DecisionKind.RELOADED, f"took {self._config_path}")
        notify("READY=1")

    async def _wind_down(self) -> None:
        """SIGTERM: not ready, wait, close listeners, drain."""
        shutdown = self._settings.shutdown
        self._keeper.stopping = True
        notify("STOPPING=1")
        self._note(DecisionKind.STOPPING, "stopping: not ready any more")
        await self._unless_told_now(self._outbox.close())
        await self._unless_told_now(asyncio.sleep(shutdown.delay_seconds))
        # No pass may open a listener again.
        await self._feeds.close()
        await self._tasks.close()
        self._relay.close_listeners()
        log.info("listeners closed; draining for up to %g s", shutdown.drain_seconds)
        await self._unless_told_now(self._relay.drain(shutdown.drain_seconds))

    async def _unless_told_now(self, waiting: Coroutine[Any, Any, Any]) -> None:
        """Wait for something, but no longer than until the second signal."""
        async with TaskOwner("wind-down") as tasks:
            wanted = tasks.spawn(waiting, "wait")
            now = tasks.spawn(self._stop_now.wait(), "second-signal")
            await asyncio.wait({wanted, now}, return_when=asyncio.FIRST_COMPLETED)

    async def _tell_service_manager(self) -> None:
        """READY=1 once everything runs, what it waits for as STATUS=, and the watchdog, fed
        only while the reconcile loop turns.

        To the service manager, an edge that waits for its cluster has started: ending it
        for that would only make it wait again. Clients are kept away by /readyz.
        """
        interval = watchdog_seconds()
        notify("READY=1")
        while not (status := self._keeper.status()).is_ready:
            waiting = "; ".join(f"{p.name}: {p.detail}" for p in status.ready if not p.ok)
            notify(f"STATUS=not ready: {waiting}", *self._sign_of_life(interval))
            await self._reconciler.wait_pass(1.0)
        log.info("ready")
        notify("STATUS=ready")
        while interval is not None:
            await asyncio.sleep(interval)
            notify(*self._sign_of_life(interval))

    def _sign_of_life(self, interval: float | None) -> list[str]:
        if interval is None or time.time() - self._reconciler.loop_at > 2 * interval:
            return []
        return ["WATCHDOG=1"]

    def _on_stop(self) -> None:
        if self._stop.is_set():
            log.warning("told to stop a second time: ending now")
            self._stop_now.set()
        self._stop.set()

    def _own_pids(self) -> set[int]:
        return {os.getpid(), *(worker.pid for worker in self._plane.traffic().workers)}

    def _note(self, kind: DecisionKind, text: str) -> None:
        self._record(Decision(at=time.time(), kind=kind, subject="nplb", text=text))

    def _record(self, decision: Decision) -> None:
        self._journal.append(decision)


def _wants_kernel(settings: Settings) -> bool:
    """Whether anything is configured to be served by the kernel plane."""
    planes = (settings.plane, *(frontend.plane for frontend in settings.frontends))
    return PlaneKind.KERNEL in planes


async def run_daemon(config_path: Path, load: Callable[[], Settings]) -> int:
    """Run one balancer until it is told to stop. Returns the exit code."""
    return await Daemon(config_path=config_path, load=load).run()
