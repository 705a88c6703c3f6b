"""The kernel plane's fast path between real namespaces: what goes by it, what by the table, and
what only it can do wrong. What both planes can do is in `test_both_planes`, for the fast path too.

Behind the client's and the first node's namespace is another host each, on a link for smaller
packets: hosts that learn of it only by what a router tells them.
"""

import asyncio
import contextlib
import fcntl
import hashlib
import os
import random
import select
import socket
import stat
import struct
import threading
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, replace
from io import FileIO
from pathlib import Path

import pytest

from nplb.dataplane.kernel import conntrack
from nplb.dataplane.kernel.fastpath import layout
from nplb.dataplane.kernel.plane import KernelPlane
from nplb.model.kernel import KernelOptions
from nplb.model.keys import Address, Protocol
from nplb.model.reasons import BackendState, Balance, FastPathEvent
from nplb.model.relay import RelayOptions
from tests.support import packets
from tests.support.eventually import eventually
from tests.support.fastpath import (
    FAST,
    begin_turns_again,
    entries,
    event,
    flows,
    frontends,
    pins_removed,
)
from tests.support.kernelplans import a_frontend, a_plan, with_state
from tests.support.netns import (
    Greeter,
    Namespace,
    Site,
    ask,
    dial,
    greet,
    greeting,
    greeting_site,
    join,
    namespaces,
    requires_namespaces,
    served,
)

pytestmark = requires_namespaces

EDGE = Address("10.71.0.1", 443)
EDGE6 = Address("fd71::1", 443)
IPS = ("10.72.1.2", "10.72.2.2", "fd72:1::2", "fd72:2::2")
CLIENTS = tuple(f"10.71.0.{n}" for n in range(3, 11))
CLIENTS6 = tuple(f"fd71::{n}" for n in range(3, 7))
FAR_CLIENT, FAR_NODES = "10.73.0.2", ("10.74.0.2", "fd74::2")
_TUNSETIFF, _IFF_TUN, _IFF_NO_PI = 0x400454CA, 0x0001, 0x1000
TCP_INFO_RETRANS = struct.Struct("<100xI")  # tcpi_total_retrans


@dataclass
class World:
    """A site, and hosts that are further away."""

    site: Site
    far_client: Namespace
    far_node: Namespace

    @property
    def client(self) -> Namespace:
        return self.site.client

    @property
    def edge(self) -> Namespace:
        return self.site.edge

    @property
    def node(self) -> Namespace:
        return self.site.nodes[0]


def put_behind(router: Namespace, far: Namespace, number: int) -> None:
    """A host on a link of small packets, which says that it takes large ones."""
    join(router, far, "far", (f"10.{number}.0.1", f"10.{number}.0.2"),
         (f"fd{number}::1", f"fd{number}::2"))  # fmt: skip
    router.sysctl("net.ipv4.ip_forward", "1")
    router.sysctl("net.ipv6.conf.all.forwarding", "1")
    # Forwarding takes away what came by announcements, not this.
    router.run("ip", "link", "set", "to-far", "mtu", "1300")
    far.run("ip", "link", "set", "to-edge", "mtu", "1300")
    far.run("ip", "route", "add", "default", "via", f"10.{number}.0.1", "advmss", "1460")
    far.run("ip", "-6", "route", "add", "default", "via", f"fd{number}::1", "advmss", "1440")


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with (
        greeting_site() as here,
        namespaces("far-client", "far-node") as far,
        pins_removed(here.edge),
    ):
        put_behind(here.client, far["far-client"], 73)
        put_behind(here.nodes[0], far["far-node"], 74)
        for network, via in (
            ("10.73.0.0/24", "10.71.0.2"), ("fd73::/64", "fd71::2"),
            ("10.74.0.0/24", "10.72.1.2"), ("fd74::/64", "fd72:1::2"),
        ):  # fmt: skip
            here.edge.run("ip", "route", "add", network, "via", via)
        for ip in (*CLIENTS, *CLIENTS6):
            here.client.run("ip", "addr", "add", f"{ip}/24" if "." in ip else f"{ip}/64",
                            "dev", "to-edge", *(() if "." in ip else ("nodad",)))  # fmt: skip
        with Greeter(far["far-node"], 30080, "far"):
            yield World(here, far["far-client"], far["far-node"])


