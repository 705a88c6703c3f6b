"""PROXY headers as the protocol's text defines them."""

import pytest

from nplb.dataplane.relay.proxy_header import (
    SIGNATURE,
    V2_MAX,
    HeaderError,
    pack_tlv,
    read_header,
    write_v1,
    write_v2,
)

CLIENT = ("203.0.113.7", 51234)
EDGE = ("198.51.100.1", 443)
CLIENT6 = ("2001:db8::7", 51234)
EDGE6 = ("2001:db8::1", 443)


def test_version_1_is_one_readable_line() -> None:
    assert write_v1(CLIENT, EDGE) == b"PROXY TCP4 203.0.113.7 198.51.100.1 51234 443\r\n"
    assert write_v1(CLIENT6, EDGE6) == b"PROXY TCP6 2001:db8::7 2001:db8::1 51234 443\r\n"


def test_version_2_byte_by_byte() -> None:
    assert write_v2(CLIENT, EDGE) == (
        b"\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c\xcb\x00\x71\x07\xc6\x33\x64\x01\xc8\x22\x01\xbb"
    )


@pytest.mark.parametrize("write", [write_v1, write_v2])
@pytest.mark.parametrize(("source", "destination"), [(CLIENT, EDGE), (CLIENT6, EDGE6)])
def test_what_is_written_is_read(write: object, source: object, destination: object) -> None:
    assert callable(write)
    data = write(source, destination)
    for end in range(len(data)):
        assert read_header(data[:end]) is None
    header = read_header(data + b"GET / HTTP/1.1")
    assert header is not None
    assert (header.size, header.source, header.destination) == (len(data), source, destination)


def test_families_that_differ_are_written_as_ipv6() -> None:
    header = read_header(write_v2(CLIENT, EDGE6))
    assert header is not None
    assert header.source == ("::ffff:203.0.113.7", 51234)


def test_tlvs() -> None:
    tlvs = pack_tlv(0xE0, b"shop") + pack_tlv(0xE1, b"")
    header = read_header(write_v2(CLIENT, EDGE, tlvs))
    assert header is not None
    assert header.tlvs == ((0xE0, b"shop"), (0xE1, b""))


@pytest.mark.parametrize(
    "data",
    [
        b"PROXY UNKNOWN\r\n",
        b"PROXY UNKNOWN ffff:f...f:ffff ffff:f...f:ffff 65535 65535\r\n",
        SIGNATURE + b"\x20\x00\x00\x00",  # LOCAL
        SIGNATURE + b"\x20\x11\x00\x0c" + bytes(12),
        SIGNATURE + b"\x21\x00\x00\x00",  # unspecified family
        SIGNATURE + b"\x21\x12\x00\x0c" + bytes(12),  # UDP
        SIGNATURE + b"\x21\x31\x00\xd8" + bytes(216),  # Unix
    ],
)
def test_a_proxy_that_speaks_for_itself_or_of_something_else(data: bytes) -> None:
    header = read_header(data)
    assert header is not None
    assert header.size == len(data)
    assert header.source is None


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\n",
        b"\x16\x03\x01",
        b"PROXY\tTCP4",
        b"PROXY TCP4 203.0.113.7 198.51.100.1 51234\r\n",
        b"PROXY TCP4 203.0.113.7 198.51.100.1 51234 443 1\r\n",
        b"PROXY TCP4 203.0.113.7  198.51.100.1 51234 443\r\n",
        b"PROXY TCP4 2001:db8::7 198.51.100.1 51234 443\r\n",
        b"PROXY TCP6 203.0.113.7 198.51.100.1 51234 443\r\n",
        b"PROXY TCP4 203.0.113.7 198.51.100.1 51234 65536\r\n",
        b"PROXY TCP4 203.0.113.7 198.51.100.1 -1 443\r\n",
        b"PROXY TCP4 203.0.113.7 198.51.100.1 051 443\r\n",
        b"PROXY TCP4 203.0.113.7 198.51.100.1 51234 443\n" + bytes(100),
        b"PROXY TCP4 203.0.113.\xff 198.51.100.1 51234 443\r\n",
        b"PROXY UDP4 203.0.113.7 198.51.100.1 51234 443\r\n",
        b"PROXY " + b"x" * 200,
        SIGNATURE + b"\x11\x11\x00\x0c" + bytes(12),  # version 1 in the binary form
        SIGNATURE + b"\x22\x11\x00\x0c" + bytes(12),  # unknown command
        SIGNATURE + b"\x21\x11\x00\x0b" + bytes(11),  # too short for its addresses
        SIGNATURE + b"\x21\x21\x00\x0c" + bytes(12),
        SIGNATURE + b"\x21\x11\x00\x0e" + bytes(14),  # ends within a TLV
        SIGNATURE + b"\x21\x11\x00\x0f" + bytes(12) + b"\xe0\x00\x09",
        SIGNATURE + b"\x21\x11\xff\xff",
    ],
)
def test_what_is_malformed_is_refused(data: bytes) -> None:
    with pytest.raises(HeaderError):
        read_header(data)


def test_a_header_is_never_waited_for_without_end() -> None:
    with pytest.raises(HeaderError, match="no end"):
        read_header(b"PROXY TCP4 " + b"1" * 100)
    with pytest.raises(HeaderError, match="over the limit"):
        read_header(SIGNATURE + b"\x21\x11" + (V2_MAX).to_bytes(2, "big"))
