"""One balancer's life: start, serve, reload, hand over or wind down.

The order of a start: workers, listeners' rights checked by use, sources, prober, reconciler,
admin server. What a control process before has left is taken over: its workers with their clients
and counters, and its state. The order of a stop: not ready, wait, close listeners, drain, end.
"""

import asyncio
import contextlib
import logging
import os
import signal
import socket
import time
from collections.abc import Callable, Coroutine
from dataclasses import replace
from pathlib import Path
from typing import Any

from nplb.aio.tasks import TaskOwner
from nplb.daemon.collector import collect_rarely
from nplb.daemon.handover import Owner, TakenAndLost, UpgradeFailed, hand_over
from nplb.daemon.line import Line, LineBroken, predecessor
from nplb.daemon.parts import Parts
from nplb.daemon.place import runtime_directory
from nplb.daemon.reload import reload
from nplb.daemon.state import Inheritance, StateWriter, read_inheritance
from nplb.daemon.watch import FileWatch
from nplb.model.cluster import SourceState, SourceStatus
from nplb.model.decision import DecisionKind
from nplb.model.errors import NplbError
from nplb.model.kernel import PlaneKind
from nplb.model.settings import Settings
from nplb.observe.systemd import notify, watchdog_seconds
from nplb.policy.kernel import asking_for_fast_path

log = logging.getLogger(__name__)

FIRST_PLAN_SECONDS = 50.0


