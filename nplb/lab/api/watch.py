"""Watches: changes as a stream of lines, from a resourceVersion on.

Mirrors `apiserver/pkg/storage/cacher` (what comes first, what is too old, bookmarks) and
`apiserver/pkg/endpoints/handlers/watch.go` (the stream). A watch holds a place in the store's
log and reads on from there; one that falls behind the watch cache ends.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass

from nplb.lab.api import errors
from nplb.lab.api.errors import ApiError, forbidden_field
from nplb.lab.api.faults import ApiFaults, FaultKind
from nplb.lab.api.listing import parse_revision
from nplb.lab.api.schema import zero
from nplb.lab.api.selectors import ObjectSelector
from nplb.lab.api.store import Change, ChangeType, JsonObject, Record, Store, TooOldError, encode
from nplb.lab.api.versions import struct_of
from nplb.lab.api.views import Form, View

# Without timeoutSeconds the server picks one (`--min-request-timeout`, up to twice that).
MIN_TIMEOUT_SECONDS = 1800
BOOKMARK_SECONDS = 60.0
# A last bookmark comes this long before the end, in watches that are not short.
LAST_BOOKMARK_SECONDS = 2.0
SHORT_WATCH_SECONDS = 10.0
INITIAL_EVENTS_END = "k8s.io/initial-events-end"

Write = Callable[[bytes], Awaitable[None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchOptions:
    """The query of a watch. `since` None asks for what exists first, as ADDED."""

    since: int | None
    timeout_seconds: float
    bookmarks: bool = False
    bookmark_seconds: float = BOOKMARK_SECONDS
    send_initial_end: bool = False


def watch_options(
    query: Mapping[str, str], bookmark_seconds: float = BOOKMARK_SECONDS
) -> WatchOptions:
    """The options of a watch request. Raises ApiError."""
    text, initial = query.get("resourceVersion", ""), query.get("sendInitialEvents")
    match = query.get("resourceVersionMatch", "")
    bookmarks = _flag(query, "allowWatchBookmarks")
    if initial is not None and match != "NotOlderThan":
        detail = "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan"
        raise _refused("resourceVersionMatch", detail)
    if initial is None and match:
        detail = "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided"
        raise _refused("resourceVersionMatch", detail)
    try:
        revision = parse_revision(text) if text else 0
        seconds = float(int(query.get("timeoutSeconds") or 0))
    except ValueError as error:
        # The original wraps this one in nothing: a plain 500.
        raise errors.unknown_error(str(error)) from error
    if seconds <= 0:
        seconds = MIN_TIMEOUT_SECONDS * (1 + random.random())
    wants_initial = _flag(query, "sendInitialEvents")
    from_start = revision == 0 and initial is None
    return WatchOptions(
        since=None if from_start or wants_initial else revision,
        timeout_seconds=seconds,
        bookmarks=bookmarks,
        bookmark_seconds=bookmark_seconds,
        send_initial_end=wants_initial and bookmarks,
    )


def _flag(query: Mapping[str, str], name: str) -> bool:
    return query.get(name, "").lower() in ("true", "1", "t")


def _refused(place: str, detail: str) -> ApiError:
    return errors.invalid("ListOptions", "", [forbidden_field(place, detail)], "meta.k8s.io")


class Watch:
    """The lines of one watch, without the waiting. `namespace` None is all of them."""

    def __init__(
        self, store: Store, view: View, namespace: str | None, selector: ObjectSelector
    ) -> None:
        self._store = store
        self._view = view
        self._namespace = namespace
        self._selector = selector
        self._sent_columns = False
        self.revision = 0

    def begin(self, since: int | None) -> list[bytes]:
        """The first lines: everything that exists, or what changed since. An Expired version
        raises TooOldError."""
        if since is None:
            self.revision = self._store.revision
            return [
                self._line(ChangeType.ADDED, record)
                for record in self._store.records(self._view.resource.name, self._namespace)
                if self._selector.matches(record.object)
            ]
        self.revision = since
        return self.read()

    def read(self) -> list[bytes]:
        """The lines of the changes since the last call. Raises TooOldError when some of them
        are forgotten."""
        changes = self._store.changes(self._view.resource.name, self.revision)
        # A watch from the future stays there until the present has caught up.
        self.revision = max(self.revision, self._store.revision)
        return [line for change in changes if (line := self._of(change)) is not None]

    def bookmark(self, *, initial_end: bool = False) -> bytes:
        """A line that says how far this watch has come."""
        resource, served = self._view.resource, self._view.served
        metadata: JsonObject = {"resourceVersion": str(self.revision)}
        if initial_end:
            metadata["annotations"] = {INITIAL_EVENTS_END: "true"}
        object_ = {
            "kind": resource.kind,
            "apiVersion": served.api_version,
            **zero(struct_of(resource, served)),
            "metadata": metadata,
        }
        if self._view.form is not Form.OBJECT:
            record = Record(namespace="", name="", revision=self.revision, object_=object_)
            view = View(resource=resource, served=served, form=Form.METADATA)
            return self._framed("BOOKMARK", view.body(record))
        return self._framed("BOOKMARK", encode(object_))

    def error(self, error: ApiError) -> bytes:
        """A line that ends a watch."""
        return self._framed("ERROR", encode(error.status))

    def _of(self, change: Change) -> bytes | None:
        if self._namespace is not None and change.record.namespace != self._namespace:
            return None
        gone = change.type is ChangeType.DELETED
        is_in = not gone and self._selector.matches(change.record.object)
        was_in = change.previous is not None and self._selector.matches(change.previous.object)
        if is_in:
            type_ = ChangeType.MODIFIED if was_in else ChangeType.ADDED
            return self._line(type_, change.record)
        if not was_in:
            return None
        if gone:
            return self._line(ChangeType.DELETED, change.record)
        # It left the selector: its last state inside, at the version that took it out.
        assert change.previous is not None
        last = change.previous.copy()
        last["metadata"]["resourceVersion"] = str(change.revision)
        record = Record(
            namespace=change.record.namespace,
            name=change.record.name,
            revision=change.revision,
            object_=last,
        )
        return self._line(ChangeType.DELETED, record)

    def _line(self, type_: str, record: Record) -> bytes:
        first, self._sent_columns = not self._sent_columns, True
        return self._framed(type_, self._view.event(record, first=first))

    @staticmethod
    def _framed(type_: str, body: bytes) -> bytes:
        return b'{"type":"' + type_.encode() + b'","object":' + body + b"}\n"


class StreamCut(Exception):
    """The stream was told to break off in the middle of a line: cut the connection now."""


class _Sender:
    """Writes lines, as the faults of the moment let it."""

    def __init__(self, faults: ApiFaults, write: Write) -> None:
        self._faults = faults
        self._write = write
        self._cuts = faults.cuts

    async def send(self, lines: Sequence[bytes]) -> None:
        """Write lines once nothing holds them up. Raises StreamCut."""
        await self.settle()
        if self._cuts != self._faults.cuts or (lines and self._faults.is_active(FaultKind.CUT)):
            line = lines[0] if lines else b'{"type":"MODIFIED","object":{"kind":'
            await self._write(line[: len(line) // 2])
            raise StreamCut
        if lines:
            await self._write(b"".join(lines))

    async def settle(self) -> None:
        """Wait until the stream is not held up."""
        await self._faults.until_over(FaultKind.STALL, FaultKind.HANG)


async def stream(
    watch: Watch, options: WatchOptions, faults: ApiFaults, write: Write, changed: asyncio.Event
) -> None:
    """Send a watch until its timeout. `changed` is set at every change of the watched resource
    and at every cut. Raises StreamCut."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + options.timeout_seconds
    sender = _Sender(faults, write)
    try:
        await sender.send(watch.begin(options.since))
    except TooOldError as error:
        text = f"too old resource version: {options.since} ({error.oldest})"
        await sender.send([watch.error(errors.expired(text))])
        return
    if options.send_initial_end:
        await sender.send([watch.bookmark(initial_end=True)])
    bookmark_at = _next_bookmark(loop.time(), deadline, options)
    while True:
        changed.clear()
        try:
            await sender.send(watch.read())
        except TooOldError:
            # It fell behind the watch cache: the original ends such a watch as well.
            return
        now = loop.time()
        if now >= deadline:
            return
        if now >= bookmark_at:
            await sender.send([watch.bookmark()])
            bookmark_at = _next_bookmark(now, deadline, options)
        try:
            async with asyncio.timeout_at(min(bookmark_at, deadline)):
                await changed.wait()
        except TimeoutError:
            continue


def _next_bookmark(now: float, deadline: float, options: WatchOptions) -> float:
    """`cacheWatcher.nextBookmarkTime`: every minute, and shortly before the end."""
    if not options.bookmarks:
        return float("inf")
    last = deadline - LAST_BOOKMARK_SECONDS
    if now >= last or options.timeout_seconds < SHORT_WATCH_SECONDS:
        return now + options.bookmark_seconds
    return min(now + options.bookmark_seconds, last)
