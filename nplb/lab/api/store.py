"""Objects, revisions and the log of changes: what etcd and the watch cache are to a real server.

One revision counts every change of every kind, as in etcd. For each kind the store keeps the
present objects and a bounded log of changes. Three marks stand on the log:

compacted     below it no past state can be told (etcd compaction)
cache_start   below it no watch can begin (the watch cache): `too old resource version`
token_floor   below it no continue token is taken: the revision at the last restart

Nothing here checks or defaults anything, knows HTTP, or waits: the operations do the first, and
whoever waits is woken by a subscription.
"""

import bisect
import json
import logging
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from enum import StrEnum
from typing import Any

log = logging.getLogger(__name__)

JsonObject = dict[str, Any]
Callback = Callable[[str, JsonObject], None]
Key = tuple[str, str]
Objects = list[JsonObject]  # named here, since Store has a method called list


class ChangeType(StrEnum):
    """The type of a watch event."""

    ADDED = "ADDED"
    MODIFIED = "MODIFIED"
    DELETED = "DELETED"


class TooOldError(Exception):
    """A revision below what the log or the cache still knows; `oldest` is what it knows."""

    def __init__(self, oldest: int) -> None:
        super().__init__(f"too old resource version, the oldest is {oldest}")
        self.oldest = oldest


class Record:
    """One version of one object. `object` is shared by everyone who reads: never change it.

    `body` is its JSON, `item` the same without kind and apiVersion, as lists have it.
    """

    __slots__ = ("_body", "name", "namespace", "object", "revision")

    def __init__(self, *, namespace: str, name: str, revision: int, object_: JsonObject) -> None:
        self.namespace = namespace
        self.name = name
        self.revision = revision
        self.object = object_
        self._body: bytes | None = None

    @property
    def key(self) -> Key:
        """Namespace (empty for cluster-scoped kinds) and name."""
        return (self.namespace, self.name)

    @property
    def body(self) -> bytes:
        """The object as JSON."""
        if self._body is None:
            self._body = encode(self.object)
        return self._body

    def copy(self) -> JsonObject:
        """A deep copy that the caller may change."""
        copied: JsonObject = json.loads(self.body)
        return copied


class Change:
    """One entry of the log: the record as it became (as it last was, for DELETED) and the one
    before it."""

    __slots__ = ("previous", "record", "revision", "type")

    def __init__(self, type_: ChangeType, record: Record, previous: Record | None) -> None:
        self.type = type_
        self.record = record
        self.previous = previous
        self.revision = record.revision


class _Kind:
    """The present objects of one resource and its log."""

    __slots__ = ("cache_start", "compacted", "log", "records")

    def __init__(self, revision: int) -> None:
        self.records: dict[Key, Record] = {}
        self.log: list[Change] = []
        self.cache_start = revision
        self.compacted = revision


class _Subscription:
    __slots__ = ("active", "callback", "since")

    def __init__(self, callback: Callback, since: int) -> None:
        self.callback = callback
        self.since = since
        self.active = True


