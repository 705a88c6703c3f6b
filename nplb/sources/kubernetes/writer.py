"""Writes into one cluster: addresses into the status of Services, and Events.

Never in anyone's way: what should be written is a value that it is given (`want`), the latest
counts, and whatever goes wrong is told in its status and tried again. Only the edge that holds
the Lease writes addresses; each edge sends its own Events.
"""

import asyncio
import contextlib
import logging
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type

from nplb.model.errors import ConfigurationError
from nplb.model.outbound import Outbound, WriterStatus
from nplb.model.settings import ClusterSettings, OnStop
from nplb.sources import Now
from nplb.sources.decode import DecodeError
from nplb.sources.kubernetes.election import Election
from nplb.sources.kubernetes.faults import ApiFault
from nplb.sources.kubernetes.kubeconfig import find_access
from nplb.sources.kubernetes.pacing import Pacing
from nplb.sources.kubernetes.recorder import Recorder
from nplb.sources.kubernetes.resources import lease
from nplb.sources.kubernetes.rights import FORBIDDEN, Rights
from nplb.sources.kubernetes.session import Session
from nplb.sources.kubernetes.source import FindAccess, open_sessions
from nplb.sources.kubernetes.statuses import Statuses

log = logging.getLogger(__name__)

ReportWriter = Callable[[WriterStatus], None]


