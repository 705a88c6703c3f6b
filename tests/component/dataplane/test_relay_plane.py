"""The plane: plans that change, ports that are taken, workers that die, the end."""

import asyncio
import contextlib
import os
import signal
import socket
from pathlib import Path

import pytest

from nplb.model.decision import Decision, DecisionKind
from nplb.model.keys import Address
from nplb.model.plan import Frontend, Timeouts
from nplb.model.reasons import BackendState, Balance, EndReason
from tests.support.eventually import eventually
from tests.support.plans import frontend_key, make_backend, make_frontend, make_plan
from tests.support.relay import (
    applied,
    backend_counts,
    echo,
    free_address,
    free_port_everywhere,
    frontend_count,
    greeted,
    own_ip,
    reserved_port,
    running_plane,
    saying,
    serving,
)


async def names(frontend: Frontend, count: int) -> list[str]:
    """Who answers so many clients, one after the other."""
    found = []
    for _ in range(count):
        client = await greeted(frontend.listen[0])
        found.append(client.name)
        await client.close()
    return found


def process_status(pid: int) -> dict[str, str]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return dict(line.split(":\t", 1) for line in lines if ":\t" in line)


async def test_workers_have_no_rights_whoever_starts_them() -> None:
    async with running_plane() as plane:
        (worker,) = plane.traffic().workers
        status = process_status(worker.pid)
        for kind in ("CapInh", "CapPrm", "CapEff", "CapAmb"):
            assert int(status[kind], 16) == 0, kind
        assert status["NoNewPrivs"] == "1"


async def test_backends_join_drain_and_leave_while_connections_live_on() -> None:
    async with running_plane() as plane, serving(saying("a")) as a, serving(saying("b")) as b:
        key = frontend_key()
        address = free_address()
        one, two = make_backend(key, "a", a), make_backend(key, "b", b)
        frontend = make_frontend(address, [one, two])
        await applied(plane, frontend)
        held = [await greeted(frontend.listen[0]) for _ in range(4)]
        assert sorted(client.name for client in held) == ["a", "a", "b", "b"]

        draining = make_backend(key, "a", a, BackendState.DRAINING)
        frontend = make_frontend(address, [draining, two])
        await applied(plane, frontend, generation=2)
        assert await names(frontend, 4) == ["b"] * 4
        assert all([await client.works() for client in held])

        gone = make_frontend(address, [two])
        await applied(plane, gone, generation=3)
        assert all([await client.works() for client in held])
        counters = plane.traffic().backends[one.key]  # gone, but with connections
        assert counters.active == 2

        await applied(plane, make_frontend(address, [one, two]), generation=4)
        assert set(await names(gone, 4)) == {"a", "b"}
        for client in held:
            await client.close()
        await eventually(
            lambda: plane.traffic().backends[one.key].active == 0, "the old ones have ended"
        )
        assert plane.traffic().backends[one.key].connections == 4
        # Twelve clients in all, and each waited for one connect. Workers show that once a tick.
        await eventually(
            lambda: sum(count for _, count in plane.traffic().workers[0].connect_buckets) == 12,
            "every connect is in the histogram",
        )
        assert plane.traffic().workers[0].connect_seconds < 60


async def test_a_frontend_that_leaves_listens_no_more_and_keeps_its_connections() -> None:
    async with running_plane(workers=2) as plane, serving(saying("a")) as a:
        frontend = make_frontend(free_address(), [a], name="leaves")
        other = make_frontend(free_address(), [a], name="stays")
        await applied(plane, frontend, other)
        client = await greeted(frontend.listen[0])
        await applied(plane, other, generation=2)
        with pytest.raises(ConnectionRefusedError):
            await greeted(frontend.listen[0])
        assert await client.works()
        assert frontend_count(plane, frontend).active == 1
        await client.close()
        await eventually(
            lambda: frontend.key not in plane.traffic().frontends, "it is counted no more"
        )
        assert await names(other, 2) == ["a", "a"]


async def test_an_address_goes_from_one_frontend_to_another() -> None:
    async with running_plane() as plane, serving(saying("a")) as a, serving(saying("b")) as b:
        address = free_address()
        old = make_frontend(address, [a], name="old")
        await applied(plane, old)
        client = await greeted(old.listen[0])
        new = make_frontend(address, [b], name="new")
        await applied(plane, new, generation=2)
        assert await names(new, 2) == ["b", "b"]
        assert await client.works()
        assert client.name == "a"
        await client.close()


