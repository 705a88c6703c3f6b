"""How connections begin and end: the next backend, resets, deadlines, and the reason of each."""

import asyncio
import contextlib
import errno
import select
import socket
import struct
from collections.abc import AsyncIterator

import pytest

from nplb.dataplane.relay.plane import RelayPlane
from nplb.model.keys import Address
from nplb.model.plan import Frontend, Timeouts
from nplb.model.reasons import BackendState, Cause, EndReason
from tests.support.addresses import listening, refusing, silent
from tests.support.eventually import eventually
from tests.support.plans import frontend_key, make_backend, make_frontend
from tests.support.relay import (
    applied,
    backend_counts,
    echo,
    free_address,
    free_port_everywhere,
    frontend_count,
    running_plane,
    saying,
    serving,
)


def connect(address: Address) -> socket.socket:
    return socket.create_connection((address.ip, address.port), 10)


def reset(sock: socket.socket) -> None:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


async def accept(server: socket.socket) -> socket.socket:
    conn, _ = await asyncio.get_running_loop().sock_accept(server)
    conn.settimeout(10)
    return conn


async def read_in_thread(sock: socket.socket, size: int = 65536) -> bytes:
    return await asyncio.to_thread(sock.recv, size)


async def expect_reset(address: Address) -> None:
    """The client is taken and reset: it may see that as early as in its connect."""
    with pytest.raises(ConnectionResetError), connect(address) as client:
        await read_in_thread(client)


@contextlib.asynccontextmanager
async def relayed(
    timeouts: Timeouts = Timeouts(),
) -> AsyncIterator[tuple[RelayPlane, socket.socket, Frontend]]:
    """A plane whose one frontend has a listening socket of the test's own as its backend."""
    async with running_plane() as plane:
        with listening() as server:
            backend = Address(*server.getsockname())
            frontend = make_frontend(free_address(), [backend], timeouts=timeouts)
            await applied(plane, frontend)
            yield plane, server, frontend


async def ended(plane: RelayPlane, frontend: Frontend, reason: EndReason) -> None:
    """Wait until one connection is counted as ended, for this reason."""
    await eventually(lambda: frontend_count(plane, frontend).ends == {reason: 1}, reason)


async def test_a_client_that_resets_resets_the_backend() -> None:
    async with relayed() as (plane, server, frontend):
        client = connect(frontend.listen[0])
        client.sendall(b"hello")
        backend = await accept(server)
        assert await read_in_thread(backend) == b"hello"
        reset(client)
        with pytest.raises(ConnectionResetError):
            await read_in_thread(backend)
        backend.close()
        await ended(plane, frontend, EndReason.CLIENT_RESET)
        assert backend_counts(plane, frontend)[0].ends == {EndReason.CLIENT_RESET: 1}


async def test_a_backend_that_resets_resets_the_client() -> None:
    async with relayed() as (plane, server, frontend):
        client = connect(frontend.listen[0])
        backend = await accept(server)
        backend.sendall(b"partial")
        assert await read_in_thread(client) == b"partial"
        reset(backend)
        with pytest.raises(ConnectionResetError):
            await read_in_thread(client)
        client.close()
        await ended(plane, frontend, EndReason.BACKEND_RESET)


async def test_half_close_goes_through_both_ways() -> None:
    async with relayed() as (plane, server, frontend):
        with connect(frontend.listen[0]) as client:
            with await accept(server) as backend:
                client.sendall(b"question")
                client.shutdown(socket.SHUT_WR)
                assert await read_in_thread(backend) == b"question"
                assert await read_in_thread(backend) == b""
                backend.sendall(b"answer")
                assert await read_in_thread(client) == b"answer"
                assert frontend_count(plane, frontend).active == 1
            assert await read_in_thread(client) == b""
        await ended(plane, frontend, EndReason.CLIENT_CLOSED)


async def test_a_refusing_backend_costs_the_client_nothing() -> None:
    failures: list[tuple[Address, Cause]] = []
    async with (
        running_plane(on_failure=lambda address, cause: failures.append((address, cause))) as plane,
        serving(saying("alive")) as alive,
    ):
        with refusing() as refused:
            frontend = make_frontend(free_address(), [refused, alive])
            await applied(plane, frontend)
            for _ in range(20):
                address = frontend.listen[0]
                reader, writer = await asyncio.open_connection(address.ip, address.port)
                writer.write(b"sent at once")
                assert await reader.readline() == b"alive\n"
                assert await reader.readexactly(12) == b"sent at once"
                writer.close()
                await writer.wait_closed()
            one, two = backend_counts(plane, frontend)
            assert one.connections == 0
            assert two.connections == 20
            assert one.connect_failures >= 1
            await eventually(lambda: (refused, Cause.REFUSED) in failures, "the failure is told")


