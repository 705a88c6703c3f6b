"""Services in files get numbers, keep them over restarts, and no damage to the book stops it."""

import contextlib
import json
import logging
import os
import random
import stat
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from nplb.alloc.portrange import PortRange, parse_port_range
from nplb.model.cluster import Service, ServicePort, ServiceType, TrafficPolicy
from nplb.model.errors import HostError, HostPermissionError
from nplb.model.keys import Protocol, ServiceKey
from nplb.sources.portbook import Assignment, PortBook

RANGE = parse_port_range("30000-32767")


def service(name: str, *node_ports: int, local: int | None = None) -> Service:
    return Service(
        key=ServiceKey("files", "shop", name),
        type=ServiceType.NODE_PORT if local is None else ServiceType.LOAD_BALANCER,
        external_traffic_policy=TrafficPolicy.CLUSTER if local is None else TrafficPolicy.LOCAL,
        ports=tuple(
            ServicePort(name=f"p{i}", port=80 + i, node_port=number)
            for i, number in enumerate(node_ports)
        ),
        health_check_node_port=local or 0,
    )


def book(path: Path | None, seed: int = 1, port_range: PortRange = RANGE) -> PortBook:
    return PortBook(path, port_range, random.Random(seed))


def numbers(assigned: Assignment) -> dict[str, list[int]]:
    return {s.key.name: [p.node_port for p in s.ports] for s in assigned.services}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "ports.json"


def test_gives_numbers_and_the_same_ones_after_a_restart(path: Path) -> None:
    services = [service("a", 0, 0), service("b", 30080), service("lb", 0, local=0)]
    first = book(path).assign(services)
    assert not first.refused
    assert numbers(first)["b"] == [30080]
    assert all(30086 <= n <= 32767 for n in numbers(first)["a"])
    again = book(path, seed=99).assign(list(reversed(services)))
    assert numbers(again) == numbers(first)
    by_name = {s.key.name: s for s in again.services}
    assert by_name["lb"].health_check_node_port == first.services[2].health_check_node_port > 0
    assert [s.key.name for s in again.services] == ["lb", "b", "a"], "in the order given"


def test_keeps_numbers_while_files_change(path: Path) -> None:
    one = book(path)
    first = numbers(one.assign([service("a", 0)]))
    grown = numbers(one.assign([service("a", 0, 0), service("b", 0)]))
    assert grown["a"][0] == first["a"][0]
    assert numbers(one.assign([service("a", 0)]))["a"] == first["a"]


def test_forgets_services_that_are_gone(path: Path) -> None:
    one = book(path)
    (number,) = numbers(one.assign([service("a", 0)]))["a"]
    one.assign([])
    assert numbers(one.assign([service("b", number)])) == {"b": [number]}
    assert json.loads(path.read_text())["content"][0]["name"] == "b"


def test_a_service_that_needs_no_number_any_more_gives_it_back() -> None:
    one = book(None)
    (number,) = numbers(one.assign([service("a", 0)]))["a"]
    internal = replace(service("a", 0), type=ServiceType.CLUSTER_IP)
    assigned = one.assign([internal, service("b", number)])
    assert numbers(assigned) == {"a": [0], "b": [number]}


def test_who_has_a_number_keeps_it_when_another_asks_for_it() -> None:
    one = book(None)
    (number,) = numbers(one.assign([service("z", 0)]))["z"]
    assigned = one.assign([service("a", number), service("z", 0)])
    assert numbers(assigned) == {"a": [0], "z": [number]}
    (refusal,) = assigned.refused
    assert refusal.service.name == "a"
    assert refusal.text == (
        f'Service "a" is invalid: spec.ports[0].nodePort: Invalid value: {number}: '
        "provided port is already allocated"
    )


def test_two_that_ask_for_one_number_are_told_apart_by_their_order() -> None:
    assigned = book(None).assign([service("b", 30080), service("a", 30080)])
    assert numbers(assigned) == {"b": [30080], "a": [0]}
    assert [r.service.name for r in assigned.refused] == ["a"]


def test_draws_leave_alone_what_somebody_asks_for() -> None:
    tight = parse_port_range("30000-30009")
    for seed in range(20):
        assigned = book(None, seed, tight).assign(
            [service("a", 0, 0), service("b", 30003), service("c", 30007, 0)]
        )
        assert not assigned.refused
        assert numbers(assigned)["b"] == [30003]
        assert numbers(assigned)["c"][0] == 30007


