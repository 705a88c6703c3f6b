"""TCP and ICMP packets as bytes: built, read, and their checksums verified, by the RFCs alone."""

import socket
import struct
from dataclasses import dataclass

SYN, ACK, FIN, RST = 0x02, 0x10, 0x01, 0x04
TCP, ICMP, ICMP6 = 6, 1, 58
ETHERNET4 = bytes(12) + b"\x08\x00"  # to the loopback's address: for this host
ETHERNET6 = bytes(12) + b"\x86\xdd"


def ones_sum(data: bytes) -> int:
    """The one's complement sum of 16-bit words; 0xffff over what holds its right checksum."""
    data += bytes(len(data) % 2)
    total = sum(data[::2]) * 256 + sum(data[1::2])
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total


@dataclass(frozen=True, slots=True)
class Packet:
    """An Ethernet frame with an IP packet, and where its parts are."""

    frame: bytes

    @property
    def six(self) -> bool:
        return self.frame[12:14] == b"\x86\xdd"

    @property
    def ip(self) -> bytes:
        return self.frame[14:]

    @property
    def header_bytes(self) -> int:
        return 40 if self.six else (self.ip[0] & 0xF) * 4

    @property
    def inner(self) -> bytes:
        """What the IP packet carries."""
        return self.ip[self.header_bytes :]

    @property
    def source(self) -> str:
        return _text(self.ip[8:24] if self.six else self.ip[12:16])

    @property
    def destination(self) -> str:
        return _text(self.ip[24:40] if self.six else self.ip[16:20])

    @property
    def ends(self) -> tuple[str, int, str, int]:
        """Addresses and ports: source, destination."""
        source, destination = struct.unpack(">HH", self.inner[:4])
        return self.source, source, self.destination, destination

    @property
    def protocol(self) -> int:
        return self.ip[6] if self.six else self.ip[9]

    @property
    def hops(self) -> int:
        return self.ip[7] if self.six else self.ip[8]

    @property
    def options(self) -> bytes:
        """TCP's."""
        return self.inner[20 : (self.inner[12] >> 4) * 4]

    def assert_right(self) -> None:
        """Both checksums are right."""
        protocol = self.protocol
        if not self.six:
            assert ones_sum(self.ip[: self.header_bytes]) == 0xFFFF, "IP"
        pseudo = b""
        if protocol in (TCP, ICMP6):
            addresses = self.ip[8:40] if self.six else self.ip[12:20]
            pseudo = addresses + struct.pack(">II", len(self.inner), protocol)
        assert ones_sum(pseudo + self.inner) == 0xFFFF, "TCP or ICMP"


def tcp(
    source: tuple[str, int],
    destination: tuple[str, int],
    flags: int,
    *,
    sequence: int = 1000,
    acknowledged: int = 0,
    options: bytes = b"",
    payload: bytes = b"",
    ip_options: bytes = b"",
    hops: int = 64,
) -> Packet:
    """A TCP packet of either family. Options are filled up with ends of options."""
    options += bytes(-len(options) % 4)
    header = struct.pack(
        ">HHIIBBHHH",
        source[1], destination[1], sequence, acknowledged,
        (20 + len(options)) // 4 << 4, flags, 64000, 0, 0,
    )  # fmt: skip
    segment = header + options + payload
    return _packet(source[0], destination[0], TCP, segment, 16, ip_options, hops)


def icmp(source: str, destination: str, kind: int, code: int, rest: int, quoted: bytes) -> Packet:
    """An ICMP or ICMPv6 error about a packet, of which it quotes the start."""
    message = struct.pack(">BBHI", kind, code, 0, rest) + quoted
    return _packet(source, destination, ICMP6 if ":" in source else ICMP, message, 2, b"", 64)


def _packet(
    source: str,
    destination: str,
    protocol: int,
    data: bytes,
    check_at: int,
    ip_options: bytes,
    hops: int,
) -> Packet:
    pair = _packed(source) + _packed(destination)
    pseudo = b"" if protocol == ICMP else pair + struct.pack(">II", len(data), protocol)
    check = 0xFFFF - ones_sum(pseudo + data)
    data = data[:check_at] + struct.pack(">H", check) + data[check_at + 2 :]
    if ":" in source:
        header = struct.pack(">IHBB", 6 << 28, len(data), protocol, hops) + pair
        return Packet(ETHERNET6 + header + data)
    length = 20 + len(ip_options)
    start = struct.pack(
        ">BBHHHBBH", 4 << 4 | length // 4, 0, length + len(data), 7, 0x4000, hops, protocol, 0
    )
    header = start + pair + ip_options
    header = header[:10] + struct.pack(">H", 0xFFFF - ones_sum(header)) + header[12:]
    return Packet(ETHERNET4 + header + data)


def _packed(ip: str) -> bytes:
    return socket.inet_pton(socket.AF_INET6 if ":" in ip else socket.AF_INET, ip)


def _text(packed: bytes) -> str:
    return socket.inet_ntop(socket.AF_INET if len(packed) == 4 else socket.AF_INET6, packed)
