"""How the kernel plane's fast path comes, is kept, changes hands and goes, between namespaces."""

import asyncio
import contextlib
import os
import shutil
import socket
import struct
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from nplb.dataplane.kernel import conntrack
from nplb.dataplane.kernel.fastpath import bpf, devices, fastpath, layout
from nplb.dataplane.kernel.nft import Nft
from nplb.dataplane.kernel.plane import KernelPlane, delete_table, left_behind
from nplb.dataplane.relay.plane import RelayPlane
from nplb.dataplane.split import SplitPlane
from nplb.model.errors import HostError
from nplb.model.kernel import KernelOptions, PlaneKind
from nplb.model.keys import Address
from nplb.model.reasons import BackendReason, BackendState
from tests.support.eventually import eventually
from tests.support.fastpath import FAST, entries, flows, frontends, opened, pins_removed
from tests.support.kernelplans import a_frontend, a_plan, with_state
from tests.support.netns import (
    Namespace,
    Site,
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
INTERFACES = ("to-client", "to-node1", "to-node2")
# `return TC_ACT_UNSPEC`: BPF_MOV64_IMM(r0, -1), BPF_EXIT.
LETS_PASS = struct.pack("<BBhi", 0xB7, 0, 0, -1) + struct.pack("<BBhi", 0x95, 0, 0, 0)


@pytest.fixture(scope="module")
def world() -> Iterator[Site]:
    with greeting_site() as here, pins_removed(here.edge):
        yield here


@pytest.fixture
async def plane(world: Site, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[KernelPlane]:
    """A plane that looks for damage whenever it reads its counters."""
    monkeypatch.setattr(fastpath, "REPAIR_SECONDS", 0.0)
    with world.edge.entered():
        conntrack.end(lambda _: True, lambda *_: True)
        plane = KernelPlane()
        yield plane
        await plane.stop()
        await plane.flush()


async def connected(world: Site) -> tuple[socket.socket, str]:
    """A connection, and the name of its node."""
    sock = await asyncio.to_thread(dial, world.client, EDGE)
    return sock, (await asyncio.to_thread(greeting, sock))[0]


def echoes(sock: socket.socket) -> bool:
    """Whether a connection still reaches its node; false once it has been reset."""
    try:
        sock.sendall(b"still here")
        return sock.recv(64) == b"still here"
    except (ConnectionResetError, BrokenPipeError):
        return False


def filters(space: Namespace, device: str) -> str:
    return space.run("tc", "filter", "show", "dev", device, "ingress", check=False)


def attached(space: Namespace, device: str) -> bool:
    with space.entered():
        found = devices.Device(device, socket.if_nametoindex(device))
        return devices.attached(found, fastpath.home())


def take_off(space: Namespace, device: str) -> None:
    """As somebody else might, or the kernel with a namespace: then pins stay of links."""
    with space.entered():
        pin = devices.link_of(
            devices.Device(device, socket.if_nametoindex(device)), fastpath.home()
        )
        if not pin.exists():
            devices._run("tc", "qdisc", "del", "dev", device, "clsact")
            return
        link = bpf.pinned(pin)
        bpf.unlink(link)
        os.close(link)


def gone(space: Namespace, *kept: str) -> bool:
    """Whether nothing is left of it: no pin, filter or qdisc, but for the qdiscs of interfaces
    that others use."""
    with space.entered():
        pinned = fastpath.left_behind()
    qdiscs = {d for d in INTERFACES if "clsact" in space.run("tc", "qdisc", "show", "dev", d)}
    return not pinned and qdiscs == set(kept) and not any(attached(space, d) for d in INTERFACES)


async def test_another_process_goes_on_with_what_it_finds(world: Site, plane: KernelPlane) -> None:
    frontend = a_frontend(kernel=FAST)
    await plane.apply(a_plan(frontend))
    sock, name = await connected(world)
    with sock:
        await plane.stop()  # it could as well have been killed
        assert await served(world.client, 2) == {"one": 1, "two": 1}
        before = entries(world.edge, "frontends")
        with world.edge.entered():
            stale = fastpath.home() / "flows-0"  # another version's
            bpf.pin(bpf.BpfMap.create(layout.MAPS["flows4"]).descriptor, stale)
            links = bool(devices.links(fastpath.home()))  # which this kernel has
            if links:  # an interface may have a filter instead
                devices._run("tc", "qdisc", "add", "dev", "to-client", "clsact")
                devices._run("tc", "filter", "add", *devices._ours("to-client"), "bpf",
                             "direct-action", "object-pinned",
                             str(fastpath.home() / "program"))  # fmt: skip
                take_off(world.edge, "to-client")
        second = KernelPlane()
        unprobed = with_state(frontend, 1, BackendState.DOWN, BackendReason.PROBING)
        unprobed = with_state(unprobed, 2, BackendState.DOWN, BackendReason.PROBING)
        await second.apply(a_plan(unprobed))
        assert entries(world.edge, "frontends") == before  # whose turn it is too
        assert not stale.exists()
        assert attached(world.edge, "to-client")
        assert ("nplb" in filters(world.edge, "to-client")) != links
        assert await served(world.client, 2) == {"one": 1, "two": 1}
        assert (await second.read_counters()).frontends[frontend.key].active == 1
        assert echoes(sock)
        place = ("one", "two").index(name) + 1
        await second.apply(a_plan(with_state(frontend, place, BackendState.DOWN)))
        assert name not in await served(world.client, 2)
        assert not echoes(sock)
        await second.stop()


async def test_switched_off_it_stays_until_its_last_connection_ends(
    world: Site, plane: KernelPlane
) -> None:
    frontend = a_frontend(kernel=FAST)
    await plane.apply(a_plan(frontend))
    sock, _ = await connected(world)
    # A node may remember the port for an earlier test's, and then a SYN is sent and counted twice.
    before = (await plane.read_counters()).frontends[frontend.key].accepted
    with sock:
        await plane.apply(a_plan(replace(frontend, kernel=KernelOptions())))
        assert not frontends(world.edge)
        assert await served(world.client, 2) == {"one": 1, "two": 1}
        await plane.read_counters()
        assert flows(world.edge) == 1
        assert echoes(sock)
        assert (await plane.read_counters()).frontends[frontend.key].active == 1
    await eventually(lambda: flows(world.edge) == 0, "both sides have closed")
    await plane.read_counters()
    assert gone(world.edge)
    assert await served(world.client, 2) == {"one": 1, "two": 1}
    assert (await plane.read_counters()).frontends[frontend.key].accepted == before + 4
    # And on again.
    await plane.apply(a_plan(frontend))
    assert await served(world.client, 2) == {"one": 1, "two": 1}
    assert (await plane.read_counters()).frontends[frontend.key].accepted >= before + 6
    assert all(attached(world.edge, device) for device in INTERFACES)


async def test_a_frontend_that_leaves_is_refused_and_one_that_returns_is_served(
    world: Site, plane: KernelPlane
) -> None:
    frontend, other = a_frontend(kernel=FAST), a_frontend("other", kernel=FAST, edge_port=444)
    await plane.apply(a_plan(frontend, other))
    sock, _ = await connected(world)
    with sock:
        await plane.apply(a_plan(other))
        with pytest.raises(ConnectionRefusedError):
            await asyncio.to_thread(dial, world.client, EDGE)
        assert echoes(sock)
        await plane.apply(a_plan(frontend, other))
        assert (await served(world.client, 2)).total() == 2
        assert echoes(sock)
        # All its connections end with it where it is taken off for good.
        assert await plane.flush()
        assert not echoes(sock)
    assert gone(world.edge)


async def test_damage_is_repaired(
    world: Site,
    plane: KernelPlane,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    plan = a_plan(a_frontend(kernel=FAST))
    await plane.apply(plan)
    want = frontends(world.edge)
    for device in ("to-client", "to-node1"):
        take_off(world.edge, device)
    with opened(world.edge, "frontends") as found:
        found.delete(layout.endpoint("10.71.0.1", 443))
        foreign = layout.frontend(layout=1, seats=1, node_port=1, draw=layout.IN_TURN)
        found.put(layout.endpoint("10.71.0.1", 444), foreign)
    await plane.read_counters()
    assert frontends(world.edge) == want
    monkeypatch.setattr(fastpath, "REPAIR_DEVICES", 1)
    take_off(world.edge, "to-node2")
    for _ in INTERFACES:  # on an edge with many they are asked in turn
        await plane.read_counters()
    assert all(attached(world.edge, device) for device in INTERFACES)
    assert "taken off to-client" in caplog.text
    assert "changed the fast path's frontends" in caplog.text
    assert await served(world.client, 2) == {"one": 1, "two": 1}
    # What the edge is called toward a node may change.
    world.edge.sysctl("net.ipv4.conf.to-node1.promote_secondaries", "1")
    world.edge.run("ip", "addr", "add", "10.72.1.7/24", "dev", "to-node1")
    world.edge.run("ip", "addr", "del", "10.72.1.1/24", "dev", "to-node1")
    try:
        await plane.read_counters()
        seen = {await asyncio.to_thread(greet, world.client, EDGE) for _ in range(2)}
        assert seen == {("one", "10.72.1.7"), ("two", "10.72.2.1")}
    finally:
        world.edge.run("ip", "addr", "add", "10.72.1.1/24", "dev", "to-node1")
        world.edge.run("ip", "addr", "del", "10.72.1.7/24", "dev", "to-node1")


async def test_pins_of_a_namespace_that_is_gone_are_no_connections(
    world: Site, plane: KernelPlane
) -> None:
    await plane.apply(a_plan(a_frontend(kernel=FAST)))
    sock, _ = await connected(world)
    with sock:
        await plane.stop()
        for device in INTERFACES:  # a new namespace with the number of an old one has none either
            take_off(world.edge, device)
        await plane.apply(a_plan(a_frontend(kernel=FAST)))
        assert flows(world.edge) == 0
    assert await served(world.client, 2) == {"one": 1, "two": 1}


async def test_where_it_can_not_keep_its_pins_the_table_serves(
    world: Site, plane: KernelPlane, caplog: pytest.LogCaptureFixture
) -> None:
    with world.edge.entered():
        foreign = fastpath.home() / "foreign"
    foreign.mkdir(parents=True)
    try:
        await plane.apply(a_plan(a_frontend(kernel=FAST)))
        assert f"let nplb's user own {foreign.parent}" in caplog.text
        assert await served(world.client, 2) == {"one": 1, "two": 1}
    finally:
        foreign.rmdir()


async def test_deleted_by_another_process_it_comes_back(
    world: Site, plane: KernelPlane, caplog: pytest.LogCaptureFixture
) -> None:
    plan = a_plan(a_frontend(kernel=FAST))
    await plane.apply(plan)
    for notice in (plane.read_counters, lambda: plane.apply(plan)):
        # As `nplb rules --delete` does, here several at once.
        assert any(await asyncio.gather(*(asyncio.to_thread(fastpath.remove) for _ in range(4))))
        await notice()
        assert all(attached(world.edge, device) for device in INTERFACES)
        sock, _ = await connected(world)
        with sock:
            assert flows(world.edge) == 1
    assert "somebody else has removed the fast path" in caplog.text


async def test_nobody_is_sent_to_a_node_that_left_where_it_can_not_go_on(
    world: Site, plane: KernelPlane, caplog: pytest.LogCaptureFixture
) -> None:
    frontend = a_frontend(kernel=FAST)
    await plane.apply(a_plan(frontend))
    usual = world.edge.run("sysctl", "-n", "net.ipv4.ip_local_port_range")
    for time in range(1, 3):  # told each time anew
        world.edge.sysctl("net.ipv4.ip_local_port_range", "1100 65000")
        try:
            await plane.apply(a_plan(with_state(frontend, 1, BackendState.DOWN)))
            assert await served(world.client, 2) == {"two": 2}
            said = "without the fast path: net.ipv4.ip_local_port_range"
            assert caplog.text.count(said) == time
        finally:
            world.edge.sysctl("net.ipv4.ip_local_port_range", usual.strip())
        await plane.apply(a_plan(frontend))
        assert frontends(world.edge)


async def test_an_interface_that_comes_later_is_given_the_program(
    world: Site, plane: KernelPlane
) -> None:
    await plane.apply(a_plan(a_frontend(kernel=FAST)))
    for _ in range(2):  # the second one has the first one's name
        with namespaces("late") as made:
            join(
                world.edge, made["late"], "late", ("10.76.0.1", "10.76.0.2"), ("fd76::1", "fd76::2")
            )
            made["late"].run("ip", "route", "add", "default", "via", "10.76.0.1")
            assert (await served(made["late"], 1)).total() == 1  # by the table
            await plane.read_counters()
            assert attached(world.edge, "to-late")
            with world.edge.entered():
                assert len(devices.links(fastpath.home())) in (0, 4)  # none of the first one
            with await asyncio.to_thread(dial, made["late"], EDGE) as sock:
                greeting(sock)
                assert flows(world.edge) == 1
            # The kernel takes it away with the namespace, but when it has time to.
            world.edge.run("ip", "link", "del", "to-late")


async def test_an_interface_may_have_the_number_of_one_that_has_moved_away(
    world: Site, plane: KernelPlane
) -> None:
    """Containers are given interfaces: these keep their number, and the program."""
    edge = world.edge
    add = ("ip", "link", "add", "late", "index", "900", "type", "veth")
    with namespaces("away") as made:
        edge.run(*add)
        try:
            await plane.apply(a_plan(a_frontend(kernel=FAST)))
            with edge.entered():
                if not devices.links(fastpath.home()):
                    pytest.skip("before Linux 6.6 there are no links")
                assert bpf.links_at(900)
            edge.run("ip", "link", "set", "late", "netns", made["away"].name)
            edge.run(*add)
            await plane.read_counters()
            with edge.entered():
                assert bpf.links_at(900)
            with made["away"].entered():
                assert not bpf.links_at(900)
        finally:
            for space in (edge, made["away"]):
                space.run("ip", "link", "del", "late", check=False)


@pytest.fixture
def theirs() -> Iterator[Path]:
    """Somebody else's program, pinned."""
    path = Path("/sys/fs/bpf") / f"nplb-test-{os.getpid()}"
    descriptor = bpf.load("theirs", LETS_PASS, "GPL")
    bpf.pin(descriptor, path)
    os.close(descriptor)
    yield path
    path.unlink()


def add_filter(space: Namespace, device: str, preference: str, program: Path) -> None:
    with space.entered():  # a shell's `ip netns exec` has another /sys/fs/bpf
        devices._run("tc", "filter", "add", "dev", device, "ingress", "preference", preference,
                     "handle", "7", "protocol", "all", "bpf", "direct-action", "object-pinned",
                     str(program))  # fmt: skip


async def test_others_filters_stay(world: Site, plane: KernelPlane, theirs: Path) -> None:
    """Beside it, and in its place: then that interface's packets go by the table."""
    try:
        for device, preference in (("to-client", "10"), ("to-node1", devices.PREFERENCE)):
            world.edge.run("tc", "qdisc", "add", "dev", device, "clsact")
            add_filter(world.edge, device, preference, theirs)
        await plane.apply(a_plan(a_frontend(kernel=FAST)))
        assert await served(world.client, 2) == {"one": 1, "two": 1}
        assert attached(world.edge, "to-client")
        # Among theirs it is a filter, too, which somebody may take away.
        world.edge.run("tc", "filter", "del", "dev", "to-client", "ingress", "preference",
                       devices.PREFERENCE)  # fmt: skip
        await plane.read_counters()
        assert "nplb" in filters(world.edge, "to-client")
        for device in ("to-client", "to-node1"):
            assert "theirs" in filters(world.edge, device)
        await plane.flush()
        assert gone(world.edge, "to-client", "to-node1")
        for device in ("to-client", "to-node1"):
            assert "theirs" in filters(world.edge, device)
    finally:
        for device in ("to-client", "to-node1"):
            world.edge.run("tc", "qdisc", "del", "dev", device, "clsact", check=False)


async def test_it_goes_from_anothers_ingress_qdisc_and_stays_where_tc_is_missing(
    world: Site,
    plane: KernelPlane,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    theirs: Path,
) -> None:
    world.edge.run("tc", "qdisc", "add", "dev", "to-client", "ingress")
    try:
        add_filter(world.edge, "to-client", "10", theirs)
        await plane.apply(a_plan(a_frontend(kernel=FAST)))
        assert await served(world.client, 2) == {"one": 1, "two": 1}
        for name in ("ip", "nft"):
            (tmp_path / name).symlink_to(shutil.which(name) or "")
        with monkeypatch.context() as without:
            without.setenv("PATH", str(tmp_path))
            counted = [await plane.read_counters() for _ in range(2)]
            assert sum(each.connections for each in counted[1].backends.values()) == 2
            assert caplog.text.count("can't be looked after: the command tc") == 1
            with pytest.raises(HostError, match="tc is not installed"):
                await plane.flush()
        assert all(attached(world.edge, device) for device in INTERFACES)
        with world.edge.entered():
            assert fastpath.left_behind()
        await plane.flush()
        assert gone(world.edge)
        assert "ingress" in world.edge.run("tc", "qdisc", "show", "dev", "to-client")
    finally:
        world.edge.run("tc", "qdisc", "del", "dev", "to-client", "ingress")


async def test_a_frontend_moves_between_relay_table_and_fast_path(world: Site) -> None:
    """Nobody is refused, and connections end where they began."""
    with world.edge.entered():
        relay = RelayPlane(workers=1)
        relay.start_workers()
        await relay.start()
        plane = SplitPlane(relay, KernelPlane, left_behind)
        try:
            with contextlib.ExitStack() as stack:
                socks = []
                for kind, kernel, fast in (
                    (PlaneKind.RELAY, KernelOptions(), 0),
                    (PlaneKind.KERNEL, KernelOptions(), 0),
                    (PlaneKind.KERNEL, FAST, 1),
                    (PlaneKind.RELAY, KernelOptions(), 1),
                    (PlaneKind.KERNEL, FAST, 2),
                    (PlaneKind.KERNEL, KernelOptions(), 2),
                ):
                    frontend = replace(a_frontend(kernel=kernel), plane=kind)
                    applied = await plane.apply(a_plan(frontend))
                    assert not applied.listen_errors
                    if applied.retry_seconds is not None:
                        await asyncio.sleep(applied.retry_seconds)
                        await plane.apply(a_plan(frontend))
                    sock, _ = await connected(world)
                    socks.append(stack.enter_context(sock))
                    assert flows(world.edge) == fast
                    for each in socks:
                        assert await asyncio.to_thread(echoes, each)
        finally:
            await plane.stop()
            await relay.stop()
            await delete_table(Nft())
    assert gone(world.edge)
