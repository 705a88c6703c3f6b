"""The kernel plane between real namespaces: a client, an edge, two nodes with real servers."""

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace

import pytest

from nplb.dataplane.kernel.nft import Nft
from nplb.dataplane.kernel.plane import KernelPlane, delete_table
from nplb.model.kernel import KernelOptions, Refusal
from nplb.model.keys import Address, Protocol
from nplb.model.prefixes import PrefixFile
from nplb.model.reasons import BackendReason, BackendState, Balance, EndReason
from nplb.model.relay import Leave, RelayOptions
from tests.support import packets
from tests.support.kernelplans import a_crowd, a_frontend, a_plan, with_state, without
from tests.support.netns import (
    Site,
    ask,
    dial,
    greet,
    greeting,
    greeting_site,
    requires_namespaces,
    served,
)
from tests.support.packets import Packet

pytestmark = requires_namespaces

EDGE = Address("10.71.0.1", 443)
EDGE6 = Address("fd71::1", 443)
CLOCK = 1_000_000.0
ETH_P_ALL = 3


@pytest.fixture(scope="module")
def world() -> Iterator[Site]:
    with greeting_site() as here:
        yield here


@pytest.fixture
async def plane(world: Site) -> AsyncIterator[KernelPlane]:
    with world.edge.entered():
        plane = KernelPlane(now=lambda: CLOCK)
        yield plane
        await plane.stop()
        await delete_table(Nft())


async def test_ipv6_and_wildcard_addresses(world: Site, plane: KernelPlane) -> None:
    frontend = a_frontend(
        ips=("10.72.1.2", "10.72.2.2", "fd72:1::2", "fd72:2::2"), listen=("0.0.0.0", "::")
    )
    await plane.apply(a_plan(frontend))
    assert await served(world.client, 4) == {"one": 2, "two": 2}
    assert await served(world.client, 4, EDGE6) == {"one": 2, "two": 2}
    # Packets that only pass through the edge are none of a wildcard's business.
    with pytest.raises(ConnectionRefusedError):
        await asyncio.to_thread(dial, world.client, Address("10.72.1.2", 443))


async def test_udp(world: Site, plane: KernelPlane) -> None:
    await plane.apply(a_plan(a_frontend(protocol=Protocol.UDP, edge_port=53)))
    answers = {
        (await asyncio.to_thread(ask, world.client, Address("10.71.0.1", 53)))[0] for _ in range(4)
    }
    assert answers == {"one", "two"}


async def test_a_udp_client_that_asked_too_early_is_served_once_it_can_be(
    world: Site, plane: KernelPlane
) -> None:
    edge = Address("10.71.0.1", 53)
    await plane.apply(a_plan(a_frontend()))  # connection tracking is on
    with pytest.raises(OSError, match=r"refused|timed out"):
        await asyncio.to_thread(ask, world.client, edge, 0.3, 40053)
    await plane.apply(a_plan(a_frontend(), a_frontend("dns", protocol=Protocol.UDP, edge_port=53)))
    name, _ = await asyncio.to_thread(ask, world.client, edge, 2.0, 40053)
    assert name in ("one", "two")


@pytest.mark.parametrize("how", ["down", "draining, close", "removed"])
@pytest.mark.parametrize("edge", ["10.71.0.1", "fd71::1"])
async def test_a_udp_client_moves_off_a_node_that_is_gone(
    world: Site, plane: KernelPlane, how: str, edge: str
) -> None:
    """Though it keeps asking from one port, so that its tracked flow never ends by itself."""
    frontend = a_frontend(
        ips=("10.72.1.2", "10.72.2.2", "fd72:1::2", "fd72:2::2"),
        listen=("10.71.0.1", "fd71::1"),
        protocol=Protocol.UDP,
        edge_port=53,
        relay=RelayOptions(on_leave=Leave.CLOSE if "close" in how else Leave.KEEP),
    )
    await plane.apply(a_plan(frontend))

    async def answered_by() -> str:
        return (await asyncio.to_thread(ask, world.client, Address(edge, 53), 5.0, 40054))[0]

    name = await answered_by()
    assert {await answered_by() for _ in range(3)} == {name}
    places = [("one", "two").index(name) + 1, ("one", "two").index(name) + 3]
    gone = frontend
    for place in reversed(places):
        if how == "removed":
            gone = without(gone, place)
        else:
            state = BackendState.DOWN if how == "down" else BackendState.DRAINING
            gone = with_state(gone, place, state)
    await plane.apply(a_plan(gone))
    assert {await answered_by() for _ in range(3)} == {"two" if name == "one" else "one"}