async def test_the_same_plan_twice_changes_nothing() -> None:
    async with running_plane() as plane, serving(saying("a")) as a:
        frontend = make_frontend(free_address(), [a])
        await applied(plane, frontend)
        client = await greeted(frontend.listen[0])
        for generation in range(2, 6):
            again = make_frontend(frontend.listen[0], [a])
            done = await plane.apply(make_plan(generation, again))
            assert done.generation == generation
            assert plane.traffic().workers[0].generation == generation
            assert await client.works()
        assert frontend_count(plane, frontend).accepted == 1
        await client.close()


async def test_a_port_in_use_is_a_conflict_and_is_taken_over_when_it_comes_free() -> None:
    async with running_plane() as plane, serving(saying("a")) as a:
        with reserved_port() as taken:
            conflict = make_frontend(taken, [a], name="conflict")
            fine = make_frontend(free_address(), [a], name="fine")
            plan = make_plan(1, conflict, fine)
            done = await plane.apply(plan)
            assert list(done.listen_errors) == [conflict.key]
            (error,) = done.listen_errors[conflict.key]
            assert error.in_use
            assert error.address == taken
            assert f"pid {os.getpid()}" in error.detail
            assert done.retry_seconds
            assert await names(fine, 1) == ["a"]
        done = await plane.apply(plan)
        assert not done.listen_errors
        assert done.retry_seconds is None
        assert await names(conflict, 1) == ["a"]


async def test_a_port_shared_by_a_foreign_listener_is_a_conflict_too() -> None:
    address = free_address()
    with socket.socket() as foreign:
        foreign.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        foreign.bind((address.ip, address.port))
        foreign.listen()
        async with running_plane() as plane:
            done = await plane.apply(make_plan(1, make_frontend(address, [])))
            ((error,),) = done.listen_errors.values()
            assert error.in_use


async def test_who_has_the_same_port_at_another_address_is_in_nobodys_way() -> None:
    async with running_plane(workers=1) as plane, serving(saying("a")) as a:
        with reserved_port() as taken, socket.socket() as elsewhere:
            other = Address("127.255.0.1", taken.port)
            elsewhere.bind((other.ip, other.port))
            elsewhere.listen()
            conflict = make_frontend(taken, [a])
            done = await plane.apply(make_plan(1, conflict))
            assert done.listen_errors[conflict.key][0].in_use
        with socket.socket() as elsewhere:
            elsewhere.bind((other.ip, other.port))
            elsewhere.listen()
            plan = make_plan(2, conflict)
            assert not (await plane.apply(plan)).listen_errors
            await plane.set_workers(2)
            assert not (await plane.apply(plan)).listen_errors
            assert await names(conflict, 3) == ["a"] * 3


async def test_an_address_that_is_not_ours_says_what_to_do() -> None:
    async with running_plane() as plane:
        done = await plane.apply(make_plan(1, make_frontend(Address("192.0.2.1", 8080), [])))
        ((error,),) = done.listen_errors.values()
        assert not error.in_use
        assert "192.0.2.1 is no address of this host" in error.detail


async def test_one_address_of_our_own_beside_all_addresses() -> None:
    async with running_plane() as plane, serving(saying("all")) as a, serving(saying("one")) as b:
        address = Address(own_ip(), free_port_everywhere())
        everywhere = make_frontend(Address("0.0.0.0", address.port), [a], name="all")
        special = make_frontend(address, [b], name="one")
        await applied(plane, everywhere, special)
        assert await names(special, 3) == ["one"] * 3


async def test_a_dead_worker_is_replaced_and_waiting_clients_are_served() -> None:
    decisions: list[Decision] = []
    async with (
        running_plane(workers=1, on_decision=decisions.append) as plane,
        serving(saying("a")) as a,
    ):
        frontend = make_frontend(free_address(), [a])
        await applied(plane, frontend)
        held = [await greeted(frontend.listen[0]) for _ in range(3)]
        before = frontend_count(plane, frontend)
        assert before.accepted == 3
        pid = plane.traffic().workers[0].pid
        # Stopped first, so that clients are surely waiting in its queue when it dies.
        os.kill(pid, signal.SIGSTOP)
        waiting = [asyncio.ensure_future(greeted(frontend.listen[0])) for _ in range(20)]  # noqa: TID251
        await asyncio.sleep(0.1)
        assert not any(future.done() for future in waiting)
        os.kill(pid, signal.SIGKILL)
        served = await asyncio.gather(*waiting)
        assert [client.name for client in served] == ["a"] * 20
        assert all([await client.works() for client in served])
        counters = frontend_count(plane, frontend)
        assert counters.accepted == 23
        assert counters.active == 20
        assert counters.ends == {EndReason.INTERNAL: 3}
        worker = plane.traffic().workers[0]
        assert worker.restarts == 1
        assert worker.pid != pid
        assert [d.kind for d in decisions] == [
            DecisionKind.WORKER_DIED,
            DecisionKind.WORKER_STARTED,
        ]
        for client in (*held, *served):
            client.writer.transport.abort()