@pytest.fixture
async def plane(world: World) -> AsyncIterator[KernelPlane]:
    with world.edge.entered():
        conntrack.end(lambda _: True, lambda *_: True)
        plane = KernelPlane()
        yield plane
        await plane.stop()
        await plane.flush()


async def by_client(world: World, sources: tuple[str, ...], to: Address) -> dict[str, str]:
    """The node of each client."""

    def run() -> dict[str, str]:
        return {ip: greet(world.client, to, source=ip)[0] for ip in sources}

    return await asyncio.to_thread(run)


def tracked(world: World) -> int:
    """How many TCP connections went by the table, as far as they are remembered."""
    with world.edge.entered():
        return sum(1 for _ in conntrack.tracked(lambda protocol, *_: protocol is Protocol.TCP))


def opened(world: World) -> int:
    """How many connections that have closed the fast path had given a node."""
    return sum(layout.counts(value).opened for value in entries(world.edge, "counters").values())


# -- who goes by it -----------------------------------------------------------------------


async def test_connections_go_by_it_and_not_by_connection_tracking(
    world: World, plane: KernelPlane
) -> None:
    frontend = a_frontend(ips=IPS, listen=("0.0.0.0", "::"), kernel=FAST, weights=(3, 1, 1, 1))
    await plane.apply(a_plan(frontend))
    assert await served(world.client, 8) == {"one": 6, "two": 2}
    assert await served(world.client, 8, EDGE6) == {"one": 4, "two": 4}
    assert tracked(world) == 0
    assert flows(world.edge) == 0  # all have closed
    with await asyncio.to_thread(dial, world.client, EDGE) as sock:
        greeting(sock)
        sock.sendall(b"x" * 10_000)
        got = 0
        while got < 10_000:
            got += len(sock.recv(65536))
        assert flows(world.edge) == 1
        traffic = await plane.read_counters()
        counters = traffic.frontends[frontend.key]
        assert (counters.accepted, counters.active) == (17, 1)
        assert min(counters.bytes_in, counters.bytes_out) > 10_000
        # A node is a client too, and may be its own node.
        assert set(await served(world.node, 4)) == {"one", "two"}
    assert tracked(world) == 0
    # Packets that only pass through the edge are none of a wildcard's business.
    with pytest.raises(ConnectionRefusedError):
        await asyncio.to_thread(dial, world.client, Address("10.72.1.2", 443))


async def test_the_table_has_what_the_fast_path_does_not_take(
    world: World, plane: KernelPlane
) -> None:
    obstacles = RelayOptions(affinity_seconds=60)
    await plane.apply(
        a_plan(
            a_frontend("fast", kernel=FAST),
            a_frontend("slow", kernel=FAST, relay=obstacles, edge_port=444),
            a_frontend("other", kernel=KernelOptions(), edge_port=445),
            a_frontend("dns", kernel=FAST, protocol=Protocol.UDP, edge_port=53),
            a_frontend("nobody", kernel=FAST, ips=(), edge_port=446),
        )
    )
    assert set(frontends(world.edge)) == {("10.71.0.1", 443)}
    assert (await served(world.client, 2, Address(EDGE.ip, 444))).total() == 2
    assert (await served(world.client, 2, Address(EDGE.ip, 445))).total() == 2
    assert (await served(world.edge, 2)) == {"one": 1, "two": 1}  # who is on the edge itself
    assert (await asyncio.to_thread(ask, world.client, Address(EDGE.ip, 53)))[0] in ("one", "two")
    assert tracked(world) == 6
    assert flows(world.edge) == opened(world) == 0
    with pytest.raises(ConnectionRefusedError):
        await asyncio.to_thread(dial, world.client, Address(EDGE.ip, 446))
    assert await served(world.client, 2) == {"one": 1, "two": 1}
    assert tracked(world) == 6


