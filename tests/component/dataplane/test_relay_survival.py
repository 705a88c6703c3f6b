"""Workers outlive their plane: the next one goes on with them, their counters and their clients."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from nplb.dataplane.relay.plane import RelayPlane
from nplb.dataplane.relay.runtime import RuntimeDirectory
from nplb.model.errors import HostError
from nplb.model.keys import Address
from nplb.model.plan import Frontend
from nplb.model.reasons import BackendState
from nplb.model.relay import RelayOptions
from tests.support import relay
from tests.support.eventually import eventually
from tests.support.plans import frontend_key, make_backend, make_frontend
from tests.support.relay import (
    Client,
    applied,
    backend_counts,
    free_address,
    frontend_count,
    saying,
    serving,
)

OPEN: list[Client] = []


@pytest.fixture(autouse=True)
async def none_left_open() -> AsyncIterator[None]:
    yield
    for client in OPEN:
        client.writer.transport.abort()
    OPEN.clear()
    await asyncio.sleep(0)


async def greeted(address: Address) -> Client:
    client = await relay.greeted(address)
    OPEN.append(client)
    return client


async def begun(runtime: RuntimeDirectory, workers: int = 2, **options: Any) -> RelayPlane:
    plane = RelayPlane(workers=workers, runtime=runtime, **options)
    plane.start_workers()
    await plane.start()
    return plane


def pids(plane: RelayPlane) -> list[int]:
    return [worker.pid for worker in plane.traffic().workers]


@pytest.fixture
def runtime(tmp_path: Path) -> Iterator[RuntimeDirectory]:
    runtime = RuntimeDirectory(tmp_path / ("a-long-name-" * 12))
    yield runtime
    runtime.close()


async def test_the_next_plane_goes_on_with_the_workers_their_counts_and_clients(
    runtime: RuntimeDirectory,
) -> None:
    async with serving(saying("a")) as a, serving(saying("b")) as b:
        key = frontend_key()
        address = free_address()
        one, two = make_backend(key, "a", a), make_backend(key, "b", b)
        options = RelayOptions(reset_on_down=True)
        frontend = make_frontend(address, [one, two], relay=options)
        first = await begun(runtime)
        await applied(first, frontend)
        held = [await greeted(address) for _ in range(4)]
        assert frontend_count(first, frontend).accepted == 4
        before = pids(first)
        await first.let_go()  # what it leaves is what a killed one leaves

        assert all([await client.works() for client in held])
        held.append(await greeted(address))  # nobody is in control, and clients are served

        second = await begun(runtime)
        try:
            assert second.inherited
            assert pids(second) == before
            assert all([await client.works() for client in held])
            await applied(second, frontend, generation=2)
            await eventually(
                lambda: frontend_count(second, frontend).active == 5, "they are counted"
            )
            assert frontend_count(second, frontend).accepted == 5
            # A backend that goes down now has its old connections reset, as was asked for.
            down = make_backend(key, "a", a, BackendState.DOWN)
            await applied(second, make_frontend(address, [down, two], relay=options), generation=3)
            for client in held:
                if client.name == "a":
                    with pytest.raises((ConnectionResetError, asyncio.IncompleteReadError)):
                        await client.works()
                else:
                    assert await client.works()
            assert (await greeted(address)).name == "b"
        finally:
            await second.stop()
        assert all(is_gone(pid) for pid in before)
        assert not runtime.names()


async def test_what_has_changed_meanwhile_is_made_so_by_the_next_plan(
    runtime: RuntimeDirectory,
) -> None:
    async with serving(saying("a")) as a, serving(saying("b")) as b:
        gone, moves, stays = (free_address() for _ in range(3))
        first = await begun(runtime)
        await applied(
            first,
            make_frontend(gone, [a], name="gone"),
            make_frontend(moves, [a], name="old"),
            make_frontend(stays, [a], name="stays"),
        )
        client = await greeted(moves)
        await first.let_go()
        second = await begun(runtime, workers=3)  # and there are to be more workers
        try:
            new = make_frontend(moves, [b], name="new")
            still = make_frontend(stays, [a], name="stays")
            await applied(second, new, still, generation=2)
            with pytest.raises(ConnectionRefusedError):
                await greeted(gone)
            for _ in range(12):
                assert (await greeted(moves)).name == "b"
                assert (await greeted(stays)).name == "a"
            assert await client.works()
            assert client.name == "a"
        finally:
            await second.stop()


async def turned_away(address: Address) -> None:
    with pytest.raises(ConnectionResetError):  # noqa: PT012 -- either may raise it
        reader, _ = await asyncio.open_connection(address.ip, address.port)
        await reader.readexactly(1)


async def test_who_is_denied_stays_denied_until_a_plan_admits_him(
    runtime: RuntimeDirectory,
) -> None:
    async with serving(saying("a")) as a:
        address = free_address()
        denying = RelayOptions(denied_ranges=("127.0.0.0/8",))
        first = await begun(runtime)
        await applied(first, make_frontend(address, [a], relay=denying))
        await turned_away(address)
        await first.let_go()
        await turned_away(address)  # nobody is in control, and the list holds
        second = await begun(runtime)
        try:
            await applied(second, make_frontend(address, [a], relay=denying), generation=2)
            await turned_away(address)
            other = RelayOptions(denied_ranges=("10.0.0.0/8",))
            await applied(second, make_frontend(address, [a], relay=other), generation=3)
            assert (await greeted(address)).name == "a"
        finally:
            await second.stop()


async def serve_all_the_time(address: Address, stop: asyncio.Event) -> int:
    """Ask over and over; how often. Any failure is raised."""
    count = 0
    while not stop.is_set():
        client = await greeted(address)
        assert await client.works()
        await client.close()
        count += 1
    return count


async def test_a_successor_takes_over_without_a_client_noticing(runtime: RuntimeDirectory) -> None:
    async with serving(saying("a")) as a:
        address = free_address()
        frontend = make_frontend(address, [a])
        plane = await begun(runtime)
        await applied(plane, frontend)
        held = await greeted(address)
        stop = asyncio.Event()
        async with asyncio.TaskGroup() as tasks:
            asking = [tasks.create_task(serve_all_the_time(address, stop)) for _ in range(3)]
            for turn in range(4):
                before = pids(plane)
                accepted = frontend_count(plane, frontend).accepted
                await plane.freeze()
                successor = await begun(runtime, successor=True)
                await applied(successor, frontend, generation=turn + 2)
                await successor.succeed()
                await plane.let_go()
                plane = successor
                assert not set(before) & set(pids(plane))
                assert frontend_count(plane, frontend).accepted >= accepted
                assert await held.works()
            stop.set()
        assert sum(task.result() for task in asking) > 0
        total = 1 + sum(task.result() for task in asking)
        await eventually(lambda: frontend_count(plane, frontend).active == 1, "one is open")
        assert frontend_count(plane, frontend).accepted == total
        assert backend_counts(plane, frontend)[0].connections == total
        await held.close()
        await eventually(lambda: not plane._pool.retired, "the old workers have ended")
        assert frontend_count(plane, frontend).accepted == total
        await plane.stop()
        assert not runtime.names()


async def test_a_successor_that_fails_costs_no_client(runtime: RuntimeDirectory) -> None:
    async with serving(saying("a")) as a:
        address = free_address()
        frontend = make_frontend(address, [a])
        plane = await begun(runtime)
        await applied(plane, frontend)
        before = pids(plane)
        held = [await greeted(address) for _ in range(4)]
        await plane.freeze()
        successor = await begun(runtime, workers=3, successor=True)
        extra = make_frontend(free_address(), [a], name="extra")
        await applied(successor, frontend, extra, generation=2)
        held += [await greeted(address) for _ in range(8)]
        await successor.let_go()  # as if it had been killed before it was done
        await plane.resume()
        assert pids(plane) == before
        await applied(plane, frontend, generation=3)
        held += [await greeted(address) for _ in range(4)]
        assert all([await client.works() for client in held])
        await eventually(lambda: frontend_count(plane, frontend).accepted == 16, "all are counted")
        for client in held:
            await client.close()
        await eventually(lambda: not plane._pool.retired, "what it had started has ended")
        await eventually(lambda: frontend_count(plane, frontend).active == 0, "all have ended")
        assert frontend_count(plane, frontend).accepted == 16
        with pytest.raises(ConnectionRefusedError):
            await greeted(extra.listen[0])
        await plane.stop()


async def test_a_worker_that_dies_without_control_is_replaced_by_the_next(
    runtime: RuntimeDirectory,
) -> None:
    async with serving(saying("a")) as a:
        address = free_address()
        frontend = make_frontend(address, [a])
        first = await begun(runtime)
        await applied(first, frontend)
        dead, alive = pids(first)
        await first.let_go()
        os.kill(dead, signal.SIGKILL)
        second = await begun(runtime)
        try:
            await applied(second, frontend, generation=2)
            assert pids(second)[1] == alive
            assert pids(second)[0] != dead
            assert {(await greeted(address)).name for _ in range(20)} == {"a"}
            # Both serve: the new one has a listening socket of its own.
            os.kill(alive, signal.SIGKILL)
            assert {(await greeted(address)).name for _ in range(20)} == {"a"}
        finally:
            await second.stop()


async def test_other_code_retires_the_workers_of_before(
    runtime: RuntimeDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serving(saying("a")) as a:
        address = free_address()
        frontend = make_frontend(address, [a])
        first = await begun(runtime)
        await applied(first, frontend)
        held = await greeted(address)
        before = pids(first)
        await first.let_go()
        monkeypatch.setattr(
            "nplb.dataplane.relay.survivors.worker_fingerprint", lambda: "another version"
        )
        second = await begun(runtime)
        try:
            assert not set(pids(second)) & set(before)
            await applied(second, frontend, generation=2)
            assert await held.works()
            assert frontend_count(second, frontend).accepted == 1
            for _ in range(10):
                client = await greeted(address)
                assert client.name == "a"
                await client.close()
            await held.close()
            await eventually(lambda: not second._pool.retired, "the old ones have ended")
        finally:
            await second.stop()


async def test_workers_join_and_leave_while_clients_come(runtime: RuntimeDirectory) -> None:
    async with serving(saying("a")) as a:
        address = free_address()
        frontend: Frontend = make_frontend(address, [a])
        plane = await begun(runtime, workers=1)
        await applied(plane, frontend)
        held = await greeted(address)
        stop = asyncio.Event()
        async with asyncio.TaskGroup() as tasks:
            asking = [tasks.create_task(serve_all_the_time(address, stop)) for _ in range(3)]
            for count in (4, 2, 3, 1):
                await plane.set_workers(count)
                assert len(pids(plane)) == count
                for _ in range(10):
                    assert await (await greeted(address)).works()
            stop.set()
        assert sum(task.result() for task in asking) > 0
        assert await held.works()
        await plane.stop()


async def test_without_a_runtime_directory_workers_end_with_their_connections() -> None:
    async with serving(saying("a")) as a:
        address = free_address()
        plane = RelayPlane(workers=1)
        await plane.start()
        await applied(plane, make_frontend(address, [a]))
        client = await greeted(address)
        (pid,) = pids(plane)
        await plane.let_go()
        assert await client.works()
        await client.close()
        await eventually(lambda: is_gone(pid), "the worker has ended")


def is_gone(pid: int) -> bool:
    """Whether a child has ended, which it is then given leave to."""
    try:
        return os.waitpid(pid, os.WNOHANG)[0] == pid
    except ChildProcessError:
        return True


async def test_a_worker_whose_rendezvous_is_taken_away_ends(runtime: RuntimeDirectory) -> None:
    async with serving(saying("a")) as a:
        address = free_address()
        plane = await begun(runtime, workers=1)
        await applied(plane, make_frontend(address, [a]))
        (pid,) = pids(plane)
        await plane.let_go()
        client = await greeted(address)
        assert client.name == "a"
        for name in runtime.names():
            runtime.remove(name)
        assert await client.works()
        await client.close()
        await eventually(lambda: is_gone(pid), "the worker has ended")


def test_one_control_at_a_time(tmp_path: Path) -> None:
    first, second = RuntimeDirectory(tmp_path / "run"), RuntimeDirectory(tmp_path / "run")
    first.lock()
    with pytest.raises(HostError, match=rf"another nplb \(pid {os.getpid()}\) runs"):
        second.lock()
    first.close()
    second.lock()
    second.close()


def test_a_directory_that_others_may_write_to_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "run"
    path.mkdir()
    path.chmod(0o777)
    with pytest.raises(HostError, match="nobody else may write there"):
        RuntimeDirectory(path)


def test_a_directory_of_its_own_is_removed_at_the_end(tmp_path: Path) -> None:
    first = RuntimeDirectory(tmp_path / "run")
    waiting = RuntimeDirectory(tmp_path / "run")
    first.lock()
    first.discard()
    first.close()
    assert not (tmp_path / "run").exists()
    with pytest.raises(HostError):  # it is gone, and nobody may be in control of nothing
        waiting.lock()
    waiting.close()
    again = RuntimeDirectory(tmp_path / "run")
    again.lock()
    socket_, name = again.bind(0)
    again.discard()
    assert again.names() == [name], "what a worker may be found by stays"
    socket_.close()
    again.close()
