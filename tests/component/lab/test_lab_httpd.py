"""The lab's HTTP: correct on kept connections, with every kind of body, for old clients too."""

import asyncio
import hashlib
from collections.abc import AsyncIterator

import pytest

from nplb.lab.apps import AppKind, Identity, make_app
from nplb.lab.interface import Interface, Listener, Reach
from tests.support.eventually import eventually
from tests.support.lab import Networks
from tests.support.labclient import read_answer


class Server:
    """The web application of a pod."""

    def __init__(self, networks: Networks) -> None:
        self.interface = Interface(asyncio.get_running_loop(), networks.node(1), "pod")
        identity = Identity(
            pod="web-1", namespace="shop", node="node-2", ip="10.0.0.7", service="web"
        )
        self.app = make_app(AppKind.HTTP, self.interface, identity)
        Listener(self.interface, 8080, lambda s, peer: self.app.serve(s, peer, 8080, "http"))

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection(self.interface.ip, 8080)


@pytest.fixture
async def server(networks: Networks) -> AsyncIterator[Server]:
    running = Server(networks)
    yield running
    running.interface.close_ports()
    running.interface.reset_connections()


async def test_an_answer_names_who_gave_it(server: Server) -> None:
    reader, writer = await server.connect()
    writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    answer = await read_answer(reader)
    assert answer.status == 200
    assert answer.text == "web-1 (10.0.0.7:8080) on node-2, service web, client 127.0.0.1\n"
    writer.write(b"GET /json?a=1 HTTP/1.1\r\nHost: x\r\nX-Mine: 7\r\n\r\n")
    told = (await read_answer(reader)).json
    assert told["pod"] == "web-1"
    assert told["namespace"] == "shop"
    assert told["portName"] == "http"
    assert told["path"] == "/json?a=1"
    assert told["headers"]["x-mine"] == "7"
    writer.close()


async def test_pipelined_requests_are_answered_in_order(server: Server) -> None:
    reader, writer = await server.connect()
    paths = ["/status/201", "/delay/0.05", "/bytes/10", "/status/404", "/"]
    for path in paths:
        writer.write(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    writer.write_eof()  # a client that asks, ends, and reads
    answers = [await read_answer(reader) for _ in paths]
    assert [answer.status for answer in answers] == [201, 200, 200, 404, 200]
    assert len(answers[2].body) == 10
    assert await reader.read() == b""
    writer.close()


async def test_bodies_are_counted_and_hashed(server: Server) -> None:
    body = bytes(range(256)) * 1000
    digest = hashlib.sha256(body).hexdigest()
    reader, writer = await server.connect()
    writer.write(f"POST /x HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n".encode())
    writer.write(body)
    assert (await read_answer(reader)).text == f"256000 bytes, sha256 {digest}\n"

    writer.write(b"PUT / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
    for at in range(0, len(body), 33_333):
        piece = body[at : at + 33_333]
        writer.write(b"%x;ext=1\r\n" % len(piece))
        await writer.drain()
        writer.write(piece + b"\r")
        await asyncio.sleep(0)
        writer.write(b"\n")
    writer.write(b"0\r\nTrailer: t\r\n\r\n")
    assert (await read_answer(reader)).text == f"256000 bytes, sha256 {digest}\n"

    writer.write(b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n")
    assert (await read_answer(reader)).text.startswith("0 bytes")
    writer.close()


async def test_a_client_that_waits_for_100_continue_is_told(server: Server) -> None:
    reader, writer = await server.connect()
    writer.write(b"POST / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n")
    assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
    writer.write(b"ok")
    assert (await read_answer(reader)).text.startswith("2 bytes")
    writer.close()


async def test_a_request_in_single_bytes_is_a_request(server: Server) -> None:
    reader, writer = await server.connect()
    for byte in b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc":
        writer.write(bytes([byte]))
        await writer.drain()
    assert (await read_answer(reader)).text.startswith("3 bytes")
    writer.close()


@pytest.mark.parametrize(
    ("request_head", "stays"),
    [
        ("GET / HTTP/1.0\r\n", False),
        ("GET / HTTP/1.0\r\nConnection: keep-alive\r\n", True),
        ("GET / HTTP/1.1\r\nConnection: close\r\n", False),
        ("GET / HTTP/1.1\r\n", True),
    ],
)
async def test_connections_are_kept_as_the_client_asks(
    server: Server, request_head: str, stays: bool
) -> None:
    reader, writer = await server.connect()
    writer.write(f"{request_head}Host: x\r\n\r\n".encode())
    answer = await read_answer(reader)
    assert ("connection" in answer.headers) is not stays
    if stays:
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert (await read_answer(reader)).status == 200
    else:
        assert await reader.read() == b""
    writer.close()


async def test_head_has_the_headers_of_get_and_no_body(server: Server) -> None:
    reader, writer = await server.connect()
    writer.write(b"HEAD /bytes/1000000 HTTP/1.1\r\nHost: x\r\n\r\n")
    assert (await read_answer(reader, head=True)).headers["content-length"] == "1000000"
    writer.write(b"GET /status/204 HTTP/1.1\r\nHost: x\r\n\r\n")
    assert (await read_answer(reader)).status == 204
    writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    assert (await read_answer(reader)).status == 200
    writer.close()


async def test_a_large_answer_waits_for_a_slow_reader_and_the_same_bytes_come_each_time(
    server: Server,
) -> None:
    digests = []
    for _ in range(2):
        reader, writer = await server.connect()
        writer.write(b"GET /bytes/9000001 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        await asyncio.sleep(0.05)
        answer = await read_answer(reader)
        assert len(answer.body) == 9_000_001
        digests.append(hashlib.sha256(answer.body).digest())
        assert await reader.read() == b""
        writer.close()
    assert digests[0] == digests[1]


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"hello\r\n\r\n", 400),
        (b"GET / SMTP/1.0\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nno colon\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", 400),
        (b"GET / HTTP/1.1\r\nX: " + b"x" * 70_000, 431),
        (b"GET /bytes/many HTTP/1.1\r\nConnection: close\r\n\r\n", 400),
        (b"GET /delay/soon HTTP/1.1\r\nConnection: close\r\n\r\n", 400),
    ],
)
async def test_nonsense_is_answered_and_ends_the_connection(
    server: Server, sent: bytes, status: int
) -> None:
    reader, writer = await server.connect()
    writer.write(sent)
    assert (await read_answer(reader)).status == status
    assert await reader.read() == b""
    writer.close()


async def test_a_draining_pod_answers_and_asks_its_clients_to_leave(server: Server) -> None:
    reader, writer = await server.connect()
    writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    assert "connection" not in (await read_answer(reader)).headers
    server.app.drain()
    writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    answer = await read_answer(reader)
    assert answer.status == 200
    assert answer.headers["connection"] == "close"
    assert await reader.read() == b""
    writer.close()
    await eventually(lambda: server.interface.connections == 0, "the connection is gone")


async def test_a_silent_pod_answers_when_it_is_back(server: Server) -> None:
    reader, writer = await server.connect()
    server.interface.reach = Reach.SILENT
    writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.2):
            await reader.read(1)
    server.interface.reach = Reach.UP
    async with asyncio.timeout(20):
        assert (await read_answer(reader)).status == 200
    writer.close()
