"""The decoded objects of one cluster, and snapshots of them.

A book takes raw objects one at a time or as whole listings, decodes only what it is given, and
makes a snapshot by reusing the sorted tuples of everything that did not change. An object that
can't be decoded is not in the book: what it was before may no longer be true, and a wrong
NodePort leads clients to a wrong service. `warnings` names it.
"""

from bisect import bisect_left, insort
from collections.abc import Callable
from enum import StrEnum
from typing import Any, Generic, TypeVar

from nplb.model.cluster import EndpointSlice, Node, Service, Snapshot
from nplb.sources.decode import (
    DecodeError,
    Warn,
    decode_node,
    decode_service,
    decode_slice,
)

T = TypeVar("T")
Key = tuple[str, str]
"""Namespace (empty for Nodes) and name."""

MAX_WARNINGS = 20


class Kind(StrEnum):
    """What a book holds."""

    SERVICE = "Service"
    NODE = "Node"
    ENDPOINT_SLICE = "EndpointSlice"


class _Shelf(Generic[T]):
    """All objects of one kind, sorted by key, and what is wrong with those left out."""

    def __init__(self, decode: Callable[[object, Warn], tuple[Key, T]]) -> None:
        self.decode = decode
        self.warnings: dict[Key, tuple[str, ...]] = {}
        self._objects: dict[Key, T] = {}
        self._keys: list[Key] = []
        self._sorted: tuple[T, ...] | None = ()

    def read(self, raw: object) -> tuple[Key, T | None, tuple[str, ...]]:
        """Decode one object. None in its place when that fails; the texts say what is wrong."""
        texts: list[str] = []
        try:
            key, value = self.decode(raw, texts.append)
        except DecodeError as error:
            return (error.namespace, error.name), None, (f"{error}; left out until that is fixed",)
        return key, value, tuple(texts)

    def put(self, key: Key, value: T | None, texts: tuple[str, ...]) -> bool:
        """Take one object in (None: out). Returns whether a snapshot would show it."""
        if texts:
            self.warnings[key] = texts
        else:
            self.warnings.pop(key, None)
        if value is None:
            return self._remove(key)
        before = self._objects.get(key)
        if before == value:
            return False
        if before is None:
            insort(self._keys, key)
        self._objects[key] = value
        self._sorted = None
        return True

    def drop(self, key: Key) -> bool:
        """Take one object out. Returns whether a snapshot would show it."""
        self.warnings.pop(key, None)
        return self._remove(key)

    def _remove(self, key: Key) -> bool:
        if key not in self._objects:
            return False
        del self._objects[key]
        del self._keys[bisect_left(self._keys, key)]
        self._sorted = None
        return True

    def replace(
        self, scope: str | None, fresh: dict[Key, T], warnings: dict[Key, tuple[str, ...]]
    ) -> bool:
        """Make a listing all that there is in a scope (a namespace, or None for all)."""
        others = {} if scope is None else _outside(scope, self._objects)
        other_warnings = {} if scope is None else _outside(scope, self.warnings)
        objects = {**others, **fresh}
        self.warnings = {**other_warnings, **warnings}
        if objects == self._objects:
            return False
        self._objects = objects
        self._keys = sorted(objects)
        self._sorted = None
        return True

    def values(self) -> tuple[T, ...]:
        if self._sorted is None:
            self._sorted = tuple(map(self._objects.__getitem__, self._keys))
        return self._sorted


def _outside(scope: str, entries: dict[Key, T]) -> dict[Key, T]:
    return {key: value for key, value in entries.items() if key[0] != scope}


class Listing:
    """All objects of one kind in one scope, collected page by page. Nothing shows in the book
    before `commit`."""

    def __init__(self, shelf: _Shelf[Any], scope: str | None) -> None:
        self._shelf = shelf
        self._scope = scope
        self._fresh: dict[Key, Any] = {}
        self._warnings: dict[Key, tuple[str, ...]] = {}

    def add(self, raw: object) -> None:
        """Take one raw object in."""
        key, value, texts = self._shelf.read(raw)
        if value is not None:
            self._fresh[key] = value
        if texts:
            self._warnings[key] = texts

    def commit(self) -> bool:
        """Replace the scope by what was collected. Returns whether a snapshot would show it."""
        return self._shelf.replace(self._scope, self._fresh, self._warnings)


class Book:
    """Everything that is known of one cluster."""

    def __init__(self, cluster: str) -> None:
        self.cluster = cluster

        def service(raw: object, warn: Warn) -> tuple[Key, Service]:
            decoded = decode_service(raw, cluster=cluster, warn=warn)
            return (decoded.key.namespace, decoded.key.name), decoded

        self._services = _Shelf[Service](service)
        self._nodes = _Shelf[Node](_node)
        self._slices = _Shelf[EndpointSlice](_slice)
        self._shelves: dict[Kind, _Shelf[Any]] = {
            Kind.SERVICE: self._services,
            Kind.NODE: self._nodes,
            Kind.ENDPOINT_SLICE: self._slices,
        }

    def listing(self, kind: Kind, scope: str | None = None) -> Listing:
        """Begin to collect all objects of a kind in a scope (a namespace, or None for all)."""
        return Listing(self._shelves[kind], scope)

    def put(self, kind: Kind, raw: object) -> bool:
        """Take a new or changed object in. Returns whether a snapshot would show it."""
        shelf = self._shelves[kind]
        return shelf.put(*shelf.read(raw))

    def drop(self, kind: Kind, raw: object) -> bool:
        """Take a deleted object out, of which only the key needs to be readable. Returns
        whether a snapshot would show it.

        Errors: DecodeError if it can't be told which object it is.
        """
        return self._shelves[kind].drop(raw_key(kind, raw))

    def snapshot(self, taken_at: float) -> Snapshot:
        """The cluster as it is known now."""
        return Snapshot(
            cluster=self.cluster,
            taken_at=taken_at,
            services=self._services.values(),
            nodes=self._nodes.values(),
            slices=self._slices.values(),
        )

    @property
    def warnings(self) -> tuple[str, ...]:
        """What is wrong with objects that are left out in whole or in part, sorted; at most
        `MAX_WARNINGS`, then how many more there are."""
        texts = sorted(
            text
            for shelf in self._shelves.values()
            for entry in shelf.warnings.values()
            for text in entry
        )
        more = len(texts) - MAX_WARNINGS
        if more > 0:
            return (*texts[:MAX_WARNINGS], f"and {more} more objects like these")
        return tuple(texts)


def raw_key(kind: Kind, raw: object) -> Key:
    """The key of a raw object. Errors: DecodeError if it has none."""
    metadata = raw.get("metadata") if isinstance(raw, dict) else None
    name = metadata.get("name") if isinstance(metadata, dict) else None
    if not isinstance(metadata, dict) or not isinstance(name, str) or not name:
        raise DecodeError(kind, "", "", ("metadata", "name"), "is missing")
    namespace = metadata.get("namespace") or ""
    if not isinstance(namespace, str):
        raise DecodeError(kind, "", name, ("metadata", "namespace"), "must be a string")
    return namespace, name


def _node(raw: object, warn: Warn) -> tuple[Key, Node]:
    decoded = decode_node(raw, warn=warn)
    return ("", decoded.name), decoded


def _slice(raw: object, warn: Warn) -> tuple[Key, EndpointSlice]:
    decoded = decode_slice(raw, warn=warn)
    return (decoded.namespace, decoded.name), decoded
