"""HTTP probes, byte by byte."""

import pytest

from nplb.health.probes.http import HttpRequest
from nplb.model.reasons import Cause


def asking(
    *, method: str = "GET", status: tuple[tuple[int, int], ...] = ((200, 399),)
) -> HttpRequest:
    return HttpRequest(method=method, path="/healthz", host="shop", status=status)


def test_the_request() -> None:
    lines = asking().begin().decode().split("\r\n")
    assert lines[0] == "GET /healthz HTTP/1.1"
    assert "Host: shop" in lines
    assert "Connection: close" in lines
    assert lines[-2:] == ["", ""]


def test_an_answer_in_single_bytes() -> None:
    probe = asking()
    for byte in b"HTTP/1.1 204 No Content\r\nX: y\r\nContent-Length: 3\r\n\r\nab":
        assert probe.receive(bytes([byte])) == b""
        assert probe.result is None
    probe.receive(b"c")
    assert probe.result is not None
    assert (probe.result.cause, probe.result.answer) == (Cause.CONNECTED, 204)


@pytest.mark.parametrize(
    ("status", "good"), [(199, False), (200, True), (299, True), (300, False), (418, True)]
)
def test_expected_statuses(status: int, good: bool) -> None:
    probe = asking(status=((200, 299), (418, 418)))
    probe.receive(f"HTTP/1.1 {status} x\r\nContent-Length: 0\r\n\r\n".encode())
    assert probe.result is not None
    assert (probe.result.cause is Cause.CONNECTED) is good
    assert probe.result.answer == status
    if not good:
        assert "200-299, 418" in probe.result.detail


def test_a_head_has_no_body_to_wait_for() -> None:
    probe = asking(method="HEAD")
    probe.receive(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
    assert probe.result is not None


@pytest.mark.parametrize(
    ("answer", "detail"),
    [
        (b"", "without an answer"),
        (b"HTTP/1.1 200 O", "in the middle"),
        (b"SSH-2.0-OpenSSH\r\n", "not in HTTP"),
        (b"HTTP/1.1 huh\r\n\r\n", "not in HTTP"),
        (b"HTTP/1.1 200 OK\r\n" + b"a: b\r\n" * 12_000, "no end"),
    ],
)
def test_what_is_no_answer(answer: bytes, detail: str) -> None:
    probe = asking()
    if answer:
        probe.receive(answer)
    if probe.result is None:
        probe.end()
    assert probe.result is not None
    assert probe.result.cause is Cause.UNEXPECTED_ANSWER
    assert detail in probe.result.detail


def test_the_weight_of_a_health_check_node_port() -> None:
    probe = asking(status=((200, 200),))
    probe.receive(
        b"HTTP/1.1 200 OK\r\nX-Load-Balancing-Endpoint-Weight: 3\r\nContent-Length: 0\r\n\r\n"
    )
    assert probe.result is not None
    assert probe.result.weight == 3


def test_before_1_28_the_weight_stands_in_the_body() -> None:
    body = b'{"service":{"namespace":"a","name":"b"},"localEndpoints":2,"serviceProxyHealthy":true}'
    probe = asking(status=((200, 200),))
    probe.receive(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
    assert probe.result is not None
    assert probe.result.weight == 2
