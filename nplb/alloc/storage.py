"""The bits of a range where several API servers share them, each change read, made and written.

Mirrors `pkg/registry/core/service/allocator/storage/storage.go`: what is stored wins over what
is in memory, and nothing is allocated before the first repair has initialised the record.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

from nplb.alloc.allocator import RangeSnapshot
from nplb.alloc.bitmap import Bitmap
from nplb.alloc.errors import AllocatorError

RESOURCE = "servicenodeportallocations"

T = TypeVar("T")


class RangeConflict(AllocatorError):
    """Someone else has written the record meanwhile: read it again and repeat."""

    def __init__(self, detail: str) -> None:
        super().__init__(f'Operation cannot be fulfilled on {RESOURCE} "": {detail}')


@dataclass(frozen=True, slots=True, kw_only=True)
class RangeRecord:
    """What is stored. `version` is 0 for a record that doesn't exist."""

    version: int = 0
    snapshot: RangeSnapshot = field(default_factory=lambda: RangeSnapshot(range=""))


class RangeRegistry(Protocol):
    """Where the repair loop reads and writes the record."""

    def get(self) -> RangeRecord:
        """The record, with version 0 if there is none."""

    def create_or_update(self, record: RangeRecord) -> None:
        """Write it whole. Raises RangeConflict if its version is no longer the stored one."""


class RangeStore:
    """The record in memory: what etcd is to the API server (`/ranges/servicenodeports`)."""

    __slots__ = ("_record",)

    def __init__(self) -> None:
        self._record = RangeRecord()

    def get(self) -> RangeRecord:
        """The record, with version 0 if there is none."""
        return self._record

    def create_or_update(self, record: RangeRecord) -> None:
        """Write it whole. Raises RangeConflict if its version is no longer the stored one, or
        if a new record finds one there."""
        stored = self._record.version
        if stored and record.version and stored != record.version:
            raise RangeConflict("the provided resource version does not match")
        if stored and not record.version:
            raise RangeConflict("another caller has already initialized the resource")
        self._record = RangeRecord(version=stored + 1, snapshot=record.snapshot)

    def delete(self) -> None:
        """Lose the record."""
        self._record = RangeRecord()


class StoredBits:
    """A bitmap that lives in a RangeStore; give it to a PortAllocator as its `bits`.

    Reads (`has`, `offsets`, `free`) tell what was seen at the last change, as the original's.
    """

    __slots__ = ("_local", "_seen", "_store")

    def __init__(self, local: Bitmap, store: RangeStore) -> None:
        self._local = local
        self._store = store
        self._seen = 0

    def allocate(self, offset: int) -> bool:
        """Set a bit in the store; whether it was clear there."""
        return self._update(lambda: self._local.allocate(offset))

    def allocate_next(self) -> int | None:
        """Draw a bit that is clear in the store, or None when all are set."""
        return self._update(self._local.allocate_next)

    def release(self, offset: int) -> None:
        """Clear a bit in the store."""
        self._update(lambda: self._local.release(offset))

    def has(self, offset: int) -> bool:
        """Whether the bit was set when last seen."""
        return self._local.has(offset)

    def offsets(self) -> Iterator[int]:
        """The offsets of the bits that were set when last seen."""
        return self._local.offsets()

    @property
    def free(self) -> int:
        """How many bits were clear when last seen."""
        return self._local.free

    def snapshot(self) -> tuple[str, bytes]:
        """The bits when last seen."""
        return self._local.snapshot()

    def restore(self, range_spec: str, data: bytes) -> None:
        """Replace the bits in memory; the store keeps its own, which win at the next change."""
        self._local.restore(range_spec, data)

    def get(self) -> RangeRecord:
        """The stored record."""
        return self._store.get()

    def create_or_update(self, record: RangeRecord) -> None:
        """Write the record whole, and go on from it."""
        self._store.create_or_update(record)
        self._local.restore(record.snapshot.range, record.snapshot.data)
        self._seen = record.version

    def _update(self, change: Callable[[], T]) -> T:
        """One read, modify, write. Raises AllocatorError before the record was initialised, and
        when it is of another range than this process was started with."""
        record = self._store.get()
        if not record.version:
            raise AllocatorError(f"cannot allocate resources of type {RESOURCE} at this time")
        if record.version != self._seen:
            self._local.restore(record.snapshot.range, record.snapshot.data)
        result = change()
        # The version read, not the one about to be written: so the next change reads again.
        self._seen = record.version
        range_spec, data = self._local.snapshot()
        self._store.create_or_update(
            RangeRecord(version=record.version, snapshot=RangeSnapshot(range=range_spec, data=data))
        )
        return result
