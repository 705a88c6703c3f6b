"""Forwarding through a node: bytes exact, ends and resets pass through, silence and refusal."""

import asyncio
import contextlib
import hashlib
import random
import select
import socket
import struct
from collections.abc import AsyncIterator

import pytest

from nplb.lab.apps import AppKind, Identity, make_app
from nplb.lab.flow import Flow
from nplb.lab.interface import Interface, Listener, Reach
from nplb.model.keys import Address
from tests.support.eventually import eventually
from tests.support.lab import Networks
from tests.support.labclient import is_silent, refuses

PORT, POD_PORT = 30080, 8080


class Node:
    """A node's interface with one port that forwards to an echoing pod."""

    def __init__(self, networks: Networks) -> None:
        loop = asyncio.get_running_loop()
        self.interface = Interface(loop, networks.node(1), "node-1")
        self.pod = Interface(loop, networks.node(100), "pod")
        identity = Identity(pod="p", namespace="n", node="node-1", ip="10.0.0.1", service="s")
        app = make_app(AppKind.ECHO, self.pod, identity)
        Listener(self.pod, POD_PORT, lambda sock, peer: app.serve(sock, peer, POD_PORT, ""))
        self.listener = Listener(self.interface, PORT, self._accept)
        self.address = Address(self.interface.ip, PORT)

    def _accept(self, sock: socket.socket, peer: tuple[str, int]) -> None:
        Flow(self.interface, sock, (self.pod.ip, POD_PORT), self.interface.ip)

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection(self.address.ip, self.address.port)

    def close(self) -> None:
        for interface in (self.interface, self.pod):
            interface.close_ports()
            interface.reset_connections()


@pytest.fixture
async def node(networks: Networks) -> AsyncIterator[Node]:
    running = Node(networks)
    yield running
    running.close()


async def exchange(node: Node, payload: bytes, dice: random.Random) -> bytes:
    """Send a payload in random pieces, end, and read what comes back until the end."""
    reader, writer = await node.connect()

    async def send() -> None:
        at = 0
        while at < len(payload):
            size = dice.randrange(1, 100_000)
            writer.write(payload[at : at + size])
            at += size
            await writer.drain()
        writer.write_eof()

    sending = asyncio.get_running_loop().create_task(send())
    answer = await reader.read()
    await sending
    writer.close()
    await writer.wait_closed()
    return answer


async def test_bytes_are_exact_in_both_directions_at_once(node: Node) -> None:
    dice = random.Random(7)
    payloads = [dice.randbytes(dice.choice([0, 1, 1000, 70_000, 3_000_000])) for _ in range(40)]
    answers = await asyncio.gather(*(exchange(node, p, dice) for p in payloads))
    for sent, got in zip(payloads, answers, strict=True):
        assert hashlib.sha256(got).digest() == hashlib.sha256(sent).digest()
    await eventually(lambda: node.interface.connections == 0, "every connection is closed")


async def test_a_reader_that_stops_holds_the_sender_and_loses_nothing(node: Node) -> None:
    payload = random.Random(1).randbytes(20_000_000)
    reader, writer = await node.connect()
    writer.write(payload)
    writer.write_eof()
    # Nothing is read for a while: buffers along the way fill, and no more is taken.
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(0.3):
            await writer.drain()
    assert await reader.read() == payload
    writer.close()


async def test_a_half_closed_client_still_gets_its_answer(node: Node) -> None:
    reader, writer = await node.connect()
    writer.write(b"question")
    writer.write_eof()
    assert await reader.read() == b"question"
    writer.close()


async def test_a_reset_of_the_client_reaches_the_pod(node: Node) -> None:
    _, writer = await node.connect()
    writer.write(b"x")
    await eventually(lambda: node.pod.connections == 1, "the pod has the connection")
    sock = writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
    await eventually(lambda: node.pod.connections == 0, "the pod has lost the connection")
    await eventually(lambda: node.interface.connections == 0, "so has the node")


async def test_a_reset_of_the_pod_reaches_the_client(node: Node) -> None:
    reader, writer = await node.connect()
    writer.write(b"x")
    assert await reader.read(1) == b"x"
    node.pod.reset_connections()
    with pytest.raises(ConnectionResetError):
        await reader.read(1)
    writer.close()


async def test_a_pod_that_refuses_shows_as_a_reset(node: Node) -> None:
    node.pod.close_ports()
    reader, writer = await node.connect()
    with pytest.raises(ConnectionResetError):
        await reader.read(1)
    writer.close()


