"""Whether an address lies in a set of address ranges, fast however many ranges there are.

A family's ranges are its *bounds*: the sorted addresses at which the set begins and ends, by
turns. An address is in the set if an odd number of bounds is not above it, which a binary search
finds: 100,000 prefixes take 17 comparisons and, for IPv4, 800 KB.
"""

from array import array
from bisect import bisect_right
from collections.abc import Iterable, Iterator

_MAPPED = bytes(10) + b"\xff\xff"
_COUNT_BYTES = 4
_FOUR_BYTES = 4
_SIX_BYTES = 16


class AddressSet:
    """A set of IPv4 and IPv6 addresses. An IPv4 address that is written as IPv6 (`::ffff:…`)
    counts as IPv4. `four` and `six` are the bounds, which is what equality compares."""

    __slots__ = ("_four", "_six")

    def __init__(self, four: Iterable[int], six: Iterable[int]) -> None:
        self._four = array("I", four)
        self._six = b"".join(bound.to_bytes(_SIX_BYTES, "big") for bound in six)

    def admits(self, packed: bytes) -> bool:
        """Whether an address, packed as `inet_pton` does, is in the set."""
        if len(packed) == _SIX_BYTES:
            if packed[:12] != _MAPPED:
                six = self._six
                places = range(len(six) // _SIX_BYTES)
                found = bisect_right(places, packed, key=lambda at: six[16 * at : 16 * at + 16])
                return bool(found & 1)
            packed = packed[12:]
        return bool(bisect_right(self._four, int.from_bytes(packed, "big")) & 1)

    def ranges(self, family: int) -> Iterator[tuple[int, int]]:
        """The first and last address of each range of a family (4 or 6), ascending."""
        bounds = self.four if family == 4 else self.six
        last = 2 ** (32 if family == 4 else 128) - 1
        for at in range(0, len(bounds), 2):
            yield bounds[at], bounds[at + 1] - 1 if at + 1 < len(bounds) else last

    @property
    def four(self) -> list[int]:
        """The bounds of IPv4."""
        return self._four.tolist()

    @property
    def six(self) -> list[int]:
        """The bounds of IPv6."""
        size = _SIX_BYTES
        return [
            int.from_bytes(self._six[at : at + size], "big")
            for at in range(0, len(self._six), size)
        ]

    def to_bytes(self) -> bytes:
        """The set for another process of this host."""
        return len(self._four).to_bytes(_COUNT_BYTES, "big") + self._four.tobytes() + self._six

    @classmethod
    def from_bytes(cls, data: bytes) -> "AddressSet":
        """What `to_bytes` made. Errors: ValueError for anything else."""
        count = int.from_bytes(data[:_COUNT_BYTES], "big")
        end = _COUNT_BYTES + _FOUR_BYTES * count
        six = data[end:]
        if len(data) < end or len(six) % _SIX_BYTES:
            raise ValueError(f"{len(data)} bytes are no set of addresses")
        made = cls((), ())
        made._four.frombytes(data[_COUNT_BYTES:end])
        made._six = six
        return made

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, AddressSet):
            return NotImplemented
        return self._four == other._four and self._six == other._six

    def __hash__(self) -> int:
        return hash((self._four.tobytes(), self._six))
