"""Probes that speak, against real servers: HTTP, TLS, send and expect, PROXY headers."""

import asyncio
import contextlib
import random
import ssl
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from nplb.health.prober import Prober
from nplb.model.health import Check, HealthSettings, ProbeKind
from nplb.model.keys import Address
from nplb.model.reasons import Cause
from nplb.model.relay import SendProxy
from nplb.model.verdict import ProbeTarget, Verdict
from tests.support.addresses import address_of, listening, refusing
from tests.support.eventually import eventually

TLS = Path(__file__).parents[2] / "support" / "tls"
HEALTH = HealthSettings(interval_seconds=0.05, timeout_seconds=5.0, rise=1, fall=1)


class App:
    """A server that answers each connection with the same bytes, and keeps what it saw: what a
    client sent (`heard`), and how its connection ended (`ends`)."""

    def __init__(self, answer: bytes, greeting: bytes = b"") -> None:
        self.answer = answer
        self.greeting = greeting
        self.heard: list[bytes] = []
        self.ends: list[str] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            if self.greeting:
                writer.write(self.greeting)
                await writer.drain()
            data = await reader.read(65536)
            self.heard.append(data)
            if data and self.answer:
                writer.write(self.answer)
                await writer.drain()
            while await reader.read(65536):
                pass
            self.ends.append("eof")
        except OSError as error:
            self.ends.append(type(error).__name__)
        finally:
            writer.close()
            with contextlib.suppress(OSError, TimeoutError):
                await writer.wait_closed()


@contextlib.asynccontextmanager
async def running(app: App, context: ssl.SSLContext | None = None) -> AsyncIterator[Address]:
    server = await asyncio.start_server(app.serve, "127.0.0.1", 0, ssl=context)
    async with server:
        yield address_of(server.sockets[0])


@contextlib.contextmanager
def probing(address: Address, check: Check, health: HealthSettings = HEALTH) -> Iterator[Prober]:
    prober = Prober(publish=lambda _: None, rng=random.Random(7), now=time.time)
    prober.retarget((ProbeTarget(address=address, health=health, check=check),))
    prober.start()
    try:
        yield prober
    finally:
        prober.stop()


async def verdict_of(address: Address, check: Check, health: HealthSettings = HEALTH) -> Verdict:
    """What the first probe finds."""
    with probing(address, check, health) as prober:
        await eventually(
            lambda: prober.verdicts()[address].healthy is not None, "the first probe's end"
        )
        return prober.verdicts()[address]


def page(status: int = 200, body: bytes = b"fine") -> bytes:
    return b"HTTP/1.1 %d Some\r\nContent-Length: %d\r\n\r\n%s" % (status, len(body), body)


HTTP = Check(kind=ProbeKind.HTTP, path="/ready", host="shop.example")


async def test_http_asks_for_its_page_and_ends_like_any_client() -> None:
    app = App(page())
    async with running(app) as address:
        verdict = await verdict_of(address, HTTP)
        assert (verdict.healthy, verdict.answer) == (True, 200)
        assert app.heard[0].startswith(b"GET /ready HTTP/1.1\r\nHost: shop.example\r\n")
        await eventually(lambda: len(app.ends) >= len(app.heard), "the connections' ends")
        assert set(app.ends) == {"eof"}


async def test_http_takes_no_other_status() -> None:
    async with running(App(page(503))) as address:
        verdict = await verdict_of(address, HTTP)
    assert (verdict.healthy, verdict.cause) == (False, Cause.UNEXPECTED_ANSWER)
    assert verdict.answer == 503
    assert "503" in verdict.detail


async def test_http_without_a_host_names_the_address() -> None:
    app = App(page())
    async with running(app) as address:
        await verdict_of(address, replace(HTTP, host=""))
        assert f"Host: {address}\r\n".encode() in app.heard[0]


async def test_a_server_that_accepts_and_says_nothing_is_no_silent_node() -> None:
    with listening() as server:
        quick = replace(HEALTH, timeout_seconds=0.2)
        verdict = await verdict_of(address_of(server), HTTP, quick)
    assert (verdict.healthy, verdict.cause) == (False, Cause.UNEXPECTED_ANSWER)
    assert "did not answer" in verdict.detail


async def test_a_refusal_is_a_refusal_whatever_the_probe_would_say() -> None:
    with refusing() as address:
        assert (await verdict_of(address, HTTP)).cause is Cause.REFUSED


def server_context(name: str = "server.pem") -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(TLS / name)
    return context