@pytest.mark.parametrize("balance", [Balance.SOURCE_HASH, Balance.MAGLEV, Balance.RANDOM])
async def test_clients_find_the_same_node_by_either_way(
    world: World, plane: KernelPlane, balance: Balance
) -> None:
    frontend = a_frontend(ips=IPS, listen=(EDGE.ip, EDGE6.ip), balance=balance)
    found = []
    for kernel in (KernelOptions(), FAST):
        await plane.apply(a_plan(replace(frontend, kernel=kernel)))
        found.append(
            await by_client(world, CLIENTS, EDGE) | await by_client(world, CLIENTS6, EDGE6)
        )
    await eventually(lambda: opened(world) == len(CLIENTS) + len(CLIENTS6), "all went by it")
    assert set(found[0].values()) == {"one", "two"}
    if balance is not Balance.RANDOM:
        assert found[0] == found[1]


# -- bytes --------------------------------------------------------------------------------


def exchange(space: Namespace, to: Address, size: int, *, echoed: bool = True) -> None:
    """Send random bytes and take the same back, then close in one direction after the other."""
    payload = random.Random(size).randbytes(size)
    with dial(space, to, timeout=20) as sock:
        greeting(sock)
        received = hashlib.sha256()

        def receive() -> None:
            while piece := sock.recv(1 << 18):
                received.update(piece)

        thread = threading.Thread(target=receive)
        thread.start()
        sock.sendall(payload)
        sock.shutdown(socket.SHUT_WR)  # the node's own end comes after all its bytes
        thread.join(30)
        assert not thread.is_alive()
        assert received.digest() == hashlib.sha256(payload).digest()


@pytest.mark.parametrize("to", [EDGE, EDGE6], ids=("v4", "v6"))
async def test_megabytes_arrive_whole_in_both_directions(
    world: World, plane: KernelPlane, to: Address
) -> None:
    await plane.apply(a_plan(a_frontend(ips=IPS, listen=(EDGE.ip, EDGE6.ip), kernel=FAST)))
    await asyncio.to_thread(exchange, world.client, to, 4_000_000)
    assert (flows(world.edge), tracked(world)) == (0, 0)


@pytest.mark.parametrize("family", [4, 6])
async def test_hosts_behind_links_of_small_packets_are_told(
    world: World, plane: KernelPlane, family: int
) -> None:
    """A router's word reaches the end that sent, and speaks of what that end knows."""
    to = EDGE if family == 4 else EDGE6
    near, far = IPS[0 if family == 4 else 2], FAR_NODES[0 if family == 4 else 1]
    try:
        # What the node sends is too large for the client's link.
        await plane.apply(a_plan(a_frontend(ips=(near,), listen=(to.ip,), kernel=FAST)))
        await asyncio.to_thread(exchange, world.far_client, to, 300_000)
        own = "10.72.1.1" if family == 4 else "fd72:1::1"
        assert "mtu 1300" in world.node.run("ip", "route", "get", own)
        # What the client sends is too large for the node's.
        await plane.apply(a_plan(a_frontend(ips=(far,), listen=(to.ip,), kernel=FAST)))
        await asyncio.to_thread(exchange, world.client, to, 300_000)
        assert "mtu 1300" in world.client.run("ip", "route", "get", to.ip)
        assert tracked(world) == 0
    finally:
        for space in (world.node, world.client):
            space.run("ip", f"-{family}", "route", "flush", "cache")


def maximum(sock: socket.socket) -> int:
    """The size of segments that a socket sends."""
    return sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG)


