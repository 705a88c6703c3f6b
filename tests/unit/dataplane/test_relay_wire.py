"""Frames come together from any pieces, and nonsense is refused."""

import json

import pytest

from nplb.dataplane.relay.wire import HEAD, MAX_FRAME, Decoder, ProtocolError, encode

MESSAGES = [{"op": "a", "n": i, "text": "x" * i} for i in range(40)]


@pytest.mark.parametrize("piece", [1, 3, 7, 100, 10_000])
def test_frames_in_pieces(piece: int) -> None:
    stream = b"".join(encode(message) for message in MESSAGES)
    decoder = Decoder()
    found = []
    for at in range(0, len(stream), piece):
        decoder.feed(stream[at : at + piece])
        found += list(decoder)
    assert found == MESSAGES
    assert not decoder.complete


def test_a_frame_taken_one_at_a_time_leaves_the_others() -> None:
    decoder = Decoder()
    decoder.feed(encode(MESSAGES[1]) + encode(MESSAGES[2]))
    assert next(decoder) == MESSAGES[1]
    assert decoder.complete
    assert next(decoder) == MESSAGES[2]
    assert not decoder.complete


@pytest.mark.parametrize(
    "body", [b"", b"nonsense", b"[1]", b'{"op":1}', b'{"no":"op"}', b"\xff", b"[" * 100_000]
)
def test_nonsense_is_refused(body: bytes) -> None:
    decoder = Decoder()
    decoder.feed(HEAD.pack(len(body)) + body)
    with pytest.raises(ProtocolError):
        next(decoder)


def test_a_length_beyond_reason_is_refused_at_once() -> None:
    decoder = Decoder()
    decoder.feed(HEAD.pack(MAX_FRAME + 1))
    with pytest.raises(ProtocolError, match="over the limit"):
        next(decoder)


def test_a_frame_is_compact_json() -> None:
    assert json.loads(encode({"op": "x"})[4:]) == {"op": "x"}
    assert encode({"op": "x"})[4:] == b'{"op":"x"}'
