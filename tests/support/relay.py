"""A relay plane under test, and servers that it has as backends."""

import asyncio
import contextlib
import hashlib
import random
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

from nplb.dataplane.relay.plane import RelayPlane
from nplb.model.applied import BackendCounters, FrontendCounters
from nplb.model.keys import Address
from nplb.model.plan import Frontend
from tests.support.plans import make_plan

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def own_ip() -> str:
    """A loopback address that other tests hardly have."""
    draw = random.SystemRandom().randrange
    return f"127.{draw(100, 250)}.{draw(1, 250)}.{draw(1, 250)}"


def free_address(ip: str | None = None) -> Address:
    """An address on which nobody listens now."""
    ip = own_ip() if ip is None else ip
    family = socket.AF_INET6 if ":" in ip else socket.AF_INET
    with socket.socket(family) as sock:
        sock.bind((ip, 0))
        return Address(ip, sock.getsockname()[1])


def free_port_everywhere() -> int:
    """A port that nobody has on any address of this host. The kernel gives none of these to
    connections, so it is not lost to one before it is listened on."""
    dice = random.SystemRandom()
    for _ in range(1000):
        port = dice.randrange(10_000, 29_000)
        with socket.socket(socket.AF_INET6) as sock, contextlib.suppress(OSError):
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
            sock.bind(("::", port))
            return port
    raise RuntimeError("no port from 10000 to 28999 is free")


@contextlib.asynccontextmanager
async def running_plane(workers: int = 1, **options: Any) -> AsyncIterator[RelayPlane]:
    """A started plane, stopped at the end."""
    plane = RelayPlane(workers=workers, **options)
    plane.start_workers()
    await plane.start()
    try:
        yield plane
    finally:
        await plane.stop()


@contextlib.asynccontextmanager
async def serving(handler: Handler, ip: str = "127.0.0.1") -> AsyncIterator[Address]:
    """An asyncio server; its address. Open connections are aborted at the end."""
    writers: set[asyncio.StreamWriter] = set()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.add(writer)
        try:
            await handler(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writers.discard(writer)
            writer.close()

    server = await asyncio.start_server(handle, ip, 0, backlog=1024)
    name = server.sockets[0].getsockname()
    try:
        yield Address(name[0], name[1])
    finally:
        server.close()
        for writer in list(writers):
            writer.transport.abort()
        await asyncio.sleep(0)


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Send back what comes, and the end too."""
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    writer.write_eof()


def saying(name: str) -> Handler:
    """A handler that says its name and a newline, then echoes."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(name.encode() + b"\n")
        await echo(reader, writer)

    return handle


class Client:
    """A connection to a server that is `saying` its name: that is `name`."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.name = ""

    async def works(self) -> bool:
        """Whether it still carries bytes there and back."""
        self.writer.write(b"ping")
        return await self.reader.readexactly(4) == b"ping"

    async def close(self) -> None:
        """End it as a client does."""
        self.writer.close()
        await self.writer.wait_closed()


async def greeted(address: Address) -> Client:
    """A new connection, once the server at its other end has said its name."""
    client = Client(*await asyncio.open_connection(address.ip, address.port))
    client.name = (await client.reader.readline()).decode().strip()
    return client


REQUEST = struct.Struct(">QQ")


def noise(seed: int, size: int) -> bytes:
    """Bytes that only this seed gives."""
    return random.Random(seed).randbytes(size)


async def exchange_server(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Reads `REQUEST` (seed, size); sends that much noise, in random pieces, while it reads
    to the end; then the SHA-256 of all it read, and ends."""
    seed, size = REQUEST.unpack(await reader.readexactly(REQUEST.size))
    digest = hashlib.sha256()

    async def read() -> None:
        while data := await reader.read(65536):
            digest.update(data)

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(read())
        await send_in_pieces(writer, noise(seed, size), seed)
    writer.write(digest.digest())
    await writer.drain()
    writer.write_eof()


async def send_in_pieces(writer: asyncio.StreamWriter, data: bytes, seed: int) -> None:
    """Write `data` in pieces of random size, sometimes with a pause."""
    rng = random.Random(seed ^ 0x5EED)
    at = 0
    while at < len(data):
        size = int(2 ** rng.uniform(0, 18))
        writer.write(data[at : at + size])
        await writer.drain()
        at += size
        if rng.random() < 0.02:
            await asyncio.sleep(rng.random() * 0.005)


async def exchange(address: Address, seed: int, up: int, down: int) -> None:
    """One transfer with `exchange_server`, both ways at once, with half-close; asserts that
    every byte came as it was sent."""
    reader, writer = await asyncio.open_connection(address.ip, address.port)
    try:
        data = noise(seed + 1, up)

        async def send() -> None:
            writer.write(REQUEST.pack(seed, down))
            await send_in_pieces(writer, data, seed + 2)
            writer.write_eof()

        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(send())
            answer = await reader.read(-1)
        assert len(answer) == down + 32, f"seed {seed}: {len(answer)} bytes, not {down + 32}"
        assert answer[:down] == noise(seed, down), f"seed {seed}: other bytes came down"
        assert answer[down:] == hashlib.sha256(data).digest(), f"seed {seed}: went up wrong"
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


def frontend_count(plane: RelayPlane, frontend: Frontend) -> FrontendCounters:
    """A frontend's counters now."""
    return plane.traffic().frontends[frontend.key]


def backend_counts(plane: RelayPlane, frontend: Frontend) -> list[BackendCounters]:
    """The counters of a frontend's backends now, in the plan's order."""
    backends = plane.traffic().backends
    return [backends[backend.key] for backend in frontend.backends]


@contextlib.contextmanager
def reserved_port(ip: str | None = None) -> Iterator[Address]:
    """An address that another process's listener holds, as far as the plane can tell."""
    ip = own_ip() if ip is None else ip
    with socket.create_server((ip, 0)) as server:
        name = server.getsockname()
        yield Address(name[0], name[1])


async def applied(plane: RelayPlane, *frontends: Frontend, generation: int = 1) -> None:
    """Apply a plan, and assert that every address is listened on."""
    done = await plane.apply(make_plan(generation, *frontends))
    assert not done.listen_errors, done.listen_errors
