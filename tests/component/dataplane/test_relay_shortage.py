"""A worker that runs short of something degrades with a reason, and recovers without help."""

import asyncio
import resource
import socket
import struct
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path

import pytest

from nplb.model.decision import Decision
from nplb.model.keys import Address
from nplb.model.reasons import EndReason
from tests.support.eventually import eventually
from tests.support.netns import Greeter, dial, greeting, requires_namespaces, site
from tests.support.plans import make_frontend
from tests.support.relay import (
    applied,
    backend_counts,
    free_address,
    frontend_count,
    running_plane,
    saying,
    serving,
)

Test = Callable[[], Awaitable[None]]
PORT = 30080
SOURCE_PORTS = 8
RESET = struct.pack("ii", 1, 0)


def in_namespaces(test: Test) -> Test:
    """A test that needs network namespaces of its own."""
    for mark in requires_namespaces:
        test = mark(test)
    return test


@in_namespaces
async def test_without_source_ports_no_node_is_blamed_and_clients_come_again() -> None:
    with site(1) as world, Greeter(world.nodes[0], PORT, "one"):
        world.edge.sysctl("net.ipv4.ip_local_port_range", f"40000 {40000 + SOURCE_PORTS - 1}")
        with world.edge.entered():
            async with running_plane() as plane:
                frontend = make_frontend(
                    Address(world.edge_ip, PORT), [Address(world.node_ip(1), PORT)]
                )
                await applied(plane, frontend)
                held = []
                refused = 0
                for _ in range(SOURCE_PORTS + 4):
                    try:
                        sock = await asyncio.to_thread(dial, world.client, frontend.listen[0])
                    except ConnectionResetError:
                        refused += 1
                        continue
                    held.append(sock)
                    try:
                        assert (await asyncio.to_thread(greeting, sock))[0] == "one"
                    except (AssertionError, OSError):
                        refused += 1
                        held.pop().close()
                assert (len(held), refused) == (SOURCE_PORTS, 4)
                assert frontend_count(plane, frontend).ends == {EndReason.NO_DESCRIPTORS: 4}
                assert backend_counts(plane, frontend)[0].connect_failures == 0
                # Clients that end by a reset leave no port behind that would have to wait.
                for sock in held:
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
                    sock.close()
                await eventually(
                    lambda: frontend_count(plane, frontend).active == 0, "they have ended"
                )
                for _ in range(SOURCE_PORTS):
                    with await asyncio.to_thread(dial, world.client, frontend.listen[0]) as sock:
                        assert (await asyncio.to_thread(greeting, sock))[0] == "one"
                        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)


def first_free(pid: int) -> int:
    """The number that a process's next descriptor gets."""
    used = {int(link.name) for link in Path(f"/proc/{pid}/fd").iterdir()}
    return next(number for number in range(len(used) + 1) if number not in used)


async def test_without_a_descriptor_for_the_node_a_client_waits_until_there_is_one() -> None:
    async with running_plane() as plane, serving(saying("one")) as backend:
        frontend = make_frontend(free_address(), [backend])
        address = frontend.listen[0]
        await applied(plane, frontend)
        pid = plane.traffic().workers[0].pid
        soft, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
        # Enough to accept one client, and not to connect it.
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (first_free(pid) + 1, hard))
        try:
            clients = [await asyncio.open_connection(address.ip, address.port) for _ in range(3)]
            await eventually(
                lambda: frontend_count(plane, frontend).accepted == 1, "one is accepted"
            )
            await asyncio.sleep(0.3)
            assert frontend_count(plane, frontend).ends == {}
        finally:
            resource.prlimit(pid, resource.RLIMIT_NOFILE, (soft, hard))
        for reader, writer in clients:
            assert await reader.readline() == b"one\n"
            writer.transport.abort()
        await eventually(lambda: frontend_count(plane, frontend).active == 0, "all have ended")
        assert frontend_count(plane, frontend).accepted == 3
        assert EndReason.NO_DESCRIPTORS not in frontend_count(plane, frontend).ends


async def test_without_memory_new_clients_wait_and_who_is_here_is_served(
    caplog: pytest.LogCaptureFixture,
) -> None:
    # Nobody takes these from the queue, which connects them all the same.
    with socket.create_server(("127.0.0.1", 0), backlog=4096) as silent:
        async with running_plane() as plane, serving(saying("one")) as backend:
            many = make_frontend(free_address(), [Address(*silent.getsockname())], name="many")
            few = make_frontend(free_address(), [backend], name="few")
            await applied(plane, many, few)
            reader, writer = await asyncio.open_connection(*few.listen[0])
            assert await reader.readline() == b"one\n"
            worker = plane.traffic().workers[0]
            old = resource.prlimit(worker.pid, resource.RLIMIT_AS)
            resource.prlimit(worker.pid, resource.RLIMIT_AS, (vm_bytes(worker.pid), old[1]))
            crowd: list[socket.socket] = []
            try:
                while not plane.traffic().workers[0].accept_pauses:
                    assert len(crowd) < 10_000
                    with suppress(ConnectionError):  # it is the one for which there is no memory
                        sock = await asyncio.to_thread(socket.create_connection, many.listen[0])
                        crowd.append(sock)
                for _ in range(20):
                    writer.write(b"x" * 100_000)
                    assert await reader.readexactly(100_000) == b"x" * 100_000
                waiting = await asyncio.open_connection(*few.listen[0])
            finally:
                for sock in crowd:
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
                    sock.close()
            # With fewer there is a place, though the limit is as low as before.
            async with asyncio.timeout(20):
                assert await waiting[0].readline() == b"one\n"
            resource.prlimit(worker.pid, resource.RLIMIT_AS, old)
            await eventually(lambda: "there is memory again" in caplog.text, "the end of it")
            after = plane.traffic().workers[0]
            assert (after.pid, after.restarts) == (worker.pid, 0)
            assert "out of memory" in caplog.text
            for one in (writer, waiting[1]):
                one.transport.abort()


async def test_a_worker_that_has_not_even_its_reserve_is_replaced_and_that_is_said() -> None:
    told: list[Decision] = []
    async with running_plane(on_decision=told.append) as plane, serving(saying("one")) as backend:
        frontend = make_frontend(free_address(), [backend])
        await applied(plane, frontend)
        pid = plane.traffic().workers[0].pid
        limits = resource.prlimit(pid, resource.RLIMIT_AS)
        resource.prlimit(pid, resource.RLIMIT_AS, (1 << 20, limits[1]))
        # What is there suffices for clients, who wait; but a plan must not be taken by half.
        many = [Address(f"127.0.{n >> 8}.{n & 255}", 80) for n in range(5000)]
        await applied(plane, frontend, make_frontend(free_address(), many, name="many"))
        await eventually(lambda: told, "it is said")
        assert "out of memory" in told[0].text
        await eventually(lambda: plane.traffic().workers[0].restarts == 1, "another worker")
        reader, writer = await asyncio.open_connection(*frontend.listen[0])
        assert await reader.readline() == b"one\n"
        writer.transport.abort()


def vm_bytes(pid: int) -> int:
    """A process's address space."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[0]) * resource.getpagesize()
