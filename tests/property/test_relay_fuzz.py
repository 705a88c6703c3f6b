"""Whatever comes: PROXY headers and control frames are taken, waited for, or refused."""

import contextlib
import ipaddress
import json

from hypothesis import given
from hypothesis import strategies as st

from nplb.dataplane.relay.proxy_header import (
    SIGNATURE,
    V2_MAX,
    HeaderError,
    pack_tlv,
    read_header,
    write_v1,
    write_v2,
)
from nplb.dataplane.relay.wire import HEAD, Decoder, ProtocolError, encode

ADDRESSES = st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6)).map(str)
ENDPOINTS = st.tuples(ADDRESSES, st.integers(0, 65535))
SOUP = st.one_of(
    st.binary(max_size=300),
    st.binary(max_size=300).map(lambda data: SIGNATURE + data),
    st.binary(max_size=120).map(lambda data: b"PROXY " + data),
    st.binary(max_size=120).map(lambda data: b"PROXY TCP4 " + data + b"\r\n"),
)


@given(SOUP)
def test_any_bytes_give_a_header_a_wait_or_a_refusal(data: bytes) -> None:
    try:
        header = read_header(data)
    except HeaderError:
        return
    if header is None:
        assert len(data) < V2_MAX
    else:
        assert 0 < header.size <= len(data)


@given(SOUP)
def test_what_a_beginning_says_holds_when_more_comes(data: bytes) -> None:
    """A header does not depend on how its bytes were cut."""
    whole: object
    try:
        header = read_header(data)
        whole = None if header is None else (header.size, header.source, header.tlvs)
    except HeaderError:
        whole = HeaderError
    for end in range(len(data)):
        try:
            part = read_header(data[:end])
        except HeaderError:
            assert whole is HeaderError
            return
        if part is not None:
            assert whole == (part.size, part.source, part.tlvs)
            return


@given(
    ENDPOINTS,
    ENDPOINTS,
    st.lists(st.tuples(st.integers(0, 255), st.binary(max_size=40)), max_size=5),
)
def test_headers_come_back(
    source: tuple[str, int], destination: tuple[str, int], tlvs: list[tuple[int, bytes]]
) -> None:
    packed = b"".join(pack_tlv(kind, value) for kind, value in tlvs)
    for data in (write_v1(source, destination), write_v2(source, destination, packed)):
        header = read_header(data + b"rest")
        assert header is not None
        assert header.size == len(data)
        assert header.source is not None
        one, two = ipaddress.ip_address(header.source[0]), ipaddress.ip_address(source[0])
        mapped = one.ipv4_mapped if isinstance(one, ipaddress.IPv6Address) else None
        assert one == two or mapped == two
        assert header.source[1] == source[1]
        if data.startswith(SIGNATURE):
            assert header.tlvs == tuple(tlvs)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4)
    ),
    max_leaves=10,
)


@given(
    st.lists(st.dictionaries(st.text(max_size=8), JSON, max_size=4), max_size=6),
    st.integers(1, 60),
)
def test_frames_come_back_however_they_are_cut(
    messages: list[dict[str, object]], piece: int
) -> None:
    for message in messages:
        message["op"] = "x"
    stream = b"".join(encode(message) for message in messages)
    decoder = Decoder()
    found = []
    for at in range(0, len(stream), piece):
        decoder.feed(stream[at : at + piece])
        found += list(decoder)
    assert found == messages


@given(st.binary(max_size=200), st.booleans())
def test_any_bytes_are_frames_or_refused(data: bytes, framed: bool) -> None:
    decoder = Decoder()
    decoder.feed(HEAD.pack(len(data)) + data if framed else data)
    with contextlib.suppress(ProtocolError):
        for message in decoder:
            assert isinstance(json.loads(json.dumps(message)), dict)