async def test_a_plan_applied_while_a_worker_dies_reaches_its_successor() -> None:
    async with running_plane(workers=2) as plane, serving(saying("a")) as a:
        frontends = [make_frontend(free_address(), [a], name=f"s{i}") for i in range(30)]
        await applied(plane, *frontends[:10])
        for worker in plane.traffic().workers:
            os.kill(worker.pid, signal.SIGKILL)
        await applied(plane, *frontends, generation=2)
        for frontend in frontends:
            assert await names(frontend, 4) == ["a"] * 4
        await eventually(
            lambda: all(w.alive and w.generation == 2 for w in plane.traffic().workers),
            "both workers serve the plan",
        )


async def test_closing_draining_and_stopping() -> None:
    async with running_plane(workers=2) as plane, serving(saying("a")) as a:
        frontend = make_frontend(free_address(), [a])
        await applied(plane, frontend)
        quick, slow = await greeted(frontend.listen[0]), await greeted(frontend.listen[0])
        pids = [worker.pid for worker in plane.traffic().workers]
        for pid in pids:  # they have no time for it yet
            os.kill(pid, signal.SIGSTOP)
        plane.close_listeners()
        late = asyncio.ensure_future(greeted(frontend.listen[0]))  # noqa: TID251
        await asyncio.sleep(0.01)
        for pid in pids:
            os.kill(pid, signal.SIGCONT)
        drained = asyncio.ensure_future(plane.drain(1.0))  # noqa: TID251
        await quick.close()
        assert await slow.works()
        assert await drained == 1
        with pytest.raises(ConnectionRefusedError):  # and not taken into a queue, and reset
            await late
        with pytest.raises(ConnectionResetError):
            await slow.reader.read()
        slow.writer.close()
        counters = frontend_count(plane, frontend)
        assert counters.ends == {EndReason.CLIENT_CLOSED: 1, EndReason.SHUTDOWN: 1}
        await plane.stop()
        for pid in pids:
            with pytest.raises(ProcessLookupError):
                os.kill(pid, 0)
        assert frontend_count(plane, frontend).accepted == 2  # still told after the end


async def test_draining_ends_as_soon_as_nothing_is_open() -> None:
    async with running_plane() as plane, serving(echo) as backend:
        await applied(plane, make_frontend(free_address(), [backend]))
        plane.close_listeners()
        assert await plane.drain(3600) == 0


async def test_a_worker_without_control_serves_on_and_then_ends() -> None:
    async with running_plane() as plane, serving(saying("a")) as a:
        frontend = make_frontend(free_address(), [a])
        await applied(plane, frontend)
        client = await greeted(frontend.listen[0])
        worker = plane._pool.active[0]
        assert worker._sock is not None
        asyncio.get_running_loop().remove_reader(worker._sock)
        worker._sock.shutdown(socket.SHUT_RDWR)  # what a dead control looks like
        await asyncio.sleep(0.1)
        assert await client.works()
        await client.close()
        await eventually(lambda: not worker.alive, "the worker has ended by itself")


async def test_counters_of_a_row_start_anew_for_another_backend() -> None:
    async with running_plane() as plane, serving(saying("a")) as a:
        plane._accounts._rows._keep = 0
        key = frontend_key()
        address = free_address()
        first = make_frontend(address, [make_backend(key, "first", a)])
        await applied(plane, first)
        await names(first, 3)
        await eventually(lambda: frontend_count(plane, first).active == 0, "ended")
        await applied(plane, make_frontend(address, []), generation=2)
        second = make_frontend(address, [make_backend(key, "second", a)])
        await applied(plane, second, generation=3)
        assert backend_counts(plane, second)[0].connections == 0
        await names(second, 2)
        assert backend_counts(plane, second)[0].connections == 2
        assert frontend_count(plane, second).accepted == 5


