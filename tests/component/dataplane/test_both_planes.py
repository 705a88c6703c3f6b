"""What both planes can do, tested on both by the same words: a client, an edge, two nodes. What the
kernel plane's fast path takes is tested on it too.

What one of them alone can do, or does in its own way, is in `test_kernel_plane` and in the
relay's tests.
"""

import asyncio
import contextlib
import socket
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field, replace

import pytest

from nplb.dataplane.kernel.nft import Nft
from nplb.dataplane.kernel.plane import KernelPlane, delete_table, left_behind
from nplb.dataplane.relay.plane import RelayPlane
from nplb.dataplane.split import SplitPlane
from nplb.model.applied import Applied, FrontendCounters
from nplb.model.kernel import KernelOptions, PlaneKind
from nplb.model.keys import Address
from nplb.model.plan import Frontend
from nplb.model.reasons import BackendState, Balance, EndReason
from nplb.model.relay import Leave, NoBackend, RelayOptions
from tests.support.eventually import eventually
from tests.support.fastpath import FAST, pins_removed
from tests.support.kernelplans import a_frontend, a_plan, with_state, without
from tests.support.netns import (
    Namespace,
    Site,
    dial,
    greet,
    greeting,
    greeting_site,
    requires_namespaces,
    served,
)

pytestmark = requires_namespaces

EDGE = Address("10.71.0.1", 443)
EDGE6 = Address("fd71::1", 443)
OTHER_CLIENT = "10.71.0.3"
FAST_PATH = "fast path"
THREE_WAYS = pytest.mark.parametrize("edge", [*PlaneKind, FAST_PATH], ids=str, indirect=True)


@pytest.fixture(scope="module")
def world() -> Iterator[Site]:
    with greeting_site() as here, pins_removed(here.edge):
        here.client.run("ip", "addr", "add", f"{OTHER_CLIENT}/24", "dev", "to-edge")
        yield here


@dataclass
class Edge:
    """An edge whose frontends all go one way."""

    plane: SplitPlane
    kind: PlaneKind
    kernel: KernelOptions = field(default_factory=KernelOptions)
    frontends: tuple[Frontend, ...] = field(default=())

    async def serve(self, *frontends: Frontend) -> Applied:
        """Make these all that is served."""
        self.frontends = tuple(replace(f, plane=self.kind, kernel=self.kernel) for f in frontends)
        applied = await self.plane.apply(a_plan(*self.frontends))
        assert not applied.listen_errors
        return applied

    async def when_due(self, applied: Applied) -> None:
        """Apply again whenever the plane has asked for it, as the reconciler does."""
        while applied.retry_seconds is not None:
            await asyncio.sleep(applied.retry_seconds)
            applied = await self.plane.apply(a_plan(*self.frontends))

    def counters(self) -> FrontendCounters:
        """Those of the first frontend."""
        counted = self.plane.traffic().frontends
        return counted.get(self.frontends[0].key, FrontendCounters())


@pytest.fixture(params=list(PlaneKind), ids=str)
async def edge(world: Site, request: pytest.FixtureRequest) -> AsyncIterator[Edge]:
    with world.edge.entered():
        relay = RelayPlane(workers=1)
        relay.start_workers()
        await relay.start()
        plane = SplitPlane(relay, KernelPlane, left_behind)
        if request.param == FAST_PATH:
            yield Edge(plane, PlaneKind.KERNEL, FAST)
        else:
            yield Edge(plane, request.param)
        await plane.stop()
        await relay.stop()
        await delete_table(Nft())


def _turned_away(space: Namespace, source: str = "") -> bool:
    try:
        with dial(space, EDGE, source=source) as sock:
            return sock.recv(64) == b""
    except ConnectionError:
        return True


async def turned_away(space: Namespace, source: str = "") -> bool:
    """Whether a client is refused or reset, and hears of no node."""
    return await asyncio.to_thread(_turned_away, space, source)


async def connected(world: Site, source: str = "") -> tuple[socket.socket, str]:
    """A connection, and the name of its node."""
    sock = await asyncio.to_thread(dial, world.client, EDGE, source=source)
    return sock, (await asyncio.to_thread(greeting, sock))[0]


