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

SHAPE = 1

ANSWERED, OPEN, FIN, PEER_FIN, PEER_FIN_ACKED, RESET, FROM_NODE = 1, 2, 4, 8, 16, 32, 64
IN_TURN, AT_RANDOM, BY_CLIENT = 0, 1, 2
EVENTS = tuple(FastPathEvent)  # in the program's order

_MAPPED = bytes(10) + b"\xff\xff"
_TUPLE = struct.Struct("=16s16s2s2s")
_FLOW = struct.Struct("=36sHHQIIQ16sII")
_ENDPOINT = struct.Struct("=16s2sH")
_FRONTEND = struct.Struct("=QII2sHI")
_SEAT_KEY = struct.Struct("=QII")
_SEAT = struct.Struct("=16s16s")
_COUNTS = struct.Struct("=5Q")
_SETTINGS = struct.Struct("=III")
NUMBER = struct.Struct("=I")
COUNT = struct.Struct("=Q")

MAPS = {
    spec.name: spec
    for spec in (
        MapSpec(
            name="flows",
            kind=HASH,
            key_bytes=_TUPLE.size,
            value_bytes=_FLOW.size,
            entries=1 << 18,
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
            name="events",
            kind=PERCPU_ARRAY,
            key_bytes=NUMBER.size,
            value_bytes=COUNT.size,
            entries=len(EVENTS),
        ),
    )
}

ROOM = MAPS["flows"].entries // 2  # connections: each has an entry for either way


class Front(NamedTuple):
    """A frontend as the program has it: clients of `ip` and `port` (an unspecified address: all
    of the edge's own) are given one of `seats` seats at a node's `node_port`."""

    ip: str
    port: int
    node_port: int
    seats: int


class Flow(NamedTuple):
    """One way of a connection. `back` is the key of the other way's entry; `node` the node's end,
    as in `endpoint`; `seen_ns` is of CLOCK_MONOTONIC."""

    flags: int
    seen_ns: int
    back: bytes
    node: bytes


class Counts(NamedTuple):
    """What was counted of a node's port, on all processors."""

    opened: int
    sent_packets: int
    sent_bytes: int
    answered_packets: int
    answered_bytes: int


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
    """The key of a frontend or of counters."""
    return _ENDPOINT.pack(address(ip), port.to_bytes(2, "big"), 0)


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
    """An entry of `flows`."""
    to, flags, _, seen, *_ = _FLOW.unpack(value)
    back = to[16:32] + to[:16] + to[34:] + to[32:34]
    if flags & FROM_NODE:
        node = key[:16] + key[32:34] + b"\0\0"
    else:
        node = to[16:32] + to[34:] + b"\0\0"
    return Flow(flags, seen, back, node)


def counts(values: bytes) -> Counts:
    """The sums of an entry of `counters`."""
    return Counts(*map(sum, zip(*_COUNTS.iter_unpack(values), strict=True)))


def events(get: Callable[[bytes], bytes | None]) -> dict[FastPathEvent, int]:
    """The sums of all entries of `events`, of which `get` reads one."""
    found = {event: get(NUMBER.pack(at)) or b"" for at, event in enumerate(EVENTS)}
    return {event: sum(n for (n,) in COUNT.iter_unpack(each)) for event, each in found.items()}
