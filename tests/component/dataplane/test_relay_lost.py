"""Hosts that stop answering, and hosts that there is no way to."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from nplb.model.keys import Address
from nplb.model.plan import Frontend, Timeouts
from nplb.model.reasons import EndReason
from nplb.model.relay import RelayOptions
from tests.support.eventually import eventually
from tests.support.netns import Greeter, Namespace, Site, dial, greeting, requires_namespaces, site
from tests.support.plans import make_frontend
from tests.support.relay import applied, backend_counts, frontend_count, running_plane

pytestmark = requires_namespaces
PORT = 30080


def deafen(namespace: Namespace) -> None:
    """Drop all that arrives there, silently, as a host that has lost its power does."""
    rule = "type filter hook input priority 0; policy drop;"
    namespace.run("nft", "-f", "-", stdin=f"table inet deaf {{ chain input {{ {rule} }}; }}")


async def ends_of_a_connection(
    frontend_of: Callable[[Site], Frontend], happens: Callable[[Site], Awaitable[None]]
) -> tuple[dict[EndReason, int], list[dict[EndReason, int]]]:
    """The reasons at the frontend and at its backends, after what `happens` to a client."""
    with site(1) as world, Greeter(world.nodes[0], PORT, "one"):
        world.edge.sysctl("net.ipv4.tcp_retries2", "2")  # else a lost client takes 15 minutes
        with world.edge.entered():
            async with running_plane() as plane:
                frontend = frontend_of(world)
                await applied(plane, frontend)
                await happens(world)
                await eventually(
                    lambda: sum(frontend_count(plane, frontend).ends.values()) == 1,
                    "the connection has ended",
                    seconds=30,
                )
                at_backends = [dict(count.ends) for count in backend_counts(plane, frontend)]
                return dict(frontend_count(plane, frontend).ends), at_backends


def to_the_node(world: Site) -> Frontend:
    return make_frontend(
        Address(world.edge_ip, PORT),
        [Address(world.node_ip(1), PORT)],
        timeouts=Timeouts(connect=0.3),  # after that time, sockets that last are given more
        relay=RelayOptions(user_timeout_seconds=1.0),
    )


async def test_a_node_that_stops_answering_ends_its_flows_in_seconds() -> None:
    async def happens(world: Site) -> None:
        with dial(world.client, Address(world.edge_ip, PORT), timeout=30) as client:
            assert greeting(client)[0] == "one"
            deafen(world.nodes[0])
            client.sendall(b"are you there?")
            with pytest.raises(ConnectionResetError):
                await asyncio.to_thread(client.recv, 1)

    lost = {EndReason.BACKEND_LOST: 1}
    assert await ends_of_a_connection(to_the_node, happens) == (lost, [lost])


async def test_a_client_that_stops_answering_is_lost() -> None:
    async def happens(world: Site) -> None:
        client = dial(world.client, Address(world.edge_ip, PORT))
        world.stack.enter_context(client)
        assert greeting(client)[0] == "one"
        deafen(world.client)
        client.sendall(b"an echo that is never acknowledged")

    lost = {EndReason.CLIENT_LOST: 1}
    assert await ends_of_a_connection(to_the_node, happens) == (lost, [lost])


async def test_a_node_that_there_is_no_way_to() -> None:
    def to_nowhere(world: Site) -> Frontend:
        world.edge.run("ip", "route", "add", "unreachable", "198.18.0.0/15")
        return make_frontend(Address(world.edge_ip, PORT), [Address("198.18.0.1", PORT)])

    async def happens(world: Site) -> None:
        with pytest.raises(ConnectionResetError):  # noqa: SIM117 -- in its connect or later
            with dial(world.client, Address(world.edge_ip, PORT)) as client:
                await asyncio.to_thread(client.recv, 1)

    unreachable = {EndReason.CONNECT_UNREACHABLE: 1}
    assert await ends_of_a_connection(to_nowhere, happens) == (unreachable, [{}])
