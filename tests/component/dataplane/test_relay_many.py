"""Many connections at once, and what is left after many: nothing."""

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from nplb.dataplane.relay.plane import RelayPlane
from nplb.model.keys import Address
from nplb.model.reasons import EndReason
from tests.bench.soak_relay import soak
from tests.support import crowd
from tests.support.eventually import eventually
from tests.support.plans import make_frontend
from tests.support.relay import (
    applied,
    echo,
    free_address,
    frontend_count,
    own_ip,
    running_plane,
    serving,
)


@contextlib.asynccontextmanager
async def crowd_process(*arguments: str) -> AsyncIterator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        str(crowd.__file__),
        *arguments,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdin is not None
    try:
        yield process
    finally:
        process.stdin.close()
        try:
            async with asyncio.timeout(20):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()


async def line(process: asyncio.subprocess.Process) -> str:
    assert process.stdout is not None
    return (await process.stdout.readline()).decode().strip()


async def ask(process: asyncio.subprocess.Process) -> str:
    """Let it use all its connections; "ok" when every answer was right."""
    assert process.stdin is not None
    process.stdin.write(b"go\n")
    await process.stdin.drain()
    return await line(process)


def resident(plane: RelayPlane) -> int:
    """Bytes of memory that the plane's only worker has."""
    (worker,) = plane.traffic().workers
    return int(Path(f"/proc/{worker.pid}/statm").read_text().split()[1]) * 4096


@pytest.mark.slow
async def test_nine_thousand_connections_through_one_worker_each_still_answering() -> None:
    count = 9000
    async with (
        running_plane(workers=1) as plane,
        crowd_process("echo", own_ip()) as server,
    ):
        port = int(await line(server))
        ip = str(server_ip(server))
        frontend = make_frontend(free_address(), [Address(ip, port)])
        await applied(plane, frontend)
        address = frontend.listen[0]
        before = resident(plane)
        async with crowd_process("hold", address.ip, str(address.port), str(count)) as clients:
            assert await line(clients) == "held"
            for _ in range(3):
                assert await ask(clients) == "ok"
            assert frontend_count(plane, frontend).active == count
            assert (resident(plane) - before) / count < 4096
            assert plane.traffic().workers[0].accept_pauses == 0
        await eventually(lambda: frontend_count(plane, frontend).active == 0, "all have ended")
        counters = frontend_count(plane, frontend)
        assert counters.ends == {EndReason.CLIENT_CLOSED: count}
        assert counters.bytes_in == counters.bytes_out == 3 * count * crowd.WORD


def server_ip(process: asyncio.subprocess.Process) -> str:
    """The address that an echo process was told to serve on."""
    return Path(f"/proc/{process.pid}/cmdline").read_bytes().split(b"\0")[3].decode()


async def test_out_of_descriptors_clients_wait_and_nobody_is_lost() -> None:
    async with running_plane(workers=1, fd_limit=64) as plane, serving(echo) as backend:
        frontend = make_frontend(free_address(), [backend])
        await applied(plane, frontend)
        address = frontend.listen[0]

        async def client(number: int) -> None:
            reader, writer = await asyncio.open_connection(address.ip, address.port)
            word = b"%d" % number
            writer.write(word)
            assert await reader.readexactly(len(word)) == word
            await asyncio.sleep(0.05)
            writer.close()
            await writer.wait_closed()

        async with asyncio.TaskGroup() as tasks:
            for number in range(150):
                tasks.create_task(client(number))
        await eventually(lambda: frontend_count(plane, frontend).active == 0, "all have ended")
        assert frontend_count(plane, frontend).ends == {EndReason.CLIENT_CLOSED: 150}
        assert plane.traffic().workers[0].accept_pauses > 0
        assert plane.traffic().workers[0].restarts == 0


async def test_after_many_connections_with_random_faults_everything_is_as_it_was() -> None:
    outcome = await soak(500, 2500)
    early, late = outcome.held
    assert late.descriptors == early.descriptors
    assert late.resident_bytes < early.resident_bytes + 1_000_000
    found, backends = outcome.frontend, outcome.backends
    assert found.accepted == sum(found.ends.values()) == 3000
    assert found.ends.keys() <= {
        EndReason.CLIENT_CLOSED,
        EndReason.BACKEND_CLOSED,
        EndReason.CLIENT_RESET,
        EndReason.BACKEND_RESET,
        EndReason.CLIENT_GONE,
    }
    for backend in backends:
        assert backend.connections == sum(backend.ends.values())
    # Those that left before a backend had answered ended at the frontend alone.
    gone = found.ends.get(EndReason.CLIENT_GONE, 0)
    assert sum(backend.connections for backend in backends) == 3000 - gone
    assert found.bytes_in == sum(backend.bytes_in for backend in backends)
    assert found.bytes_out == sum(backend.bytes_out for backend in backends)
    assert outcome.restarts == 0