async def test_a_refusing_node_refuses_and_its_connections_live_on(node: Node) -> None:
    reader, writer = await node.connect()
    writer.write(b"before")
    assert await reader.readexactly(6) == b"before"
    node.interface.reach = Reach.REFUSING
    assert await refuses(node.address)
    writer.write(b"during")
    assert await reader.readexactly(6) == b"during"
    node.interface.reach = Reach.UP
    assert await exchange(node, b"after", random.Random(1)) == b"after"
    writer.close()


async def test_a_silent_node_answers_no_connect_and_a_retransmitted_one_succeeds(
    node: Node,
) -> None:
    node.interface.reach = Reach.SILENT
    with socket.socket() as waiting:
        waiting.setblocking(False)
        waiting.connect_ex((node.address.ip, node.address.port))
        assert await is_silent(node.address)
        assert not select.select([], [waiting], [], 0)[1]
        node.interface.reach = Reach.UP
        # The kernel sends its SYN again, and that one is answered.
        await eventually(lambda: select.select([], [waiting], [], 0)[1], "the connect succeeds")
        assert waiting.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0


async def test_connections_of_a_silent_node_stand_still_and_go_on(node: Node) -> None:
    reader, writer = await node.connect()
    writer.write(b"one")
    assert await reader.readexactly(3) == b"one"
    node.interface.reach = Reach.SILENT
    writer.write(b"two")
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.3):
            await reader.read(1)
    node.interface.reach = Reach.UP
    async with asyncio.timeout(20):
        assert await reader.readexactly(3) == b"two"
    writer.close()


async def test_a_silent_node_acknowledges_nothing(node: Node) -> None:
    """TCP_USER_TIMEOUT of a client ends the connection, as over a network that drops."""
    reader, writer = await node.connect()
    writer.write(b"one")
    assert await reader.readexactly(3) == b"one"
    node.interface.reach = Reach.SILENT
    sock = writer.get_extra_info("socket")
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 300)
    writer.write(b"two")
    with pytest.raises(TimeoutError, match="timed out"):
        async with asyncio.timeout(20):
            await reader.read(1)
    writer.close()


async def test_a_port_opened_in_silence_is_silent(node: Node) -> None:
    node.interface.reach = Reach.SILENT
    Listener(node.interface, PORT + 1, node._accept)
    address = Address(node.interface.ip, PORT + 1)
    assert await is_silent(address)
    node.interface.reach = Reach.UP
    async with asyncio.timeout(20):
        _, writer = await asyncio.open_connection(address.ip, address.port)
    writer.close()


async def test_a_connection_that_arrives_in_silence_stands_still(node: Node) -> None:
    with socket.create_server((node.interface.ip, 0)) as server:
        server.setblocking(False)
        reader, writer = await asyncio.open_connection(*server.getsockname())
        sock, _ = server.accept()
    sock.setblocking(False)
    node.interface.reach = Reach.SILENT
    node._accept(sock, ("", 0))
    writer.write(b"hello")
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.2):
            await reader.read(1)
    node.interface.reach = Reach.UP
    async with asyncio.timeout(20):
        assert await reader.readexactly(5) == b"hello"
    writer.close()


async def test_a_slow_node_holds_data_up_and_keeps_its_order(node: Node) -> None:
    node.interface.delay_seconds = 0.05
    loop = asyncio.get_running_loop()
    begin = loop.time()
    payload = random.Random(2).randbytes(300_000)
    assert await exchange(node, payload, random.Random(3)) == payload
    assert loop.time() - begin >= 0.1  # once on its way in, once on its way out
    node.interface.delay_seconds = 0.0
    assert await exchange(node, payload, random.Random(3)) == payload


async def test_a_port_held_by_someone_else_is_taken_over_when_it_comes_free(
    networks: Networks, caplog: pytest.LogCaptureFixture
) -> None:
    interface = Interface(asyncio.get_running_loop(), networks.node(9), "node-9")
    with socket.create_server((networks.node(9), 30999)):
        listener = Listener(interface, 30999, lambda sock, _: sock.close())
        assert "30999" in listener.problem
        assert "node-9 cannot listen on" in caplog.text
    await eventually(lambda: not listener.problem, "the port is taken over")
    interface.close_ports()


async def test_a_port_that_cannot_be_had_is_replaced_where_that_is_wanted(
    networks: Networks,
) -> None:
    interface = Interface(asyncio.get_running_loop(), networks.node(9), "pod")
    with socket.create_server((networks.node(9), 30998)):
        listener = Listener(interface, 30998, lambda sock, _: sock.close(), fallback=True)
        assert listener.problem == ""
        assert listener.bound[0] == networks.node(9)
        assert listener.bound[1] != 30998
        assert not await refuses(Address(*listener.bound))
    interface.close_ports()
