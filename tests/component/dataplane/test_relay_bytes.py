"""Every byte arrives once, in order, whatever its size and however it was cut."""

import asyncio
import random
import socket

import pytest

from nplb.model.reasons import Balance, EndReason
from tests.support.eventually import eventually
from tests.support.plans import make_frontend
from tests.support.relay import (
    applied,
    echo,
    exchange,
    exchange_server,
    free_address,
    frontend_count,
    running_plane,
    serving,
)


@pytest.mark.slow
async def test_thousands_of_transfers_both_ways_at_once_with_half_close() -> None:
    rng = random.Random(7)
    count = 2500
    sizes = [
        (int(2 ** rng.uniform(0, 17)) - 1, int(2 ** rng.uniform(0, 17)) - 1) for _ in range(count)
    ]
    sizes += [(20_000_000, 0), (0, 20_000_000), (8_000_000, 8_000_000), (0, 0)]
    async with (
        running_plane(workers=2) as plane,
        serving(exchange_server) as one,
        serving(exchange_server) as two,
    ):
        frontend = make_frontend(free_address(), [one, two], balance=Balance.LEAST_CONNECTIONS)
        await applied(plane, frontend)
        gate = asyncio.Semaphore(40)

        async def transfer(seed: int, up: int, down: int) -> None:
            async with gate:
                await exchange(frontend.listen[0], seed, up, down)

        async with asyncio.TaskGroup() as tasks:
            for seed, (up, down) in enumerate(sizes):
                tasks.create_task(transfer(seed * 10, up, down))

        await eventually(lambda: frontend_count(plane, frontend).active == 0, "all have ended")
        counters = frontend_count(plane, frontend)
        assert counters.accepted == len(sizes)
        assert counters.bytes_in == sum(up + 16 for up, _ in sizes)
        assert counters.bytes_out == sum(down + 32 for _, down in sizes)
        closed = (EndReason.CLIENT_CLOSED, EndReason.BACKEND_CLOSED)
        assert sum(counters.ends.get(reason, 0) for reason in closed) == len(sizes)
        assert all(worker.loops > 0 for worker in plane.traffic().workers)


async def test_a_slow_reader_gets_everything() -> None:
    size = 30_000_000

    async def send(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(random.Random(5).randbytes(size))
        await writer.drain()
        writer.write_eof()
        await reader.read()

    async with running_plane() as plane, serving(send) as backend:
        frontend = make_frontend(free_address(), [backend])
        await applied(plane, frontend)
        address = frontend.listen[0]
        reader, writer = await asyncio.open_connection(address.ip, address.port, limit=4096)
        got = bytearray()
        rng = random.Random(1)
        while data := await reader.read(rng.randrange(1, 50_000)):
            got += data
            if rng.random() < 0.01:
                await asyncio.sleep(0.002)
        assert bytes(got) == random.Random(5).randbytes(size)
        writer.close()
        await writer.wait_closed()


async def test_a_stream_that_was_bulk_answers_small_requests_again() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            writer.write(b"x" * int(line))
            await writer.drain()

    async with running_plane() as plane, serving(serve) as backend:
        frontend = make_frontend(free_address(), [backend])
        await applied(plane, frontend)
        address = frontend.listen[0]
        reader, writer = await asyncio.open_connection(address.ip, address.port)
        for size in (10, 5_000_000, *([100] * 50), 3_000_000, *([1] * 50)):
            writer.write(b"%d\n" % size)
            assert await reader.readexactly(size) == b"x" * size
        await eventually(
            lambda: frontend_count(plane, frontend).active == 1, "the connection is open"
        )
        writer.close()
        await writer.wait_closed()


async def test_urgent_data_does_not_stop_what_comes_after_it() -> None:
    async with running_plane() as plane, serving(echo) as backend:
        frontend = make_frontend(free_address(), [backend])
        await applied(plane, frontend)
        address = frontend.listen[0]
        with socket.create_connection((address.ip, address.port), 10) as client:
            for turn in range(20):
                client.send(b"before")
                client.send(b"!", socket.MSG_OOB)
                client.send(b"after%d" % turn)
            client.shutdown(socket.SHUT_WR)
            got = b""
            while data := await asyncio.to_thread(client.recv, 65536):
                got += data
        wanted = b"".join(b"beforeafter%d" % turn for turn in range(20))
        assert got.replace(b"!", b"") == wanted


async def test_small_writes_do_not_wait_for_acknowledgements() -> None:
    async with running_plane() as plane, serving(echo) as backend:
        frontend = make_frontend(free_address(), [backend])
        await applied(plane, frontend)
        address = frontend.listen[0]
        reader, writer = await asyncio.open_connection(address.ip, address.port)
        for _ in range(200):  # two writes each, of which a delayed second one costs 40 ms
            writer.write(b"a")
            await asyncio.sleep(0)
            writer.write(b"b")
            assert await reader.readexactly(2) == b"ab"
        writer.close()
        await writer.wait_closed()
