"""What the program's maps hold: the structs of fastpath.bpf.c, as bytes and as values.

Whoever changes a struct there raises SHAPE: maps of another shape are not taken over.
"""

import socket
import struct
from collections.abc import Callable
from typing import NamedTuple

from nplb.dataplane.kernel.fastpath.bpf import (
    ARRAY,
    HASH,
    NO_PREALLOC,
    PERCPU_ARRAY,
    PERCPU_HASH,
    MapSpec,
)
from nplb.dataplane.kernel.serving import canonical
from nplb.model.reasons import FastPathEvent

SHAPE = 2

ANSWERED, OPEN, FIN, RESET, FROM_NODE = 1, 2, 4, 8, 16
IN_TURN, AT_RANDOM, BY_CLIENT = 0, 1, 2
EVENTS = tuple(FastPathEvent)  # in the program's order

_MAPPED = bytes(10) + b"\xff\xff"
_TUPLE4 = struct.Struct("=4s4s2s2s")
_TUPLE6 = struct.Struct("=16s16s2s2s")
_FLOW = struct.Struct("=QHHIIIIIII12s")
_ENDPOINT = struct.Struct("=16s2sH")
_FRONTEND = struct.Struct("=QII2sHI")
_SEAT_KEY = struct.Struct("=QII")
_SEAT = struct.Struct("=16s16s")
_COUNTS = struct.Struct("=3Q")
_SETTINGS = struct.Struct("=III")
NUMBER = struct.Struct("=I")
COUNT = struct.Struct("=Q")

MAPS = {
    spec.name: spec
    for spec in (
        MapSpec(
            name="flows4",
            kind=HASH,
            key_bytes=_TUPLE4.size,
            value_bytes=_FLOW.size + _TUPLE4.size,
            entries=1 << 18,
        ),
        MapSpec(
            name="flows6",
            kind=HASH,
            key_bytes=_TUPLE6.size,
            value_bytes=_FLOW.size + _TUPLE6.size,
            entries=1 << 18,
            flags=NO_PREALLOC,
        ),
        MapSpec(
            name="frontends",
            kind=HASH,
            key_bytes=_ENDPOINT.size,
            value_bytes=_FRONTEND.size,
            entries=1 << 16,
            flags=NO_PREALLOC,
        ),
        MapSpec(
            name="seats",
            kind=HASH,
            key_bytes=_SEAT_KEY.size,
            value_bytes=_SEAT.size,
            entries=1 << 22,
            flags=NO_PREALLOC,
        ),
        MapSpec(
            name="counters",
            kind=PERCPU_HASH,
            key_bytes=_ENDPOINT.size,
            value_bytes=_COUNTS.size,
            entries=1 << 20,
            flags=NO_PREALLOC,
        ),
        MapSpec(
            name="interfaces",
            kind=HASH,
            key_bytes=NUMBER.size,
            value_bytes=NUMBER.size,
            entries=1 << 16,
            flags=NO_PREALLOC,
        ),
        MapSpec(
            name="settings",
            kind=ARRAY,
            key_bytes=NUMBER.size,
            value_bytes=_SETTINGS.size,
            entries=1,
        ),
        MapSpec(
            name="draft",
            kind=PERCPU_ARRAY,
            key_bytes=NUMBER.size,
            value_bytes=_FLOW.size + _TUPLE6.size,
            entries=1,
        ),
        MapSpec(
            name="events",
            kind=PERCPU_ARRAY,
            key_bytes=NUMBER.size,
            value_bytes=COUNT.size,
            entries=len(EVENTS),
        ),
    )
}

FLOWS = {4: "flows4", 6: "flows6"}  # by family
ROOM = MAPS["flows4"].entries // 2  # for connections of a family: each has an entry for either way


class Front(NamedTuple):
    """A frontend as the program has it: clients of `ip` and `port` (an unspecified address: all
    of the edge's own) are given one of `seats` seats at a node's `node_port`."""

    ip: str
    port: int
    node_port: int
    seats: int


class Counts(NamedTuple):
    """What was counted of a node's port: connections, and bytes from clients and from the node."""

    opened: int
    sent: int
    answered: int


