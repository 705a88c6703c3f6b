"""One bit for each number of a range, and how the next one is drawn.

Mirrors `AllocationBitmap` with `randomScanStrategyWithOffset` of
`pkg/registry/core/service/allocator/bitmap.go`: blind to protocols and to who holds a bit.
"""

from collections.abc import Iterator
from typing import Protocol

from nplb.alloc.errors import AllocatorError


class Dice(Protocol):
    """Where randomness comes from; `random.Random` is one."""

    def randrange(self, stop: int, /) -> int:
        """A number from 0 to `stop` - 1."""


class NoDice:
    """For an allocator that is only asked for numbers by name, and never draws one."""

    def randrange(self, stop: int, /) -> int:
        """Never right to call."""
        raise RuntimeError("this allocator was made without dice and can't draw a number")


class Bits(Protocol):
    """What a PortAllocator needs of what keeps its bits (`allocator.Interface`)."""

    def allocate(self, offset: int) -> bool:
        """Set a bit; whether it was clear. Raises AllocatorError outside of the map."""

    def allocate_next(self) -> int | None:
        """Set one clear bit and return its offset, or None when all are set."""

    def release(self, offset: int) -> None:
        """Clear a bit; nothing happens if it is clear."""

    def has(self, offset: int) -> bool:
        """Whether a bit is set."""

    def offsets(self) -> Iterator[int]:
        """The offsets of all set bits, in order."""

    @property
    def free(self) -> int:
        """How many bits are clear."""

    def snapshot(self) -> tuple[str, bytes]:
        """The range's text, and the bits as a big-endian number without leading zeros."""

    def restore(self, range_spec: str, data: bytes) -> None:
        """Replace all bits. Raises AllocatorError if the range is another one."""


class Bitmap:
    """`size` bits; automatic picks leave the first `offset` alone as long as others are clear.

    `range_spec` is the range's text, which a snapshot carries and `restore` compares.
    """

    __slots__ = ("_bits", "_count", "_dice", "offset", "range_spec", "size")

    def __init__(self, *, size: int, range_spec: str, offset: int, dice: Dice) -> None:
        self.size = size
        self.range_spec = range_spec
        self.offset = offset
        self._dice = dice
        self._bits = 0
        self._count = 0

    def allocate(self, offset: int) -> bool:
        """Set a bit; whether it was clear."""
        if not 0 <= offset < self.size:
            raise AllocatorError(f"offset {offset} out of range [0,{self.size}]")
        bit = 1 << offset
        if self._bits & bit:
            return False
        self._bits |= bit
        self._count += 1
        return True

    def allocate_next(self) -> int | None:
        """Draw a place in the upper band and take the first clear bit from there on, round the
        band; only when that band is full, the same in the lower one. None when all are set."""
        if self._count >= self.size:
            return None
        found = self._scan(self.offset, self.size)
        if found is None and self.offset:
            found = self._scan(0, self.offset)
        if found is not None:
            self._bits |= 1 << found
            self._count += 1
        return found

    def _scan(self, low: int, high: int) -> int | None:
        """The first clear bit in [low, high) from a drawn place on, wrapping round."""
        start = low + self._dice.randrange(high - low)
        clear = ~self._bits & ((1 << high) - 1)
        ahead = clear >> start
        if ahead:
            return start + _lowest(ahead)
        behind = clear >> low
        return low + _lowest(behind) if behind else None

    def clear_between(self, low: int, high: int) -> int:
        """The clear bits of offsets low to high - 1, as a number in which they are set (bit i is
        offset i)."""
        return ~self._bits & ((1 << high) - (1 << low))

    def release(self, offset: int) -> None:
        """Clear a bit; nothing happens if it is clear."""
        if self.has(offset):
            self._bits &= ~(1 << offset)
            self._count -= 1

    def has(self, offset: int) -> bool:
        """Whether a bit is set."""
        return offset >= 0 and bool(self._bits >> offset & 1)

    def offsets(self) -> Iterator[int]:
        """The offsets of all set bits, in order."""
        return set_bits(self._bits)

    @property
    def free(self) -> int:
        """How many bits are clear."""
        return self.size - self._count

    def snapshot(self) -> tuple[str, bytes]:
        """The range's text, and the bits: bit i is the number base + i."""
        return self.range_spec, bits_to_bytes(self._bits)

    def restore(self, range_spec: str, data: bytes) -> None:
        """Replace all bits. Bits beyond the size are kept and counted, as the original does."""
        if range_spec != self.range_spec:
            raise AllocatorError("the provided range does not match the current range")
        self._bits = int.from_bytes(data, "big")
        self._count = self._bits.bit_count()


def bits_to_bytes(bits: int) -> bytes:
    """As Go's `big.Int.Bytes`: big-endian, without leading zero bytes."""
    return bits.to_bytes((bits.bit_length() + 7) // 8, "big")


def set_bits(bits: int) -> Iterator[int]:
    """The indices of a number's set bits, in order."""
    while bits:
        yield _lowest(bits)
        bits &= bits - 1


def _lowest(bits: int) -> int:
    """The index of the lowest set bit of a number that is not 0."""
    return (bits & -bits).bit_length() - 1
