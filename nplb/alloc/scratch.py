"""An allocator to try things on: it knows from which set a number would be drawn, not which.

A number that would be drawn is not known before it is drawn, and pretending to know one would
make up conflicts, or hide them. So a draw yields a token that stands for one number of a set;
only when the set has a single number is it that number.
"""

from collections import Counter
from dataclasses import dataclass

from nplb.alloc.allocator import PortAllocator, RangeSnapshot, new_bitmap
from nplb.alloc.bitmap import NoDice, set_bits
from nplb.alloc.errors import PortAllocated, RangeFull
from nplb.alloc.portrange import PortRange
from nplb.model.ledger import Band

FIRST_TOKEN = 65536
"""Tokens are beyond every port number."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DrawSet:
    """The set that a number would be drawn from: the free numbers of one band, less `unknown`
    of them that are drawn before it. `bits` has bit i set for the number `base` + i."""

    band: Band
    base: int
    bits: int
    unknown: int = 0

    @property
    def size(self) -> int:
        """How many numbers it may be."""
        return self.bits.bit_count()

    @property
    def numbers(self) -> tuple[int, ...]:
        """The numbers, in order."""
        return tuple(self.base + i for i in set_bits(self.bits))

    @property
    def text(self) -> str:
        """The numbers as ranges: `30086-30094, 30096`."""
        runs: list[list[int]] = []
        for number in self.numbers:
            if runs and number == runs[-1][1] + 1:
                runs[-1][1] = number
            else:
                runs.append([number, number])
        return ", ".join(str(a) if a == b else f"{a}-{b}" for a, b in runs)


class Scratch(PortAllocator):
    """A PortAllocator over a copy of the taken numbers.

    `draws` says of each token (and of a number that was the only one left) which set it came
    from; `chances` of each number that was asked for how likely an earlier draw has it already,
    roughly, where that may be.
    """

    __slots__ = ("_floating", "_map", "chances", "draws")

    def __init__(self, port_range: PortRange, taken: RangeSnapshot) -> None:
        self._map = new_bitmap(port_range, NoDice())
        super().__init__(port_range, NoDice(), bits=self._map)
        self.restore(port_range, taken.data)
        self.draws: dict[int, DrawSet] = {}
        self.chances: dict[int, float] = {}
        self._floating: dict[int, Band] = {}

    def allocate(self, port: int) -> None:
        """Take one number. Raises PortNotInRange or PortAllocated, the latter also when earlier
        draws must have used up the band that it is in."""
        if self.may_be_had(port):
            band = self._band(port)
            if unknown := self._unknown(band):
                self.chances[port] = unknown / self._clear(band).bit_count()
        elif port in self.port_range:
            raise PortAllocated
        super().allocate(port)

    def allocate_next(self) -> int:
        """Take one number of those left: a token, or the number itself when only one is left in
        its band. Raises RangeFull."""
        for band in (Band.DYNAMIC, Band.STATIC):
            clear, unknown = self._clear(band), self._unknown(band)
            if clear.bit_count() > unknown:
                drawn = DrawSet(band=band, base=self.port_range.base, bits=clear, unknown=unknown)
                if drawn.size == 1:
                    (number,) = drawn.numbers
                    super().allocate(number)
                else:
                    number = FIRST_TOKEN + len(self.draws)
                    self._floating[number] = band
                self.draws[number] = drawn
                return number
        raise RangeFull

    def release(self, port: int) -> bool:
        """Give a number or a token back."""
        if self._floating.pop(port, None) is not None:
            return True
        return super().release(port)

    def may_be_had(self, port: int) -> bool:
        """Whether a request for this number would be accepted now."""
        if port not in self.port_range or self.has(port):
            return False
        band = self._band(port)
        return self._clear(band).bit_count() > self._unknown(band)

    def _band(self, port: int) -> Band:
        return Band.STATIC if port in self.port_range.static else Band.DYNAMIC

    def _unknown(self, band: Band) -> int:
        return Counter(self._floating.values())[band] if self._floating else 0

    def _clear(self, band: Band) -> int:
        """The free numbers of a band, as bits."""
        split = self.port_range.static_size
        low, high = (0, split) if band is Band.STATIC else (split, self.port_range.size)
        return self._map.clear_between(low, high)