async def test_nodes_see_the_edge_or_the_client(world: Site, plane: KernelPlane) -> None:
    frontend = a_frontend(ips=("10.72.1.2",))
    await plane.apply(a_plan(frontend))
    assert (await asyncio.to_thread(greet, world.client, EDGE))[1] == "10.72.1.1"
    await plane.apply(a_plan(replace(frontend, kernel=KernelOptions(masquerade=False))))
    assert (await asyncio.to_thread(greet, world.client, EDGE))[1] == "10.71.0.2"


async def test_answers_that_do_not_come_back_are_told(
    world: Site, plane: KernelPlane, caplog: pytest.LogCaptureFixture
) -> None:
    """The node sees the client's address, and its route to it is not through the edge."""
    clock = CLOCK
    watching = KernelPlane(now=lambda: clock)
    frontend = a_frontend(ips=("10.72.1.2",), kernel=KernelOptions(masquerade=False))
    await watching.apply(a_plan(frontend))
    assert "must send their answers back through this host" in caplog.text
    node = world.nodes[0]
    node.run("ip", "route", "add", "blackhole", "10.71.0.0/24")
    try:
        for _ in range(3):
            with pytest.raises(TimeoutError):
                await asyncio.to_thread(dial, world.client, EDGE, timeout=0.2)
        for _ in range(5):
            await watching.read_counters()
            clock += 20
        messages = [record.message for record in caplog.records]
        told = [message for message in messages if "no answer came back" in message]
        assert len(told) == 1
        assert "10.72.1.2:30080" in told[0]
    finally:
        node.run("ip", "route", "del", "blackhole", "10.71.0.0/24")
    assert (await asyncio.to_thread(greet, world.client, EDGE))[1] == "10.71.0.2"


@pytest.mark.parametrize("masquerade", [True, False])
async def test_clients_on_the_edge_itself(
    world: Site, plane: KernelPlane, masquerade: bool
) -> None:
    frontend = a_frontend(kernel=KernelOptions(masquerade=masquerade))
    await plane.apply(a_plan(frontend))
    seen = {(await asyncio.to_thread(greet, world.edge, EDGE))[0] for _ in range(4)}
    assert seen == {"one", "two"}
    counters = (await plane.read_counters()).frontends[frontend.key]
    assert counters.accepted == 4
    assert counters.bytes_in > 4 * 100
    assert counters.bytes_out > 4 * 100


@pytest.mark.parametrize("masquerade", [True, False])
async def test_a_node_can_be_a_client_and_get_itself(
    world: Site, plane: KernelPlane, masquerade: bool
) -> None:
    frontend = a_frontend(ips=("10.72.1.2",), kernel=KernelOptions(masquerade=masquerade))
    await plane.apply(a_plan(frontend))
    assert await asyncio.to_thread(greet, world.nodes[0], EDGE) == ("one", "10.72.1.1")


