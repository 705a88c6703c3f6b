"""What the prober costs: CPU seconds per second of probing, on loopback.

    python tests/bench/bench_prober.py [targets] [seconds]

Half of the targets answer and half refuse; the interval is chosen so that 2,000 probes are
made a second. The CPU time includes the kernel's, with both ends of each handshake.
"""

import asyncio
import random
import resource
import socket
import sys
import time

from nplb.health.prober import Prober
from nplb.model.health import HealthSettings
from nplb.model.keys import Address
from nplb.model.verdict import ProbeTarget

PROBES_PER_SECOND = 2000


async def main(count: int, seconds: float) -> None:
    server = socket.create_server(("0.0.0.0", 0), backlog=1024)
    closed = socket.create_server(("0.0.0.0", 0))
    ports = (server.getsockname()[1], closed.getsockname()[1])
    closed.close()
    interval = count / PROBES_PER_SECOND
    targets = tuple(
        ProbeTarget(
            address=Address(f"127.9.{n // 250}.{n % 250 + 1}", ports[n % 2]),
            health=HealthSettings(interval_seconds=interval, timeout_seconds=1.0, rise=2, fall=2),
        )
        for n in range(count)
    )
    published = 0

    def publish(_: object) -> None:
        nonlocal published
        published += 1

    prober = Prober(publish=publish, rng=random.Random(1), now=time.time)
    prober.retarget(targets)
    prober.start()
    await asyncio.sleep(interval * 2)
    before = resource.getrusage(resource.RUSAGE_SELF)
    ended = sum(prober.probing().ended.values())
    published = 0
    start = time.monotonic()
    await asyncio.sleep(seconds)
    took = time.monotonic() - start
    after = resource.getrusage(resource.RUSAGE_SELF)
    probing = prober.probing()
    prober.stop()
    user, system = after.ru_utime - before.ru_utime, after.ru_stime - before.ru_stime
    probes = sum(probing.ended.values()) - ended
    print(f"targets            {count}")
    print(f"probes per second  {probes / took:.0f}")
    print(f"core used          {(user + system) / took:.3f} (user {user / took:.3f})")
    print(f"per probe          {(user + system) / probes * 1e6:.0f} us")
    print(f"published          {published} times; repeated {probing.repeated}")
    print(
        "latency            " + ", ".join(f"<={b:g}s {n}" for b, n in probing.latency_buckets if n)
    )
    server.close()


if __name__ == "__main__":
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    asyncio.run(main(count, float(sys.argv[2]) if len(sys.argv) > 2 else 5.0))
