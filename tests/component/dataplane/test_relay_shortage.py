"""A worker that runs short of something degrades with a reason, and recovers without help."""

import asyncio
import resource
import socket
import struct
from collections.abc import Awaitable, Callable
from pathlib import Path

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