async def test_a_silent_backend_is_given_up_after_the_deadline() -> None:
    async with running_plane() as plane, serving(saying("alive")) as alive:
        with silent() as quiet:
            timeouts = Timeouts(connect=0.3)
            frontend = make_frontend(free_address(), [quiet, alive], timeouts=timeouts)
            await applied(plane, frontend)
            for _ in range(2):
                address = frontend.listen[0]
                reader, writer = await asyncio.open_connection(address.ip, address.port)
                assert await reader.readline() == b"alive\n"
                writer.close()
                await writer.wait_closed()
            assert backend_counts(plane, frontend)[1].connections == 2
            assert backend_counts(plane, frontend)[0].connect_failures == 1


async def test_each_backend_is_tried_once_and_no_more_than_allowed() -> None:
    async with running_plane() as plane:
        with contextlib.ExitStack() as stack:
            dead = [stack.enter_context(refusing()) for _ in range(4)]
            frontend = make_frontend(free_address(), dead, connect_attempts=3)
            await applied(plane, frontend)
            await expect_reset(frontend.listen[0])
            await ended(plane, frontend, EndReason.CONNECT_REFUSED)
            tries = [b.connect_failures for b in backend_counts(plane, frontend)]
            assert sorted(tries) == [0, 1, 1, 1]


async def test_without_a_backend_the_client_is_reset_at_once() -> None:
    async with running_plane() as plane, serving(echo) as alive:
        key = frontend_key()
        states = (BackendState.DOWN, BackendState.DRAINING)
        frontend = make_frontend(
            free_address(), [make_backend(key, s.value, alive, s) for s in states]
        )
        await applied(plane, frontend)
        await expect_reset(frontend.listen[0])
        await ended(plane, frontend, EndReason.NO_BACKEND)


async def test_a_client_that_leaves_before_a_backend_answers() -> None:
    async with running_plane() as plane:
        with silent() as quiet:
            frontend = make_frontend(free_address(), [quiet], timeouts=Timeouts(connect=30))
            await applied(plane, frontend)
            client = connect(frontend.listen[0])
            await eventually(lambda: frontend_count(plane, frontend).active == 1, "accepted")
            reset(client)
            await ended(plane, frontend, EndReason.CLIENT_GONE)
            assert backend_counts(plane, frontend)[0].connections == 0


async def test_a_silent_connection_ends_after_the_idle_time() -> None:
    async with running_plane() as plane, serving(echo) as backend:
        frontend = make_frontend(free_address(), [backend], timeouts=Timeouts(idle=1.5))
        await applied(plane, frontend)
        address = frontend.listen[0]
        reader, writer = await asyncio.open_connection(address.ip, address.port)
        for _ in range(6):  # longer than the idle time in all, but never silent so long
            writer.write(b"x")
            assert await reader.readexactly(1) == b"x"
            await asyncio.sleep(0.4)
        assert await reader.read() == b""
        await ended(plane, frontend, EndReason.IDLE_TIMEOUT)
        writer.close()
        await writer.wait_closed()


async def test_a_half_closed_connection_has_less_time() -> None:
    async with relayed(timeouts=Timeouts(idle=600, half_closed=0.3)) as (plane, server, frontend):
        with connect(frontend.listen[0]) as client, await accept(server):
            client.shutdown(socket.SHUT_WR)
            await ended(plane, frontend, EndReason.HALF_CLOSED_TIMEOUT)


async def test_what_a_backend_said_before_it_closed_reaches_a_client_that_still_sends() -> None:
    async with relayed() as (plane, server, frontend):
        with connect(frontend.listen[0]) as client:
            backend = await accept(server)
            backend.sendall(b"too large\n")
            backend.close()
            assert await read_in_thread(client) == b"too large\n"
            assert await read_in_thread(client) == b""
            client.setblocking(False)
            with contextlib.suppress(BlockingIOError, ConnectionError):
                while True:
                    client.send(b"x" * 65536)
        await eventually(lambda: frontend_count(plane, frontend).active == 0, "ended")


async def test_listening_on_ipv6_and_on_both() -> None:
    async with running_plane() as plane, serving(echo, "::1") as backend:
        port = free_port_everywhere()
        frontend = make_frontend(Address("::", port), [backend])
        await applied(plane, frontend)
        for ip in ("::1", "127.0.0.1"):
            reader, writer = await asyncio.open_connection(ip, port)
            writer.write(b"hello")
            assert await reader.readexactly(5) == b"hello"
            writer.close()
            await writer.wait_closed()
        # An IPv4 address of its own takes the IPv4 clients.
        both = make_frontend([Address("::", port), Address("0.0.0.0", port)], [backend])
        await applied(plane, both, generation=2)
        for ip in ("::1", "127.0.0.1"):
            reader, writer = await asyncio.open_connection(ip, port)
            writer.write(b"hello")
            assert await reader.readexactly(5) == b"hello"
            writer.close()
            await writer.wait_closed()


def test_the_helpers_see_what_they_should() -> None:
    with silent() as quiet, socket.socket() as sock:
        sock.setblocking(False)
        assert sock.connect_ex((quiet.ip, quiet.port)) == errno.EINPROGRESS
        poll = select.poll()
        poll.register(sock, select.POLLOUT)
        assert poll.poll(100) == []
