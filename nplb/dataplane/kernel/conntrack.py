"""Connections as the kernel tracks them: counting and ending those to our backends.

Read and written by netlink, as the conntrack command does
(include/uapi/linux/netfilter/nfnetlink_conntrack.h). Ending one deletes its entry: the
client's next packet finds no connection and is answered with a reset.
"""

import contextlib
import socket
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass

from nplb.dataplane.kernel.netlink import (
    ACK,
    CONNTRACK,
    DUMP,
    Netlink,
    attribute,
    attributes,
)
from nplb.model.keys import Address, Protocol

_GET, _DELETE = 1, 2
_TUPLE_ORIGINAL, _TUPLE_REPLY, _STATUS, _PROTOINFO, _ID = 1, 2, 3, 4, 12
_SEEN_REPLY = 1 << 1  # IPS_SEEN_REPLY
_PROTOCOLS = {6: Protocol.TCP, 17: Protocol.UDP}
# TCP states in which nothing is sent any more: TIME_WAIT, CLOSE.
_OVER = frozenset({7, 8})


@dataclass(frozen=True, slots=True)
class Tracked:
    """One connection whose destination was rewritten. `backend` is where its answers come
    from, `asked` where the client sent it; `live` is false once both sides have closed, `answered`
    whether any packet has come back."""

    protocol: Protocol
    asked: Address
    backend: Address
    live: bool
    answered: bool
    tuple_bytes: bytes
    reply_bytes: bytes
    id_bytes: bytes
    family: int

    @property
    def client(self) -> Address | None:
        """The client as the backend sees it: where its answers go."""
        found = _side(memoryview(self.reply_bytes), source=False)
        return Address(found[1], found[2]) if found is not None else None


def tracked(only: Callable[[Protocol, str, int], bool]) -> Iterator[Tracked]:
    """The connections whose destination was rewritten to a backend that `only(protocol, ip,
    port)` wants. Errors: as for `Netlink.answers`."""
    with Netlink() as netlink:
        netlink.send(CONNTRACK, _GET, DUMP, 0, b"")
        for answer in netlink.answers():
            entry = _entry(answer, only)
            if entry is not None:
                yield entry


def end(chosen: Callable[[Tracked], bool], only: Callable[[Protocol, str, int], bool]) -> int:
    """End the chosen connections; returns how many."""
    doomed = [entry for entry in tracked(only) if chosen(entry)]
    with Netlink() as netlink:
        for entry in doomed:
            body = attribute(_TUPLE_ORIGINAL, entry.tuple_bytes, nested=True)
            body += attribute(_ID, entry.id_bytes)
            netlink.send(CONNTRACK, _DELETE, ACK, entry.family, body)
            with contextlib.suppress(FileNotFoundError):  # it has ended by itself
                for _ in netlink.answers():
                    pass
    return len(doomed)


def forget_untranslated(protocol: Protocol, wanted: Collection[tuple[str | None, int]]) -> int:
    """End the flows to addresses and ports of the edge that have not been rewritten, so that their
    next packet is seen as a new one: a UDP client that asked before its frontend was there. None
    is any address. All connections are read, once for all that are wanted."""
    found: list[tuple[int, bytes, bytes]] = []
    family: int
    with Netlink() as netlink:
        netlink.send(CONNTRACK, _GET, DUMP, 0, b"")
        for answer in netlink.answers():
            parts = attributes(answer)
            asked = _side(parts[_TUPLE_ORIGINAL], source=False)
            answers = _side(parts[_TUPLE_REPLY], source=True)
            if asked is None or asked != answers or asked[0] is not protocol:
                continue
            if asked[1:] in wanted or (None, asked[2]) in wanted:
                family = socket.AF_INET6 if ":" in asked[1] else socket.AF_INET
                found.append((family, bytes(parts[_TUPLE_ORIGINAL]), bytes(parts[_ID])))
        for family, original, number in found:
            body = attribute(_TUPLE_ORIGINAL, original, nested=True) + attribute(_ID, number)
            netlink.send(CONNTRACK, _DELETE, ACK, family, body)
            with contextlib.suppress(FileNotFoundError):
                for _ in netlink.answers():
                    pass
    return len(found)


def _entry(answer: memoryview, only: Callable[[Protocol, str, int], bool]) -> Tracked | None:
    parts = attributes(answer)
    answers = _side(parts[_TUPLE_REPLY], source=True)
    if answers is None or not only(*answers):
        return None
    asked = _side(parts[_TUPLE_ORIGINAL], source=False)
    if asked is None or asked == answers:
        return None
    protocol, ip, port = answers
    return Tracked(
        protocol=protocol,
        asked=Address(asked[1], asked[2]),
        backend=Address(ip, port),
        live=_tcp_state(parts) not in _OVER,
        answered=bool(int.from_bytes(parts[_STATUS], "big") & _SEEN_REPLY),
        tuple_bytes=bytes(parts[_TUPLE_ORIGINAL]),
        reply_bytes=bytes(parts[_TUPLE_REPLY]),
        id_bytes=bytes(parts[_ID]),
        family=socket.AF_INET6 if ":" in ip else socket.AF_INET,
    )


def _tcp_state(parts: dict[int, memoryview]) -> int:
    info = parts.get(_PROTOINFO)
    if info is None:
        return 0
    tcp = attributes(info).get(1)
    if tcp is None:
        return 0
    state = attributes(tcp).get(1)
    return state[0] if state else 0


def _side(data: memoryview, *, source: bool) -> tuple[Protocol, str, int] | None:
    """Protocol, address and port of one end of a tuple; None for other protocols."""
    halves = attributes(data)
    transport = attributes(halves[2])
    protocol = _PROTOCOLS.get(transport[1][0])
    if protocol is None:
        return None
    port = int.from_bytes(transport[2 if source else 3], "big")
    addresses = attributes(halves[1])
    four = addresses.get(1 if source else 2)
    if four is not None:
        return protocol, socket.inet_ntop(socket.AF_INET, four), port
    return protocol, socket.inet_ntop(socket.AF_INET6, addresses[3 if source else 4]), port