TRUSTING = Check(kind=ProbeKind.TLS)
STRICT = replace(TRUSTING, verify=True, ca_file=str(TLS / "ca.pem"))


async def test_tls_leaves_a_finished_handshake_and_a_proper_end() -> None:
    app = App(b"")
    errors: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, said: errors.append(said))
    async with running(app, server_context()) as address:
        verdict = await verdict_of(address, TRUSTING)
        assert verdict.healthy is True
        await eventually(lambda: app.ends != [], "the connection's end")
        assert app.heard[0] == b"", "the application saw a client that said nothing"
        assert app.ends[0] == "eof"
    assert errors == []


@pytest.mark.parametrize(
    ("check", "pem", "healthy"),
    [
        (STRICT, "server.pem", True),
        (replace(STRICT, server_name="localhost"), "server.pem", True),
        (replace(STRICT, server_name="shop.example"), "server.pem", False),
        (STRICT, "other.pem", False),
        (STRICT, "expired.pem", False),
        (replace(STRICT, ca_file=""), "server.pem", False),
        (TRUSTING, "expired.pem", True),
    ],
)
async def test_tls_verifies_if_it_is_told_to(check: Check, pem: str, healthy: bool) -> None:
    asyncio.get_running_loop().set_exception_handler(lambda _, said: None)  # refused handshakes
    async with running(App(b""), server_context(pem)) as address:
        verdict = await verdict_of(address, check)
    assert verdict.healthy is healthy, verdict.detail
    if not healthy:
        assert "certificate" in verdict.detail


async def test_tls_to_what_speaks_no_tls() -> None:
    async with running(App(b"220 hello\r\n")) as address:
        verdict = await verdict_of(address, TRUSTING)
    assert (verdict.healthy, verdict.cause) == (False, Cause.UNEXPECTED_ANSWER)
    assert "TLS" in verdict.detail


async def test_authorities_that_are_not_there_are_said() -> None:
    async with running(App(b""), server_context()) as address:
        verdict = await verdict_of(address, replace(STRICT, ca_file="/nowhere/ca.pem"))
    assert verdict.healthy is False
    assert "/nowhere/ca.pem" in verdict.detail


async def test_https_asks_within_tls_and_sends_the_servers_name() -> None:
    names: list[str | None] = []
    context = server_context()
    context.sni_callback = lambda _sock, name, _context: names.append(name)
    app = App(page(204, b""))
    check = replace(STRICT, kind=ProbeKind.HTTPS, path="/x", server_name="localhost")
    async with running(app, context) as address:
        verdict = await verdict_of(address, check)
        assert (verdict.healthy, verdict.answer) == (True, 204)
        assert app.heard[0].startswith(b"GET /x HTTP/1.1")
        assert names[0] == "localhost"


async def test_send_and_expect() -> None:
    check = Check(kind=ProbeKind.SEND_EXPECT, send="PING\r\n", expect="PONG")
    app = App(b"+PONG\r\n")
    async with running(app) as address:
        assert (await verdict_of(address, check)).healthy is True
        assert app.heard[0] == b"PING\r\n"
        wrong = await verdict_of(address, replace(check, expect="OK"), replace(
            HEALTH, timeout_seconds=0.3))  # fmt: skip
        assert wrong.healthy is False


async def test_a_greeting_is_expected_without_a_word() -> None:
    check = Check(kind=ProbeKind.SEND_EXPECT, expect="220 ")
    async with running(App(b"", greeting=b"220 mail\r\n")) as address:
        assert (await verdict_of(address, check)).healthy is True


@pytest.mark.parametrize(
    ("version", "begins"),
    [
        (SendProxy.V1, b"PROXY TCP4 127.0.0.1 127.0.0.1 "),
        (SendProxy.V2, b"\r\n\r\n\0\r\nQUIT\n\x20"),
    ],
)
async def test_the_proxy_header_goes_first(version: SendProxy, begins: bytes) -> None:
    app = App(page())
    async with running(app) as address:
        await verdict_of(address, replace(HTTP, proxy=version))
        assert app.heard[0].startswith(begins)
        assert b"GET /ready" in app.heard[0]


async def test_another_check_begins_anew() -> None:
    async with running(App(page(500))) as address:
        with probing(address, HTTP) as prober:
            await eventually(lambda: prober.verdicts()[address].healthy is False, "500 is bad")
            both = replace(HTTP, status=((500, 500),))
            prober.retarget((ProbeTarget(address=address, health=HEALTH, check=both),))
            assert prober.verdicts()[address].healthy is None
            await eventually(lambda: prober.verdicts()[address].healthy is True, "500 is good")
