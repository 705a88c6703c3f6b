"""Who listens on the edge already, so that the kernel plane takes no port from a program.

Rules go before sockets: without this check a frontend would silence the program that has the
port. Sockets of this process are not counted: they are the relay's, which gives a port up
when its frontend moves here.
"""

import os
import socket
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from nplb.model.keys import Address, Protocol

# The network namespace of the calling thread, which is the process's own outside of tests.
_NET = Path("/proc/thread-self/net")
_TABLES = (
    ("tcp", Protocol.TCP, "0A"),  # LISTEN
    ("tcp6", Protocol.TCP, "0A"),
    ("udp", Protocol.UDP, "07"),  # bound, not connected
    ("udp6", Protocol.UDP, "07"),
)
_ANY = ("0.0.0.0", "::")


@dataclass(frozen=True, slots=True)
class Holder:
    """A socket of another process that listens."""

    protocol: Protocol
    address: Address


def holders() -> dict[tuple[Protocol, int], tuple[Holder, ...]]:
    """Every listening socket of other processes, by protocol and port."""
    own = _own_inodes()
    found: dict[tuple[Protocol, int], tuple[Holder, ...]] = {}
    for name, protocol, state in _TABLES:
        try:
            lines = (_NET / name).read_text().splitlines()[1:]
        except OSError:
            continue
        for ip, port, inode in _parse(lines, state):
            if inode not in own:
                holder = Holder(protocol, Address(ip, port))
                found[protocol, port] = (*found.get((protocol, port), ()), holder)
    return found


def conflict(holder: Holder, address: Address) -> bool:
    """Whether a frontend's address would take clients from a listening socket."""
    theirs, ours = holder.address.ip, address.ip
    if theirs == "::":  # takes IPv4 too, unless told otherwise
        return True
    if (":" in theirs) != (":" in ours):
        return False
    if theirs in _ANY:
        return True
    return theirs == ours or (ours in _ANY and not theirs.startswith("127.") and theirs != "::1")


def _parse(lines: Iterable[str], state: str) -> Iterator[tuple[str, int, str]]:
    for line in lines:
        parts = line.split()
        if len(parts) > 9 and parts[3] == state:
            host, _, port = parts[1].partition(":")
            yield _ip(host), int(port, 16), parts[9]


def _ip(text: str) -> str:
    """An address as /proc writes it: 32-bit words in the machine's own byte order."""
    words = [int(text[at : at + 8], 16) for at in range(0, len(text), 8)]
    packed = struct.pack(f"={len(words)}I", *words)
    return socket.inet_ntop(socket.AF_INET6 if len(words) == 4 else socket.AF_INET, packed)


def _own_inodes() -> frozenset[str]:
    found: set[str] = set()
    with os.scandir("/proc/self/fd") as entries:
        for entry in entries:
            try:
                target = os.readlink(entry.path)  # noqa: PTH115 - thousands of them, at every start
            except OSError:
                continue
            if target.startswith("socket:["):
                found.add(target[8:-1])
    return frozenset(found)