class Balancer:
    """One balancer. `load` reads the configuration anew, and raises ConfigurationError with
    every error in its message."""

    def __init__(self, *, config_path: Path, load: Callable[[], Settings]) -> None:
        self._load = load
        self._config_path = config_path
        self._stop = asyncio.Event()
        self._stop_now = asyncio.Event()
        self._reload = asyncio.Event()
        self._upgrade = asyncio.Event()
        # What turns all the time, and stands still while a successor starts.
        self._turning = TaskOwner("balancer")
        self._handing_over = False
        self._gone = False

    async def run(self) -> int:
        """Run until SIGTERM or SIGINT, or until a successor has taken over. Returns the exit
        code."""
        loop = asyncio.get_running_loop()
        for number, event in (
            (signal.SIGTERM, None),
            (signal.SIGINT, None),
            (signal.SIGHUP, self._reload),
            (signal.SIGUSR2, self._upgrade),
        ):
            loop.add_signal_handler(number, self._on_stop if event is None else event.set)
        settings = self._load()
        line = predecessor()
        runtime = runtime_directory(settings, self._config_path)
        admin_socket: socket.socket | None = None
        if line is not None:
            admin_socket = await self._take_go(line, runtime)
        elif runtime is not None:
            runtime.lock()
        self._parts = parts = Parts(
            settings, self._config_path, runtime, successor=line is not None
        )
        self._writer = StateWriter(parts)
        started = False
        try:
            await self._start(line, admin_socket)
            started = True
            await self._serve()
            if not self._gone:
                await self._wind_down()
        except LineBroken as error:
            raise NplbError(f"the upgrade has failed: {error}") from error
        finally:
            # Whoever fails to start leaves those alone that served before.
            if self._gone or (parts.relay.inherited and not started):
                if parts.admin is not None:
                    await parts.admin.stop()
                await parts.relay.let_go()
            else:
                await parts.outbox.close()
            await parts.feeds.close()
            await self._turning.close()
            await parts.tasks.close()
            await parts.plane.stop()
            await parts.relay.stop()
            parts.access.close()
            if parts.admin is not None:
                await parts.admin.stop()
            if runtime is not None:
                if not self._gone and parts.settings.runtime_dir is None:
                    runtime.discard()
                runtime.close()
        log.info("handed over" if self._gone else "stopped")
        return 0

    # -- start -----------------------------------------------------------------

    async def _take_go(self, line: Line, runtime: Any) -> socket.socket | None:
        """Wait until the control before stands still. Returns its admin server's socket."""
        if runtime is None:
            with contextlib.suppress(LineBroken):
                await line.say("failed", why="it has no runtime directory")
            raise NplbError("the upgrade has failed: there is no runtime directory")
        try:
            await line.say("prepared")
            go = await line.hear("go")
        except LineBroken as error:
            raise NplbError(f"the upgrade has failed: {error}") from error
        runtime.inherit_lock(line.take_fd())
        return socket.socket(fileno=line.take_fd()) if go["admin"] else None

    async def _start(self, line: Line | None, admin_socket: socket.socket | None) -> None:
        parts = self._parts
        if parts.grants is not None:
            parts.reconciler.annotations.restore(parts.grants.read())
        parts.relay.start_workers()
        if parts.relay.inherited:
            inherited = read_inheritance(parts.relay.safe.read_bytes)
            if inherited is not None:
                self._restore(inherited)
        how = "started"
        if parts.relay.inherited:
            how = "upgraded: took over" if line is not None else "started: took over what runs"
        parts.note(DecisionKind.STARTED, f"{how} with {self._config_path}")
        if _wants_kernel(parts.settings):
            wanted = any(asking_for_fast_path(parts.settings))
            await parts.plane.start_kernel(fast_path=wanted)
        await parts.relay.start()
        known = parts.inputs.sources.get()
        for cluster in parts.settings.clusters:
            if cluster.name not in known:
                status = SourceStatus(
                    cluster=cluster.name, state=SourceState.CONNECTING, since=time.time()
                )
                parts.inputs.report(status)
        parts.admin = parts.make_admin(parts.settings)
        if line is not None:  # the one before answers until there is something to tell
            self._turn()
            await self._first_plan(line)
        if parts.admin is not None:
            await parts.admin.start(admin_socket)
        elif admin_socket is not None:
            admin_socket.close()
        if line is not None:
            await self._succeed(line)
        else:
            self._turn()
        await parts.feeds.follow(parts.settings)
        await parts.outbox.follow(parts.settings)
        parts.tasks.spawn(self._tell_service_manager(), "service-manager")
        parts.tasks.spawn(self._watch_configuration(), "watch-configuration")

    def _restore(self, inherited: Inheritance) -> None:
        parts = self._parts
        names = {cluster.name for cluster in parts.settings.clusters}
        sources = {n: status for n, status in inherited.sources.items() if n in names}
        for snapshot in inherited.snapshots.values():
            if snapshot.cluster in names:
                parts.inputs.publish(snapshot)
        for status in sources.values():
            parts.inputs.report(status)
        parts.prober.restore(inherited.verdicts)
        parts.inputs.verdicts.set(inherited.verdicts)
        parts.drains.restore(inherited.drains)
        if not parts.reconciler.annotations.grants:
            parts.reconciler.annotations.restore(inherited.grants)
        parts.findings.findings = inherited.findings
        parts.journal.restore(inherited.decisions, inherited.counts)
        parts.reconciler.restore(inherited.plan, sources)
        if inherited.reload is not None:
            parts.keeper.restore(
                reload=replace(inherited.reload, errors=(), upgrade_error=""),
                probed_once=inherited.probed_once,
            )
        parts.identity = inherited.identity or parts.identity
        parts.relay.restore_restarts(inherited.restarts)
        parts.relay.access.rest = inherited.access_rest if parts.successor else b""

    def _turn(self) -> None:
        """Begin to probe, to plan, and to write down what is handed on."""
        parts = self._parts
        self._turning.spawn(parts.prober.run(), "prober")
        self._turning.spawn(parts.reconciler.run(), "reconciler")
        if parts.runtime is not None:
            self._turning.spawn(self._writer.run(), "state-writer")
        if parts.grants is not None:
            self._turning.spawn(parts.grants.run(), "grants")

    async def _first_plan(self, line: Line) -> None:
        """Wait until a plan is applied here, so that the new workers take clients.

        Errors: LineBroken if that fails.
        """
        reconciler = self._parts.reconciler
        self._parts.inputs.hurry()
        try:
            async with asyncio.timeout(FIRST_PLAN_SECONDS):
                while not reconciler.passes and not reconciler.last_error:
                    await reconciler.wait_pass(0.2)
        except TimeoutError:
            raise LineBroken("no plan was applied in time") from None
        if reconciler.last_error:
            await line.say("failed", why=f"the first pass failed: {reconciler.last_error}")
            raise LineBroken(reconciler.last_error)

    async def _succeed(self, line: Line) -> None:
        """Take over from the control before.

        Errors: LineBroken if that has ended or gone on without us.
        """
        parts = self._parts
        await line.say("ready")
        await line.hear("yours")
        await parts.relay.succeed()
        assert parts.runtime is not None
        parts.runtime.sign()
        with contextlib.suppress(LineBroken):
            await line.say("done")
        line.close()

    # -- serving ---------------------------------------------------------------

    async def _serve(self) -> None:
        """Until told to stop, or handed over, or a part that nothing works without has failed."""
        tasks = self._parts.tasks
        while not self._stop.is_set() and not self._gone:
            waiting = {
                tasks.spawn(self._stop.wait(), "wait-stop"),
                tasks.spawn(self._reload.wait(), "wait-reload"),
                tasks.spawn(self._upgrade.wait(), "wait-upgrade"),
                tasks.spawn(tasks.failed.wait(), "wait-failure"),
                tasks.spawn(self._turning.failed.wait(), "wait-failure"),
            }
            try:
                await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for task in waiting:
                    task.cancel()
            failure = tasks.failure or self._turning.failure
            if failure is not None:
                raise NplbError(f"a part of nplb failed: {failure!r}")
            if self._reload.is_set():
                self._reload.clear()
                await reload(self._parts, self._load)
            if self._upgrade.is_set() and not self._stop.is_set():
                await self._hand_over()
                self._upgrade.clear()

    async def _watch_configuration(self) -> None:
        """Reload when the file has changed, if that is wanted."""
        watch = FileWatch(self._config_path)
        while True:
            await asyncio.sleep(1.0)
            if watch.changed() and self._parts.settings.watch_config:
                log.info("%s has changed", self._config_path)
                self._reload.set()

    # -- handing over ------------------------------------------------------------

    async def _hand_over(self) -> None:
        """SIGUSR2: have a successor take over. If that fails, everything goes on as before."""
        parts = self._parts
        keeper = parts.keeper
        parts.note(DecisionKind.UPGRADING, "upgrade: a successor is started")
        try:
            if parts.runtime is None:
                raise UpgradeFailed("there is no runtime directory: set `runtime_dir`")
            pid = await hand_over(
                Owner(
                    freeze=self._freeze,
                    resume=self._resume,
                    tell_manager=_tell_main_pid,
                    gives_up=self._stop,
                )
            )
        except TakenAndLost as error:
            self._gone = True
            raise NplbError(
                f"the successor has failed while it took over ({error}); relay workers serve on: "
                "start nplb again"
            ) from error
        except UpgradeFailed as error:
            keeper.upgrade_failed(str(error))
            text = f"upgrade failed, this nplb goes on: {error}"
            parts.note(DecisionKind.UPGRADE_FAILED, text)
        else:
            self._gone = True
            log.info("process %d has taken over", pid)
            # What was meant for whoever is in control, but came too late for this one.
            for event, number in ((self._reload, signal.SIGHUP), (self._stop, signal.SIGTERM)):
                if event.is_set():
                    os.kill(pid, number)

    async def _freeze(self) -> tuple[tuple[int, ...], dict[str, Any]]:
        parts = self._parts
        assert parts.runtime is not None
        self._handing_over = True
        parts.drains.frozen = "nplb is being upgraded: try again in a moment"
        await parts.outbox.let_go()
        await parts.feeds.close()
        await self._turning.close()
        await self._writer.write_all()
        await parts.relay.freeze()
        fds = [parts.runtime.lock_fd]
        admin = parts.admin.listener if parts.admin is not None else -1
        if admin >= 0:
            fds.append(admin)
        return tuple(fds), {"admin": admin >= 0}

    async def _resume(self) -> None:
        parts = self._parts
        parts.drains.frozen = ""
        await parts.relay.resume()
        # Whatever the successor has changed is put right by a whole pass.
        parts.inputs.hurry()
        self._turn()
        await parts.feeds.follow(parts.settings)
        await parts.outbox.follow(parts.settings)
        self._handing_over = False

    # -- the end -----------------------------------------------------------------

    async def _wind_down(self) -> None:
        """SIGTERM: not ready, wait, close listeners, drain."""
        parts = self._parts
        shutdown = parts.settings.shutdown
        parts.keeper.stopping = True
        notify("STOPPING=1")
        parts.note(DecisionKind.STOPPING, "stopping: not ready any more")
        await self._unless_told_now(parts.outbox.close())
        await self._unless_told_now(asyncio.sleep(shutdown.delay_seconds))
        # No pass may open a listener again.
        await parts.feeds.close()
        await self._turning.close()
        await parts.tasks.close()
        parts.relay.close_listeners()
        log.info("listeners closed; draining for up to %g s", shutdown.drain_seconds)
        await self._unless_told_now(parts.relay.drain(shutdown.drain_seconds))

    async def _unless_told_now(self, waiting: Coroutine[Any, Any, Any]) -> None:
        """Wait for something, but no longer than until the second signal."""
        async with TaskOwner("wind-down") as tasks:
            wanted = tasks.spawn(waiting, "wait")
            now = tasks.spawn(self._stop_now.wait(), "second-signal")
            await asyncio.wait({wanted, now}, return_when=asyncio.FIRST_COMPLETED)

    def _on_stop(self) -> None:
        if self._stop.is_set():
            log.warning("told to stop a second time: ending now")
            self._stop_now.set()
        self._stop.set()

    # -- the service manager -----------------------------------------------------

    async def _tell_service_manager(self) -> None:
        """READY=1 once everything runs, what it waits for as STATUS=, and the watchdog, fed
        only while the reconcile loop turns.

        To the service manager, an edge that waits for its cluster has started: ending it
        for that would only make it wait again. Clients are kept away by /readyz.
        """
        interval = watchdog_seconds()
        notify("READY=1")
        keeper, reconciler = self._parts.keeper, self._parts.reconciler
        while not (status := keeper.status()).is_ready:
            waiting = "; ".join(f"{p.name}: {p.detail}" for p in status.ready if not p.ok)
            notify(f"STATUS=not ready: {waiting}", *self._sign_of_life(interval))
            await reconciler.wait_pass(1.0)
        log.info("ready")
        notify("STATUS=ready")
        while interval is not None:
            await asyncio.sleep(interval)
            notify(*self._sign_of_life(interval))

    def _sign_of_life(self, interval: float | None) -> list[str]:
        if interval is None:
            return []
        still = time.monotonic() - self._parts.reconciler.turned_at > 2 * interval
        return [] if still and not self._handing_over else ["WATCHDOG=1"]


def _tell_main_pid(pid: int) -> None:
    notify(f"MAINPID={pid}")


def _wants_kernel(settings: Settings) -> bool:
    """Whether anything is configured to be served by the kernel plane."""
    planes = (settings.plane, *(frontend.plane for frontend in settings.frontends))
    return PlaneKind.KERNEL in planes


async def run_daemon(config_path: Path, load: Callable[[], Settings]) -> int:
    """Run one balancer until it is told to stop. Returns the exit code."""
    collect_rarely()
    return await Balancer(config_path=config_path, load=load).run()
