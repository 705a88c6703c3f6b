"""Each option of a frontend does what it says, and every refusal has its reason."""

import asyncio
import contextlib
import fcntl
import json
import os
import random
import resource
import signal
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from nplb.dataplane.relay.counters import ACCESS_DROPPED
from nplb.model.keys import Address
from nplb.model.plan import Frontend, Timeouts
from nplb.model.prefixes import PrefixFile
from nplb.model.reasons import BackendState, Balance, EndReason
from nplb.model.relay import Leave, NoBackend, RelayOptions
from tests.support.addresses import refusing
from tests.support.eventually import eventually
from tests.support.plans import frontend_key, make_backend, make_frontend, make_plan
from tests.support.relay import (
    applied,
    backend_counts,
    echo,
    free_address,
    frontend_count,
    running_plane,
    saying,
    serving,
)

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def connect(frontend: Frontend, source: str | None = None) -> Streams:
    address = frontend.listen[0]
    local = (source, 0) if source else None
    return await asyncio.open_connection(address.ip, address.port, local_addr=local)


async def greeting(frontend: Frontend, source: str | None = None) -> str:
    """The name of the backend that one client comes to."""
    reader, writer = await connect(frontend, source)
    name = (await reader.readline()).decode().strip()
    writer.close()
    await writer.wait_closed()
    return name


async def refused(frontend: Frontend, source: str | None = None) -> None:
    """The next client is taken and reset."""
    with pytest.raises(ConnectionResetError):  # noqa: PT012 -- either may raise it
        reader, _ = await connect(frontend, source)
        await reader.readexactly(1)


async def answers(streams: Streams) -> bool:
    reader, writer = streams
    writer.write(b"?")
    return await reader.readexactly(1) == b"?"


async def close(*streams: Streams) -> None:
    for _, writer in streams:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


async def test_a_connection_ends_with_its_lifetime() -> None:
    async with running_plane() as plane, serving(echo) as backend:
        frontend = make_frontend(
            free_address(), [backend], relay=RelayOptions(lifetime_seconds=0.5)
        )
        await applied(plane, frontend)
        streams = await connect(frontend)
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):  # noqa: PT012
            while True:  # busy all the time
                assert await answers(streams)
        assert frontend_count(plane, frontend).ends == {EndReason.LIFETIME: 1}
        await close(streams)


async def test_limits_of_the_frontend_and_of_all() -> None:
    async with running_plane(max_connections=3) as plane, serving(echo) as backend:
        limited = make_frontend(
            free_address(), [backend], name="limited", relay=RelayOptions(max_connections=2)
        )
        other = make_frontend(free_address(), [backend], name="other")
        await applied(plane, limited, other)
        held = [await connect(limited), await connect(limited)]
        assert all([await answers(streams) for streams in held])
        await refused(limited)
        assert frontend_count(plane, limited).ends == {EndReason.LIMIT_FRONTEND: 1}
        held.append(await connect(other))
        assert await answers(held[-1])
        await refused(other)
        assert frontend_count(plane, other).ends == {EndReason.LIMIT_TOTAL: 1}
        await close(held.pop(0))
        await eventually(lambda: frontend_count(plane, limited).active == 1, "one has ended")
        held.append(await connect(limited))
        assert await answers(held[-1])
        await close(*held)


async def test_clients_wait_for_a_backend_at_its_limit() -> None:
    async with running_plane() as plane, serving(echo) as one, serving(echo) as two:
        options = RelayOptions(max_connections_per_backend=1, max_queue=1, queue_seconds=30)
        frontend = make_frontend(free_address(), [one, two], relay=options)
        await applied(plane, frontend)
        held = [await connect(frontend) for _ in range(2)]
        assert all([await answers(streams) for streams in held])
        assert [b.active for b in backend_counts(plane, frontend)] == [1, 1]
        waiting = await connect(frontend)
        waiting[1].write(b"?")
        await eventually(lambda: frontend_count(plane, frontend).active == 3, "one waits")
        await refused(frontend)
        assert frontend_count(plane, frontend).ends == {EndReason.QUEUE_FULL: 1}
        await close(held.pop())
        assert await waiting[0].readexactly(1) == b"?"
        await close(*held, waiting)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (RelayOptions(max_connections_per_backend=1), EndReason.LIMIT_BACKEND),
        (
            RelayOptions(max_connections_per_backend=1, max_queue=5, queue_seconds=0.2),
            EndReason.QUEUE_TIMEOUT,
        ),
    ],
)
async def test_a_client_without_a_place_is_reset(options: RelayOptions, reason: EndReason) -> None:
    async with running_plane() as plane, serving(echo) as backend:
        frontend = make_frontend(free_address(), [backend], relay=options)
        await applied(plane, frontend)
        held = await connect(frontend)
        assert await answers(held)
        await refused(frontend)
        assert frontend_count(plane, frontend).ends == {reason: 1}
        await close(held)


