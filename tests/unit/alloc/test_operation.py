"""A transaction takes at once, gives back late, and undoes itself unless it is committed."""

import random

import pytest

from nplb.alloc.allocator import PortAllocator
from nplb.alloc.errors import PortAllocated, PortNotInRange
from nplb.alloc.operation import Operation
from nplb.alloc.portrange import parse_port_range


def allocator(*taken: int) -> PortAllocator:
    ports = PortAllocator(parse_port_range("10000-10200"), random.Random(1))
    for port in taken:
        ports.allocate(port)
    return ports


def test_rollback_gives_back_and_forgets_releases() -> None:
    ports = allocator(10010)
    operation = Operation(ports)
    operation.allocate(10000)
    drawn = operation.allocate_next()
    operation.release_deferred(10010)
    assert ports.has(10000)
    assert ports.has(10010), "a release waits for the commit"
    operation.rollback()
    assert not ports.has(10000)
    assert not ports.has(drawn)
    assert ports.has(10010)


def test_commit_keeps_and_releases_and_is_final() -> None:
    ports = allocator(10010)
    operation = Operation(ports)
    operation.allocate(10000)
    operation.release_deferred(10010)
    operation.commit()
    operation.rollback()
    assert list(ports.ports()) == [10000]
    ports.release(10000)
    ports.allocate(10010)
    operation.commit()
    assert ports.has(10010), "a second commit releases nothing of the next owner's"


def test_rolling_back_twice_does_not_release_the_next_owners_number() -> None:
    ports = allocator()
    operation = Operation(ports)
    operation.allocate(10000)
    operation.rollback()
    ports.allocate(10000)
    operation.rollback()
    assert ports.has(10000)


def test_an_operation_that_is_over_takes_nothing_more() -> None:
    operation = Operation(allocator())
    operation.commit()
    with pytest.raises(RuntimeError, match="over"):
        operation.allocate(10000)


def test_a_refused_number_is_not_rolled_back() -> None:
    ports = allocator(10000)
    operation = Operation(ports)
    with pytest.raises(PortAllocated):
        operation.allocate(10000)
    with pytest.raises(PortNotInRange):
        operation.allocate(9999)
    operation.rollback()
    assert ports.has(10000)


def test_dry_run_asks_and_changes_nothing() -> None:
    ports = allocator(10000, 10010, 10020)
    operation = Operation(ports, dry_run=True)
    answers: list[str] = []
    for port in (10000, 10030, 10030, 10040):
        try:
            operation.allocate(port)
            answers.append("ok")
        except PortAllocated:
            answers.append("allocated")
    assert answers == ["allocated", "ok", "allocated", "ok"]
    assert ports.free == 198
    operation.commit()
    assert ports.free == 198


def test_dry_run_draws_a_placeholder_that_it_then_holds() -> None:
    ports = allocator(10000, 10010, 10020)
    operation = Operation(ports, dry_run=True)
    drawn = operation.allocate_next()
    assert drawn == 32769
    with pytest.raises(PortAllocated):
        operation.allocate(drawn)
    assert operation.allocate_next() == 32770
    assert ports.free == 198


def test_dry_run_does_not_know_the_range() -> None:
    ports = allocator()
    operation = Operation(ports, dry_run=True)
    operation.allocate(12345)
    assert operation.allocate_next() == 12346
    operation.release_deferred(10000)
    operation.commit()
    assert ports.free == 201