def _echoes(sock: socket.socket) -> bool:
    sock.settimeout(10)
    try:
        sock.sendall(b"still here")
        return sock.recv(64) == b"still here"
    except (ConnectionError, BrokenPipeError):
        return False


async def echoes(sock: socket.socket) -> bool:
    """Whether a connection still reaches its node; false once it has ended."""
    return await asyncio.to_thread(_echoes, sock)


def place_of(name: str) -> int:
    return ("one", "two").index(name) + 1


# -- which node ---------------------------------------------------------------------------


@THREE_WAYS
async def test_in_turn_is_exact_and_weights_are_shares(world: Site, edge: Edge) -> None:
    await edge.serve(a_frontend())
    assert await served(world.client, 10) == {"one": 5, "two": 5}
    await edge.serve(a_frontend(weights=(3, 1)))
    assert await served(world.client, 8) == {"one": 6, "two": 2}


@pytest.mark.parametrize("balance", [Balance.RANDOM, Balance.SOURCE_HASH, Balance.MAGLEV])
async def test_every_method_gives_a_node(world: Site, edge: Edge, balance: Balance) -> None:
    await edge.serve(a_frontend(balance=balance))
    seen = await served(world.client, 6)
    assert sum(seen.values()) == 6
    if balance is not Balance.RANDOM:
        assert len(seen) == 1  # one client, one node


@THREE_WAYS
async def test_nearer_nodes_alone_serve_while_enough_of_them_work(world: Site, edge: Edge) -> None:
    frontend = a_frontend()
    near, far = frontend.backends
    frontend = replace(frontend, backends=(near, replace(far, tier=1)))
    await edge.serve(frontend)
    assert await served(world.client, 3) == {"one": 3}
    await edge.serve(with_state(frontend, 1, BackendState.DOWN))
    assert await served(world.client, 3) == {"two": 3}


async def test_affinity_outlives_changes_and_ends_with_its_node(world: Site, edge: Edge) -> None:
    frontend = a_frontend(relay=RelayOptions(affinity_seconds=600))
    await edge.serve(frontend)
    (name,) = await served(world.client, 5)
    await edge.serve(frontend, a_frontend("other", edge_port=444))
    assert await served(world.client, 3) == {name: 3}
    await edge.serve(with_state(frontend, place_of(name), BackendState.DRAINING))
    (other,) = await served(world.client, 3)
    assert other != name
    await edge.serve(frontend)
    assert await served(world.client, 3) == {other: 3}


@THREE_WAYS
async def test_both_families_and_wildcards(world: Site, edge: Edge) -> None:
    ips = ("10.72.1.2", "10.72.2.2", "fd72:1::2", "fd72:2::2")
    await edge.serve(a_frontend(ips=ips, listen=("0.0.0.0", "::")))
    for to in (EDGE, EDGE6):
        assert set(await served(world.client, 8, to)) == {"one", "two"}
    await edge.serve(a_frontend(ips=ips[2:], listen=("fd71::1",)))
    assert await served(world.client, 4, EDGE6) == {"one": 2, "two": 2}


@THREE_WAYS
async def test_nodes_see_the_edge(world: Site, edge: Edge) -> None:
    await edge.serve(a_frontend(ips=("10.72.1.2",)))
    assert await asyncio.to_thread(greet, world.client, EDGE) == ("one", "10.72.1.1")


@THREE_WAYS
async def test_the_edge_and_the_nodes_are_clients_too(world: Site, edge: Edge) -> None:
    await edge.serve(a_frontend())
    for space in (world.edge, *world.nodes):
        assert set(await served(space, 4)) == {"one", "two"}


# -- who may come -------------------------------------------------------------------------


async def test_source_ranges(world: Site, edge: Edge) -> None:
    frontend = a_frontend(relay=RelayOptions(source_ranges=("10.71.0.2/32", "192.0.2.0/24")))
    await edge.serve(frontend)
    assert (await served(world.client, 2)).total() == 2
    assert await turned_away(world.client, OTHER_CLIENT)
    denied = RelayOptions(source_ranges=("10.71.0.0/16",), denied_ranges=("10.71.0.2/32",))
    await edge.serve(replace(frontend, relay=denied))
    assert await turned_away(world.client)
    assert (await served(world.client, 2, source=OTHER_CLIENT)).total() == 2
    await eventually(lambda: edge.counters().ends.get(EndReason.SOURCE_DENIED) == 2, "counted")