def test_a_wish_gives_way_to_a_draw_that_has_nothing_else() -> None:
    tiny = parse_port_range("30000-30001")
    assigned = book(None, 1, tiny).assign([service("a", 30000, 0, 0), service("b", 30001)])
    assert [r.service.name for r in assigned.refused] == ["a"]
    assert numbers(assigned)["b"] == [30001]


def test_two_may_swap_their_numbers() -> None:
    one = book(None)
    one.assign([service("a", 30001), service("b", 30002)])
    assigned = one.assign([service("a", 30002), service("b", 30001)])
    assert not assigned.refused
    assert numbers(assigned) == {"a": [30002], "b": [30001]}


def test_a_refused_change_keeps_what_still_holds() -> None:
    one = book(None)
    before = numbers(one.assign([service("a", 0), service("b", 30002)]))
    assigned = one.assign([service("a", 0, 30002), service("b", 30002)])
    assert [r.service.name for r in assigned.refused] == ["a"]
    assert numbers(assigned) == {"a": [before["a"][0], 0], "b": [30002]}


def test_a_health_check_number_may_be_changed_in_a_file() -> None:
    one = book(None)
    one.assign([service("lb", 0, local=30020)])
    (changed,) = one.assign([service("lb", 0, local=30021)]).services
    assert changed.health_check_node_port == 30021
    (drawn,) = one.assign([service("lb", 0, local=0)]).services
    assert drawn.health_check_node_port == 30021


def test_a_range_that_moved_gives_new_numbers_from_it(path: Path) -> None:
    book(path).assign([service("a", 0)])
    moved = book(path, port_range=parse_port_range("20000-20099"))
    assigned = moved.assign([service("a", 0), service("b", 30080)])
    assert 20000 <= numbers(assigned)["a"][0] <= 20099
    assert "valid ports is 20000-20099" in assigned.refused[0].text


def test_protocols_share_one_number_as_in_the_api() -> None:
    dns = replace(
        service("dns", 0, 0),
        ports=tuple(
            ServicePort(name=p.value.lower(), port=53, protocol=p)
            for p in (Protocol.TCP, Protocol.UDP)
        ),
    )
    one = book(None)
    first = numbers(one.assign([dns]))["dns"]
    assert first[0] == first[1] > 0
    assert numbers(one.assign([dns]))["dns"] == first


def test_without_a_path_nothing_is_written(tmp_path: Path) -> None:
    book(None).assign([service("a", 0)])
    assert list(tmp_path.iterdir()) == []


def test_writes_only_when_something_changed(path: Path) -> None:
    one = book(path)
    one.assign([service("a", 0)])
    inode = path.stat().st_ino
    one.assign([service("a", 0)])
    book(path).assign([service("a", 0)])
    assert path.stat().st_ino == inode


# -- damage --------------------------------------------------------------------


def a_written_book(path: Path) -> bytes:
    book(path).assign([service("a", 0), service("lb", 30080, local=0)])
    return path.read_bytes()


def assign_over(path: Path, content: bytes) -> None:
    """A book that finds this content sets it aside, and works."""
    path.write_bytes(content)
    one = book(path)
    assert path.with_name(path.name + ".damaged").read_bytes() == content
    assigned = one.assign([service("a", 0), service("lb", 30080, local=0)])
    assert not assigned.refused
    assert numbers(book(path).assign(assigned.services)) == numbers(assigned)


def test_a_file_cut_at_any_byte_is_set_aside_and_rebuilt(path: Path) -> None:
    whole = a_written_book(path)
    # The last byte is the newline: without it the book is whole all the same.
    for length in range(len(whole) - 1):
        if length % 50 == 0:
            assign_over(path, whole[:length])
        else:
            path.write_bytes(whole[:length])
            assert book(path).booked == ()
            assert not path.exists()


@pytest.mark.parametrize(
    "damage",
    [
        lambda whole: whole.replace(b"30080", b"30081"),
        lambda whole: whole + b"{}",
        lambda whole: b"\x00" * len(whole),
        lambda whole: b"[]",
        lambda whole: b"\xff\xfe",
        lambda whole: b"[" * 100_000,
        lambda whole: whole.replace(b'"version": 1', b'"version": "1"'),
        lambda whole: whole.replace(b'"name": "lb"', b'"nome": "lb"'),
    ],
)
def test_any_other_damage_too(path: Path, damage: Callable[[bytes], bytes]) -> None:
    assign_over(path, damage(a_written_book(path)))


