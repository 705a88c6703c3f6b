"""The Kubernetes source: one feed for each resource and namespace, one book, one status."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace

from nplb.model.cluster import Snapshot, SourceState, SourceStatus
from nplb.model.settings import ClusterSettings, KubernetesSource
from nplb.sources import Now, Publish, Report
from nplb.sources.book import Book
from nplb.sources.kubernetes.feed import Feed
from nplb.sources.kubernetes.kubeconfig import Access, find_access
from nplb.sources.kubernetes.pacing import Pacing
from nplb.sources.kubernetes.resources import Scope, scopes
from nplb.sources.kubernetes.session import Session, open_session
from nplb.sources.kubernetes.sessions import Sessions

_MAX_ERRORS = 3
_REPORT_SECONDS = 1.0

FindAccess = Callable[[KubernetesSource], Access]


class KubernetesReader:
    """Reads one cluster from its API; a `Source`.

    Everything that can fail is retried for ever. The first snapshot is published when every
    feed has listed once; from then on one follows each change, bursts gathered.
    """

    def __init__(
        self,
        settings: ClusterSettings,
        *,
        publish: Publish,
        report: Report,
        now: Now,
        rng: random.Random,
        pacing: Pacing | None = None,
        find: FindAccess = find_access,
    ) -> None:
        self._settings = settings
        self._publish = publish
        self._report = report
        self._now = now
        self._pacing = pacing or Pacing()
        self._book = Book(settings.name)
        self._sessions = open_sessions(settings, self._pacing, find)
        self._feeds = [self._feed(scope, rng) for scope in _scopes(settings)]
        self._status = SourceStatus(
            cluster=settings.name, state=SourceState.CONNECTING, since=now()
        )
        self._published = False
        self._pending: asyncio.TimerHandle | None = None
        self._published_at = 0.0

    def _feed(self, scope: Scope, rng: random.Random) -> Feed:
        return Feed(
            scope,
            sessions=self._sessions,
            book=self._book,
            listener=self,
            pacing=self._pacing,
            rng=rng,
            now=self._now,
        )

    async def run(self) -> None:
        """Read, and go on reading through every failure. Returns only when cancelled."""
        self._report(self._status)
        try:
            async with asyncio.TaskGroup() as tasks:
                for feed in self._feeds:
                    name = f"{self._settings.name}/{feed.scope}"
                    tasks.create_task(feed.run(), name=name)
        finally:
            if self._pending is not None:
                self._pending.cancel()
            await self._sessions.close()

    # -- the feeds' listener ------------------------------------------------------------------

    def feed_changed(self) -> None:
        """A snapshot made now would differ: publish one soon, and not too often."""
        if self._pending is not None or any(feed.confirmed_at is None for feed in self._feeds):
            return
        loop = asyncio.get_running_loop()
        since = loop.time() - self._published_at
        delay = max(self._pacing.lag_seconds, self._pacing.gather_seconds - since)
        self._pending = loop.call_later(delay, self._publish_now)

    def _publish_now(self) -> None:
        self._pending = None
        self._published = True
        self._published_at = asyncio.get_running_loop().time()
        self._publish(self._book.snapshot(self._confirmed_at() or self._now()))
        self.feed_stands()

    def feed_stands(self) -> None:
        """Report how the source stands, if that has changed."""
        faults = [feed.fault for feed in self._feeds if feed.fault is not None]
        if not self._published:
            state = SourceState.CONNECTING
        else:
            state = SourceState.STALE if faults else SourceState.LIVE
        status = SourceStatus(
            cluster=self._settings.name,
            state=state,
            since=self._status.since if state is self._status.state else self._now(),
            last_snapshot_at=self._confirmed_at() if self._published else None,
            error=_joined([str(fault) for fault in faults]),
            attempts=max(feed.attempts for feed in self._feeds),
            warnings=self._book.warnings,
        )
        if status == self._status or _only_a_bit_later(self._status, status):
            return
        self._status = status
        self._report(status)

    def _confirmed_at(self) -> float | None:
        """When the whole book was last known to be true: when its oldest part was."""
        times = [feed.confirmed_at for feed in self._feeds]
        return min((at for at in times if at is not None), default=None)


def _only_a_bit_later(before: SourceStatus, after: SourceStatus) -> bool:
    """Whether nothing but a second or less has passed: each event of a burst confirms anew."""
    if before.last_snapshot_at is None or after.last_snapshot_at is None:
        return False
    moved = after.last_snapshot_at - before.last_snapshot_at
    return (
        0.0 <= moved < _REPORT_SECONDS
        and replace(before, last_snapshot_at=after.last_snapshot_at) == after
    )


def _joined(errors: list[str]) -> str:
    """Several feeds' errors as one text. An outage gives all of them much the same."""
    distinct = list(dict.fromkeys(errors))
    shown = "; ".join(distinct[:_MAX_ERRORS])
    more = len(distinct) - _MAX_ERRORS
    return f"{shown}; and {more} more" if more > 0 else shown


def _scopes(settings: ClusterSettings) -> tuple[Scope, ...]:
    return scopes(settings.namespaces, settings.service_selector)


def open_sessions(settings: ClusterSettings, pacing: Pacing, find: FindAccess) -> Sessions:
    """Sessions with the API server of a cluster's settings; none is open yet."""
    source = settings.source
    assert isinstance(source, KubernetesSource)

    def open_now() -> Awaitable[Session]:
        return _open(source, pacing, find)

    return Sessions(open_now, pacing.session_seconds, time.monotonic)


async def _open(source: KubernetesSource, pacing: Pacing, find: FindAccess) -> Session:
    access = await asyncio.to_thread(find, source)
    return await open_session(access, pacing)


class _NoListener:
    """For lists without a source around them."""

    def feed_changed(self) -> None:
        pass

    def feed_stands(self) -> None:
        pass


async def list_cluster(
    settings: ClusterSettings,
    *,
    now: Now,
    rng: random.Random,
    pacing: Pacing | None = None,
    find: FindAccess = find_access,
) -> Snapshot:
    """The cluster as it is now, by one list of everything and without a second attempt.

    Errors: ConfigurationError for a kubeconfig that is missing or broken, for a context that it
    does not have and for credentials that can't be had; ClusterError for an API server that
    can't be reached, refuses (naming the right that is missing), or answers nonsense.
    """
    pacing = pacing or Pacing()
    book = Book(settings.name)
    sessions = open_sessions(settings, pacing, find)
    try:
        async with sessions.use() as session:
            for scope in _scopes(settings):
                feed = Feed(
                    scope,
                    sessions=sessions,
                    book=book,
                    listener=_NoListener(),
                    pacing=pacing,
                    rng=rng,
                    now=now,
                )
                await feed.list_all(session)
    finally:
        await sessions.close()
    return book.snapshot(now())