async def test_neither_end_sends_segments_that_do_not_fit_the_edge(
    world: World, plane: KernelPlane
) -> None:
    frontend = a_frontend(ips=IPS[1::2], listen=(EDGE.ip, EDGE6.ip), kernel=FAST, node_port=30081)
    await plane.apply(a_plan(frontend))
    world.edge.run("ip", "link", "set", "to-node2", "mtu", "1400")
    try:
        with world.site.nodes[1].entered():
            server = socket.create_server(
                ("::", 30081), family=socket.AF_INET6, dualstack_ipv6=True
            )
        with server:
            for to, headers in ((EDGE, 52), (EDGE6, 72)):  # IP, TCP and its timestamps
                with await asyncio.to_thread(dial, world.client, to) as sock:
                    other, _ = server.accept()
                    with other:
                        assert maximum(sock) == 1400 - headers
                        assert maximum(other) == 1400 - headers
    finally:
        world.edge.run("ip", "link", "set", "to-node2", "mtu", "1500")


async def test_a_reset_passes_through(world: World, plane: KernelPlane) -> None:
    await plane.apply(a_plan(a_frontend(ips=IPS[:1], kernel=FAST, node_port=30081)))
    with pytest.raises(ConnectionRefusedError):  # the node's
        await asyncio.to_thread(dial, world.client, EDGE)
    with world.node.entered():
        server = socket.create_server(("0.0.0.0", 30081))
    with server, await asyncio.to_thread(dial, world.client, EDGE) as sock:
        other, _ = server.accept()
        # With nothing left to wait for, closing is a reset.
        other.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        other.close()
        with pytest.raises(ConnectionResetError):
            await asyncio.to_thread(sock.recv, 1)
    assert tracked(world) == 0


async def test_a_port_that_a_node_still_remembers_costs_nobody_time(
    world: World, plane: KernelPlane
) -> None:
    """A node that has closed first remembers the edge's port (TIME_WAIT), and takes a new
    connection from it for an old one's packet unless its timestamps go on. Clients' have nothing
    to do with each other: one of any two is behind."""
    await plane.apply(a_plan(a_frontend(ips=IPS[:1], kernel=FAST, node_port=30081)))
    with world.node.entered():
        server = socket.create_server(("0.0.0.0", 30081))
    ports = set()
    with server:
        for source in CLIENTS:
            begin_turns_again(world.edge)
            await asyncio.sleep(0.02)  # the edge's clock ticks
            with await asyncio.to_thread(dial, world.client, EDGE, source=source) as sock:
                other, peer = server.accept()
                ports.add(peer)
                other.close()
                assert sock.recv(1) == b""
                info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 232)
                assert TCP_INFO_RETRANS.unpack_from(info)[0] == 0, "its SYN was refused"
    assert len(ports) == 1


# -- nodes and routes ---------------------------------------------------------------------


async def test_a_node_that_drops_everything_costs_one_retransmission(
    world: World, plane: KernelPlane
) -> None:
    await plane.apply(a_plan(a_frontend(kernel=FAST)))
    rule = (
        "table ip silent { chain in { type filter hook input priority 0; tcp dport 30080 drop; }; }"
    )
    world.node.run("nft", "-f", "-", stdin=rule)
    try:
        assert await served(world.client, 2) == {"two": 2}
    finally:
        world.node.run("nft", "delete", "table", "ip", "silent")
    assert opened(world) > 2
    assert await served(world.client, 2) == {"one": 1, "two": 1}


async def test_a_route_that_changes_is_followed(world: World, plane: KernelPlane) -> None:
    """The first node gets a second cable, and the first one is cut; then it comes back with another
    link address. An IPv4 route by an IPv6 router is one too (RFC 5549)."""
    await plane.apply(a_plan(a_frontend(ips=("10.74.0.2",), kernel=FAST)))
    with await asyncio.to_thread(dial, world.client, EDGE) as sock:
        assert greeting(sock)[0] == "far"
        world.edge.run("ip", "route", "replace", "10.74.0.0/24", "via", "inet6", "fd72:1::2",
                       "dev", "to-node1")  # fmt: skip
        try:
            await asyncio.sleep(1.1)  # what was looked up counts for a second
            sock.sendall(b"by the other way")
            assert await asyncio.to_thread(sock.recv, 64) == b"by the other way"
            assert await served(world.client, 1) == {"far": 1}
            world.edge.run("ip", "route", "replace", "unreachable", "10.74.0.0/24")
            with pytest.raises(OSError, match=r"refused|unreachable|No route|timed out"):
                await asyncio.to_thread(dial, world.client, EDGE, timeout=0.5)
        finally:
            world.edge.run("ip", "route", "del", "unreachable", "10.74.0.0/24", check=False)
            world.edge.run("ip", "route", "replace", "10.74.0.0/24", "via", "10.72.1.2")
        with link_address(world, "02:00:00:00:00:77"):
            await asyncio.sleep(1.1)
            sock.sendall(b"and back")
            assert await asyncio.to_thread(sock.recv, 64) == b"and back"
    assert tracked(world) == 0


