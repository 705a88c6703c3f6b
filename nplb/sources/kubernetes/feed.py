"""A feed keeps one resource of one scope in the book: it lists once, then watches for ever.

    list ──► watch ──ordinary end──► watch from the last version ──► ...
      ▲        │ fault
      │        ├─ the version is no good (410 and the like) ──► list
      └────────┴─ anything else ──► watch from the last version

The first fault after a time of health is answered at once, and every further one of the same
outage after a wait that doubles. What is in the book stays there whatever happens.
"""

import asyncio
import json
import logging
import random
from collections.abc import Callable, Mapping
from typing import Any, NoReturn, Protocol

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type

from nplb.model.errors import ConfigurationError
from nplb.sources.book import Book
from nplb.sources.decode import DecodeError
from nplb.sources.kubernetes.faults import ApiFault, fault_of_event
from nplb.sources.kubernetes.pacing import Pacing
from nplb.sources.kubernetes.resources import Scope
from nplb.sources.kubernetes.session import Session, Watching
from nplb.sources.kubernetes.sessions import Sessions

log = logging.getLogger(__name__)

GONE = 410


class FeedListener(Protocol):
    """Who is told of what a feed does."""

    def feed_changed(self) -> None:
        """A snapshot made now would differ from the one before."""

    def feed_stands(self) -> None:
        """`fault`, `attempts` or `confirmed_at` of a feed has changed."""