async def test_limits_for_each_client_address() -> None:
    async with running_plane() as plane, serving(echo) as backend:
        options = RelayOptions(max_connections_per_client=1)
        frontend = make_frontend(free_address(), [backend], relay=options)
        await applied(plane, frontend)
        held = [await connect(frontend, "127.0.9.1"), await connect(frontend, "127.0.9.2")]
        assert all([await answers(streams) for streams in held])
        await refused(frontend, "127.0.9.1")
        assert frontend_count(plane, frontend).ends == {EndReason.LIMIT_CLIENT: 1}
        await close(held.pop(0))
        await eventually(lambda: frontend_count(plane, frontend).active == 1, "it has ended")
        held.append(await connect(frontend, "127.0.9.1"))
        assert await answers(held[-1])
        await close(*held)


async def test_a_client_that_comes_too_often() -> None:
    async with running_plane() as plane, serving(saying("a")) as backend:
        options = RelayOptions(client_rate=0.01)
        frontend = make_frontend(free_address(), [backend], relay=options)
        await applied(plane, frontend)
        assert await greeting(frontend, "127.0.9.1") == "a"
        await refused(frontend, "127.0.9.1")
        assert await greeting(frontend, "127.0.9.2") == "a"
        await eventually(lambda: frontend_count(plane, frontend).active == 0, "all have ended")
        assert frontend_count(plane, frontend).ends[EndReason.LIMIT_CLIENT_RATE] == 1


async def test_source_ranges() -> None:
    async with running_plane() as plane, serving(saying("a")) as backend:
        options = RelayOptions(source_ranges=("127.0.8.0/24", " 10.0.0.0/8 "))
        frontend = make_frontend(free_address(), [backend], relay=options)
        await applied(plane, frontend)
        assert await greeting(frontend, "127.0.8.77") == "a"
        await refused(frontend, "127.0.9.77")
        await eventually(lambda: frontend_count(plane, frontend).active == 0, "all have ended")
        assert frontend_count(plane, frontend).ends[EndReason.SOURCE_DENIED] == 1


async def test_long_lists_reach_every_worker_and_change_with_the_plan() -> None:
    def listed(last: int) -> PrefixFile:
        denied = ((4, (127 << 24) + (8 << 8) + last, 32),)
        others = tuple((4, (10 << 24) + 2 * n, 32) for n in range(20_000))
        return PrefixFile(path="", digest=str(last), count=20_001, prefixes=denied + others)

    async with running_plane(workers=2) as plane, serving(saying("a")) as backend:
        address, key = free_address(), frontend_key()
        for generation, (denied, admitted) in enumerate(((1, 2), (2, 1)), 1):
            options = RelayOptions(denied_ranges_file=listed(denied))
            frontend = make_frontend(address, [make_backend(key, "n", backend)], relay=options)
            await applied(plane, frontend, generation=generation)
            for _ in range(8):
                assert await greeting(frontend, f"127.0.8.{admitted}") == "a"
                await refused(frontend, f"127.0.8.{denied}")
        # A worker that comes later is told too.
        worker = plane.traffic().workers[0]
        os.kill(worker.pid, signal.SIGKILL)
        await eventually(lambda: plane.traffic().workers[0].restarts == 1, "it is back")
        await eventually(lambda: plane.traffic().workers[0].generation == 2, "it has the plan")
        for _ in range(8):
            await refused(frontend, "127.0.8.2")


async def test_unbind_makes_the_port_refuse_until_a_backend_rises() -> None:
    async with running_plane(workers=2) as plane, serving(saying("a")) as alive:
        key, address = frontend_key(), free_address()
        options = RelayOptions(no_backend=NoBackend.UNBIND)

        def frontend(state: BackendState) -> Frontend:
            return make_frontend(address, [make_backend(key, "n", alive, state)], relay=options)

        await applied(plane, frontend(BackendState.ACTIVE))
        assert await greeting(frontend(BackendState.ACTIVE)) == "a"
        await applied(plane, frontend(BackendState.DOWN), generation=2)
        with pytest.raises(ConnectionRefusedError):
            await connect(frontend(BackendState.DOWN))
        await applied(plane, frontend(BackendState.ACTIVE), generation=3)
        assert await greeting(frontend(BackendState.ACTIVE)) == "a"