@contextlib.contextmanager
def link_address(world: World, address: str) -> Iterator[None]:
    """Give the first node another one, as when its network card is replaced."""
    before = world.node.run("cat", "/sys/class/net/to-edge/address").strip()

    def give(new: str) -> None:
        world.node.run("ip", "link", "set", "to-edge", "address", new)
        for ip in ("10.72.1.2", "fd72:1::2"):
            world.edge.run("ip", "neigh", "replace", ip, "lladdr", new, "dev", "to-node1", "nud",
                           "reachable")  # fmt: skip

    give(address)
    try:
        yield
    finally:
        give(before)


async def test_a_node_behind_a_bridge(world: World, plane: KernelPlane) -> None:
    """Its packets are seen on the bridge, and not on the bridge's port."""
    addresses = (("10.72.2.1/24",), ("fd72:2::1/64", "nodad"))
    with on_a_bridge(world.edge, "to-node2", addresses):
        frontend = a_frontend(ips=IPS[1::2], listen=(EDGE.ip, EDGE6.ip), kernel=FAST)
        await plane.apply(a_plan(frontend))
        for to in (EDGE, EDGE6):
            assert await served(world.client, 2, to) == {"two": 2}
            await asyncio.to_thread(exchange, world.client, to, 2_000_000)
        assert (flows(world.edge), tracked(world)) == (0, 0)


@contextlib.contextmanager
def on_a_bridge(
    edge: Namespace, port: str, addresses: tuple[tuple[str, ...], ...]
) -> Iterator[None]:
    """Make an interface the port of a bridge, which has its addresses meanwhile."""
    edge.run("ip", "link", "add", "bridge", "type", "bridge")
    edge.run("ip", "link", "set", "bridge", "up")

    def move(here: str, there: str) -> None:
        for address in addresses:
            edge.run("ip", "addr", "del", address[0], "dev", here)
            edge.run("ip", "addr", "add", *address, "dev", there)

    try:
        edge.run("ip", "link", "set", port, "master", "bridge")
        move(port, "bridge")
        yield
    finally:
        edge.run("ip", "link", "set", port, "nomaster")
        move("bridge", port)
        edge.run("ip", "link", "del", "bridge")


async def test_tunnels_of_packets_without_ethernet_are_the_tables(
    world: World, plane: KernelPlane, tmp_path: Path
) -> None:
    """Whether clients or nodes are there."""
    near = a_frontend("near", ips=IPS, listen=(EDGE.ip, EDGE6.ip), kernel=FAST)
    far = a_frontend("far", ips=("10.75.0.2",), edge_port=444, kernel=FAST)
    with tunnel(tmp_path) as device:
        for command in (
            "link set tunnel up",
            "addr add 10.75.0.1/24 dev tunnel",
            "addr add fd75::1/64 dev tunnel nodad",
        ):
            world.edge.run("ip", *command.split())
        await plane.apply(a_plan(near, far))
        for client, to in ((("10.75.0.2", 5000), EDGE), (("fd75::2", 5000), EDGE6)):
            device.write(packets.tcp(client, (to.ip, to.port), packets.SYN).ip)
            said = await asyncio.to_thread(next_tcp, device)
            said.assert_right()
            assert said.ends == (to.ip, to.port, *client)
            assert said.inner[13] == packets.SYN | packets.ACK
        assert tracked(world) == 2
        with pytest.raises(TimeoutError):
            await asyncio.to_thread(dial, world.client, Address(EDGE.ip, 444), timeout=0.1)
        assert (await asyncio.to_thread(next_tcp, device)).destination == "10.75.0.2"
        assert tracked(world) == 3
    assert flows(world.edge) == 0


