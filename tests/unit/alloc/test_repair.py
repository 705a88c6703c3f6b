"""The repair loop keeps what Services have, frees what nobody has, and says what is wrong."""

import random

import pytest

from nplb.alloc.allocator import PortAllocator, RangeSnapshot
from nplb.alloc.bitmap import Bitmap
from nplb.alloc.errors import AllocatorError, RangeFull
from nplb.alloc.portrange import PortRange, parse_port_range
from nplb.alloc.repair import Problem, Repair, RepairError
from nplb.alloc.services import collect_node_ports
from nplb.alloc.storage import RangeConflict, RangeRecord, RangeStore
from nplb.model.cluster import Service, ServicePort, ServiceType, TrafficPolicy
from nplb.model.keys import Protocol, ServiceKey

RANGE = parse_port_range("100-200")


def service(name: str, *node_ports: int, health_check: int = 0) -> Service:
    return Service(
        key=ServiceKey("c", name, name),
        type=ServiceType.LOAD_BALANCER,
        external_traffic_policy=TrafficPolicy.LOCAL,
        ports=tuple(
            ServicePort(name=f"p{i}", port=80 + i, node_port=number)
            for i, number in enumerate(node_ports)
        ),
        health_check_node_port=health_check,
    )


def stored(*ports: int, port_range: PortRange = RANGE) -> RangeSnapshot:
    allocator = PortAllocator(port_range, random.Random(1))
    for port in ports:
        allocator.allocate(port)
    return allocator.snapshot()


def taken(snapshot: RangeSnapshot) -> set[int]:
    return set(PortAllocator.from_snapshot(snapshot, random.Random(1)).ports())


def test_writes_the_range_back() -> None:
    store = RangeStore()
    report = Repair(RANGE).run_once(store, [service("one", 111)])
    assert store.get() == RangeRecord(version=1, snapshot=report.snapshot)
    assert store.get().snapshot.range == "100-200"


class Broken(RangeStore):
    """A store that can't be written."""

    def create_or_update(self, record: RangeRecord) -> None:
        raise AllocatorError("test error")


def test_a_range_that_cant_be_written_is_told_and_counted() -> None:
    repair = Repair(RANGE)
    with pytest.raises(RepairError, match=r": test error$") as caught:
        repair.run_once(Broken(), [])
    assert str(caught.value) == ("unable to persist the updated port allocations: test error")
    assert repair.reconcile_errors == 1


def test_a_conflict_is_left_to_the_caller_to_repeat() -> None:
    class Raced(RangeStore):
        raced = False

        def get(self) -> RangeRecord:
            record = super().get()
            if not self.raced:
                self.raced = True
                super().create_or_update(RangeRecord(snapshot=stored(150)))
            return record

    store = Raced()
    repair = Repair(RANGE)
    with pytest.raises(RangeConflict, match="another caller has already initialized"):
        repair.run_once(store, [])
    assert repair.run_once(store, []).suspects == (150,)
    assert repair.reconcile_errors == 1


def test_a_leak_is_kept_for_two_rounds_and_freed_in_the_third() -> None:
    repair = Repair(RANGE)
    snapshot = stored(111)
    for round_ in range(2):
        report = repair.check(snapshot, [])
        assert taken(report.snapshot) == {111}, f"round {round_}"
        assert report.suspects == (111,)
        assert report.errors == {}
        snapshot = report.snapshot
    report = repair.check(snapshot, [])
    assert taken(report.snapshot) == set()
    assert report.freed == (111,)
    assert report.errors == {Problem.LEAK: 1}
    assert report.log == ("the node port 111 appears to have leaked: cleaning up",)


def test_use_resets_the_count_of_a_leak() -> None:
    repair = Repair(RANGE)
    repair.check(stored(111), [])
    repair.check(stored(111), [])
    repair.check(stored(111), [service("one", 111)])
    report = repair.check(stored(111), [])
    assert report.suspects == (111,)
    assert report.log == ("the node port 111 may have leaked: flagging for later clean up",)


def test_a_number_that_leaks_again_unused_is_freed_at_once() -> None:
    repair = Repair(RANGE)
    for _ in range(3):
        repair.check(stored(111), [])
    repair.check(stored(), [])
    assert repair.check(stored(111), []).freed == (111,)


