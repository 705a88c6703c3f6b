"""A quick look at the relay's speed on loopback, without root.

    python -m tests.bench.bench_relay_local

Client, relay and server share the machine, so the numbers say whether something got slower,
not how fast the relay is. `make bench` compares.
"""

import asyncio
import contextlib
import os
import socket
import threading
import time
from collections.abc import Callable

from nplb.dataplane.relay.plane import RelayPlane
from nplb.model.keys import Address
from tests.bench.loads import cpu_seconds
from tests.support.plans import make_frontend, make_plan
from tests.support.relay import free_address

SECONDS = 2.0
PIECE = b"x" * (256 << 10)


def serve(server: socket.socket) -> None:
    """One thread per connection: echo the first byte's worth, or take what comes."""
    while True:
        try:
            conn, _ = server.accept()
        except OSError:
            return
        threading.Thread(target=_echo, args=(conn,), daemon=True).start()


def _echo(conn: socket.socket) -> None:
    buffer = bytearray(1 << 20)
    with conn, contextlib.suppress(ConnectionError):
        while size := conn.recv_into(buffer):
            if size <= 64:
                conn.sendall(buffer[:size])


def connect(address: Address) -> socket.socket:
    """A client's socket."""
    sock = socket.create_connection((address.ip, address.port))
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


def measure(what: str, unit: str, pid: int, work: Callable[[], int]) -> None:
    """Run `work` for a while; print how much of it was done, and what it cost the worker."""
    done = 0
    before, began = cpu_seconds([pid]), time.monotonic()
    while time.monotonic() - began < SECONDS:
        done += work()
    seconds = time.monotonic() - began
    cost = (cpu_seconds([pid]) - before) / done * 1e6
    print(f"{what:34} {done / seconds:12,.0f} {unit}/s   {cost:8.2f} us CPU each")


async def main() -> None:
    """Measure one worker."""
    plane = RelayPlane(workers=1)
    plane.start_workers()
    await plane.start()
    server = socket.create_server(("127.0.0.1", 0), backlog=1024)
    threading.Thread(target=serve, args=(server,), daemon=True).start()
    frontend = make_frontend(free_address(), [Address(*server.getsockname())])
    await plane.apply(make_plan(1, frontend))
    address = frontend.listen[0]
    pid = plane.traffic().workers[0].pid
    kept = connect(address)

    def request() -> int:
        kept.sendall(b"hello")
        kept.recv(64)
        return 1

    def connection() -> int:
        with connect(address) as sock:
            sock.sendall(b"hello")
            sock.recv(64)
        return 1

    stream = connect(address)

    def megabyte() -> int:
        for _ in range((1 << 20) // len(PIECE)):
            stream.sendall(PIECE)
        return 1

    print(f"pid {os.getpid()}, worker {pid}, one connection at a time")
    await asyncio.to_thread(measure, "requests on a kept connection", "requests", pid, request)
    await asyncio.to_thread(measure, "new connections", "connections", pid, connection)
    await asyncio.to_thread(measure, "bulk", "MiB", pid, megabyte)
    server.close()
    await plane.stop()


if __name__ == "__main__":
    asyncio.run(main())
