"""The worker process: takes its descriptors, puts the parts together, and turns the loop."""

import faulthandler
import gc
import json
import mmap
import os
import resource
import signal
from _random import Random
from _socket import socket
from time import monotonic

from nplb.dataplane.relay.counters import FILE_BYTES, HEARTBEAT, LAYOUT, LOOPS, MAGIC
from nplb.dataplane.relay.worker.channel import Channel
from nplb.dataplane.relay.worker.loop import Loop
from nplb.dataplane.relay.worker.tables import Worker


def main(argument: str) -> None:
    """Run until control says stop. `argument` is a JSON object: `worker` (number), `control`
    and `counters` (descriptors, owned by this process from now on), `fd_limit` (0: as many
    as the system allows)."""
    options = json.loads(argument)
    # Whoever stops the group of processes stops control, and control says what is to be done.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR2):
        signal.signal(number, signal.SIG_IGN)
    faulthandler.enable()
    faulthandler.register(signal.SIGUSR1)
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    limit = min(int(options["fd_limit"]) or hard, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))

    shared = mmap.mmap(int(options["counters"]), FILE_BYTES)
    counters = memoryview(shared).cast("Q")
    os.close(int(options["counters"]))
    rng = Random()
    random = rng.random

    def draw(count: int) -> int:
        return int(random() * count)

    loop = Loop()
    channel = Channel(options, socket(fileno=int(options["control"])))
    worker = Worker(
        index=int(options["worker"]),
        loop=loop,
        counters=counters,
        fd_limit=limit,
        draw=draw,
        log=channel.log,
        report_failure=channel.report_failure,
    )

    def beat() -> None:
        counters[HEARTBEAT] = int(monotonic() * 1000)
        counters[LOOPS] = loop.turn
        worker.show_gauges()

    beat()
    loop.each_tick.append(beat)
    counters[MAGIC] = LAYOUT
    channel.attach(worker)
    # Nothing below makes reference cycles, so the collector would only cost time.
    gc.collect()
    gc.freeze()
    gc.disable()
    loop.run()
    beat()