class Flow(NamedTuple):
    """One way of a connection. `back` is the key of the other way's entry; `node` the node's end,
    as in `endpoint`; `seen_ms` is of CLOCK_MONOTONIC, the lower 32 bits; `moved` is how
    many bytes have come this way."""

    flags: int
    seen_ms: int
    back: bytes
    node: bytes
    moved: int


def address(ip: str) -> bytes:
    """An address as 16 bytes."""
    if ":" in ip:
        return socket.inet_pton(socket.AF_INET6, ip)
    return _MAPPED + socket.inet_aton(ip)


def ip_of(packed: bytes) -> str:
    """The reverse of `address`, as nft prints it."""
    if packed.startswith(_MAPPED):
        return socket.inet_ntop(socket.AF_INET, packed[12:])
    return canonical(socket.inet_ntop(socket.AF_INET6, packed))


def endpoint(ip: str, port: int) -> bytes:
    """The key of a frontend, or of what the program has counted of a node's port."""
    return _ENDPOINT.pack(address(ip), port.to_bytes(2, "big"), 0)


def forgotten(node: bytes) -> bytes:
    """The key of what nplb, and not the program, has counted of a node's port."""
    return node[:18] + b"\1\0"


def counted(key: bytes) -> bytes:
    """The node's port that either key is of."""
    return key[:18] + b"\0\0"


def endpoint_of(packed: bytes) -> tuple[str, int]:
    """The reverse of `endpoint`."""
    ip, port, _ = _ENDPOINT.unpack(packed)
    return ip_of(ip), int.from_bytes(port, "big")


def frontend(*, layout: int, seats: int, node_port: int, draw: int) -> bytes:
    """A frontend that begins at its first seat."""
    return _FRONTEND.pack(layout, seats, 0, node_port.to_bytes(2, "big"), draw, 0)


def front(key: bytes, value: bytes) -> Front:
    """An entry of `frontends`."""
    _, seats, _, node_port, _, _ = _FRONTEND.unpack(value)
    return Front(*endpoint_of(key), int.from_bytes(node_port, "big"), seats)


def with_turn(packed: bytes, of: bytes = bytes(16)) -> bytes:
    """A frontend with another one's turn, which packets move on; with none, as it was written."""
    return packed[:12] + of[12:16] + packed[16:]


def layout_of(packed: bytes) -> int:
    """The layout of a frontend or of a seat's key: both begin with it."""
    return int(struct.unpack_from("=Q", packed)[0])


def seat_key(layout: int, place: int) -> bytes:
    """The key of one place."""
    return _SEAT_KEY.pack(layout, place, 0)


def seat(node: str, source: str) -> bytes:
    """Who sits there, and the edge's address toward it."""
    return _SEAT.pack(address(node), address(source))


def settings(*, first_port: int, ports: int, seed: int) -> bytes:
    """The source ports for connections to nodes, and the seed of hashes."""
    return _SETTINGS.pack(first_port, ports, seed)


def flow(key: bytes, value: bytes) -> Flow:
    """An entry of `flows4` or `flows6`."""
    size, flags, _, seen, *_ = _FLOW.unpack_from(value)
    tuples = _TUPLE4 if len(key) == _TUPLE4.size else _TUPLE6
    source, destination, source_port, port = tuples.unpack_from(value, _FLOW.size)
    back = destination + source + port + source_port
    if flags & FROM_NODE:
        destination, _, port, _ = tuples.unpack(key)
    mapped = _MAPPED if tuples is _TUPLE4 else b""
    return Flow(flags, seen, back, mapped + destination + port + b"\0\0", size)


def counts(values: bytes) -> Counts:
    """The sums of an entry of `counters`, over all processors."""
    return Counts(*map(sum, zip(*_COUNTS.iter_unpack(values), strict=True)))


def packed_counts(counts: Counts) -> bytes:
    """The same, all of it as one processor's."""
    return _COUNTS.pack(*counts)


def events(get: Callable[[bytes], bytes | None]) -> dict[FastPathEvent, int]:
    """The sums of all entries of `events`, of which `get` reads one."""
    found = {event: get(NUMBER.pack(at)) or b"" for at, event in enumerate(EVENTS)}
    return {event: sum(n for (n,) in COUNT.iter_unpack(each)) for event, each in found.items()}
