"""The fast path's pure parts: what its maps hold as bytes, whose time is over, and which source
ports are its own."""

import random
import struct
from pathlib import Path

import pytest

from nplb.dataplane.kernel.fastpath import layout
from nplb.dataplane.kernel.fastpath.census import FOREVER, Census, Patience, patience
from nplb.dataplane.kernel.fastpath.fastpath import MIN_PORTS, split_ports
from nplb.dataplane.kernel.fastpath.layout import (
    ANSWERED,
    FIN,
    FROM_NODE,
    OPEN,
    RESET,
)
from nplb.model.errors import HostError

SECOND = 1000
NOW = 10**6 * SECOND


@pytest.mark.parametrize("ip", ["192.0.2.1", "0.0.0.0", "::", "2001:db8::1", "fd00::ffff:1.2.3.4"])
def test_addresses_and_ends_are_what_they_were(ip: str) -> None:
    found, port = layout.endpoint_of(layout.endpoint(ip, 65535))
    assert layout.address(found) == layout.address(ip)
    assert len(layout.address(ip)) == 16
    assert port == 65535


def test_a_turn_is_the_packets_own() -> None:
    written = layout.frontend(layout=7, seats=3, node_port=30080, draw=layout.IN_TURN)
    moved = written[:12] + (99).to_bytes(4, "little") + written[16:]
    assert layout.with_turn(moved) == written
    other = layout.frontend(layout=8, seats=2, node_port=30080, draw=layout.IN_TURN)
    assert layout.with_turn(layout.with_turn(other, moved)) == other
    assert layout.with_turn(other, moved)[12:16] == moved[12:16]
    assert layout.layout_of(moved) == 7
    assert layout.layout_of(layout.seat_key(7, 1)) == 7


def entry(
    client: str,
    node: str,
    flags: int,
    age: float,
    *,
    back: bool = False,
    port: int = 40000,
    moved: int = 0,
) -> tuple[bytes, bytes]:
    """One way of a connection, whose last packet was so many seconds ago. `moved` are its bytes."""
    six = ":" in client

    def end(ip: str) -> bytes:
        return layout.address(ip)[0 if six else 12 :]

    edge = "fd00::1" if six else "10.0.0.1"
    there = end(client) + end(edge) + port.to_bytes(2, "big") + (443).to_bytes(2, "big")
    answers = end(node) + end(edge) + (30080).to_bytes(2, "big") + port.to_bytes(2, "big")

    def turned(way: bytes) -> bytes:
        half = len(there) // 2 - 2
        return way[half:-4] + way[:half] + way[-2:] + way[-4:-2]

    key, to = (answers, turned(there)) if back else (there, turned(answers))
    flow = struct.pack("=QHHI", moved, flags, 0, int(NOW - age * SECOND) % 2**32)
    size = layout.MAPS[layout.FLOWS[6 if six else 4]].value_bytes
    return key, flow + bytes(size - len(flow) - len(to)) + to


def take(entries: dict[bytes, bytes], patience: Patience, down: bytes = b"") -> Census:
    found = Census()
    assert found.take(entries.items(), entries.get, NOW, patience, down.__eq__) == len(entries)
    return found


@pytest.mark.parametrize(
    ("there", "back", "age", "over"),
    [
        (0, FROM_NODE, 100, False),
        (0, FROM_NODE, 121, True),
        (ANSWERED, FROM_NODE | ANSWERED, 121, True),  # the client never answered
        (ANSWERED | OPEN, FROM_NODE | ANSWERED, 400_000, False),
        (ANSWERED | OPEN, FROM_NODE | ANSWERED, 432_001, True),
        (ANSWERED | OPEN | FIN, FROM_NODE | ANSWERED, 121, True),
        (ANSWERED | OPEN | FIN, FROM_NODE | ANSWERED, 100, False),
        (ANSWERED | OPEN, FROM_NODE | ANSWERED | FIN, 121, True),
        (ANSWERED | OPEN | RESET, FROM_NODE | ANSWERED, 11, True),
        (ANSWERED | OPEN, FROM_NODE | ANSWERED | RESET, 11, False),
        (ANSWERED | OPEN | RESET, FROM_NODE | ANSWERED, 9, False),
    ],
)
def test_connections_have_their_time_by_how_far_they_are(
    there: int, back: int, age: float, over: bool
) -> None:
    both = dict(
        (
            entry("10.1.1.1", "10.2.2.2", there, age),
            entry("10.1.1.1", "10.2.2.2", back, age, back=True),
        )
    )
    found = take(both, Patience())
    if over:
        assert {key for pair in found.over for key in pair} == set(both)
        return
    assert not found.over or back & RESET
    node = layout.endpoint("10.2.2.2", 30080)
    assert found.live == ({} if there & RESET else {node: 1})