class KubernetesWriter:
    """Writes into one cluster until cancelled; `finish` comes after that. `identity` is this
    edge's name in the Lease and in Events; `report` is called with each change of the status."""

    def __init__(
        self,
        settings: ClusterSettings,
        *,
        identity: str,
        report: ReportWriter,
        now: Now,
        rng: random.Random,
        pacing: Pacing | None = None,
        find: FindAccess = find_access,
    ) -> None:
        self._settings = settings
        self._name = settings.name
        self._report = report
        self._rng = rng
        self._pacing = pacing or Pacing()
        self._find = find
        self._sessions = open_sessions(settings, self._pacing, find)
        self._rights = Rights(self._pacing.refused_seconds, time.monotonic)
        writes = settings.writes
        self._lease = lease(
            writes.lease_namespace,
            writes.lease_name or settings.load_balancer_class.replace("/", "-"),
        )
        self._election = Election(
            namespace=self._lease.namespace,
            name=self._lease.name,
            identity=identity,
            pacing=self._pacing,
            clock=time.monotonic,
            now=now,
        )
        self._statuses = Statuses(
            rights=self._rights,
            withdraw_seconds=self._pacing.withdraw_seconds,
            clock=time.monotonic,
        )
        self._recorder = Recorder(
            identity=identity,
            rights=self._rights,
            repeat_seconds=self._pacing.repeat_event_seconds,
            clock=time.monotonic,
            now=now,
            rng=rng,
        )
        self._wanted = Outbound(cluster=settings.name)
        self._changed = asyncio.Event()
        self._errors: dict[str, str] = {}
        self._status = WriterStatus(cluster=settings.name)

    def want(self, outbound: Outbound) -> None:
        """From now on this is what should be written."""
        self._wanted = outbound
        self._changed.set()

    async def run(self) -> None:
        """Write, and go on through every failure. Returns only when cancelled."""
        try:
            async with asyncio.TaskGroup() as tasks:
                name = f"{self._name}/write"
                if self._settings.writes.status:
                    tasks.create_task(self._elect(), name=f"{name}/lease")
                tasks.create_task(self._write(), name=name)
        finally:
            await self._sessions.close()

    async def finish(self, withdrawn: Outbound) -> None:
        """After the end of `run`: take the addresses out, if that is wanted (`withdrawn` is what
        is to be written then), and give the Lease up. An API server that does not answer holds
        this up for `goodbye_seconds`, one that does for `write_seconds` at most; what could not be
        done is said in the log, and is up to the next holder of the Lease."""
        if not self._election.holds:
            return
        withdraw = self._settings.writes.on_stop is OnStop.WITHDRAW
        patience = self._pacing.write_seconds
        hurried = replace(self._pacing, write_seconds=self._pacing.goodbye_seconds)
        sessions = open_sessions(self._settings, hurried, self._find)
        try:
            async with asyncio.timeout(patience), sessions.use() as session:
                if withdraw:
                    await self._statuses.turn(
                        session, withdrawn.ingress, self._may_write, at_once=True
                    )
                await self._election.release(session)
        except (ApiFault, ConfigurationError, TimeoutError) as error:
            what = "addresses may stay in the status of Services" if withdraw else "the Lease stays"
            log.warning("cluster %s: %s: %s", self._name, what, str(error) or "no answer")
        finally:
            await sessions.close()

    def _may_write(self) -> bool:
        return self._election.holds

    # -- the Lease ----------------------------------------------------------------------------

    async def _elect(self) -> None:
        while True:
            held = self._election.holds
            seconds = self._pacing.renew_seconds
            if self._rights.may_try(self._lease):
                seconds *= await self._elect_once()
            if self._election.holds != held:
                who = self._election.holder or "nobody"
                log.info("cluster %s: addresses are written by %s", self._name, who)
                self._changed.set()
            self._tell()
            await asyncio.sleep(seconds * self._rng.uniform(0.8, 1.0))

    async def _elect_once(self) -> float:
        """Take part once. Returns how long to wait, as a share of the ordinary time."""
        try:
            await self._with_session(self._election.turn)
        except ApiFault as fault:
            if fault.status == FORBIDDEN:
                self._rights.refused(self._lease, fault)
                return 1.0
            self._errors["lease"] = str(fault)
            # Sooner again: until the Lease expires there is time for some attempts.
            return 0.4
        self._errors.pop("lease", None)
        self._rights.granted(self._lease)
        return 1.0

    # -- addresses and Events -----------------------------------------------------------------

    async def _write(self) -> None:
        due: float | None = None
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(due):
                    await self._changed.wait()
            # One for each outage, as the feeds have.
            async for attempt in AsyncRetrying(
                retry=retry_if_exception_type(ApiFault), wait=self._wait
            ):
                with attempt:
                    try:
                        due = await self._write_once()
                    except ApiFault as fault:
                        self._errors["write"] = str(fault)
                        self._tell()
                        raise

    def _wait(self, state: RetryCallState) -> float:
        base = self._pacing.backoff_base_seconds
        doubled = base * 2.0 ** min(state.attempt_number - 1, 30)
        fault = state.outcome.exception() if state.outcome is not None else None
        wish = fault.retry_after if isinstance(fault, ApiFault) else None
        wait = min(doubled, self._pacing.backoff_max_seconds)
        return max(wait, wish or 0.0) + self._rng.uniform(0.0, base)

    async def _write_once(self) -> float | None:
        """Write all that differs. Returns in how many seconds there is more to do."""
        self._changed.clear()
        wanted = self._wanted
        due: list[float] = []

        async def write(session: Session) -> None:
            if self._settings.writes.status and self._election.holds:
                more = await self._statuses.turn(session, wanted.ingress, self._may_write)
                due.extend(() if more is None else (more,))
            if self._settings.writes.events:
                more = await self._recorder.turn(session, wanted.notices)
                due.extend(() if more is None else (more,))

        if self._has_work(wanted):
            await self._with_session(write)
        self._errors.pop("write", None)
        if self._statuses.error:
            self._errors["write"] = self._statuses.error
        self._tell()
        refused = self._rights.retry_seconds
        due.extend(() if refused is None else (refused,))
        return max(min(due), 0.05) if due else None

    def _has_work(self, wanted: Outbound) -> bool:
        """Whether anything may have to be written: no session is opened for nothing."""
        status = self._settings.writes.status and self._election.holds
        differs = any(write.ingress != write.seen for write in wanted.ingress)
        return (status and differs) or (
            self._settings.writes.events and self._recorder.has_work(wanted.notices)
        )

    async def _with_session(self, act: Callable[[Session], Awaitable[None]]) -> None:
        """Do something with a session. Errors: ApiFault, whatever goes wrong."""
        try:
            async with self._sessions.use() as session:
                try:
                    await act(session)
                except ApiFault as fault:
                    if fault.renew:
                        await self._sessions.renew(session)
                    raise
        except ConfigurationError as error:
            raise ApiFault(str(error)) from error
        except (TypeError, ValueError, LookupError, DecodeError) as error:
            log.exception("writing to cluster %s failed by a fault of nplb's own", self._name)
            raise ApiFault(
                f"a fault of nplb's own ({type(error).__name__}), see the log"
            ) from error

    def _tell(self) -> None:
        status = WriterStatus(
            cluster=self._name,
            holds=self._election.holds,
            holder=self._election.holder,
            missing=self._rights.missing,
            error="; ".join(dict.fromkeys(self._errors.values())),
            addresses_written=self._statuses.written,
            events_sent=self._recorder.sent,
        )
        if status != self._status:
            self._status = status
            self._report(status)
