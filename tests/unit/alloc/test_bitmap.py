"""The bitmap draws from the upper band first, each bit once, and saves what Go's big.Int saves."""

import random
from collections.abc import Callable

import pytest

from nplb.alloc.bitmap import Bitmap
from nplb.alloc.errors import AllocatorError

SIZES = [10, 14, 200, 257, 65536]
"""Plain, no static band, more than the least band, more than a byte, and the largest."""


class Scripted:
    """Dice that fall as told, and remember what they were asked."""

    def __init__(self, *falls: int) -> None:
        self.falls = list(falls)
        self.asked: list[int] = []

    def randrange(self, stop: int, /) -> int:
        self.asked.append(stop)
        fall = self.falls.pop(0)
        assert fall < stop
        return fall


def bitmap(size: int, offset: int = 0, dice: Scripted | None = None) -> Bitmap:
    return Bitmap(size=size, range_spec="mapping", offset=offset, dice=dice or random.Random(size))


@pytest.mark.parametrize("size", SIZES)
def test_allocates_the_last_bit_and_refuses_it_again(size: int) -> None:
    bits = bitmap(size)
    assert bits.allocate(size - 1)
    assert bits.has(size - 1)
    assert not bits.allocate(size - 1)
    assert bits.free == size - 1


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("beyond", [lambda size: size, lambda _: -1, lambda size: size * 2])
def test_refuses_an_offset_outside(size: int, beyond: Callable[[int], int]) -> None:
    offset = beyond(size)
    bits = bitmap(size)
    with pytest.raises(AllocatorError) as caught:
        bits.allocate(offset)
    assert str(caught.value) == f"offset {offset} out of range [0,{size}]"
    assert bits.free == size
    assert not bits.has(offset)


@pytest.mark.parametrize(("size", "offset"), [(10, 0), (14, 0), (200, 16), (257, 16), (4096, 128)])
def test_draws_every_bit_once_then_none(size: int, offset: int) -> None:
    bits = bitmap(size, offset)
    drawn = [bits.allocate_next() for _ in range(size)]
    assert sorted(n for n in drawn if n is not None) == list(range(size))
    assert bits.allocate_next() is None
    assert bits.free == 0


@pytest.mark.parametrize("size", SIZES)
def test_releasing_twice_frees_once(size: int) -> None:
    bits = bitmap(size)
    bits.allocate(3)
    bits.release(3)
    bits.release(3)
    bits.release(5)
    assert not bits.has(3)
    assert bits.free == size


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("count", [0, 1, 2, 7])
def test_lists_exactly_the_set_bits_in_order(size: int, count: int) -> None:
    wanted = sorted(random.Random(size).sample(range(size), count))
    bits = bitmap(size)
    for offset in reversed(wanted):
        bits.allocate(offset)
    assert list(bits.offsets()) == wanted


@pytest.mark.parametrize("size", SIZES)
def test_snapshot_and_restore(size: int) -> None:
    bits = bitmap(size)
    for _ in range(8):
        bits.allocate_next()
    copy = bitmap(size)
    copy.restore(*bits.snapshot())
    assert list(copy.offsets()) == list(bits.offsets())
    assert copy.free == bits.free


def test_snapshot_is_big_endian_without_leading_zeros() -> None:
    bits = bitmap(64)
    assert bits.snapshot() == ("mapping", b"")
    bits.allocate(0)
    bits.allocate(9)
    assert bits.snapshot() == ("mapping", b"\x02\x01")


def test_refuses_a_snapshot_of_another_range() -> None:
    with pytest.raises(AllocatorError) as caught:
        bitmap(10).restore("other", b"")
    assert str(caught.value) == "the provided range does not match the current range"


def test_a_snapshot_with_bits_beyond_the_range_counts_them() -> None:
    bits = bitmap(4)
    bits.restore("mapping", (0b1111_0000).to_bytes(1, "big"))
    assert bits.free == 0
    assert bits.allocate_next() is None


def test_the_static_band_is_spared_until_the_dynamic_one_is_full() -> None:
    bits = bitmap(128, 16)
    drawn = {bits.allocate_next() for _ in range(112)}
    assert drawn == set(range(16, 128))
    beyond = bits.allocate_next()
    assert beyond is not None
    assert 0 <= beyond < 16
    assert bits.free == 15


def test_a_static_band_taken_by_name_leaves_the_dynamic_one() -> None:
    bits = bitmap(128, 16)
    assert all(bits.allocate(offset) for offset in range(16))
    drawn = {bits.allocate_next() for _ in range(112)}
    assert drawn == set(range(16, 128))
    assert bits.allocate_next() is None


def test_draws_a_start_and_scans_on_from_there_round_the_band() -> None:
    dice = Scripted(3, 3, 3)
    bits = bitmap(8, 2, dice)
    bits.allocate(7)
    assert [bits.allocate_next() for _ in range(3)] == [5, 6, 2]
    assert dice.asked == [6, 6, 6]


def test_falls_back_with_a_second_draw_only_when_the_band_is_full() -> None:
    dice = Scripted(0, 5, 1, 0, 1)
    bits = bitmap(5, 2, dice)
    for offset in (3, 4):
        bits.allocate(offset)
    assert bits.allocate_next() == 2
    dice.falls = [2, 1, 0, 1]
    assert bits.allocate_next() == 1
    assert bits.allocate_next() == 0
    assert dice.asked == [3, 3, 2, 3, 2]
    assert bits.allocate_next() is None
    assert dice.asked == [3, 3, 2, 3, 2], "a full map does not throw the dice"
