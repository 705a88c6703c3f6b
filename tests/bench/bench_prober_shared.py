"""What probes cost that the services of a node share: CPU seconds per second, on loopback.

    python -m tests.bench.bench_prober_shared [nodes] [services] [seconds]

By default 1,000 nodes with 100 services each, every 5 s, within the default budget of 1,000
probes a second: on their own they would be 20,000.
"""

import asyncio
import contextlib
import random
import resource
import socket
import sys
import time

from nplb.health.prober import Prober
from nplb.model.health import HealthSettings, ProbeSharing, SharingSettings
from nplb.model.keys import Address
from nplb.model.relay import SendProxy
from nplb.plan.frontend import Probed
from nplb.plan.probes import plan_probes

HEALTH = HealthSettings()


def ip_of(node: int) -> str:
    return f"127.8.{node // 250}.{node % 250 + 1}"


async def main(nodes: int, services: int, seconds: float) -> None:
    with contextlib.ExitStack() as stack:
        servers = [
            stack.enter_context(socket.create_server(("0.0.0.0", 0), backlog=1024))
            for _ in range(services)
        ]
        await _measure(nodes, services, [s.getsockname()[1] for s in servers], seconds)


async def _measure(nodes: int, services: int, ports: list[int], seconds: float) -> None:
    probed = [
        Probed(
            HEALTH,
            SendProxy.NONE,
            False,
            [Address(ip_of(node), port) for node in range(nodes)],
            [],
            [],
        )
        for port in ports
    ]
    begun = time.perf_counter()
    targets, detection = plan_probes(probed, SharingSettings(mode=ProbeSharing.AUTO), ())
    planned = time.perf_counter() - begun
    prober = Prober(publish=lambda _: None, rng=random.Random(1), now=time.time)
    prober.retarget(targets)
    prober.start()
    begun = time.monotonic()
    while True:
        await asyncio.sleep(0.5)
        if all(verdict.healthy is not None for verdict in prober.verdicts().values()):
            break
    first = time.monotonic() - begun
    await asyncio.sleep(6.0)
    before = resource.getrusage(resource.RUSAGE_SELF)
    ended = sum(prober.probing().ended.values())
    begun = time.monotonic()
    await asyncio.sleep(seconds)
    took = time.monotonic() - begun
    after = resource.getrusage(resource.RUSAGE_SELF)
    probes = sum(prober.probing().ended.values()) - ended
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    print(f"targets            {len(targets)} ({nodes} nodes, {services} services)")
    print(f"planned            {detection.rate:g} a second, in {planned * 1e3:.0f} ms")
    print(f"bounds             node {detection.node_seconds:g} s, service "
          f"{detection.service_seconds:g} s")  # fmt: skip
    print(f"all probed once    after {first:.1f} s")
    print(f"probes per second  {probes / took:.0f}")
    print(f"core used          {used / took:.3f}")
    prober.stop()


if __name__ == "__main__":
    numbers = [int(argument) for argument in sys.argv[1:4]]
    asyncio.run(main(*(numbers + [1000, 100, 10][len(numbers) :])))