def next_tcp(device: FileIO) -> packets.Packet:
    """The next TCP packet that leaves by a tunnel; a new interface has things to say itself."""
    while True:
        assert select.select([device], [], [], 10)[0], "nothing came"
        raw = device.read(2000)
        assert raw
        ethernet = packets.ETHERNET6 if raw[0] >> 4 == 6 else packets.ETHERNET4
        packet = packets.Packet(ethernet + raw)
        if packet.protocol == packets.TCP:
            return packet


@contextlib.contextmanager
def tunnel(folder: Path) -> Iterator[FileIO]:
    """An interface of this thread's namespace, whose packets are read and written here."""
    node = Path("/dev/net/tun")
    if not node.exists():
        node = folder / "tun"
        os.mknod(node, stat.S_IFCHR | 0o600, os.makedev(10, 200))
    with FileIO(node, "r+") as device:
        fcntl.ioctl(device, _TUNSETIFF, struct.pack("16sH22x", b"tunnel", _IFF_TUN | _IFF_NO_PI))
        yield device


@pytest.mark.parametrize(("name", "to"), [("flows4", EDGE), ("flows6", EDGE6)], ids=("v4", "v6"))
async def test_a_full_table_of_connections_leaves_new_ones_to_the_rules(
    world: World, monkeypatch: pytest.MonkeyPatch, name: str, to: Address
) -> None:
    monkeypatch.setitem(layout.MAPS, name, replace(layout.MAPS[name], entries=4))
    with world.edge.entered():
        conntrack.end(lambda _: True, lambda *_: True)
        plane = KernelPlane()
        await plane.apply(a_plan(a_frontend(ips=IPS, listen=(EDGE.ip, EDGE6.ip), kernel=FAST)))
        with contextlib.ExitStack() as stack:
            socks = [
                stack.enter_context(await asyncio.to_thread(dial, world.client, to))
                for _ in range(8)
            ]
            for sock in socks:
                greeting(sock)
                sock.sendall(b"all of them")
                assert sock.recv(64) == b"all of them"
            fast = flows(world.edge)
            assert 1 <= fast <= 7
            assert tracked(world) == 8 - fast
            assert event(world.edge, FastPathEvent.NO_ROOM) >= 8 - fast
        assert await served(world.client, 2)
        await plane.stop()
        await plane.flush()


async def test_down_and_drained(world: World, plane: KernelPlane) -> None:
    """What is ended is told by a reset, to whichever side sends next."""
    frontend = a_frontend(kernel=FAST)
    await plane.apply(a_plan(frontend))
    with world.site.nodes[0].entered():
        server = socket.create_server(("0.0.0.0", 30081))
    talks = a_frontend("talks", ips=IPS[:1], kernel=FAST, node_port=30081, edge_port=444)
    await plane.apply(a_plan(frontend, talks))
    with server, await asyncio.to_thread(dial, world.client, Address(EDGE.ip, 444)) as sock:
        other, _ = server.accept()
        with other:
            await plane.apply(a_plan(frontend, with_state(talks, 1, BackendState.DRAINING)))
            other.sendall(b"still here")
            assert sock.recv(64) == b"still here"
            await plane.apply(a_plan(frontend, with_state(talks, 1, BackendState.DOWN)))
            assert flows(world.edge) == 0
            other.sendall(b"anyone?")
            with pytest.raises(ConnectionResetError):
                await asyncio.to_thread(other.recv, 64)
    # It returns: under the same number, with no memory of what was.
    await plane.apply(a_plan(frontend, talks))
    with world.site.nodes[0].entered(), Greeter(world.node, 30081, "again"):
        assert await served(world.client, 1, Address(EDGE.ip, 444)) == {"again": 1}
