"""The PROXY protocol's header, versions 1 and 2: reading and writing it. Pure.

As HAProxy's `doc/proxy-protocol.txt` (2020) defines it. The header says who the client is
that a proxy in front of us has taken, or tells a backend who ours is.
"""

from _socket import AF_INET, AF_INET6, inet_ntop, inet_pton
from struct import Struct

SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"
V1_MAX = 107
V2_HEAD = Struct(">12sBBH")
V2_MAX = V2_HEAD.size + 4096
PORTS = Struct(">HH")
TLV = Struct(">BH")

# Types that the protocol leaves to applications (PP2_TYPE_MIN_CUSTOM .. MAX_CUSTOM).
TLV_NAMESPACE = 0xE0
TLV_SERVICE = 0xE1
TLV_CLUSTER = 0xE2

Endpoint = tuple[str, int]


class HeaderError(ValueError):
    """The bytes are no PROXY header, and no beginning of one; the text says why."""


class Header:
    """A header that was read. `size` is its length in bytes; `source` and `destination` are
    None when the proxy speaks for itself (LOCAL, UNKNOWN) or of what is not TCP over IP."""

    __slots__ = ("destination", "size", "source", "tlvs")

    def __init__(
        self,
        size: int,
        source: Endpoint | None = None,
        destination: Endpoint | None = None,
        tlvs: tuple[tuple[int, bytes], ...] = (),
    ) -> None:
        self.size = size
        self.source = source
        self.destination = destination
        self.tlvs = tlvs


def read_header(data: bytes) -> Header | None:
    """The header at the beginning of `data`, or None when more bytes are needed.

    Errors: HeaderError.
    """
    if data[: len(SIGNATURE)] == SIGNATURE:
        return _read_v2(data)
    if data.startswith(b"PROXY "):
        return _read_v1(data)
    if SIGNATURE.startswith(data) or b"PROXY ".startswith(data):
        return None
    raise HeaderError("the connection does not begin with a PROXY header")


def _read_v1(data: bytes) -> Header | None:
    end = data.find(b"\r\n", 0, V1_MAX)
    if end < 0:
        if len(data) >= V1_MAX:
            raise HeaderError(f"a version 1 header has no end within {V1_MAX} bytes")
        return None
    size = end + 2
    try:
        words = data[:end].decode("ascii").split(" ")
    except UnicodeDecodeError as error:
        raise HeaderError("a version 1 header is not ASCII") from error
    if words[1] == "UNKNOWN":
        return Header(size)
    if len(words) != 6 or words[1] not in ("TCP4", "TCP6"):
        raise HeaderError("a version 1 header is not 'PROXY TCP4|TCP6 SRC DST SPORT DPORT'")
    family = AF_INET if words[1] == "TCP4" else AF_INET6
    return Header(
        size,
        (_address(family, words[2]), _port(words[4])),
        (_address(family, words[3]), _port(words[5])),
    )


def _address(family: int, text: str) -> str:
    try:
        return inet_ntop(family, inet_pton(family, text))
    except (OSError, ValueError) as error:
        raise HeaderError("a version 1 header has an address that is none") from error


def _port(text: str) -> int:
    if not text.isdigit() or len(text) > 5 or (len(text) > 1 and text[0] == "0"):
        raise HeaderError("a version 1 header has a port that is no number")
    port = int(text)
    if port > 65535:
        raise HeaderError("a version 1 header has a port above 65535")
    return port


def _read_v2(data: bytes) -> Header | None:
    if len(data) < V2_HEAD.size:
        return None
    _, command, family, length = V2_HEAD.unpack_from(data)
    if command >> 4 != 2:
        raise HeaderError(f"a header of version {command >> 4} is unknown")
    if command & 15 > 1:
        raise HeaderError(f"a version 2 header has the unknown command {command & 15}")
    size = V2_HEAD.size + length
    if size > V2_MAX:
        raise HeaderError(f"a version 2 header of {size} bytes is over the limit of {V2_MAX}")
    if len(data) < size:
        return None
    if command & 15 == 0:
        return Header(size)
    width = {0x11: 4, 0x21: 16}.get(family)
    if width is None:  # UDP, Unix, unspecified: the connection is taken as the proxy's own
        return Header(size)
    start = V2_HEAD.size
    if length < 2 * width + 4:
        raise HeaderError("a version 2 header is too short for its addresses")
    kind = AF_INET if width == 4 else AF_INET6
    source = inet_ntop(kind, data[start : start + width])
    destination = inet_ntop(kind, data[start + width : start + 2 * width])
    ports = PORTS.unpack_from(data, start + 2 * width)
    tlvs = _read_tlvs(data[start + 2 * width + 4 : size])
    return Header(size, (source, ports[0]), (destination, ports[1]), tlvs)


def _read_tlvs(data: bytes) -> tuple[tuple[int, bytes], ...]:
    found = []
    at = 0
    while at < len(data):
        if at + TLV.size > len(data):
            raise HeaderError("a version 2 header ends within a TLV")
        kind, length = TLV.unpack_from(data, at)
        at += TLV.size
        if at + length > len(data):
            raise HeaderError("a version 2 header has a TLV that is longer than the header")
        found.append((kind, data[at : at + length]))
        at += length
    return tuple(found)


def write_v1(source: Endpoint, destination: Endpoint) -> bytes:
    """A version 1 header. When only one of the two is IPv6, both are written as such."""
    six = ":" in source[0] or ":" in destination[0]
    one, two = (
        (_as_ipv6(source[0]), _as_ipv6(destination[0])) if six else (source[0], destination[0])
    )
    name = "TCP6" if six else "TCP4"
    return f"PROXY {name} {one} {two} {source[1]} {destination[1]}\r\n".encode("ascii")


def write_v2(source: Endpoint, destination: Endpoint, tlvs: bytes = b"") -> bytes:
    """A version 2 header; `tlvs` as `pack_tlv` gives them, one after the other."""
    six = ":" in source[0] or ":" in destination[0]
    if six:
        family, kind = 0x21, AF_INET6
        one, two = _as_ipv6(source[0]), _as_ipv6(destination[0])
    else:
        family, kind = 0x11, AF_INET
        one, two = source[0], destination[0]
    body = (
        inet_pton(kind, one) + inet_pton(kind, two) + PORTS.pack(source[1], destination[1]) + tlvs
    )
    return V2_HEAD.pack(SIGNATURE, 0x21, family, len(body)) + body


def pack_tlv(kind: int, value: bytes) -> bytes:
    """One TLV."""
    return TLV.pack(kind, len(value)) + value


def _as_ipv6(ip: str) -> str:
    return ip if ":" in ip else f"::ffff:{ip}"