async def test_without_a_backend_clients_are_reset_or_left_waiting(
    world: Site, plane: KernelPlane
) -> None:
    frontend = a_frontend(ips=())
    await plane.apply(a_plan(frontend))
    with pytest.raises(ConnectionRefusedError):
        await asyncio.to_thread(dial, world.client, EDGE)
    await plane.apply(a_plan(replace(frontend, kernel=KernelOptions(refusal=Refusal.DROP))))
    with pytest.raises(TimeoutError):
        await asyncio.to_thread(dial, world.client, EDGE, timeout=0.3)
    traffic = await plane.read_counters()
    assert traffic.frontends[frontend.key].ends[EndReason.NO_BACKEND] >= 2
    udp = a_frontend("dns", ips=(), protocol=Protocol.UDP, edge_port=53)
    await plane.apply(a_plan(udp))
    with pytest.raises(ConnectionRefusedError):
        await asyncio.to_thread(ask, world.client, Address("10.71.0.1", 53))


async def test_source_ranges(world: Site, plane: KernelPlane) -> None:
    frontend = a_frontend(relay=RelayOptions(source_ranges=("192.0.2.0/24", " 10.71.0.0/30 ")))
    await plane.apply(a_plan(frontend))
    assert (await served(world.client, 1)).total() == 1
    await plane.apply(a_plan(replace(frontend, relay=RelayOptions(source_ranges=("::/0",)))))
    with pytest.raises(ConnectionRefusedError):
        await asyncio.to_thread(dial, world.client, EDGE)
    traffic = await plane.read_counters()
    assert traffic.frontends[frontend.key].ends[EndReason.SOURCE_DENIED] == 1


async def test_an_interface_that_is_not_there_keeps_nothing_else_from_being_served(
    world: Site, plane: KernelPlane
) -> None:
    frontend = a_frontend()
    both = replace(frontend, listen=(Address("%none0", 80), *frontend.listen))
    nowhere = replace(a_frontend("other"), listen=(Address("%none0", 81),))
    applied = await plane.apply(a_plan(both, nowhere))
    assert (await served(world.client, 1)).total() == 1
    for key in (both.key, nowhere.key):
        (error,) = applied.listen_errors[key]
        assert "no interface none0 with an address" in error.detail


async def test_long_lists_of_clients(
    world: Site, plane: KernelPlane, caplog: pytest.LogCaptureFixture
) -> None:
    others = tuple((4, (10 << 24) + 2 * n, 32) for n in range(3000))
    file = PrefixFile(path="", digest="1", count=3000, prefixes=others)
    frontend = a_frontend(relay=RelayOptions(denied_ranges_file=file))
    await plane.apply(a_plan(frontend))
    assert (await served(world.client, 1)).total() == 1
    denied = RelayOptions(denied_ranges_file=file, denied_ranges=(world.client_ip,))
    await plane.apply(a_plan(replace(frontend, relay=denied)))
    with pytest.raises(ConnectionRefusedError):
        await asyncio.to_thread(dial, world.client, EDGE)
    assert "damaged" not in caplog.text  # what nft lists is what was written


def ended(sock: socket.socket) -> bool:
    """Whether the next bytes meet a reset."""
    sock.settimeout(5)
    try:
        sock.sendall(b"anyone?")
        return sock.recv(64) == b""
    except (ConnectionResetError, BrokenPipeError):
        return True


@pytest.mark.parametrize("how", ["down", "close", "removed", "deadline"])
async def test_connections_are_ended_when_asked_for(
    world: Site, plane: KernelPlane, how: str
) -> None:
    leave = {"close": Leave.CLOSE, "removed": Leave.CLOSE, "deadline": Leave.DRAIN}
    frontend = a_frontend(
        ips=("10.72.1.2",),
        relay=RelayOptions(on_leave=leave.get(how, Leave.KEEP), drain_seconds=30.0),
    )
    await plane.apply(a_plan(frontend))
    with await asyncio.to_thread(dial, world.client, EDGE) as sock:
        greeting(sock)
        if how == "down":
            after = with_state(frontend, 1, BackendState.DOWN)
        elif how == "removed":
            after = without(frontend, 1)
        elif how == "close":
            after = with_state(frontend, 1, BackendState.DRAINING)
        else:
            soon = with_state(frontend, 1, BackendState.DRAINING, since=CLOCK - 10)
            applied = await plane.apply(a_plan(soon))
            assert applied.retry_seconds == pytest.approx(20)
            sock.sendall(b"still here")
            assert sock.recv(64) == b"still here"
            after = with_state(frontend, 1, BackendState.DRAINING, since=CLOCK - 30)
        await plane.apply(a_plan(after))
        assert await asyncio.to_thread(ended, sock)