@pytest.mark.parametrize(
    ("options", "reason", "admitted"),
    [
        (RelayOptions(max_connections_per_client=2), EndReason.LIMIT_CLIENT, 2),
        (RelayOptions(max_connections=2), EndReason.LIMIT_FRONTEND, 2),
        # So slow that no test is slower.
        (RelayOptions(client_rate=1 / 60), EndReason.LIMIT_CLIENT_RATE, 1),
    ],
)
async def test_limits(
    world: Site, edge: Edge, options: RelayOptions, reason: EndReason, admitted: int
) -> None:
    await edge.serve(a_frontend(relay=options))
    socks = [(await connected(world))[0] for _ in range(admitted)]
    with contextlib.ExitStack() as stack:
        for sock in socks:
            stack.enter_context(sock)
        assert await turned_away(world.client)
        if reason is not EndReason.LIMIT_FRONTEND:  # another client is another matter
            assert (await served(world.client, 1, source=OTHER_CLIENT)).total() == 1
        assert await echoes(socks[0])
    await eventually(lambda: edge.counters().ends.get(reason) == 1, "counted")


async def test_a_limit_is_the_frontends_whatever_address_clients_use(
    world: Site, edge: Edge
) -> None:
    ips = ("10.72.1.2", "fd72:1::2")
    frontend = a_frontend(ips=ips, listen=("10.71.0.1", "fd71::1"))
    frontend = replace(
        frontend,
        listen=(*frontend.listen, Address("10.71.0.1", 444)),
        relay=RelayOptions(max_connections=2),
    )
    await edge.serve(frontend)
    socks = [
        await asyncio.to_thread(dial, world.client, to) for to in (EDGE6, Address("10.71.0.1", 444))
    ]
    for sock in socks:
        assert greeting(sock)
    assert await turned_away(world.client)
    for sock in socks:
        sock.close()


async def test_room_is_made_by_connections_that_end(world: Site, edge: Edge) -> None:
    await edge.serve(a_frontend(relay=RelayOptions(max_connections=1)))
    sock, _ = await connected(world)
    assert await turned_away(world.client)
    sock.close()
    deadline = time.monotonic() + 20
    while await turned_away(world.client):
        assert time.monotonic() < deadline


# -- without a node -----------------------------------------------------------------------


@THREE_WAYS
@pytest.mark.parametrize("policy", [NoBackend.REFUSE, NoBackend.UNBIND])
async def test_without_a_node_clients_are_turned_away(
    world: Site, edge: Edge, policy: NoBackend
) -> None:
    frontend = a_frontend(relay=RelayOptions(no_backend=policy))
    down = with_state(with_state(frontend, 1, BackendState.DOWN), 2, BackendState.DRAINING)
    await edge.serve(down)
    assert await turned_away(world.client)
    await edge.serve(frontend)
    assert (await served(world.client, 2)).total() == 2


@THREE_WAYS
async def test_fail_open_tries_nodes_that_are_down(world: Site, edge: Edge) -> None:
    options = RelayOptions(no_backend=NoBackend.FAIL_OPEN)
    frontend = a_frontend(ips=("10.72.1.2",), relay=options)
    await edge.serve(with_state(frontend, 1, BackendState.DOWN))
    assert await served(world.client, 2) == {"one": 2}


# -- connections ---------------------------------------------------------------------------


@THREE_WAYS
async def test_bytes_half_closes_and_resets_pass_through(world: Site, edge: Edge) -> None:
    await edge.serve(a_frontend())
    sock, _ = await connected(world)
    payload = bytes(range(256)) * 8000

    def exchange() -> bytes:
        received = bytearray()
        with sock:
            sock.settimeout(20)
            for start in range(0, len(payload), 64_000):
                sock.sendall(payload[start : start + 64_000])
                while len(received) < min(start + 64_000, len(payload)):
                    received += sock.recv(65536)
            sock.shutdown(socket.SHUT_WR)
            while piece := sock.recv(65536):  # the node's own end comes after ours
                received += piece
        return bytes(received)

    assert await asyncio.to_thread(exchange) == payload