@pytest.mark.parametrize("balance", [Balance.ROUND_ROBIN, Balance.LEAST_CONNECTIONS])
async def test_clients_are_spread_evenly(balance: Balance) -> None:
    async with running_plane() as plane, serving(echo) as a, serving(echo) as b:
        frontend = make_frontend(free_address(), [a, b], balance=balance)
        await applied(plane, frontend)
        address = frontend.listen[0]
        writers = []
        for _ in range(20):
            _, writer = await asyncio.open_connection(address.ip, address.port)
            writers.append(writer)
        await eventually(
            lambda: [b.active for b in backend_counts(plane, frontend)] == [10, 10], "even"
        )
        for writer in writers:
            writer.close()
            await writer.wait_closed()


async def test_an_address_that_moves_between_frontends_always_reaches_the_right_one() -> None:
    async with running_plane() as plane, serving(saying("a")) as a, serving(saying("b")) as b:
        one, two = free_address(), free_address()
        alpha, beta = frontend_key("alpha"), frontend_key("beta")
        for turn in range(24):
            first, second = (one, two) if turn % 2 else (two, one)
            to_a = make_frontend(first, [make_backend(alpha, "a", a)], name="alpha")
            to_b = make_frontend(second, [make_backend(beta, "b", b)], name="beta")
            await applied(plane, to_a, to_b, generation=turn + 1)
            assert await names(to_a, 2) == ["a", "a"], turn
            assert await names(to_b, 2) == ["b", "b"], turn
        await applied(plane, generation=30)
        for address in (one, two):
            with pytest.raises(ConnectionRefusedError):
                await asyncio.open_connection(address.ip, address.port)


async def test_a_client_that_still_connects_is_not_left_to_an_address_that_was_given_away() -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=0) as server:
        where = Address("127.0.0.1", server.getsockname()[1])
        fillers = [socket.socket() for _ in range(4)]
        for filler in fillers:  # the queue is full: SYNs are dropped, and come again
            filler.setblocking(False)
            filler.connect_ex((where.ip, where.port))
        async with running_plane() as plane:
            key = frontend_key()
            timeouts = Timeouts(connect=30.0)
            address = free_address()
            before = make_frontend(address, [make_backend(key, "a", where)], timeouts=timeouts)
            await applied(plane, before)
            reader, writer = await asyncio.open_connection(address.ip, address.port)
            writer.write(b"secret")
            await asyncio.sleep(0.2)
            await applied(plane, make_frontend(address, [], timeouts=timeouts), generation=2)
            for filler in fillers:
                filler.close()
            server.settimeout(0.2)
            received = b""

            def look() -> bool:
                """Take whoever comes now; whether the client has ended."""
                nonlocal received
                try:
                    sock, _ = server.accept()
                except TimeoutError:
                    return frontend_count(plane, before).active == 0
                with sock:
                    sock.settimeout(0.2)
                    with contextlib.suppress(TimeoutError, ConnectionResetError):
                        received += sock.recv(100)
                return False

            await eventually(look, "the client to be turned away")
            assert received == b""
            with pytest.raises(ConnectionResetError):
                await reader.readexactly(1)
            writer.close()
    ends = frontend_count(plane, before).ends
    assert ends[EndReason.NO_BACKEND] == 1


async def test_a_successor_that_dies_at_once_is_replaced_too() -> None:
    async with running_plane(2) as plane, serving(saying("a")) as a:
        frontend = make_frontend(free_address(), [make_backend(frontend_key(), "a", a)])
        await applied(plane, frontend)
        seen = set()

        def successor() -> bool:
            return plane.traffic().workers[0].pid not in seen

        for _ in range(3):
            pid = plane.traffic().workers[0].pid
            seen.add(pid)
            os.kill(pid, signal.SIGKILL)
            await eventually(successor, "a successor")
        await eventually(
            lambda: all(w.alive and w.generation == 1 for w in plane.traffic().workers),
            "both to serve",
        )
        assert await names(frontend, 20) == ["a"] * 20


async def test_a_worker_that_stands_still_does_not_keep_the_others_from_the_next_plan() -> None:
    async with running_plane(2) as plane, serving(saying("a")) as a:
        frontend = make_frontend(free_address(), [make_backend(frontend_key(), "a", a)])
        await applied(plane, frontend)
        stuck, other = (w.pid for w in plane.traffic().workers)
        os.kill(stuck, signal.SIGSTOP)
        try:
            await plane.apply(make_plan(2, make_frontend(frontend.listen[0], [])))
            by_pid = {w.pid: w.generation for w in plane.traffic().workers}
            assert by_pid == {stuck: 1, other: 2}
        finally:
            os.kill(stuck, signal.SIGCONT)
        await eventually(
            lambda: all(w.generation == 2 for w in plane.traffic().workers), "both to follow"
        )