def test_every_single_bit_flip_is_noticed(path: Path) -> None:
    whole = a_written_book(path)
    dice = random.Random(3)
    for _ in range(60):
        at, bit = dice.randrange(len(whole) - 1), 1 << dice.randrange(8)
        flipped = whole[:at] + bytes([whole[at] ^ bit]) + whole[at + 1 :]
        if json_or_none(flipped) == json_or_none(whole):
            continue  # in the layout, not in the content
        path.write_bytes(flipped)
        with contextlib.suppress(HostError):  # the version may have become a newer one
            assert book(path).booked == ()
        path.unlink(missing_ok=True)


def json_or_none(data: bytes) -> object:
    try:
        return json.loads(data)
    except ValueError:
        return None


def test_the_log_names_the_damaged_file(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path.parent.mkdir()
    path.write_bytes(b"")
    with caplog.at_level(logging.ERROR):
        book(path)
    assert str(path) in caplog.text
    assert "ports.json.damaged" in caplog.text


def test_a_book_of_a_newer_version_is_refused_and_left_alone(path: Path) -> None:
    content = a_written_book(path).replace(b'"version": 1', b'"version": 2')
    path.write_bytes(content)
    with pytest.raises(HostError, match="newer nplb"):
        book(path)
    assert path.read_bytes() == content


# -- the disk ------------------------------------------------------------------


def test_a_book_that_cant_be_written_still_assigns_and_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    in_the_way = tmp_path / "state"
    one = book(in_the_way / "ports.json")
    in_the_way.write_text("a file where the directory should be")
    first = numbers(one.assign([service("a", 0)]))
    assert "can't be written" in one.problem
    assert numbers(one.assign([service("a", 0)])) == first
    assert len(caplog.records) == 1, "told once, not at every pass"
    in_the_way.unlink()
    assert numbers(one.assign([service("a", 0)])) == first
    assert one.problem == ""
    assert numbers(book(in_the_way / "ports.json", seed=5).assign([service("a", 0)])) == first


def test_a_directory_in_its_place_is_told(path: Path) -> None:
    path.mkdir(parents=True)
    with pytest.raises(HostError, match="can't be read"):
        book(path)


def test_an_unreadable_book_is_refused_not_overwritten(path: Path) -> None:
    content = a_written_book(path)
    path.chmod(0)
    if os.access(path, os.R_OK):  # root reads everything
        path.chmod(stat.S_IRUSR | stat.S_IWUSR)
        assert numbers(book(path).assign([service("a", 0)]))
        return
    with pytest.raises(HostPermissionError, match="may not be read"):
        book(path)
    path.chmod(stat.S_IRUSR | stat.S_IWUSR)
    assert path.read_bytes() == content


def test_leftovers_of_killed_writers_are_removed_when_old(path: Path) -> None:
    path.parent.mkdir()
    old = path.parent / ".ports.json.abc.tmp"
    young = path.parent / ".ports.json.def.tmp"
    for leftover in (old, young):
        leftover.write_bytes(b"half")
    os.utime(old, (1, 1))
    book(path)
    assert not old.exists()
    assert young.exists()


def test_the_invariant_holds_over_many_random_changes(path: Path) -> None:
    """No number twice, everyone served while there is room, kept while it is wanted."""
    dice = random.Random(11)
    tight = parse_port_range("30000-30039")
    held: dict[tuple[str, str], int] = {}
    for round_ in range(120):
        wanted: Sequence[Service] = [
            service(
                f"s{i}",
                *(dice.choice([0, 0, 0, dice.randrange(30000, 30040)]) for _ in range(2)),
                local=dice.choice([None, None, 0]),
            )
            for i in sorted(dice.sample(range(14), 8))
        ]
        assigned = book(path, seed=round_, port_range=tight).assign(wanted)
        refused = {r.service.name for r in assigned.refused}
        now: dict[tuple[str, str], int] = {}
        for asked, given in zip(wanted, assigned.services, strict=True):
            for before, after in zip(asked.ports, given.ports, strict=True):
                if given.key.name not in refused:
                    assert after.node_port
                    assert before.node_port in (0, after.node_port)
                if after.node_port:
                    now[given.key.name, after.name] = after.node_port
                was = held.get((given.key.name, after.name))
                if was and before.node_port == 0 and was not in {p.node_port for p in asked.ports}:
                    assert after.node_port == was
        taken = [*now.values()]
        taken += [s.health_check_node_port for s in assigned.services if s.health_check_node_port]
        assert len(taken) == len(set(taken))
        held = now
