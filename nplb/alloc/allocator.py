"""Numbers of a port range: allocate, draw, release, snapshot, restore.

Mirrors `PortAllocator` of `pkg/registry/core/service/portallocator/allocator.go`, with the
counters of its `metrics.go`.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from nplb.alloc.bitmap import Bitmap, Bits, Dice, bits_to_bytes
from nplb.alloc.errors import (
    AllocatorError,
    MismatchedRange,
    PortAllocated,
    PortNotInRange,
    RangeFull,
)
from nplb.alloc.portrange import PortRange, parse_port_range


@dataclass(frozen=True, slots=True, kw_only=True)
class RangeSnapshot:
    """A saved range, as the API server stores it (`RangeAllocation`): the range's text and one
    bit for each number, big-endian."""

    range: str
    data: bytes = b""

    @classmethod
    def of(cls, port_range: PortRange, ports: Iterable[int]) -> "RangeSnapshot":
        """A range in which these numbers are taken; those outside of it are left out."""
        bits = 0
        for port in ports:
            if port in port_range:
                bits |= 1 << (port - port_range.base)
        return cls(range=str(port_range), data=bits_to_bytes(bits))


@dataclass(slots=True, kw_only=True)
class AllocatorCounts:
    """What the API server's allocator counts (`kube_apiserver_nodeport_allocator_*`).

    `static` is about numbers asked for, `dynamic` about numbers drawn. `allocated` and
    `available` are as of the last success."""

    allocated: int = 0
    available: int = 0
    static_allocations: int = 0
    dynamic_allocations: int = 0
    static_errors: int = 0
    dynamic_errors: int = 0


class PortAllocator:
    """Who may have which number of a range. It knows numbers only, not who holds them.

    `bits` keeps them elsewhere than in memory (see `alloc.storage`). `counts` is None where
    the original runs with its metrics off.
    """

    __slots__ = ("_bits", "counts", "port_range")

    def __init__(
        self,
        port_range: PortRange,
        rng: Dice,
        *,
        bits: Bits | None = None,
        counts: AllocatorCounts | None = None,
    ) -> None:
        self.port_range = port_range
        self.counts = counts
        self._bits: Bits = bits if bits is not None else new_bitmap(port_range, rng)

    @classmethod
    def from_snapshot(cls, snapshot: RangeSnapshot, rng: Dice) -> "PortAllocator":
        """An allocator over the snapshot's own range, with the snapshot's numbers taken.

        Raises InvalidPortRange if the snapshot's range can't be read.
        """
        allocator = cls(parse_port_range(snapshot.range), rng)
        allocator.restore(allocator.port_range, snapshot.data)
        return allocator

    @property
    def free(self) -> int:
        """How many numbers are left."""
        return self._bits.free

    @property
    def used(self) -> int:
        """How many numbers are taken."""
        return self.port_range.size - self._bits.free

    def allocate(self, port: int) -> None:
        """Take one number. Raises PortNotInRange or PortAllocated."""
        try:
            if port not in self.port_range:
                raise PortNotInRange(self.port_range)
            if not self._bits.allocate(port - self.port_range.base):
                raise PortAllocated
        except AllocatorError:
            if self.counts:
                self.counts.static_errors += 1
            raise
        if self.counts:
            self.counts.static_allocations += 1
            self._gauge(self.counts)

    def allocate_next(self) -> int:
        """Take one number of those left, from the dynamic band as long as it has one.

        Raises RangeFull.
        """
        try:
            offset = self._bits.allocate_next()
            if offset is None:
                raise RangeFull
        except AllocatorError:
            if self.counts:
                self.counts.dynamic_errors += 1
            raise
        if self.counts:
            self.counts.dynamic_allocations += 1
            self._gauge(self.counts)
        return self.port_range.base + offset

    def release(self, port: int) -> bool:
        """Give a number back. Returns False, and does nothing, for one outside of the range."""
        if port not in self.port_range:
            return False
        self._bits.release(port - self.port_range.base)
        if self.counts:
            self._gauge(self.counts)
        return True

    def has(self, port: int) -> bool:
        """Whether the number is in the range and taken."""
        return port in self.port_range and self._bits.has(port - self.port_range.base)

    def ports(self) -> Iterator[int]:
        """Every number taken, in order."""
        return (self.port_range.base + offset for offset in self._bits.offsets())

    def snapshot(self) -> RangeSnapshot:
        """The current state."""
        range_spec, data = self._bits.snapshot()
        return RangeSnapshot(range=range_spec, data=data)

    def restore(self, port_range: PortRange, data: bytes) -> None:
        """Go back to a saved state. Raises MismatchedRange if it is of another range."""
        if str(port_range) != str(self.port_range):
            raise MismatchedRange
        self._bits.restore(str(port_range), data)

    def _gauge(self, counts: AllocatorCounts) -> None:
        counts.allocated = self.used
        counts.available = self.free


def new_bitmap(port_range: PortRange, rng: Dice) -> Bitmap:
    """An empty map for a range, with the range's static band spared."""
    return Bitmap(
        size=port_range.size,
        range_spec=str(port_range),
        offset=port_range.static_size,
        dice=rng,
    )
