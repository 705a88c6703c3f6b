"""Clients that mean harm, or are only broken: the others notice nothing. Figures are printed."""

import asyncio
import contextlib
import socket
import struct
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from nplb.model.keys import Address
from nplb.model.plan import Frontend
from nplb.model.reasons import EndReason
from nplb.model.relay import RelayOptions
from tests.support.eventually import eventually
from tests.support.netns import Greeter, Namespace, greet, requires_namespaces, site
from tests.support.plans import make_frontend
from tests.support.relay import (
    applied,
    free_address,
    frontend_count,
    running_plane,
    saying,
    serving,
)

HARM = "127.0.8.8"
PROXY = "127.0.7.7"
REQUESTS = 150
LIMITS = (EndReason.LIMIT_CLIENT, EndReason.LIMIT_CLIENT_RATE)

Attack = Callable[[Frontend, asyncio.Event], Awaitable[int]]


async def dial(
    frontend: Frontend, source: str
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    address = frontend.listen[0]
    return await asyncio.open_connection(address.ip, address.port, local_addr=(source, 0))


async def slow_clients(frontend: Frontend, over: asyncio.Event) -> int:
    """Many that connect and then say nothing, or one byte now and then."""
    held = []
    for _ in range(300):
        with contextlib.suppress(OSError):
            held.append(await dial(frontend, HARM))
    while not over.is_set():
        for _, writer in held[::7]:
            with contextlib.suppress(OSError):
                writer.write(b".")
        await asyncio.sleep(0.05)
    for _, writer in held:
        writer.transport.abort()
    return len(held)


async def connection_flood(frontend: Frontend, over: asyncio.Event) -> int:
    """One address that connects as fast as it can, and leaves at once."""
    made = 0

    async def flood() -> None:
        nonlocal made
        while not over.is_set():
            try:
                _, writer = await dial(frontend, HARM)
            except OSError:
                continue
            made += 1
            writer.transport.abort()

    await asyncio.gather(*(flood() for _ in range(20)))
    return made


async def endless_headers(frontend: Frontend, over: asyncio.Event) -> int:
    """A trusted proxy whose PROXY headers never end: byte by byte, or as long as they get."""
    made = 0

    async def one(beginning: bytes, more: bytes) -> None:
        nonlocal made
        while not over.is_set():
            try:
                _, writer = await dial(frontend, PROXY)
            except OSError:
                continue
            made += 1
            writer.write(beginning)
            while not over.is_set() and not writer.is_closing():
                writer.write(more)
                try:
                    await writer.drain()
                except OSError:
                    break
                await asyncio.sleep(0.01)
            writer.transport.abort()

    slow = [one(b"PROXY TCP4 1.2.3.4", b"0") for _ in range(20)]
    huge = b"\r\n\r\n\0\r\nQUIT\n\x21\x11" + struct.pack(">H", 65535)
    long = [one(huge, b"\0" * 4096) for _ in range(20)]
    await asyncio.gather(*slow, *long)
    return made


async def request(frontend: Frontend, number: int) -> float:
    """One request of somebody who means no harm; how long it took, in seconds."""
    start = time.perf_counter()
    reader, writer = await dial(frontend, f"127.0.9.{number % 250 + 1}")
    assert await reader.readline() == b"a\n"
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()
    return time.perf_counter() - start


@pytest.mark.parametrize("attack", [slow_clients, connection_flood, endless_headers])
async def test_others_notice_nothing(attack: Attack, capsys: pytest.CaptureFixture[str]) -> None:
    options = RelayOptions(
        max_connections_per_client=50, client_rate=200, accept_proxy_from=(f"{PROXY}/32",)
    )
    async with running_plane(workers=2) as plane, serving(saying("a")) as backend:
        frontend = make_frontend(free_address(), [backend], relay=options)
        await applied(plane, frontend)
        over = asyncio.Event()
        attacking = asyncio.ensure_future(attack(frontend, over))  # noqa: TID251 -- of this test
        try:
            took = sorted([await request(frontend, number) for number in range(REQUESTS)])
        finally:
            over.set()
            harm = await attacking
        with capsys.disabled():
            print(
                f"\n{attack.__name__}: {harm} hostile connections, {len(took)} requests of others "
                f"all answered, median {took[len(took) // 2] * 1e3:.1f} ms, "
                f"slowest {took[-1] * 1e3:.1f} ms"
            )
        await eventually(lambda: frontend_count(plane, frontend).active == 0, "all have ended")
        ends = frontend_count(plane, frontend).ends
        if attack is endless_headers:
            assert ends[EndReason.PROXY_HEADER] > 0
        else:
            # On a slow machine they may all come too slowly for one of the two.
            assert any(ends.get(reason) for reason in LIMITS)


# -- half-open connections ----------------------------------------------------


def checksum(data: bytes) -> int:
    total: int = sum(struct.unpack(f">{len(data) // 2}H", data))
    total = (total & 0xFFFF) + (total >> 16)
    return ~((total & 0xFFFF) + (total >> 16)) & 0xFFFF


def syn(source: int, to: int, port: int, source_port: int) -> bytes:
    """A packet that asks for a connection, from an address that will never answer."""
    head = struct.pack(">HHIIBBHHH", source_port, port, 1, 0, 5 << 4, 2, 65535, 0, 0)
    pseudo = struct.pack(">IIBBH", source, to, 0, socket.IPPROTO_TCP, len(head))
    tcp = head[:16] + struct.pack(">H", checksum(pseudo + head)) + head[18:]
    ip = struct.pack(">BBHHHBBHII", 0x45, 0, 40, 1, 0, 64, socket.IPPROTO_TCP, 0, source, to)
    return ip + tcp


def flood_of_syns(namespace: Namespace, to: Address, count: int) -> int:
    with namespace.entered():
        raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
    target = struct.unpack(">I", socket.inet_aton(to.ip))[0]
    sent = 0
    with raw:
        for number in range(count):
            packet = syn((198 << 24) + (18 << 16) + number, target, to.port, 1024 + number % 60000)
            with contextlib.suppress(BlockingIOError):
                raw.sendto(packet, (to.ip, 0))
                sent += 1
    return sent


def netstat(name: str) -> int:
    """A counter of TCP, of the namespace that this thread is in."""
    lines = [
        line.split() for line in Path("/proc/thread-self/net/netstat").read_text().splitlines()
    ]
    for heads, values in zip(lines[::2], lines[1::2], strict=True):
        if name in heads:
            return int(values[heads.index(name)])
    return 0


@requires_namespaces[0]
@requires_namespaces[1]
async def test_half_open_connections_keep_nobody_out(capsys: pytest.CaptureFixture[str]) -> None:
    to = Address("10.71.0.1", 30080)
    with site(1) as world, Greeter(world.nodes[0], 30080, "one"):
        world.edge.run("ip", "route", "add", "198.18.0.0/15", "via", "10.71.0.2")
        for name in ("all", "default", "to-client"):
            world.edge.sysctl(f"net.ipv4.conf.{name}.rp_filter", "0")
        # The smallest backlog there may be, so that it overflows for certain.
        world.edge.sysctl("net.core.somaxconn", "64")
        world.edge.sysctl("net.ipv4.tcp_syncookies", "1")
        with world.edge.entered():
            async with running_plane(workers=2) as plane:
                frontend = make_frontend(to, [Address("10.72.1.2", 30080)])
                await applied(plane, frontend)
                before = netstat("SyncookiesSent")
                flood = asyncio.ensure_future(  # noqa: TID251 -- of this test
                    asyncio.to_thread(flood_of_syns, world.client, to, 20_000)
                )
                names = set()
                took = []
                answered = 0
                while not flood.done() or answered < 20:
                    start = time.perf_counter()
                    name, _ = await asyncio.to_thread(greet, world.client, to)
                    took.append(time.perf_counter() - start)
                    names.add(name)
                    answered += 1
                sent = await flood
                cookies = netstat("SyncookiesSent") - before
    assert names == {"one"}
    assert cookies > 0, "the backlog never overflowed"
    with capsys.disabled():
        print(
            f"\nhalf-open: {sent} SYNs without an end, {cookies} answered by cookie; {answered} "
            f"clients all answered, slowest {max(took) * 1e3:.1f} ms"
        )
