"""Send and expect, and the PROXY header of probes."""

from nplb.health.probes.exchange import Exchange
from nplb.health.probes.proxy import proxy_header
from nplb.model.reasons import Cause
from nplb.model.relay import SendProxy


def test_expected_bytes_may_come_in_pieces_and_anywhere() -> None:
    probe = Exchange(b"PING\r\n", b"+PONG")
    assert probe.begin() == b"PING\r\n"
    probe.receive(b"hello +PO")
    assert cause_of(probe) is None
    probe.receive(b"NG\r\n")
    assert cause_of(probe) is Cause.CONNECTED


def cause_of(probe: Exchange) -> Cause | None:
    return probe.result.cause if probe.result is not None else None


def test_any_answer_is_good_where_none_is_expected() -> None:
    probe = Exchange(b"x", b"")
    probe.receive(b"?")
    assert probe.result is not None
    assert probe.result.cause is Cause.CONNECTED


def test_another_answer_is_shown() -> None:
    probe = Exchange(b"", b"220 ")
    probe.receive(b"554 go away\r\n")
    probe.end()
    assert probe.result is not None
    assert probe.result.cause is Cause.UNEXPECTED_ANSWER
    assert "554 go away" in probe.result.detail
    assert "220" in probe.result.detail


def test_an_endless_answer_ends() -> None:
    probe = Exchange(b"", b"never")
    for _ in range(70):
        if probe.result is None:
            probe.receive(b"x" * 1000)
    assert probe.result is not None


def test_proxy_headers() -> None:
    local, remote = ("192.0.2.9", 1000), ("192.0.2.1", 30080)
    assert proxy_header(SendProxy.NONE, local, remote) == b""
    told = b"PROXY TCP4 192.0.2.9 192.0.2.1 1000 30080\r\n"
    assert proxy_header(SendProxy.V1, local, remote) == told
    v6 = proxy_header(SendProxy.V1, ("2001:db8::9", 1), ("2001:db8::1", 2))
    assert v6.startswith(b"PROXY TCP6 ")
    # Version 2, command LOCAL, family unspecified, nothing more.
    assert proxy_header(SendProxy.V2, local, remote) == (
        b"\x0d\x0a\x0d\x0a\x00\x0d\x0a\x51\x55\x49\x54\x0a\x20\x00\x00\x00"
    )
