"""Many connections at once, and what is left after many: nothing."""

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from nplb.model.keys import Address
from nplb.model.reasons import EndReason
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
            await asyncio.wait_for(process.wait(), 20)
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
        async with crowd_process("hold", address.ip, str(address.port), str(count)) as clients:
            assert await line(clients) == "held"
            for _ in range(3):
                assert await ask(clients) == "ok"
            assert frontend_count(plane, frontend).active == count
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


async def test_descriptors_and_memory_return() -> None:
    async with running_plane(workers=1) as plane, serving(echo) as backend:
        frontend = make_frontend(free_address(), [backend])
        await applied(plane, frontend)
        address = frontend.listen[0]
        pid = plane.traffic().workers[0].pid

        def descriptors() -> int:
            return len(list(Path(f"/proc/{pid}/fd").iterdir()))

        def resident() -> int:
            return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4096

        async def client(size: int) -> None:
            reader, writer = await asyncio.open_connection(address.ip, address.port)
            writer.write(b"x" * size)
            if size % 3 == 0:
                writer.transport.abort()
                return
            writer.write_eof()
            assert len(await reader.read(-1)) == size
            writer.close()
            await writer.wait_closed()

        async def many(rounds: int) -> None:
            for _ in range(rounds):
                async with asyncio.TaskGroup() as tasks:
                    for size in range(50):
                        tasks.create_task(client(size * 1000 if size < 5 else size))
            await eventually(lambda: frontend_count(plane, frontend).active == 0, "ended")

        await many(10)
        first_descriptors, first_resident = descriptors(), resident()
        await many(60)
        # Idle pipes are kept, some of them.
        assert descriptors() <= first_descriptors + 20
        assert resident() < first_resident + 2_000_000