@THREE_WAYS
async def test_a_draining_node_keeps_its_connections(world: Site, edge: Edge) -> None:
    frontend = a_frontend()
    await edge.serve(frontend)
    sock, name = await connected(world)
    with sock:
        await edge.serve(with_state(frontend, place_of(name), BackendState.DRAINING))
        assert name not in await served(world.client, 4)
        assert await echoes(sock)
        await edge.serve(without(frontend, place_of(name)))
        assert name not in await served(world.client, 4)
        assert await echoes(sock)


@THREE_WAYS
@pytest.mark.parametrize("how", ["draining", "removed", "frontend removed"])
async def test_connections_are_closed_where_nodes_that_leave_are_to_close(
    world: Site, edge: Edge, how: str
) -> None:
    frontend = a_frontend(relay=RelayOptions(on_leave=Leave.CLOSE))
    await edge.serve(frontend)
    sock, name = await connected(world)
    with sock:
        after: tuple[Frontend, ...] = ()
        if how == "draining":
            after = (with_state(frontend, place_of(name), BackendState.DRAINING),)
        elif how == "removed":
            after = (without(frontend, place_of(name)),)
        other = a_frontend("other", edge_port=444, node_port=30081)
        applied = await edge.serve(*after, other)
        await edge.when_due(applied)
        assert not await echoes(sock)


async def test_a_drain_ends_at_its_deadline(world: Site, edge: Edge) -> None:
    options = RelayOptions(on_leave=Leave.DRAIN, drain_seconds=3.0)
    frontend = a_frontend(relay=options)
    await edge.serve(frontend)
    sock, name = await connected(world)
    with sock:
        begun = time.time()
        draining = with_state(frontend, place_of(name), BackendState.DRAINING, since=begun)
        applied = await edge.serve(draining)
        if time.time() < begun + 2:  # a machine that stood still for long proves nothing
            assert await echoes(sock)
        await edge.when_due(applied)
        deadline = time.monotonic() + 20
        while await echoes(sock):
            assert time.monotonic() < deadline
            await asyncio.sleep(0.1)


@THREE_WAYS
async def test_connections_of_a_node_that_is_down_are_reset_where_asked(
    world: Site, edge: Edge
) -> None:
    frontend = a_frontend(relay=RelayOptions(reset_on_down=True))
    await edge.serve(frontend)
    sock, name = await connected(world)
    other, other_name = await connected(world)
    while other_name == name:
        other.close()
        other, other_name = await connected(world)
    with sock, other:
        applied = await edge.serve(with_state(frontend, place_of(name), BackendState.DOWN))
        await edge.when_due(applied)
        assert not await echoes(sock)
        assert await echoes(other)


@THREE_WAYS
async def test_other_options_are_for_new_connections(world: Site, edge: Edge) -> None:
    """A reload: who is there stays, whatever is wanted of those who come."""
    frontend = a_frontend()
    await edge.serve(frontend)
    sock, _ = await connected(world)
    with sock:
        stricter = RelayOptions(source_ranges=(f"{OTHER_CLIENT}/32",), affinity_seconds=60)
        await edge.serve(replace(frontend, relay=stricter, balance=Balance.SOURCE_HASH))
        assert await turned_away(world.client)
        assert (await served(world.client, 1, source=OTHER_CLIENT)).total() == 1
        assert await echoes(sock)
        await edge.serve(replace(frontend, listen=(Address("10.71.0.1", 444),)))
        assert await turned_away(world.client)
        assert (await served(world.client, 2, Address("10.71.0.1", 444))).total() == 2
        assert await echoes(sock)


async def test_counters(world: Site, edge: Edge) -> None:
    frontend = a_frontend()
    await edge.serve(frontend)
    await served(world.client, 2)
    sock, _ = await connected(world)
    with sock:
        assert await asyncio.to_thread(_echoes, sock)
        await eventually(lambda: edge.counters().accepted == 3, "three connections")
        await eventually(lambda: edge.counters().active == 1, "one of them open")
        await eventually(
            lambda: edge.counters().bytes_in >= 10 and edge.counters().bytes_out >= 10, "bytes"
        )
        by_node = edge.plane.traffic().backends
        assert sorted(by_node[b.key].connections for b in frontend.backends) == [1, 2]
        assert sum(by_node[b.key].active for b in frontend.backends) == 1
    await eventually(lambda: edge.counters().active == 0, "none of them open")
