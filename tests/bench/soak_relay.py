"""Many connections with random faults; then everything has to be as it was.

    python -m tests.bench.soak_relay [COUNT]

Prints descriptors, pipes, memory and counters before and after. 200,000 take some minutes.
"""

import asyncio
import contextlib
import multiprocessing
import random
import socket
import struct
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from nplb.dataplane.relay import counters
from nplb.dataplane.relay.plane import RelayPlane
from nplb.dataplane.relay.traffic import read_cells
from nplb.model.applied import BackendCounters, FrontendCounters
from nplb.model.keys import Address
from nplb.model.plan import Timeouts
from nplb.model.reasons import Balance
from nplb.model.relay import RelayOptions
from tests.support.addresses import refusing
from tests.support.plans import make_frontend, make_plan
from tests.support.relay import free_address

RESET = struct.pack("ii", 1, 0)
CLIENTS = 4


def backend(server: socket.socket) -> None:
    """Serve with moods: echo, say and go, reset, swallow, send much."""

    def serve(conn: socket.socket, mood: float) -> None:
        with conn, contextlib.suppress(OSError):
            conn.settimeout(20)
            if mood < 0.1:
                conn.recv(10)
                conn.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            elif mood < 0.2:
                conn.sendall(b"bye")
            elif mood < 0.23:
                conn.sendall(bytes(3_000_000))
            else:
                while data := conn.recv(65536):
                    conn.sendall(data)

    def accept() -> None:
        rng = random.Random()
        while True:
            conn, _ = server.accept()
            threading.Thread(target=serve, args=(conn, rng.random()), daemon=True).start()

    accept()


def clients(address: Address, count: int, seed: int) -> None:
    """Connect with moods: ask and close, reset at some point, half-close, leave at once."""
    rng = random.Random(seed)
    for _ in range(count):
        with contextlib.suppress(OSError), socket.socket() as sock:
            sock.settimeout(20)
            sock.connect((address.ip, address.port))
            mood = rng.random()
            if mood < 0.1:
                continue
            sock.sendall(b"x" * int(2 ** rng.uniform(0, 12)))
            if mood < 0.2:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
                continue
            if mood < 0.5:
                sock.shutdown(socket.SHUT_WR)
                while sock.recv(65536):
                    pass
            elif mood < 0.55:
                sock.recv(100_000)
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            else:
                sock.recv(65536)


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """What a worker holds. Idle pipes are kept for the next bulk streams, some of them, so
    `descriptors` are those that are not pipes'."""

    descriptors: int
    pipes: int
    resident_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What the worker held after each part of the connections, and what it counted of all."""

    held: tuple[Held, ...]
    frontend: FrontendCounters
    backends: tuple[BackendCounters, ...]
    restarts: int


def held_by(plane: RelayPlane) -> Held:
    """What the plane's only worker holds now."""
    (worker,) = plane._pool.active
    pipes = read_cells(worker.memory, 0)[counters.PIPES]
    return Held(
        descriptors=len(list(Path(f"/proc/{worker.pid}/fd").iterdir())) - 2 * pipes,
        pipes=pipes,
        resident_bytes=int(Path(f"/proc/{worker.pid}/statm").read_text().split()[1]) * 4096,
    )


async def soak(*parts: int, tell: Callable[[str], None] = lambda line: None) -> Outcome:
    """Make so many connections, part by part, each with faults at random, and see what is left
    when all have ended."""
    plane = RelayPlane(workers=1)
    plane.start_workers()
    servers = [socket.create_server(("127.0.0.1", 0), backlog=4096) for _ in range(2)]
    address = free_address()
    context = multiprocessing.get_context("spawn")
    helpers = [context.Process(target=backend, args=(s,), daemon=True) for s in servers]
    for process in helpers:
        process.start()
    await plane.start()
    try:
        with refusing() as dead:
            where = [Address(*server.getsockname()) for server in servers]
            frontend = make_frontend(
                address,
                [*where, dead],
                balance=Balance.LEAST_CONNECTIONS,
                timeouts=Timeouts(connect=5, idle=60, half_closed=60),
                relay=RelayOptions(affinity_seconds=1, max_connections_per_client=100_000),
            )
            await plane.apply(make_plan(1, frontend))
            held = []
            for part in parts:
                began = time.monotonic()
                busy = [
                    context.Process(target=clients, args=(address, part // CLIENTS, part + i))
                    for i in range(CLIENTS)
                ]
                for process in busy:
                    process.start()
                while any(process.is_alive() for process in busy):  # noqa: ASYNC110 -- processes
                    await asyncio.sleep(0.05)
                while plane.traffic().frontends[frontend.key].active:  # noqa: ASYNC110 -- memory
                    await asyncio.sleep(0.05)
                await asyncio.sleep(1)  # a few ticks, after which no socket is left
                held.append(held_by(plane))
                tell(f"after {part} more ({time.monotonic() - began:.0f} s): {held[-1]}")
            traffic = plane.traffic()
            return Outcome(
                held=tuple(held),
                frontend=traffic.frontends[frontend.key],
                backends=tuple(traffic.backends[b.key] for b in frontend.backends),
                restarts=traffic.workers[0].restarts,
            )
    finally:
        await plane.stop()
        for process in helpers:
            process.terminate()
        for server in servers:
            server.close()


def main(count: int) -> None:
    """Run, and print what came of it."""
    outcome = asyncio.run(soak(count // 10, count - count // 10, tell=print))
    found, backends = outcome.frontend, outcome.backends
    ends = {str(reason): number for reason, number in found.ends.items()}
    print(f"accepted {found.accepted}, ended {sum(ends.values())}: {ends}")
    established = sum(b.connections for b in backends)
    ended = sum(sum(b.ends.values()) for b in backends)
    print(f"established {established}, of which ended {ended}")
    same = found.bytes_in == sum(b.bytes_in for b in backends)
    print(f"frontend's and backends' bytes agree: {same}; restarts {outcome.restarts}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 200_000)