async def test_connections_of_a_backend_that_is_down_can_be_kept(
    world: Site, plane: KernelPlane
) -> None:
    frontend = a_frontend(ips=("10.72.1.2",), kernel=KernelOptions(end_on_down=False))
    await plane.apply(a_plan(frontend))
    with await asyncio.to_thread(dial, world.client, EDGE) as sock:
        greeting(sock)
        await plane.apply(a_plan(with_state(frontend, 1, BackendState.DOWN)))
        sock.sendall(b"still here")
        assert sock.recv(64) == b"still here"


async def test_counters(world: Site, plane: KernelPlane) -> None:
    frontend = a_frontend()
    await plane.apply(a_plan(frontend))
    assert await served(world.client, 2) == {"one": 1, "two": 1}
    with await asyncio.to_thread(dial, world.client, EDGE) as sock:
        greeting(sock)
        sock.sendall(b"x" * 10_000)
        got = 0
        while got < 10_000:
            got += len(sock.recv(65536))
        traffic = await plane.read_counters()
        counters = traffic.frontends[frontend.key]
        assert (counters.accepted, counters.active) == (3, 1)
        assert counters.bytes_in > 10_000
        assert counters.bytes_out > 10_000
        assert sorted(b.connections for b in traffic.backends.values()) == [1, 2]
    await plane.flush()
    await plane.apply(a_plan(frontend))
    await served(world.client, 1)
    assert (await plane.read_counters()).frontends[frontend.key].accepted == 4
    # A node that leaves takes nothing of the frontend's sums with it.
    await plane.apply(a_plan(without(frontend, 1)))
    assert (await plane.read_counters()).frontends[frontend.key].accepted == 4


async def test_a_flushed_or_damaged_table_is_repaired(world: Site, plane: KernelPlane) -> None:
    plan = a_plan(a_frontend())
    await plane.apply(plan)
    whole = world.edge.run("nft", "-s", "list", "table", "inet", "nplb")
    for damage in (
        "flush ruleset",
        "flush chain inet nplb frontends",
        "delete element inet nplb frontends4 { 10.71.0.1 . tcp . 443 }",
        "add rule inet nplb leaving4 drop",
        "add chain inet nplb foreign { type filter hook input priority 0; policy drop; }",
        "add element inet nplb nodes4 { 192.0.2.99 }",
        "flush chain inet nplb nat-postrouting",
    ):
        world.edge.run("nft", "-f", "-", stdin=damage)
        await plane.apply(plan)
        repaired = world.edge.run("nft", "-s", "list", "table", "inet", "nplb")
        assert sorted(repaired.splitlines()) == sorted(whole.splitlines()), damage
    assert (await served(world.client, 2)).total() == 2


async def test_damage_is_noticed_without_being_asked(world: Site) -> None:
    with world.edge.entered():
        noticed = asyncio.Event()
        plane = KernelPlane(on_damage=noticed.set)
        await plane.start()
        await plane.apply(a_plan(a_frontend()))
        world.edge.run("nft", "flush", "ruleset")
        async with asyncio.timeout(30):
            await noticed.wait()
        await plane.stop()


async def test_others_rules_are_left_alone(world: Site, plane: KernelPlane) -> None:
    world.edge.run("nft", "-f", "-", stdin="add table inet theirs\nadd chain inet theirs kept")
    await plane.apply(a_plan(a_frontend()))
    assert await plane.flush()
    assert world.edge.run("nft", "list", "tables").split() == ["table", "inet", "theirs"]
    world.edge.run("nft", "delete", "table", "inet", "theirs")
    assert not await plane.flush()


