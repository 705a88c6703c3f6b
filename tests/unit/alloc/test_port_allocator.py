"""The allocator hands out each number once, by its bands, with kube-apiserver's errors."""

import contextlib
import random

import pytest

from nplb.alloc.allocator import AllocatorCounts, PortAllocator
from nplb.alloc.errors import (
    AllocatorError,
    MismatchedRange,
    PortAllocated,
    PortNotInRange,
    RangeFull,
)
from nplb.alloc.portrange import parse_port_range


def allocator(text: str, counts: AllocatorCounts | None = None) -> PortAllocator:
    return PortAllocator(parse_port_range(text), random.Random(1), counts=counts)


def test_drains_the_range_and_takes_back_what_is_released() -> None:
    ports = allocator("10000-10200")
    assert (ports.free, ports.used) == (201, 0)
    drawn = [ports.allocate_next() for _ in range(201)]
    assert sorted(drawn) == list(range(10000, 10201))
    with pytest.raises(RangeFull, match=r"^range is full$"):
        ports.allocate_next()

    ports.release(10005)
    assert (ports.free, ports.used) == (1, 200)
    assert ports.allocate_next() == 10005
    ports.release(10005)

    for outside in (1, 20000, 10201):
        with pytest.raises(PortNotInRange) as caught:
            ports.allocate(outside)
        assert str(caught.value) == (
            "provided port is not in the valid range. The range of valid ports is 10000-10200"
        )
    with pytest.raises(PortAllocated, match=r"^provided port is already allocated$"):
        ports.allocate(10001)
    assert (ports.free, ports.used) == (1, 200)
    ports.allocate(10005)
    assert (ports.free, ports.used) == (0, 201)


def test_dynamic_band_first_then_the_static_one_by_name() -> None:
    ports = allocator("30000-30128")
    size, static = 129, 16
    drawn = {ports.allocate_next() for _ in range(size - static)}
    assert drawn == set(range(30000 + static, 30129))
    for port in range(30000, 30000 + static):
        ports.allocate(port)
    with pytest.raises(RangeFull):
        ports.allocate_next()
    ports.release(30053)
    assert ports.allocate_next() == 30053
    assert ports.free == 0


@pytest.mark.parametrize("taken", [set(), {10000}, {10000, 10200}, {10000, 10099, 10200}], ids=len)
def test_lists_what_is_taken(taken: set[int]) -> None:
    ports = allocator("10000-10200")
    for port in taken:
        ports.allocate(port)
        assert ports.has(port)
    assert set(ports.ports()) == taken


def test_snapshot_restores_into_the_same_range_only() -> None:
    ports = allocator("10000-10200")
    drawn = [ports.allocate_next() for _ in range(10)]
    saved = ports.snapshot()
    assert saved.range == "10000-10200"
    other = allocator("200-300")
    with pytest.raises(MismatchedRange) as caught:
        other.restore(parse_port_range(saved.range), saved.data)
    assert str(caught.value) == "the provided port range does not match the current port range"
    same = allocator("10000-10200")
    same.restore(parse_port_range(saved.range), saved.data)
    assert all(same.has(port) for port in drawn)
    assert same.free == ports.free


def test_starts_from_a_snapshot() -> None:
    ports = allocator("200-300")
    drawn = [ports.allocate_next() for _ in range(50)]
    again = PortAllocator.from_snapshot(ports.snapshot(), random.Random(2))
    assert (again.free, again.used) == (51, 50)
    assert all(again.has(port) for port in drawn)


def test_outside_of_the_range_nothing_is_held_and_release_is_told() -> None:
    ports = allocator("10000-10200")
    assert not ports.has(9999)
    assert not ports.has(10201)
    assert not ports.release(10201)
    assert ports.release(10000)
    assert ports.free == 201


def test_counts_by_scope_and_sets_gauges_on_success_only() -> None:
    counts = AllocatorCounts()
    ports = allocator("30000-32767", counts)
    taken = [ports.allocate_next() for _ in range(2)]
    for port in taken:
        with pytest.raises(AllocatorError):
            ports.allocate(port)
    assert counts == AllocatorCounts(
        allocated=2, available=2766, dynamic_allocations=2, static_errors=2
    )
    for port in taken:
        ports.release(port)
    assert (counts.allocated, counts.available) == (0, 2768)
    for _ in range(3000):
        with contextlib.suppress(RangeFull):
            ports.allocate_next()
    assert counts == AllocatorCounts(
        allocated=2768,
        available=0,
        dynamic_allocations=2770,
        dynamic_errors=232,
        static_errors=2,
    )


def test_an_allocator_without_counters_moves_nobody_elses() -> None:
    counts = AllocatorCounts()
    allocator("30000-32767", counts).allocate(30001)
    silent = allocator("30000-32767")
    silent.allocate_next()
    silent.allocate(30000)
    with pytest.raises(PortAllocated):
        silent.allocate(30000)
    assert silent.counts is None
    assert counts == AllocatorCounts(allocated=1, available=2767, static_allocations=1)


def test_a_range_that_starts_at_zero_hands_out_zero() -> None:
    ports = allocator("0-3")
    assert sorted(ports.allocate_next() for _ in range(4)) == [0, 1, 2, 3]


def test_an_empty_range_is_full() -> None:
    with pytest.raises(RangeFull):
        allocator("").allocate_next()
