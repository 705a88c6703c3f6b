"""The fast path's pure parts: what its maps hold as bytes, whose time is over, and which source
ports are its own."""

import random
from pathlib import Path

import pytest

from nplb.dataplane.kernel.fastpath import layout
from nplb.dataplane.kernel.fastpath.census import FOREVER, Patience, patience, take
from nplb.dataplane.kernel.fastpath.fastpath import MIN_PORTS, split_ports
from nplb.dataplane.kernel.fastpath.layout import (
    ANSWERED,
    FIN,
    FROM_NODE,
    OPEN,
    PEER_FIN,
    RESET,
)
from nplb.model.errors import HostError

SECOND = 1_000_000_000
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
    client: str, node: str, flags: int, age: float, *, back: bool = False, port: int = 40000
) -> tuple[bytes, bytes]:
    """One way of a connection, whose last packet was so many seconds ago."""
    there = layout.address(client) + layout.address("10.0.0.1") + port.to_bytes(2, "big")
    there += (443).to_bytes(2, "big")
    answers = layout.address(node) + layout.address("10.0.0.1") + (30080).to_bytes(2, "big")
    answers += port.to_bytes(2, "big")

    def turned(way: bytes) -> bytes:
        return way[16:32] + way[:16] + way[34:36] + way[32:34]

    key, to = (answers, turned(there)) if back else (there, turned(answers))
    size = layout.MAPS["flows"].value_bytes
    value = to + flags.to_bytes(4, "little") + int(NOW - age * SECOND).to_bytes(8, "little")
    return key, value + bytes(size - len(value))


@pytest.mark.parametrize(
    ("there", "back", "age", "over"),
    [
        (0, FROM_NODE, 100, False),
        (0, FROM_NODE, 121, True),
        (ANSWERED, FROM_NODE | ANSWERED, 121, True),  # the client never answered
        (ANSWERED | OPEN, FROM_NODE | ANSWERED, 400_000, False),
        (ANSWERED | OPEN, FROM_NODE | ANSWERED, 432_001, True),
        (ANSWERED | OPEN | FIN, FROM_NODE | ANSWERED | PEER_FIN, 121, True),
        (ANSWERED | OPEN | FIN, FROM_NODE | ANSWERED | PEER_FIN, 100, False),
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
    found = take(both.items(), both.get, NOW, Patience(), lambda node: False)
    if over:
        assert set(found.over) == set(both)
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
    assert not take(both.items(), both.get, NOW, Patience(), lambda node: False).over


def test_an_entry_that_is_alone_goes_in_its_time() -> None:
    for flags, back in ((0, False), (FROM_NODE, True)):
        alone = dict((entry("10.1.1.1", "10.2.2.2", flags, 432_001, back=back),))
        found = take(alone.items(), alone.get, NOW, Patience(), lambda node: False)
        assert set(alone) <= set(found.over)


def test_connections_to_a_node_that_is_down_end_and_no_others() -> None:
    down = layout.endpoint("10.2.2.2", 30080)
    every = dict(
        entry(f"10.1.1.{n}", node, ANSWERED | OPEN, 1, port=40000 + n)
        for n, node in enumerate(("10.2.2.2", "10.2.2.3", "10.2.2.2"))
    )
    found = take(every.items(), every.get, NOW, FOREVER, lambda node: node == down)
    assert len(found.over) == 4
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