async def test_fail_open_tries_what_is_down() -> None:
    async with running_plane() as plane, serving(saying("a")) as alive:
        down = make_backend(frontend_key(), "n", alive, BackendState.DOWN)
        options = RelayOptions(no_backend=NoBackend.FAIL_OPEN)
        frontend = make_frontend(free_address(), [down], relay=options)
        await applied(plane, frontend)
        assert await greeting(frontend) == "a"


async def test_hold_waits_for_a_backend_to_rise() -> None:
    async with running_plane() as plane, serving(saying("a")) as alive:
        key, address = frontend_key(), free_address()
        down = make_backend(key, "n", alive, BackendState.DOWN)
        options = RelayOptions(no_backend=NoBackend.HOLD, hold_seconds=30)
        frontend = make_frontend(address, [down], relay=options)
        await applied(plane, frontend)
        streams = [await connect(frontend) for _ in range(3)]
        await eventually(lambda: frontend_count(plane, frontend).active == 3, "they wait")
        up = make_backend(key, "n", alive, BackendState.ACTIVE)
        await applied(plane, make_frontend(address, [up], relay=options), generation=2)
        for reader, _ in streams:
            assert await reader.readline() == b"a\n"
        await close(*streams)

        options = RelayOptions(no_backend=NoBackend.HOLD, hold_seconds=0.2)
        frontend = make_frontend(address, [down], relay=options)
        await applied(plane, frontend, generation=3)
        await refused(frontend)
        assert frontend_count(plane, frontend).ends[EndReason.NO_BACKEND] == 1


async def leave(
    leave: Leave, how: Callable[[Frontend], list[Frontend]], **options: float
) -> tuple[dict[EndReason, int], bool]:
    """What becomes of a connection of a backend that leaves in some way; whether it still
    works one moment after it."""
    async with running_plane() as plane, serving(echo) as one:
        frontend = make_frontend(
            free_address(),
            [one],
            relay=RelayOptions(on_leave=leave, **options),  # type: ignore[arg-type]
        )
        await applied(plane, frontend)
        streams = await connect(frontend)
        assert await answers(streams)
        await applied(plane, *how(frontend), generation=2)
        try:
            works = await answers(streams)
        except (ConnectionError, asyncio.IncompleteReadError):
            works = False
        if options or not works:
            await eventually(lambda: not plane._open(), "it has ended")
            await streams[0].read() if works else None
        await close(streams)
        await eventually(lambda: not plane._open(), "it has ended")
        await applied(plane, frontend, generation=3)  # so that it is counted again
        return dict(frontend_count(plane, frontend).ends), works


def drains(frontend: Frontend) -> list[Frontend]:
    (backend,) = frontend.backends
    state = BackendState.DRAINING
    draining = make_backend(frontend.key, backend.key.node, backend.key.address, state)
    return [make_frontend(frontend.listen, [draining], relay=frontend.relay)]


def backend_goes(frontend: Frontend) -> list[Frontend]:
    return [make_frontend(frontend.listen, [], relay=frontend.relay)]


def frontend_goes(frontend: Frontend) -> list[Frontend]:
    return []


@pytest.mark.parametrize("how", [drains, backend_goes, frontend_goes])
async def test_connections_of_a_backend_that_leaves_are_kept(
    how: Callable[[Frontend], list[Frontend]],
) -> None:
    assert await leave(Leave.KEEP, how) == ({EndReason.CLIENT_CLOSED: 1}, True)


@pytest.mark.parametrize(
    ("how", "reason"),
    [
        (drains, EndReason.DRAIN_DEADLINE),
        (backend_goes, EndReason.DRAIN_DEADLINE),
        (frontend_goes, EndReason.FRONTEND_GONE),
    ],
)
async def test_connections_of_a_backend_that_leaves_are_closed_or_drained(
    how: Callable[[Frontend], list[Frontend]], reason: EndReason
) -> None:
    assert await leave(Leave.CLOSE, how) == ({reason: 1}, False)
    assert await leave(Leave.DRAIN, how, drain_seconds=1.5) == ({reason: 1}, True)


