"""What the host says about its ports: who listens where, and which the kernel gives away itself.

Reads /proc only. A process of another user shows without pid and command unless nplb may look
into it (root, or CAP_SYS_PTRACE); that is not an error. Of a command only its name is read: its
arguments may hold secrets.
"""

import ipaddress
import sys
from collections.abc import Collection, Iterator
from pathlib import Path

from nplb.model.ledger import EphemeralView, HostPortView

PROC = Path("/proc")
_LISTEN = "0A"  # TCP_LISTEN, include/net/tcp_states.h


def host_listeners(
    ports: Collection[int] | None = None, *, proc: Path = PROC
) -> tuple[HostPortView, ...]:
    """Every TCP socket that listens on one of `ports` (all, if None), sorted.

    Several sockets of one process on one address (SO_REUSEPORT) are one line. Empty where the
    system does not tell.
    """
    sockets = [
        (ip, port, inode)
        for name in ("tcp", "tcp6")
        for ip, port, inode in _listening(proc / "net" / name)
        if ports is None or port in ports
    ]
    owners = _owners({inode for _, _, inode in sockets}, proc)
    found = {(port, ip, *owners.get(inode, (0, ""))) for ip, port, inode in sockets}
    return tuple(
        HostPortView(address=ip, port=port, pid=pid, command=command)
        for port, ip, pid, command in sorted(found)
    )


def ephemeral_ports(*, proc: Path = PROC) -> EphemeralView | None:
    """From which ports the kernel serves outgoing connections; None where it does not tell."""
    net = proc / "sys/net/ipv4"
    try:
        low, high = (net / "ip_local_port_range").read_text().split()
        view = EphemeralView(low=int(low), high=int(high))
    except (OSError, ValueError):
        return None
    try:
        reserved = (net / "ip_local_reserved_ports").read_text().strip()
    except OSError:
        return view
    return EphemeralView(low=view.low, high=view.high, reserved=reserved)


def _listening(table: Path) -> Iterator[tuple[str, int, int]]:
    """IP, port and inode of each listening socket in a /proc/net table."""
    try:
        lines = table.read_text().splitlines()[1:]
    except OSError:
        return
    for line in lines:
        fields = line.split()
        if len(fields) > 9 and fields[3] == _LISTEN:
            address, _, port = fields[1].partition(":")
            yield _ip(address), int(port, 16), int(fields[9])


def _ip(text: str) -> str:
    """The kernel prints an address as words of 32 bits in the host's own byte order."""
    words = [int(text[i : i + 8], 16) for i in range(0, len(text), 8)]
    packed = b"".join(word.to_bytes(4, sys.byteorder) for word in words)
    return str(ipaddress.ip_address(packed))


def _owners(inodes: set[int], proc: Path) -> dict[int, tuple[int, str]]:
    """Pid and command of each socket's holder, as far as the system lets us see. A socket that
    several processes share is told of the one with the lowest pid, which is the parent mostly."""
    owners: dict[int, tuple[int, str]] = {}
    wanted = {f"socket:[{inode}]": inode for inode in inodes}
    pids = sorted(int(p.name) for p in proc.iterdir() if p.name.isdigit()) if wanted else []
    for pid in pids:
        if len(owners) == len(wanted):
            break
        process = proc / str(pid)
        try:
            descriptors = list((process / "fd").iterdir())
        except OSError:
            continue  # another user's, or gone meanwhile
        for descriptor in descriptors:
            try:
                inode = wanted.get(str(descriptor.readlink()))
            except OSError:
                continue
            if inode is not None and inode not in owners:
                owners[inode] = (pid, _command(process))
    return owners


def _command(process: Path) -> str:
    try:
        return (process / "comm").read_text().strip()
    except OSError:
        return ""