class Feed:
    """One resource of one scope. `fault` is None while all is well, `attempts` counts the
    failures of this outage, `confirmed_at` is when (epoch seconds) the book's content was last
    known to be the cluster's; None until the first list is complete."""

    def __init__(
        self,
        scope: Scope,
        *,
        sessions: Sessions,
        book: Book,
        listener: FeedListener,
        pacing: Pacing,
        rng: random.Random,
        now: Callable[[], float],
    ) -> None:
        self.scope = scope
        self.fault: ApiFault | None = None
        self.attempts = 0
        self.confirmed_at: float | None = None
        self._sessions = sessions
        self._book = book
        self._listener = listener
        self._pacing = pacing
        self._rng = rng
        self._now = now
        self._version = ""
        self._cluster: Mapping[str, Any] = {}
        self._healthy = False
        self._unproven_seconds = 0.0
        self._short_watches = 0

    async def run(self) -> None:
        """List and watch until cancelled."""
        while True:
            # One for each outage: it ends with the first turn that was healthy for a while.
            outage = AsyncRetrying(retry=retry_if_exception_type(ApiFault), wait=self._wait)
            async for attempt in outage:
                with attempt:
                    await self._turn()

    def _wait(self, state: RetryCallState) -> float:
        base = self._pacing.backoff_base_seconds
        doubled = base * 2.0 ** min(state.attempt_number - 1, 30)
        wait = min(doubled, self._pacing.backoff_max_seconds)
        wish = self.fault.retry_after if self.fault is not None else None
        return max(wait, wish or 0.0) + self._rng.uniform(0.0, base)

    async def _turn(self) -> None:
        """One list, if there is no version to watch from, and one watch to its end.

        Errors: ApiFault, unless the feed was healthy before, or all that is wrong is that it
        has to list again: then the fault is noted, and the next turn follows at once.
        """
        try:
            await self._read()
        except ApiFault as fault:
            first = self._healthy
            list_again = fault.status == GONE and (self.fault is None or self.fault.status != GONE)
            self._failed(fault)
            if not (first or list_again) or fault.retry_after is not None:
                raise
        except ConfigurationError as error:
            self._fail(ApiFault(str(error)), error)
        except Exception as error:
            log.exception("reading %s failed by a fault of nplb's own", self.scope)
            text = (
                f"reading {self.scope} failed by a fault of nplb's own "
                f"({type(error).__name__}); please report it, the log has the details"
            )
            self._fail(ApiFault(text, forget_version=True), error)

    def _fail(self, fault: ApiFault, cause: Exception) -> NoReturn:
        self._failed(fault)
        raise fault from cause

    async def _read(self) -> None:
        async with self._sessions.use() as session:
            try:
                if not self._version or session.cluster != self._cluster:
                    await self.list_all(session)
                await self._watch(session)
            except ApiFault as fault:
                if fault.renew:
                    await self._sessions.renew(session)
                raise

    # -- list ---------------------------------------------------------------------------------

    async def list_all(self, session: Session) -> None:
        """Read everything in pages, and make it the book's. Errors: ApiFault."""
        try:
            version, changed = await self._list_pages(session, self._pacing.page_size)
        except ApiFault as fault:
            if fault.status != GONE:
                raise
            # The pages grew too old while we read them: once more in one piece.
            version, changed = await self._list_pages(session, None)
        first = self.confirmed_at is None
        self._version = version
        self._cluster = session.cluster
        self._unproven_seconds = 0.0
        self._confirmed()
        if changed or first:
            self._listener.feed_changed()

    async def _list_pages(self, session: Session, page_size: int | None) -> tuple[str, bool]:
        listing = self._book.listing(self.scope.resource.kind, self.scope.namespace)
        query = self._query()
        if page_size is not None:
            query["limit"] = page_size
        while True:
            page = await session.list_page(self.scope, query)
            metadata, items = page["metadata"], page["items"]
            version = metadata.get("resourceVersion") if isinstance(metadata, dict) else None
            if not isinstance(version, str) or not version or not isinstance(items, list):
                raise ApiFault(
                    f"{session.server} answers list {self.scope} without a version or items: "
                    f"check the server's address in {session.origin}",
                    renew=True,
                )
            for raw in items:
                listing.add(raw)
            token = metadata.get("continue")
            if not token:
                return version, listing.commit()
            query["continue"] = token

    def _query(self) -> dict[str, str | int]:
        return {"labelSelector": self.scope.selector} if self.scope.selector else {}

    # -- watch --------------------------------------------------------------------------------

    async def _watch(self, session: Session) -> None:
        low, high = self._pacing.watch_seconds
        seconds = self._rng.randint(low, high)
        query = {
            **self._query(),
            "resourceVersion": self._version,
            "allowWatchBookmarks": "true",
            "timeoutSeconds": seconds,
        }
        loop = asyncio.get_running_loop()
        version_before = self._version
        opened: float | None = None
        settling: asyncio.TimerHandle | None = None
        proven = False
        # The server ends the watch; the deadline is for one that does not keep to its word.
        deadline = loop.time() + seconds + self._pacing.silence_seconds
        try:
            async with (
                asyncio.timeout_at(deadline),
                session.watch(self.scope, query) as watching,
            ):
                opened = loop.time()
                settling = loop.call_later(self._pacing.settle_seconds, self._settled)
                async for lines in watching.lines():
                    proven = self._take(watching, lines) or proven
        except TimeoutError:
            # Only our own deadline: what the client times out on has become an ApiFault.
            pass
        finally:
            if settling is not None:
                settling.cancel()
            lasted = loop.time() - opened if opened is not None else 0.0
            self._note_proof(proven, lasted)
        short = self._pacing.settle_seconds - lasted
        if short <= 0 or self._version != version_before:
            self._short_watches = 0
        else:
            self._short_watches += 1
            if self._short_watches > 1:
                raise ApiFault(
                    f"{session.server} ends every watch on {self.scope} at once; look into its "
                    "log, and at what stands before it"
                )
        await asyncio.sleep(max(0.0, short))

    def _note_proof(self, proven: bool, lasted: float) -> None:
        self._unproven_seconds = 0.0 if proven else self._unproven_seconds + lasted
        if self._unproven_seconds >= self._pacing.proof_seconds:
            self._version = ""

    def _take(self, watching: Watching, lines: list[bytes]) -> bool:
        """Put what has arrived into the book. Returns whether anything had."""
        changed = False
        count = 0
        try:
            for line in lines:
                if line.strip():
                    count += 1
                    changed = self._event(watching, line) or changed
        finally:
            if changed:
                self._listener.feed_changed()
        if count:
            self._settled()
        return count > 0

    def _event(self, watching: Watching, line: bytes) -> bool:
        """Put one event into the book. Returns whether a snapshot would show it."""
        try:
            event = json.loads(line)
        except (ValueError, RecursionError):
            event = None
        kind = event.get("type") if isinstance(event, dict) else None
        raw = event.get("object") if isinstance(event, dict) else None
        if kind in ("ADDED", "MODIFIED", "DELETED", "BOOKMARK") and isinstance(raw, dict):
            changed = self._apply(watching, kind, raw)
            version = _version_of(raw)
            if version:
                self._version = version
            return changed
        if kind == "ERROR" and isinstance(raw, dict):
            raise self._fault(fault_of_event(watching.asked, raw))
        if isinstance(event, dict) and event.get("kind") == "Status":
            raise self._fault(fault_of_event(watching.asked, event))
        what = "an event of an unknown type" if isinstance(event, dict) else "what is no event"
        asked = watching.asked
        raise self._fault(
            ApiFault(
                f"{asked.server} sent {what} on {asked}; listing again",
                forget_version=True,
            )
        )

    def _apply(self, watching: Watching, kind: str, raw: Mapping[str, Any]) -> bool:
        if kind == "BOOKMARK":
            return False
        if kind != "DELETED":
            return self._book.put(self.scope.resource.kind, raw)
        try:
            return self._book.drop(self.scope.resource.kind, raw)
        except DecodeError as error:
            asked = watching.asked
            raise self._fault(
                ApiFault(f"{asked.server} on {asked}: {error}; listing again", forget_version=True)
            ) from None

    # -- how it stands ------------------------------------------------------------------------

    def _fault(self, fault: ApiFault) -> ApiFault:
        if fault.forget_version:
            self._version = ""
        return fault

    def _failed(self, fault: ApiFault) -> None:
        self._fault(fault)
        self.attempts = 1 if self._healthy else self.attempts + 1
        self.fault = fault
        self._healthy = False
        self._listener.feed_stands()

    def _settled(self) -> None:
        """The watch works: whatever outage there was is over."""
        self._healthy = True
        self.fault = None
        self.attempts = 0
        self._confirmed()

    def _confirmed(self) -> None:
        self.confirmed_at = self._now()
        self._listener.feed_stands()


def _version_of(raw: Mapping[str, Any]) -> str:
    metadata = raw.get("metadata")
    version = metadata.get("resourceVersion") if isinstance(metadata, dict) else None
    return version if isinstance(version, str) else ""
