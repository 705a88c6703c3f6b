"""Messages to the kernel's netfilter, as few as the plane needs, without a tool in between.

The ruleset's generation grows with every transaction of anyone in this network namespace
(include/uapi/linux/netfilter/nf_tables.h), so that damage is found without reading a table.
"""

import os
import socket
import struct
from collections.abc import Iterator
from typing import Self

from nplb.model.errors import HostError, HostPermissionError

NETLINK_NETFILTER = 12
CONNTRACK = 1  # NFNL_SUBSYS_CTNETLINK
NFTABLES = 10  # NFNL_SUBSYS_NFTABLES
GET_GENERATION = 16  # NFT_MSG_GETGEN

REQUEST, ACK, DUMP = 0x1, 0x4, 0x300
_ERROR, _DONE = 2, 3
_HEADER = struct.Struct("=IHHII")
_RECEIVE_BYTES = 1 << 18


class Netlink:
    """A socket to netfilter. Whoever makes it closes it; it is in the network namespace of
    the thread that makes it."""

    def __init__(self) -> None:
        self._socket = socket.socket(
            socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, NETLINK_NETFILTER
        )
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        self._socket.settimeout(10.0)
        self._sequence = 0

    def close(self) -> None:
        """Give the socket back."""
        self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def send(self, subsystem: int, message: int, flags: int, family: int, body: bytes) -> None:
        """Send one request. `body` is its attributes."""
        self._sequence += 1
        content = struct.pack("=BBH", family, 0, 0) + body
        kind = subsystem << 8 | message
        header = _HEADER.pack(16 + len(content), kind, flags | REQUEST, self._sequence, 0)
        self._socket.send(header + content)

    def answers(self) -> Iterator[memoryview]:
        """The attributes of each message of the answer, until it ends or is acknowledged.

        Errors: HostPermissionError without CAP_NET_ADMIN; FileNotFoundError for what is not
        there (any more); HostError for every other refusal.
        """
        while True:
            data = memoryview(self._socket.recv(_RECEIVE_BYTES))
            at = 0
            while at + 16 <= len(data):
                length, kind, flags, sequence, _ = _HEADER.unpack_from(data, at)
                content = data[at + 16 : at + length]
                at += (length + 3) & ~3
                if sequence != self._sequence:
                    continue  # what is left of a request that was given up
                if kind == _DONE:
                    return
                if kind == _ERROR:
                    code = struct.unpack_from("=i", content)[0]
                    if code:
                        raise _error(-code)
                    return
                yield content[4:]
                if not flags & 2:  # not one of several parts
                    return


def attributes(data: memoryview) -> dict[int, memoryview]:
    """The attributes of a message or of a nested attribute, by type."""
    found: dict[int, memoryview] = {}
    at, end = 0, len(data)
    while at + 4 <= end:
        length = data[at] | data[at + 1] << 8
        kind = (data[at + 2] | data[at + 3] << 8) & 0x3FFF
        if length < 4:
            break
        found[kind] = data[at + 4 : at + length]
        at += (length + 3) & ~3
    return found


def attribute(kind: int, data: bytes | memoryview, *, nested: bool = False) -> bytes:
    """One attribute, padded."""
    length = 4 + len(data)
    header = struct.pack("=HH", length, kind | (0x8000 if nested else 0))
    return header + bytes(data) + b"\0" * (-length % 4)


def generation() -> int:
    """The generation of the ruleset. Errors: as for `Netlink.answers`."""
    with Netlink() as netlink:
        netlink.send(NFTABLES, GET_GENERATION, 0, 0, b"")
        for answer in netlink.answers():
            value = attributes(answer)[1]
            return int.from_bytes(value, "big")
    raise HostError("the kernel does not say the generation of its nftables ruleset")


def _error(code: int) -> Exception:
    if code == 1:
        return HostPermissionError(
            "the kernel plane needs the right CAP_NET_ADMIN: run nplb as root or with "
            "AmbientCapabilities=CAP_NET_ADMIN, or set plane: relay"
        )
    if code == 2:
        return FileNotFoundError(code, os.strerror(code))
    return HostError(f"netfilter refuses: {os.strerror(code)}")
