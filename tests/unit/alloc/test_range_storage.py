"""A range that several processes share: nothing before it is initialised, what is stored wins."""

import random

import pytest

from nplb.alloc.allocator import PortAllocator, RangeSnapshot, new_bitmap
from nplb.alloc.errors import AllocatorError, PortAllocated, PortNotInRange
from nplb.alloc.portrange import parse_port_range
from nplb.alloc.storage import RangeConflict, RangeRecord, RangeStore, StoredBits

RANGE = parse_port_range("30000-32767")
EMPTY = RangeRecord(snapshot=RangeSnapshot(range=str(RANGE)))


def shared(store: RangeStore, seed: int = 1) -> PortAllocator:
    dice = random.Random(seed)
    return PortAllocator(RANGE, dice, bits=StoredBits(new_bitmap(RANGE, dice), store))


def initialised() -> RangeStore:
    store = RangeStore()
    store.create_or_update(EMPTY)
    return store


def test_nothing_can_be_allocated_before_the_first_repair() -> None:
    with pytest.raises(AllocatorError) as caught:
        shared(RangeStore()).allocate(30080)
    assert str(caught.value) == (
        "cannot allocate resources of type servicenodeportallocations at this time"
    )


def test_allocates_from_end_to_end_of_the_range() -> None:
    ports = shared(initialised())
    ports.allocate(RANGE.base)
    ports.allocate(RANGE.last)
    for outside in (RANGE.base - 1, RANGE.last + 1, -2):
        with pytest.raises(PortNotInRange, match=r"valid ports is 30000-32767$"):
            ports.allocate(outside)


def test_takes_again_what_was_released() -> None:
    ports = shared(initialised())
    ports.allocate(30053)
    with pytest.raises(PortAllocated):
        ports.allocate(30053)
    ports.release(30053)
    ports.allocate(30053)


def test_dynamic_first_and_static_by_name() -> None:
    ports = shared(initialised())
    drawn = {ports.allocate_next() for _ in range(2768 - 86)}
    assert drawn == set(range(30086, 32768))
    for port in range(30000, 30086):
        ports.allocate(port)
    assert ports.free == 0


def test_a_dynamic_band_that_is_exhausted_falls_back_to_the_static_one() -> None:
    ports = shared(initialised())
    for port in range(30086, 32768):
        ports.allocate(port)
    assert {ports.allocate_next() for _ in range(86)} == set(range(30000, 30086))


def test_two_processes_never_hand_out_one_number_twice() -> None:
    store = initialised()
    one, two = shared(store, 1), shared(store, 1)
    drawn = [(one if i % 2 else two).allocate_next() for i in range(600)]
    assert len(set(drawn)) == 600
    with pytest.raises(PortAllocated):
        two.allocate(drawn[0])


def test_what_is_stored_wins_over_a_release_in_memory() -> None:
    store = initialised()
    local = new_bitmap(RANGE, random.Random(1))
    bits = StoredBits(local, store)
    assert bits.allocate(2)
    local.release(2)
    assert not bits.allocate(2)


def test_what_was_released_in_the_store_can_be_had() -> None:
    store = initialised()
    bits = StoredBits(new_bitmap(RANGE, random.Random(1)), store)
    assert bits.allocate(2)
    store.create_or_update(RangeRecord(version=store.get().version, snapshot=EMPTY.snapshot))
    assert bits.allocate(2)


def test_a_store_of_another_range_is_refused() -> None:
    store = RangeStore()
    store.create_or_update(RangeRecord(snapshot=RangeSnapshot(range="100-200")))
    with pytest.raises(AllocatorError, match="does not match the current range"):
        shared(store).allocate(30080)


def test_writing_over_someone_elses_change_is_a_conflict() -> None:
    store = initialised()
    seen = store.get()
    shared(store).allocate(30080)
    with pytest.raises(RangeConflict) as caught:
        store.create_or_update(seen)
    assert str(caught.value).endswith("the provided resource version does not match")
    with pytest.raises(RangeConflict) as caught:
        store.create_or_update(EMPTY)
    assert str(caught.value).endswith("another caller has already initialized the resource")


def test_a_write_of_the_whole_record_is_taken_over() -> None:
    store = initialised()
    dice = random.Random(1)
    bits = StoredBits(new_bitmap(RANGE, dice), store)
    bits.allocate(5)
    bits.create_or_update(
        RangeRecord(
            version=store.get().version, snapshot=RangeSnapshot(range=str(RANGE), data=b"\x01")
        )
    )
    assert list(bits.offsets()) == [0]
    assert bits.allocate(5)
    store.delete()
    with pytest.raises(AllocatorError, match="at this time"):
        bits.allocate(6)