async def test_a_drain_ends_who_was_silent_longest_first() -> None:
    lines: list[bytes] = []
    async with running_plane(on_access=lines.append) as plane, serving(echo) as backend:
        options = RelayOptions(on_leave=Leave.DRAIN, drain_seconds=1.5, access_log=True)
        frontend = make_frontend(free_address(), [backend], relay=options)
        await applied(plane, frontend)
        clients = [f"127.0.9.{number}" for number in range(1, 7)]
        streams = {client: await connect(frontend, client) for client in clients}
        for client in clients:
            assert await answers(streams[client])
        order = random.Random(4).sample(clients, len(clients))
        for client in order:
            # Activity is known to a twentieth of a second, and later where a worker has to wait.
            await asyncio.sleep(0.3)
            assert await answers(streams[client])
        await applied(plane, *drains(frontend), generation=2)
        await eventually(lambda: b"".join(lines).count(b"\n") == len(clients), "all have ended")
        await close(*streams.values())
    ends = [json.loads(line) for line in b"".join(lines).splitlines()]
    assert [entry["client"].rpartition(":")[0] for entry in ends] == order
    assert {entry["reason"] for entry in ends} == {EndReason.DRAIN_DEADLINE}


async def test_a_backend_that_goes_down_can_reset_its_connections() -> None:
    async with running_plane() as plane, serving(saying("a")) as one, serving(saying("b")) as two:
        key, address = frontend_key(), free_address()
        options = RelayOptions(reset_on_down=True)
        both = [make_backend(key, "a", one), make_backend(key, "b", two)]
        frontend = make_frontend(address, both, relay=options)
        await applied(plane, frontend)
        streams = {}
        for _ in range(2):
            pair = await connect(frontend)
            streams[(await pair[0].readline()).decode().strip()] = pair
        down = make_backend(key, "a", one, BackendState.DOWN)
        await applied(plane, make_frontend(address, [down, both[1]], relay=options), generation=2)
        with pytest.raises(ConnectionResetError):
            await streams["a"][0].readexactly(1)
        assert await answers(streams["b"])
        assert frontend_count(plane, frontend).ends == {EndReason.BACKEND_DOWN: 1}
        await close(*streams.values())


async def test_a_client_returns_to_its_backend_through_reloads_and_worker_deaths() -> None:
    async with contextlib.AsyncExitStack() as stack:
        plane = await stack.enter_async_context(running_plane(workers=2))
        alive = [await stack.enter_async_context(serving(saying(f"s{i}"))) for i in range(5)]
        options = RelayOptions(affinity_seconds=600)
        frontend = make_frontend(free_address(), alive, relay=options)
        await applied(plane, frontend)
        clients = [f"127.0.9.{i}" for i in range(1, 9)]
        homes = {client: await greeting(frontend, client) for client in clients}
        assert len(set(homes.values())) > 1

        async def check() -> None:
            for client in clients * 3:
                assert await greeting(frontend, client) == homes[client]

        await check()
        key = frontend_key()
        more = [*frontend.backends, make_backend(key, "new", alive[0])]
        await applied(plane, make_frontend(frontend.listen[0], more, relay=options), generation=2)
        await check()
        plane._pool.active[0].kill()
        await eventually(
            lambda: plane.traffic().workers[0].restarts == 1 and plane.traffic().workers[0].alive,
            "the worker is back",
        )
        await check()


@pytest.mark.parametrize("balance", [Balance.MAGLEV, Balance.SOURCE_HASH])
async def test_workers_and_edges_agree_on_a_client(balance: Balance) -> None:
    async with contextlib.AsyncExitStack() as stack:
        alive = [await stack.enter_async_context(serving(saying(f"s{i}"))) for i in range(4)]
        found = []
        for _ in range(2):
            plane = await stack.enter_async_context(running_plane(workers=2))
            frontend = make_frontend(free_address(), alive, balance=balance)
            await applied(plane, frontend)
            found += [
                [await greeting(frontend, f"127.0.9.{i}") for i in range(1, 20)] for _ in range(3)
            ]
        assert all(names == found[0] for names in found)
        assert len(set(found[0])) > 1