def test_rebuilds_what_services_have_and_tells_what_is_wrong() -> None:
    services = [
        service("one", 111),
        service("two", 122, 133),
        service("three", 201),
        service("four", 0),
        service("five", 111),
        service("six", 0, health_check=144),
    ]
    report = Repair(RANGE).check(stored(), services)
    assert taken(report.snapshot) == {111, 122, 133, 144}
    assert PortAllocator.from_snapshot(report.snapshot, random.Random(1)).free == 97
    assert report.errors == {
        Problem.REPAIR: 4,
        Problem.OUT_OF_RANGE: 1,
        Problem.DUPLICATE: 1,
    }
    assert [(e.service.name, e.reason, e.message) for e in report.events] == [
        ("one", "PortNotAllocated", "Port 111 is not allocated; repairing"),
        ("two", "PortNotAllocated", "Port 122 is not allocated; repairing"),
        ("two", "PortNotAllocated", "Port 133 is not allocated; repairing"),
        (
            "three",
            "PortOutOfRange",
            "Port 201 is not within the port range 100-200; please recreate service",
        ),
        (
            "five",
            "PortAlreadyAllocated",
            "Port 111 was assigned to multiple services; please recreate service",
        ),
        ("six", "PortNotAllocated", "Port 144 is not allocated; repairing"),
    ]


def test_logs_name_before_namespace() -> None:
    one = Service(key=ServiceKey("c", "shop", "web"), ports=(ServicePort(port=80, node_port=111),))
    assert Repair(RANGE).check(stored(), [one]).log == (
        "the node port 111 for service web/shop is not allocated; repairing",
    )


def test_what_is_stored_and_used_is_nothing_to_tell() -> None:
    report = Repair(RANGE).check(stored(111, 122), [service("one", 111, 122)])
    assert not report.events
    assert not report.log
    assert taken(report.snapshot) == {111, 122}


def test_a_range_that_moved_keeps_what_lies_in_both() -> None:
    before = stored(150, 199, port_range=parse_port_range("100-200"))
    repair = Repair(parse_port_range("120-160"))
    report = repair.check(before, [service("one", 150), service("two", 199)])
    assert report.snapshot.range == "120-160"
    assert taken(report.snapshot) == {150}
    assert report.errors == {Problem.OUT_OF_RANGE: 1}
    # the number outside is still set in what was stored, so it looks leaked, and can't be kept
    assert report.log[-1] == (
        "the node port 199 may have leaked, but can not be allocated: provided port is not in "
        "the valid range. The range of valid ports is 120-160"
    )


def test_a_stored_range_that_cant_be_read_is_told() -> None:
    repair = Repair(RANGE)
    with pytest.raises(RepairError, match=r"^unable to rebuild allocator from snapshot: "):
        repair.check(RangeSnapshot(range="200-100"), [])


WIDEN = "you must widen the port range in order to create new services"
UNKNOWN = "due to an unknown error, exiting"


class Failing(Bitmap):
    """Bits that can't be set."""

    def __init__(self, error: AllocatorError) -> None:
        super().__init__(size=101, range_spec="100-200", offset=0, dice=random.Random(1))
        self.error = error

    def allocate(self, offset: int) -> bool:
        raise self.error


@pytest.mark.parametrize(
    ("error", "reason", "message", "text"),
    [
        (
            RangeFull(),
            "PortRangeFull",
            f"Port range 100-200 is full; {WIDEN}",
            f"the port range 100-200 is full; {WIDEN}",
        ),
        (
            AllocatorError("etcd is away"),
            "UnknownError",
            "Unable to allocate port 111 due to an unknown error",
            f"unable to allocate port 111 for service one/one {UNKNOWN}: etcd is away",
        ),
    ],
)
def test_a_run_that_cant_go_on_tells_why_and_stops(
    error: AllocatorError, reason: str, message: str, text: str
) -> None:
    repair = Repair(
        RANGE,
        new_allocator=lambda span: PortAllocator(span, random.Random(1), bits=Failing(error)),
    )
    with pytest.raises(RepairError) as caught:
        repair.check(stored(), [service("one", 111)])
    assert str(caught.value) == text
    assert [(e.reason, e.message) for e in caught.value.events] == [(reason, message)]


TCP, UDP = Protocol.TCP, Protocol.UDP


@pytest.mark.parametrize(
    ("ports", "health_check", "collected"),
    [
        ([(111, TCP), (112, TCP)], 0, [111, 112]),
        ([(111, TCP), (111, TCP)], 0, [111, 111]),
        ([(111, UDP), (111, UDP)], 0, [111, 111]),
        ([(111, UDP), (111, TCP), (112, TCP), (112, UDP)], 0, [111, 112]),
        ([(111, TCP), (112, TCP)], 113, [111, 112, 113]),
        ([(111, UDP)], 111, [111]),
        ([(111, TCP)], 111, [111, 111]),
        ([(0, TCP)], 0, []),
    ],
)
def test_collects_a_services_numbers(
    ports: list[tuple[int, Protocol]], health_check: int, collected: list[int]
) -> None:
    of = Service(
        key=ServiceKey("c", "default", "foo"),
        ports=tuple(
            ServicePort(name=f"p{i}", port=80 + i, node_port=number, protocol=protocol)
            for i, (number, protocol) in enumerate(ports)
        ),
        health_check_node_port=health_check,
    )
    assert collect_node_ports(of) == collected
