"""Sockets that listen on the edge, or the reason why they can't.

One socket per worker and address, all with SO_REUSEPORT, so that the kernel spreads clients
over them. That option would also let a foreign process of the same user share our port, or
us share its: so a socket without it is bound first, and shows whether the port is free.
"""

import array
import contextlib
import errno
import ipaddress
import os
import socket
import struct
import sys
from pathlib import Path

from nplb.model.applied import ListenError, no_interface
from nplb.model.keys import Address

BACKLOG = 4096

# asm-generic/socket.h; the socket module does not name them.
_SO_ATTACH_FILTER = 26
_SO_DETACH_FILTER = 27
# Classic BPF (linux/filter.h: code, jt, jf, k) over a segment that begins with its TCP header.
_DROP_SYN = array.array(
    "B",
    b"".join(
        struct.pack("=HBBI", *instruction)
        for instruction in (
            (0x30, 0, 0, 13),  # load the byte of flags
            (0x45, 0, 1, 0x02),  # is SYN among them?
            (0x06, 0, 0, 0),  # yes: drop
            (0x06, 0, 0, 0xFFFFFFFF),  # no: pass whole
        )
    ),
)


class ListenFailedError(Exception):
    """The address can't be listened on; `error` says why and what to do."""

    def __init__(self, error: ListenError) -> None:
        super().__init__(error.detail)
        self.error = error


def open_listeners(
    address: Address, count: int, *, dual_stack: bool, ours: set[int]
) -> list[socket.socket]:
    """`count` listening sockets of one address, which the caller closes.

    `dual_stack` lets `::` take IPv4 clients too. `ours` are the inodes of our own listeners,
    which may hold the same port at another address. Errors: ListenFailedError.
    """
    family = socket.AF_INET6 if ":" in address.ip else socket.AF_INET
    if address.ip.startswith("%"):
        raise ListenFailedError(no_interface(address))
    try:
        with _bound(family, address, dual_stack=dual_stack, share=False):
            pass
    except OSError as error:
        holders = _holders(address) if error.errno == errno.EADDRINUSE else []
        if not holders or any(inode not in ours for inode in holders):
            raise ListenFailedError(_explain(address, error, holders, ours)) from error
    opened: list[socket.socket] = []
    try:
        for _ in range(count):
            sock = _bound(family, address, dual_stack=dual_stack, share=True)
            opened.append(sock)
            sock.listen(BACKLOG)
    except OSError as error:
        for sock in opened:
            sock.close()
        raise ListenFailedError(_explain(address, error, [], ours)) from error
    return opened


def ignore_new_clients(sock: socket.socket) -> None:
    """Begin no handshake on this listener any more, in whatever process it is held. Those that are
    under way still come to their end, and into its queue.

    To be done before it is closed for good: the kernel resets who is in the queue then, and without
    this somebody may get there after the last look into it. Who comes meanwhile sends its SYN again
    after a second, and is refused, or heard by another edge that has the address by then.
    """
    address, _ = _DROP_SYN.buffer_info()
    program = struct.pack("@HP", len(_DROP_SYN) // 8, address)
    with contextlib.suppress(OSError):  # such as for want of memory: then it is as without
        sock.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, program)


def hear_new_clients(sock: socket.socket) -> None:
    """Undo `ignore_new_clients`, if it was done."""
    with contextlib.suppress(FileNotFoundError):
        sock.setsockopt(socket.SOL_SOCKET, _SO_DETACH_FILTER, 0)


def inode_of(sock: socket.socket) -> int:
    """The number under which the system lists a socket."""
    return os.fstat(sock.fileno()).st_ino


def _bound(family: int, address: Address, *, dual_stack: bool, share: bool) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if share:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            # What is set on a listener, its clients' sockets inherit. Not so keepalive: its timer
            # would be started and stopped for each, and only those that last have use for it.
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0 if dual_stack else 1)
        sock.bind((address.ip, address.port))
    except BaseException:
        sock.close()
        raise
    return sock


def _explain(address: Address, error: OSError, holders: list[int], ours: set[int]) -> ListenError:
    code = error.errno
    if code == errno.EADDRINUSE:
        who = _owner(next((inode for inode in holders if inode not in ours), 0))
        detail = (
            f"{address} is in use by {who}: stop it, or give this frontend another "
            "listen address or port"
        )
    elif code in (errno.EACCES, errno.EPERM):
        detail = (
            f"{address} needs a right that nplb lacks: run it with CAP_NET_BIND_SERVICE, or "
            "lower net.ipv4.ip_unprivileged_port_start, or choose a port of 1024 or above"
        )
    elif code == errno.EADDRNOTAVAIL:
        detail = (
            f"{address.ip} is no address of this host: add it to an interface, or correct the "
            "listen address"
        )
    elif code in (errno.EMFILE, errno.ENFILE):
        detail = f"no file descriptor left to listen on {address}: raise LimitNOFILE (ulimit -n)"
    elif code == errno.EAFNOSUPPORT:
        detail = f"this host has no IPv6: remove {address} from the listen addresses"
    else:
        detail = f"cannot listen on {address}: {error.strerror or error}"
    return ListenError(address=address, in_use=code == errno.EADDRINUSE, detail=detail)


def _holders(address: Address) -> list[int]:
    """Inodes of the sockets that listen on this port, at this address or at all of a family, as
    far as the system tells."""
    port = f":{address.port:04X}"
    wanted = ipaddress.ip_address(address.ip)
    found = []
    for name in ("tcp", "tcp6"):
        try:
            lines = Path("/proc/net", name).read_text().splitlines()[1:]
        except OSError:
            continue
        for line in lines:
            fields = line.split()
            if fields[3] != "0A" or not fields[1].endswith(port):
                continue
            held = _read_ip(fields[1].partition(":")[0])
            if held == wanted or held.is_unspecified or wanted.is_unspecified:
                found.append(int(fields[9]))
    return found


def _read_ip(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """An address as the system writes it: words of four bytes in the host's order, in hex."""
    words = (text[start : start + 8] for start in range(0, len(text), 8))
    raw = b"".join(int(word, 16).to_bytes(4, sys.byteorder) for word in words)
    found = ipaddress.ip_address(raw)
    return getattr(found, "ipv4_mapped", None) or found


def _owner(inode: int) -> str:
    """The process that holds a socket, as far as we may see it."""
    wanted = f"socket:[{inode}]"
    if inode:
        for process in Path("/proc").iterdir():
            if not process.name.isdigit():
                continue
            try:
                if any(str(fd.readlink()) == wanted for fd in (process / "fd").iterdir()):
                    name = (process / "comm").read_text().strip()
                    return f"{name} (pid {process.name})"
            except OSError:
                continue
    return "another process"