async def test_near_backends_serve_alone_until_too_few_are_left() -> None:
    async with contextlib.AsyncExitStack() as stack:
        plane = await stack.enter_async_context(running_plane())
        names = ("near1", "near2", "far")
        alive = [await stack.enter_async_context(serving(saying(name))) for name in names]
        key, address = frontend_key(), free_address()

        def frontend(*states: BackendState) -> Frontend:
            backends = [
                make_backend(key, name, where, state, tier=int(name == "far"))
                for name, where, state in zip(names, alive, states, strict=True)
            ]
            options = RelayOptions(spill_below=0.75)
            return make_frontend(address, backends, relay=options)

        up, down = BackendState.ACTIVE, BackendState.DOWN
        await applied(plane, frontend(up, up, up))
        assert {await greeting(frontend(up, up, up)) for _ in range(9)} == {"near1", "near2"}
        await applied(plane, frontend(up, down, up), generation=2)
        assert {await greeting(frontend(up, down, up)) for _ in range(9)} == {"near1", "far"}


async def test_a_backend_that_comes_back_starts_slowly() -> None:
    async with running_plane() as plane, serving(echo) as one, serving(echo) as two:
        key = frontend_key()
        now = time.time()
        backends = [
            make_backend(key, "old", one, since=now - 1000),
            make_backend(key, "new", two, since=now),
        ]
        options = RelayOptions(slow_start_seconds=900)
        frontend = make_frontend(free_address(), backends, relay=options)
        await applied(plane, frontend)
        held = [await connect(frontend) for _ in range(44)]
        await eventually(
            lambda: sum(b.active for b in backend_counts(plane, frontend)) == 44, "connected"
        )
        old, new = (b.active for b in backend_counts(plane, frontend))
        assert 3 <= new <= 6  # a tenth of the other's weight: 4
        assert old + new == 44
        await close(*held)


def keepalive_timers(end: Address, *, remote: bool = False) -> list[bool]:
    """For each open connection with this local or remote end, whether its keepalive timer runs."""
    shown = f"{int.from_bytes(socket.inet_aton(end.ip), sys.byteorder):08X}:{end.port:04X}"
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return [
        row[5].startswith("02:")
        for row in rows
        if row[2 if remote else 1] == shown and row[3] == "01"
    ]


async def test_both_sides_of_connections_that_last_are_asked_whether_they_are_there() -> None:
    async with running_plane() as plane, serving(echo) as one, serving(echo) as two:
        timeouts = Timeouts(connect=0.3)  # what outlives it, lasts
        asks = make_frontend(free_address(), [one], name="asks", timeouts=timeouts)
        off = RelayOptions(keepalive_seconds=0)
        silent = make_frontend(free_address(), [two], name="off", timeouts=timeouts, relay=off)
        await applied(plane, asks, silent)
        streams = [await connect(silent), await connect(asks)]
        assert all([await answers(pair) for pair in streams])
        here = asks.listen[0]
        await eventually(lambda: keepalive_timers(here) == [True], "the client is asked")
        await eventually(lambda: keepalive_timers(one, remote=True).count(True) == 1, "the node is")
        assert not any(keepalive_timers(silent.listen[0]))
        assert not any(keepalive_timers(two, remote=True))
        await close(*streams)