async def test_a_new_process_takes_the_table_over_without_a_gap(
    world: Site, plane: KernelPlane
) -> None:
    frontend = a_frontend(relay=RelayOptions(affinity_seconds=600))
    await plane.apply(a_plan(frontend))
    (name,) = await served(world.client, 2)
    with await asyncio.to_thread(dial, world.client, EDGE) as sock:
        greeting(sock)
        second = KernelPlane(now=lambda: CLOCK)
        unprobed = with_state(frontend, 1, BackendState.DOWN, BackendReason.PROBING)
        unprobed = with_state(unprobed, 2, BackendState.DOWN, BackendReason.PROBING)
        await second.apply(a_plan(unprobed))
        # Nothing is known of the nodes yet, and they serve on, and clients are remembered.
        assert await served(world.client, 3) == {name: 3}
        await second.apply(a_plan(with_state(unprobed, 1, BackendState.DOWN)))
        assert set(await served(world.client, 2)) == {"two"}
        if name == "two":
            sock.sendall(b"still here")
            assert sock.recv(64) == b"still here"


async def test_a_port_that_a_program_has_is_left_to_it(world: Site, plane: KernelPlane) -> None:
    code = (
        "import socket,sys\n"
        "s=socket.create_server(('10.71.0.1',443))\n"
        "print('ready',flush=True)\n"
        "c,_=s.accept();c.sendall(b'program 0\\n');sys.stdin.read()\n"
    )
    process = await asyncio.create_subprocess_exec(
        "ip", "netns", "exec", world.edge.name, "python3", "-c", code,
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout is not None
    assert await process.stdout.readline() == b"ready\n"
    frontend = a_frontend(listen=("10.71.0.1", "10.71.0.9"))
    applied = await plane.apply(a_plan(frontend))
    (error,) = applied.listen_errors[frontend.key]
    assert error.in_use
    assert "10.71.0.1:443" in error.detail
    assert applied.retry_seconds
    assert await served(world.client, 1) == {"program": 1}
    await process.communicate(b"")
    applied = await plane.apply(a_plan(frontend))
    assert not applied.listen_errors
    assert await served(world.client, 2) == {"one": 1, "two": 1}


async def test_ipv6_that_is_not_forwarded_is_said_and_served_once_it_is(
    world: Site, plane: KernelPlane
) -> None:
    ips = ("10.72.1.2", "fd72:1::2")
    frontend = a_frontend(ips=ips, listen=("10.71.0.1", "fd71::1"))
    world.edge.sysctl("net.ipv6.conf.all.forwarding", "0")
    try:
        applied = await plane.apply(a_plan(frontend))
        (error,) = applied.listen_errors[frontend.key]
        assert error.address == EDGE6
        assert "net.ipv6.conf.all.forwarding=1" in error.detail
        assert (await served(world.client, 1)).total() == 1
    finally:
        world.edge.sysctl("net.ipv6.conf.all.forwarding", "1")
    assert not (await plane.apply(a_plan(frontend))).listen_errors
    assert (await served(world.client, 1, EDGE6)).total() == 1


async def test_connections_older_than_the_rules_stay_where_they_are(
    world: Site, plane: KernelPlane
) -> None:
    """A frontend that moves here from the relay: its old connections end at the relay."""
    with world.edge.entered():
        relay = socket.create_server(("10.71.0.1", 443))
    with relay, await asyncio.to_thread(dial, world.client, EDGE) as sock:
        server, _ = relay.accept()
        with server:
            await plane.apply(a_plan(a_frontend()))
            for side, other in ((sock, server), (server, sock)):
                side.sendall(b"through the relay")
                assert other.recv(64) == b"through the relay"
            assert (await served(world.client, 2)).total() == 2


async def test_an_answer_that_connection_tracking_finds_invalid_resets_nothing(
    world: Site, plane: KernelPlane
) -> None:
    """It reaches the edge's own TCP, which knows no such connection."""
    await plane.apply(a_plan(a_frontend(ips=("10.72.1.2",))))
    node = world.nodes[0]
    with node.entered():
        heard = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
        sender = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
    with heard, sender, await asyncio.to_thread(dial, world.client, EDGE) as sock:
        greeting(sock)
        sock.sendall(b"hello")
        assert sock.recv(16) == b"hello"
        answer = Packet(heard.recv(2048))
        while not answer.inner.endswith(b"hello") or answer.ends[1] != 30080:
            answer = Packet(heard.recv(2048))
        source, destination = answer.ends[:2], answer.ends[2:]
        sequence, acknowledged = struct.unpack(">II", answer.inner[4:12])
        late = (sequence + (1 << 30)) % (1 << 32)
        forged = packets.tcp(
            source, destination, packets.ACK, sequence=late, acknowledged=acknowledged
        )
        sender.sendto(forged.ip, (destination[0], 0))
        sock.sendall(b"still here")
        assert sock.recv(16) == b"still here"


async def test_what_only_the_relay_can_do_is_said(world: Site, plane: KernelPlane) -> None:
    frontend = a_frontend(balance=Balance.LEAST_CONNECTIONS, relay=RelayOptions(access_log=True))
    applied = await plane.apply(a_plan(frontend))
    detail = applied.listen_errors[frontend.key][0].detail
    assert "balance" in detail
    assert "access_log" in detail


class Recorder(Nft):
    """Keeps what is written."""

    def __init__(self) -> None:
        super().__init__()
        self.written: list[str] = []

    async def apply(self, text: str) -> None:
        self.written.append(text)
        await super().apply(text)


async def test_one_backend_is_one_element(world: Site, plane: KernelPlane) -> None:
    """What is written when one backend goes down."""
    frontend = a_frontend(ips=tuple(f"10.72.1.{n}" for n in range(2, 52)))
    nft = Recorder()
    recorded = KernelPlane(nft=nft, now=lambda: CLOCK)
    await recorded.apply(a_plan(frontend))
    await recorded.apply(a_plan(frontend))
    assert len(nft.written) == 1
    await recorded.apply(a_plan(with_state(frontend, 7, BackendState.DOWN)))
    lines = nft.written[1].splitlines()
    assert len([line for line in lines if line.startswith("add element")]) <= 1
    assert len(lines) <= 4


async def test_one_node_of_all_frontends_is_no_rule_of_theirs(
    world: Site, plane: KernelPlane
) -> None:
    """Whatever the number of frontends, and each goes on giving all nodes in turn."""
    nft = Recorder()
    recorded = KernelPlane(nft=nft, now=lambda: CLOCK)
    whole = a_frontend()
    both, alone = {"one": 2, "two": 2}, {"two": 4}
    down, gone = with_state(whole, 1, BackendState.DOWN), without(whole, 1)
    for frontend, wanted in ((whole, both), (down, alone), (whole, both), (gone, alone)):
        await recorded.apply(a_plan(*a_crowd(frontend)))
        for port in (443, 444):
            assert await served(world.client, 4, Address(EDGE.ip, port)) == wanted
    assert not [line for text in nft.written[1:] for line in text.splitlines() if " f4-" in line]


@pytest.mark.parametrize("protocol", [Protocol.TCP, Protocol.UDP])
async def test_whose_number_is_in_no_round_is_served(
    world: Site, plane: KernelPlane, protocol: Protocol
) -> None:
    """With so many seats that is every second one."""
    frontend = a_frontend(
        ips=("10.72.1.2", "10.72.2.2", "fd72:1::2", "fd72:2::2"),
        listen=(EDGE.ip, "0.0.0.0", "::"),
        weights=(211, 210, 211, 210),
        protocol=protocol,
        balance=Balance.RANDOM,
    )
    await plane.apply(a_plan(*a_crowd(frontend)))
    for ip in (EDGE.ip, "10.72.1.1", EDGE6.ip):
        asks = ask if protocol is Protocol.UDP else greet
        names = [
            (await asyncio.to_thread(asks, world.client, Address(ip, 443)))[0] for _ in range(12)
        ]
        assert set(names) <= {"one", "two"}