def test_one_side_that_goes_on_keeps_the_other() -> None:
    both = dict(
        (
            entry("10.1.1.1", "10.2.2.2", ANSWERED | OPEN, 500_000),
            entry("10.1.1.1", "10.2.2.2", FROM_NODE | ANSWERED, 1, back=True),
        )
    )
    assert not take(both, Patience()).over


def test_packets_that_come_while_all_are_counted_are_no_long_silence() -> None:
    both = dict(
        (
            entry("fd00:1::1", "fd00:2::2", ANSWERED | OPEN, -0.01),
            entry("fd00:1::1", "fd00:2::2", FROM_NODE | ANSWERED, -1, back=True),
        )
    )
    found = take(both, Patience())
    assert not found.over
    assert found.live == {layout.endpoint("fd00:2::2", 30080): 1}


def test_an_entry_that_is_alone_goes_in_its_time() -> None:
    for flags, back in ((0, False), (FROM_NODE, True)):
        alone = dict((entry("10.1.1.1", "10.2.2.2", flags, 432_001, back=back),))
        found = take(alone, Patience())
        assert set(alone) <= set(found.over[0])


def test_connections_to_a_node_that_is_down_end_and_no_others() -> None:
    down = layout.endpoint("10.2.2.2", 30080)
    every = dict(
        entry(f"10.1.1.{n}", node, ANSWERED | OPEN, 1, port=40000 + n)
        for n, node in enumerate(("10.2.2.2", "10.2.2.3", "10.2.2.2"))
    )
    found = take(every, FOREVER, down)
    assert len(found.over) == 2
    assert found.live == {layout.endpoint("10.2.2.3", 30080): 1}


def test_times_are_connection_trackings(tmp_path: Path) -> None:
    (tmp_path / "nf_conntrack_tcp_timeout_established").write_text("600\n")
    (tmp_path / "nf_conntrack_tcp_timeout_syn_sent").write_text("what?\n")
    found = patience(tmp_path)
    assert (found.established, found.opening) == (600, Patience().opening)
    assert found.hurried().opening < found.opening
    assert found.hurried().established == found.established


def test_source_ports_never_meet() -> None:
    dice = random.Random(1)
    for _ in range(500):
        low = dice.randrange(1, 65535)
        high = dice.randrange(low, 65536)
        try:
            ports = split_ports((low, high))
        except HostError:
            assert max(low - 1024, 65535 - high) < MIN_PORTS
            continue
        mine = range(ports.first, ports.first + ports.count)
        first, last = ports.table
        assert len(mine) >= MIN_PORTS
        assert mine.start >= 1024
        assert mine[-1] <= 65535
        for port in (low, high):  # the edge's own connections have these
            assert port not in mine
        assert last < mine.start or first > mine[-1]
    assert split_ports((32768, 60999)).first == 1024


def test_sums_of_all_entries_and_never_less_than_was_told() -> None:
    node, other = layout.endpoint("10.2.2.2", 30080), layout.endpoint("10.2.2.3", 30080)
    both = dict(
        (
            entry("10.1.1.1", "10.2.2.2", ANSWERED | OPEN, 1, moved=700),
            entry("10.1.1.1", "10.2.2.2", FROM_NODE | ANSWERED, 1, back=True, moved=5000),
            entry("10.1.1.2", "10.2.2.2", RESET, 1, moved=60),
        )
    )
    tally = take(both, Patience()).moved
    assert tally.counts == {node: layout.Counts(2, 760, 5000)}
    tally.add(node, layout.counts(2 * layout.packed_counts(layout.Counts(1, 1, 1))))
    assert tally.counts == {node: layout.Counts(4, 762, 5002)}
    told = {node: layout.Counts(9, 1, 5003), other: layout.Counts(1, 1, 1)}
    tally.raise_to(told)
    assert tally.counts == told | {node: layout.Counts(9, 762, 5003)}


def test_what_the_program_and_nplb_have_counted_has_keys_apart() -> None:
    node = layout.endpoint("2001:db8::1", 30080)
    apart = layout.forgotten(node)
    assert apart != node
    assert layout.counted(apart) == layout.counted(node) == node