async def test_connections_come_from_the_source_pool() -> None:
    sources: dict[str, set[str]] = {}

    async def tell(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(writer.get_extra_info("peername")[0].encode() + b"\n")
        await reader.read()

    async with running_plane() as plane, serving(tell) as backend:
        pool = ("127.0.7.1", "127.0.7.2", "127.0.7.3")
        options = RelayOptions(source_addresses=pool)
        frontend = make_frontend(free_address(), [backend], relay=options)
        await applied(plane, frontend)
        for i in range(1, 25):
            client = f"127.0.9.{i}"
            sources[client] = {await greeting(frontend, client) for _ in range(2)}
    assert all(len(used) == 1 for used in sources.values())  # each client keeps its own
    assert set.union(*sources.values()) == set(pool)


async def test_a_pool_address_that_is_not_ours_is_our_fault_not_the_backends() -> None:
    async with running_plane() as plane, serving(echo) as backend:
        options = RelayOptions(source_addresses=("192.0.2.1",))
        frontend = make_frontend(free_address(), [backend], relay=options)
        await applied(plane, frontend)
        await refused(frontend)
        assert frontend_count(plane, frontend).ends == {EndReason.NO_DESCRIPTORS: 1}
        assert backend_counts(plane, frontend)[0].connect_failures == 0


async def test_the_access_log_has_a_line_for_every_end() -> None:
    lines: list[bytes] = []
    async with (
        running_plane(workers=2, on_access=lines.append) as plane,
        serving(echo) as backend,
    ):
        with refusing() as dead:
            options = RelayOptions(access_log=True)
            frontend = make_frontend(
                free_address(), [dead, backend], balance=Balance.FIRST, relay=options
            )
            await applied(plane, frontend)
            for _ in range(10):
                streams = await connect(frontend)
                assert await answers(streams)
                await close(streams)
            await eventually(lambda: b"".join(lines).count(b"\n") == 10, "ten lines")
    entries = [json.loads(line) for line in b"".join(lines).splitlines()]
    first = min(entries, key=lambda entry: entry["at"])
    assert first["frontend"] == str(frontend.key)
    assert first["backend"] == str(backend)
    assert first["client"].startswith("127.0.0.1:")
    assert first["failed_backends"] == [str(dead)]
    assert first["reason"] == "client_closed"
    assert first["bytes_in"] == first["bytes_out"] == 1
    assert first["seconds"] >= first["connect_seconds"] >= 0


async def test_an_access_log_that_nobody_reads_drops_lines_and_blocks_nobody() -> None:
    lines: list[bytes] = []
    async with running_plane(on_access=lines.append) as plane:
        frontend = make_frontend(free_address(), [], relay=RelayOptions(access_log=True))
        await applied(plane, frontend)
        address = frontend.listen[0]

        def come_and_be_reset() -> None:
            for _ in range(200):
                with contextlib.suppress(ConnectionResetError):
                    socket.create_connection((address.ip, address.port)).close()

        asyncio.get_running_loop().remove_reader(plane.safe.get("access-read"))
        for _ in range(100):
            await asyncio.to_thread(come_and_be_reset)
            if plane._accounts._read(plane._pool.counting)[0][ACCESS_DROPPED]:
                break
        else:
            pytest.fail("no line was dropped")
        asyncio.get_running_loop().add_reader(plane.safe.get("access-read"), plane.access.read)
        for _ in range(400):  # the next line that is taken tells of those that were not
            await refused(frontend)
            if b"dropped_before" in b"".join(lines):
                break
            await asyncio.sleep(0.05)
        else:
            pytest.fail("the loss was not told")


async def test_lines_of_two_workers_are_never_torn_by_a_full_pipe() -> None:
    lines: list[bytes] = []
    async with running_plane(workers=2, on_access=lines.append) as plane:
        pipe = plane.safe.get("access-read")
        fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, resource.getpagesize())
        frontend = make_frontend(free_address(), [], relay=RelayOptions(access_log=True))
        await applied(plane, frontend)
        for _ in range(20):
            asyncio.get_running_loop().remove_reader(pipe)
            await asyncio.gather(*(refused(frontend) for _ in range(40)))
            asyncio.get_running_loop().add_reader(pipe, plane.access.read)
        await eventually(lambda: b"".join(lines).count(b"\n") == 800, "every line")
    assert all(json.loads(line)["reason"] == "no_backend" for line in b"".join(lines).splitlines())


async def test_a_wrong_specification_is_reported_and_changes_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with running_plane() as plane, serving(saying("a")) as backend:
        frontend = make_frontend(free_address(), [backend])
        await applied(plane, frontend)
        for nonsense in (
            {"op": "frontend", "row": 0},
            {"op": "frontend", "row": "x"},
            {"op": "listen", "row": 99, "address": "x"},
            {"op": "backends", "changes": [[1]]},
            {"op": "dance"},
            {"op": "remove", "row": None},
        ):
            plane._pool.active[0].send(nonsense)
        await applied(plane, frontend, generation=2)
        assert await greeting(frontend) == "a"
        assert sum("cannot do" in record.message for record in caplog.records) == 6


async def test_changed_options_hold_for_the_next_client() -> None:
    async with running_plane() as plane, serving(saying("a")) as backend:
        address = free_address()
        await applied(plane, make_frontend(address, [backend]))
        narrow = make_frontend(
            address, [backend], relay=RelayOptions(source_ranges=("10.0.0.0/8",))
        )
        await applied(plane, narrow, generation=2)
        await refused(narrow)
        done = await plane.apply(make_plan(3, make_frontend(address, [backend])))
        assert not done.listen_errors
        assert await greeting(narrow) == "a"
