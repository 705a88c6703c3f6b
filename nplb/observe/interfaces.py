"""Which addresses this host's network interfaces have, asked of the kernel (rtnetlink(7)).

Needs no right. Left out are addresses that nobody could listen on or reach: IPv6 link-local ones,
and those still being checked or found to be somebody else's.
"""

import ipaddress
import socket
import struct

_NEWADDR, _GETADDR = 20, 22
_ERROR, _DONE = 2, 3
_REQUEST_DUMP = 0x301
_ADDRESS, _LOCAL, _FLAGS = 1, 2, 8
_TENTATIVE, _DADFAILED = 0x40, 0x08
_HEADER = struct.Struct("=IHHII")
_IFADDR = struct.Struct("=BBBBi")
_RECEIVE_BYTES = 1 << 16


def interface_addresses() -> dict[str, tuple[str, ...]]:
    """The addresses of each interface, IPv4 before IPv6, each kind in order. Errors: OSError."""
    found: dict[str, set[str]] = {}
    names = dict(socket.if_nameindex())
    with socket.socket(
        socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE
    ) as sock:
        sock.settimeout(5.0)
        body = _IFADDR.pack(socket.AF_UNSPEC, 0, 0, 0, 0)
        sock.send(_HEADER.pack(_HEADER.size + len(body), _GETADDR, _REQUEST_DUMP, 1, 0) + body)
        while True:
            data = memoryview(sock.recv(_RECEIVE_BYTES))
            at = 0
            while at + _HEADER.size <= len(data):
                length, kind, *_ = _HEADER.unpack_from(data, at)
                if kind in (_DONE, _ERROR) or length < _HEADER.size:
                    return {name: _sorted(ips) for name, ips in sorted(found.items())}
                if kind == _NEWADDR:
                    index, ip = _address(data[at + _HEADER.size : at + length])
                    if ip and index in names:
                        found.setdefault(names[index], set()).add(ip)
                at += (length + 3) & ~3


def _address(content: memoryview) -> tuple[int, str]:
    """The interface's index and its address; an empty one is left out."""
    family, _, flags, _, index = _IFADDR.unpack_from(content)
    parts: dict[int, bytes] = {}
    at = _IFADDR.size
    while at + 4 <= len(content):
        length, kind = struct.unpack_from("=HH", content, at)
        if length < 4:
            break
        parts[kind] = bytes(content[at + 4 : at + length])
        at += (length + 3) & ~3
    if _FLAGS in parts:
        (flags,) = struct.unpack("=I", parts[_FLAGS])
    # Of a point-to-point interface the address is the other side's.
    packed = parts.get(_LOCAL) or parts.get(_ADDRESS)
    if packed is None or family not in (socket.AF_INET, socket.AF_INET6):
        return index, ""
    if family == socket.AF_INET6 and flags & (_TENTATIVE | _DADFAILED):
        return index, ""
    address = ipaddress.ip_address(packed)
    return index, "" if address.version == 6 and address.is_link_local else str(address)


def _sorted(ips: set[str]) -> tuple[str, ...]:
    def key(ip: str) -> tuple[int, int]:
        address = ipaddress.ip_address(ip)
        return address.version, int(address)

    return tuple(sorted(ips, key=key))