def encode(value: Any) -> bytes:
    """JSON as the server sends it: compact, UTF-8."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


class Store:
    """All objects of the cluster. `cache_size` bounds how many changes per kind a watch can go
    back; past states can be told for twice as many."""

    def __init__(self, *, cache_size: int = 2048) -> None:
        self._cache_size = cache_size
        self._revision = 1
        self._kinds: dict[str, _Kind] = {}
        self._subscriptions: dict[str, list[_Subscription]] = {}
        self._pending: deque[tuple[str, Change]] = deque()
        self._dispatching = False
        self.token_floor = 0

    # -- reading ------------------------------------------------------------

    @property
    def revision(self) -> int:
        """The revision of the last change of anything."""
        return self._revision

    def get(self, resource: str, name: str, namespace: str | None = None) -> JsonObject | None:
        """A copy of one object, None if there is none."""
        record = self.record(resource, name, namespace or "")
        return record.copy() if record else None

    def list(self, resource: str, namespace: str | None = None) -> Objects:
        """Copies of all objects, or those of one namespace, sorted by namespace and name."""
        return [record.copy() for record in self.records(resource, namespace)]

    def record(self, resource: str, name: str, namespace: str) -> Record | None:
        """The present record of one object, None if there is none."""
        return self._kind(resource).records.get((namespace, name))

    def records(self, resource: str, namespace: str | None = None) -> Sequence[Record]:
        """The present records, sorted by namespace and name."""
        return _sorted(self._kind(resource).records.values(), namespace)

    def records_at(
        self, resource: str, revision: int, namespace: str | None = None
    ) -> Sequence[Record]:
        """The records as they were at a past revision, sorted.

        Raises TooOldError if the log does not go back that far.
        """
        kind = self._kind(resource)
        if revision < kind.compacted:
            raise TooOldError(kind.compacted)
        records = dict(kind.records)
        for change in reversed(kind.log):
            if change.revision <= revision:
                break
            if change.previous is None:
                records.pop(change.record.key, None)
            else:
                records[change.record.key] = change.previous
        return _sorted(records.values(), namespace)

    def cache_start(self, resource: str) -> int:
        """The oldest revision from which a watch of this resource can begin."""
        return self._kind(resource).cache_start

    def changes(self, resource: str, since: int) -> Sequence[Change]:
        """The changes after a revision, in order. Raises TooOldError if some are forgotten."""
        kind = self._kind(resource)
        if since < kind.cache_start:
            raise TooOldError(kind.cache_start)
        start = bisect.bisect_right(kind.log, since, key=lambda change: change.revision)
        return kind.log[start:]

    # -- writing ------------------------------------------------------------

    def put(self, resource: str, object_: JsonObject) -> Record:
        """Store an object, new or changed, under a new resourceVersion, which is written into
        its metadata. The store owns the object from now on."""
        metadata = object_["metadata"]
        self._revision += 1
        metadata["resourceVersion"] = str(self._revision)
        record = Record(
            namespace=metadata.get("namespace", ""),
            name=metadata["name"],
            revision=self._revision,
            object_=object_,
        )
        kind = self._kind(resource)
        previous = kind.records.get(record.key)
        kind.records[record.key] = record
        type_ = ChangeType.ADDED if previous is None else ChangeType.MODIFIED
        self._append(resource, kind, Change(type_, record, previous))
        return record

    def remove(self, resource: str, record: Record) -> Record:
        """Remove an object. The record returned is its last state under the deletion's own
        resourceVersion, which is what watchers see."""
        kind = self._kind(resource)
        self._revision += 1
        last = record.copy()
        last["metadata"]["resourceVersion"] = str(self._revision)
        removed = Record(
            namespace=record.namespace, name=record.name, revision=self._revision, object_=last
        )
        del kind.records[record.key]
        self._append(resource, kind, Change(ChangeType.DELETED, removed, record))
        return removed

    def forget(self) -> None:
        """What a restart does to a server: the watch cache begins now, so a watch from any
        earlier revision is too old, and so is every continue token."""
        # Nothing tells a client of the revision at which a cache began, so a restart moves it:
        # the present revision itself is one that clients hold.
        self._revision += 1
        for kind in self._kinds.values():
            kind.cache_start = self._revision
        self.token_floor = self._revision

    # -- subscriptions ------------------------------------------------------

    def subscribe(self, resource: str, callback: Callback) -> Callable[[], None]:
        """Call back with ADDED for everything that exists, then with every change, in order.

        Synchronous: by the time a write returns, its callbacks have run, unless the write was
        made by a callback, in which case they run right after the ones under way. The object
        is shared and must not be changed. Returns the function that ends the subscription.
        """
        subscription = _Subscription(callback, self._revision)
        self._subscriptions.setdefault(resource, []).append(subscription)
        for record in self.records(resource):
            callback(ChangeType.ADDED, record.object)
        return lambda: self._end(resource, subscription)

    def on_change(self, resource: str, wake: Callable[[], None]) -> Callable[[], None]:
        """Call `wake` at every change of a resource from now on, and nothing for what exists.
        Returns the function that ends it."""
        subscription = _Subscription(lambda _type, _object: wake(), self._revision)
        self._subscriptions.setdefault(resource, []).append(subscription)
        return lambda: self._end(resource, subscription)

    def _end(self, resource: str, subscription: _Subscription) -> None:
        subscription.active = False
        if subscription in self._subscriptions[resource]:
            self._subscriptions[resource].remove(subscription)

    def _append(self, resource: str, kind: _Kind, change: Change) -> None:
        kind.log.append(change)
        if len(kind.log) > self._cache_size:
            before = kind.log[-self._cache_size - 1].revision
            kind.cache_start = max(kind.cache_start, before)
        if len(kind.log) > 4 * self._cache_size:
            dropped = len(kind.log) - 2 * self._cache_size
            kind.compacted = kind.log[dropped - 1].revision
            del kind.log[:dropped]
        self._pending.append((resource, change))
        self._dispatch()

    def _dispatch(self) -> None:
        if self._dispatching:
            return
        self._dispatching = True
        try:
            while self._pending:
                resource, change = self._pending.popleft()
                for subscription in tuple(self._subscriptions.get(resource, ())):
                    if subscription.active and change.revision > subscription.since:
                        self._call(subscription, change)
        finally:
            self._dispatching = False

    def _call(self, subscription: _Subscription, change: Change) -> None:
        try:
            subscription.callback(change.type, change.record.object)
        except Exception:
            # The writer is not to blame for what a reader makes of it.
            log.exception("a subscriber failed on %s %s", change.type, change.record.key)

    def _kind(self, resource: str) -> _Kind:
        kind = self._kinds.get(resource)
        if kind is None:
            kind = self._kinds[resource] = _Kind(max(1, self.token_floor))
        return kind


def _sorted(records: Iterable[Record], namespace: str | None) -> Sequence[Record]:
    chosen = records if namespace is None else (r for r in records if r.namespace == namespace)
    # By the path below which etcd keeps an object: `a-b/x` comes before `a/x`.
    return sorted(chosen, key=lambda record: f"{record.namespace}/{record.name}")


def labels_of(object_: Mapping[str, Any]) -> Mapping[str, str]:
    """The labels of a raw object, empty if it has none."""
    labels: Mapping[str, str] = object_.get("metadata", {}).get("labels") or {}
    return labels
