"""What open dashboards cost the control process, and the relay beside it: 1,000 services on 100
nodes.

    python -m tests.bench.bench_dashboard [dashboards] [seconds]

Traffic changes on every frontend in every look, one backend in a thousand flaps each second.
The readers are a process of their own, which reads and throws away.
"""

import asyncio
import random
import resource
import sys
import time
from dataclasses import replace
from statistics import median

from nplb.dataplane.relay.plane import RelayPlane
from nplb.model.keys import Address
from nplb.model.reasons import BackendReason, BackendState
from nplb.model.status import Status
from nplb.web.server import AdminServer
from tests.bench.loads import cpu_seconds
from tests.support.plans import make_frontend, make_plan
from tests.support.relay import free_address
from tests.support.status import large

READER = """
import asyncio, sys
async def read(port):
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET /api/v1/events HTTP/1.1\\r\\nHost: localhost\\r\\n\\r\\n")
    total = 0
    try:
        while data := await reader.read(1 << 20):
            total += len(data)
    finally:
        print(total, flush=True)
async def main(port, count, seconds):
    tasks = [asyncio.ensure_future(read(port)) for _ in range(count)]
    await asyncio.sleep(seconds)
    for task in tasks: task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
asyncio.run(main(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])))
"""


# Echoes, and asks for echoes through the relay: "ADDRESS PORT SECONDS" in, how many out.
LOAD = """
import socket, sys, threading, time
server = socket.create_server(("127.0.0.1", 0))
def echo():
    while True:
        conn, _ = server.accept()
        threading.Thread(target=one, args=(conn,), daemon=True).start()
def one(conn):
    with conn:
        while data := conn.recv(64):
            conn.sendall(data)
threading.Thread(target=echo, daemon=True).start()
print(server.getsockname()[1], flush=True)
for line in sys.stdin:
    ip, port, seconds = line.split()
    done, end = 0, time.monotonic() + float(seconds)
    with socket.create_connection((ip, int(port))) as conn:
        conn.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        while time.monotonic() < end:
            conn.sendall(b"hello")
            conn.recv(64)
            done += 1
    print(done, flush=True)
"""
ROUNDS = 5


class Moving:
    """A status in which everything moves."""

    def __init__(self) -> None:
        self.base = large(1000, 100)
        self.plan = self.base.plan
        self.rng = random.Random(1)
        self.looks = 0

    def flap(self) -> None:
        """One backend in a thousand turns over: a new plan."""
        frontends = list(self.plan.frontends)
        for _ in range(100):
            n = self.rng.randrange(len(frontends))
            backends = list(frontends[n].backends)
            m = self.rng.randrange(len(backends))
            up = backends[m].state is BackendState.ACTIVE
            backends[m] = replace(
                backends[m],
                state=BackendState.DOWN if up else BackendState.ACTIVE,
                reason=BackendReason.TIMEOUT if up else BackendReason.PASSING,
            )
            frontends[n] = replace(frontends[n], backends=tuple(backends))
        self.plan = replace(self.plan, frontends=tuple(frontends))

    def status(self) -> Status:
        """What the server reads."""
        self.looks += 1
        traffic = replace(
            self.base.traffic,
            frontends={
                key: replace(one, accepted=one.accepted + self.looks * 7, active=self.looks % 50)
                for key, one in self.base.traffic.frontends.items()
            },
        )
        return replace(self.base, now=time.time(), plan=self.plan, traffic=traffic)


def cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


async def measure(moving: Moving, port: int, dashboards: int, seconds: float) -> None:
    reader = await asyncio.create_subprocess_exec(
        sys.executable, "-c", READER, str(port), str(dashboards), str(seconds + 3),
        stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    await asyncio.sleep(2.5)
    before, began, looks = cpu(), time.monotonic(), moving.looks
    while time.monotonic() - began < seconds:
        await asyncio.sleep(1)
        moving.flap()
    took = time.monotonic() - began
    used = cpu() - before
    out, _ = await reader.communicate()
    sums = [int(line) for line in out.split()]
    print(
        f"{dashboards} dashboards: {used / took:.2f} of a core, "
        f"{(moving.looks - looks) / took:.1f} boards a second, "
        f"{sum(sums) / max(len(sums), 1) / (seconds + 3) / 1000:.0f} kB/s each"
    )


async def relay_beside(server: AdminServer, dashboards: int, seconds: float) -> None:
    """Requests through a relay worker, in turn without and with dashboards, in rounds, so that
    what else the machine does falls on both."""
    load = await asyncio.create_subprocess_exec(
        sys.executable, "-c", LOAD, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    assert load.stdin is not None
    assert load.stdout is not None
    plane = RelayPlane(workers=1)
    plane.start_workers()
    await plane.start()
    backend = Address("127.0.0.1", int(await load.stdout.readline()))
    frontend = make_frontend(free_address(), [backend])
    await plane.apply(make_plan(1, frontend))
    at, pid = frontend.listen[0], plane.traffic().workers[0].pid
    rates: dict[int, list[float]] = {0: [], dashboards: []}
    costs: dict[int, list[float]] = {0: [], dashboards: []}
    for _ in range(ROUNDS):
        for count in (0, dashboards):
            reader = await asyncio.create_subprocess_exec(
                sys.executable, "-c", READER, str(server.address.port), str(count),
                str(seconds + 1.5), stdout=asyncio.subprocess.DEVNULL,
            )  # fmt: skip
            await asyncio.sleep(1)
            before = cpu_seconds([pid])
            load.stdin.write(f"{at.ip} {at.port} {seconds}\n".encode())
            done = int(await load.stdout.readline())
            rates[count].append(done / seconds)
            costs[count].append((cpu_seconds([pid]) - before) / done * 1e6)
            await reader.wait()
    for count, found in rates.items():
        print(
            f"relay beside {count} dashboards: {median(found):,.0f} requests/s "
            f"({min(found):,.0f} to {max(found):,.0f}), {median(costs[count]):.1f} us CPU each"
        )
    load.stdin.close()
    await load.wait()
    await plane.stop()


async def main(dashboards: int, seconds: float) -> None:
    moving = Moving()
    server = AdminServer(status=moving.status, listen=Address("127.0.0.1", 0))
    await server.start()
    for count in (0, 1, dashboards):
        await measure(moving, server.address.port, count, seconds)
    await relay_beside(server, dashboards, max(seconds / 3, 1.0))
    await server.stop()


if __name__ == "__main__":
    many = int(sys.argv[1]) if len(sys.argv) > 1 else 10
    asyncio.run(main(many, float(sys.argv[2]) if len(sys.argv) > 2 else 8.0))
