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
from nplb.dataplane.relay.worker.accesslog import AccessLog
from nplb.dataplane.relay.worker.affinity import FILE_BYTES as AFFINITY_BYTES
from nplb.dataplane.relay.worker.affinity import AffinityTable
from nplb.dataplane.relay.worker.channel import Channel
from nplb.dataplane.relay.worker.loop import Loop
from nplb.dataplane.relay.worker.rendezvous import Rendezvous
from nplb.dataplane.relay.worker.reserve import EXIT_CODE
from nplb.dataplane.relay.worker.rights import drop_rights
from nplb.dataplane.relay.worker.state import Worker


def main(argument: str) -> None:
    """Run until control says stop. `argument` is a JSON object: `worker` (number), `workers`
    (how many there are), the descriptors `control`, `counters`, `affinity` and `access`,
    owned by this process from now on, and `fd_limit` (0: as many as the system allows).
    `rendezvous`, if there is one, is a Unix socket that is bound to `rendezvous_path`, and
    `fingerprint` is what control calls this code."""
    options = json.loads(argument)
    # Whoever stops the group of processes stops control, and control says what is to be done.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR2):
        signal.signal(number, signal.SIG_IGN)
    faulthandler.enable()
    faulthandler.register(signal.SIGUSR1)
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    limit = min(int(options["fd_limit"]) or hard, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))

    drop_rights()

    counters_fd = int(options["counters"])
    counters = _map(os.dup(counters_fd), FILE_BYTES)
    affinity = AffinityTable(_map(int(options["affinity"]), AFFINITY_BYTES))
    access = AccessLog(int(options["access"]), counters)
    rng = Random()
    random = rng.random

    def draw(count: int) -> int:
        return int(random() * count)

    loop = Loop()
    channel = Channel(options, socket(fileno=int(options["control"])))
    worker = Worker(
        index=int(options["worker"]),
        workers=int(options["workers"]),
        loop=loop,
        counters=counters,
        fd_limit=limit,
        draw=draw,
        affinity=affinity,
        access=access,
        log=channel.log,
        report_failure=channel.report_failure,
    )

    def beat() -> None:
        counters[HEARTBEAT] = int(monotonic() * 1000)
        counters[LOOPS] = loop.turn
        worker.tick()

    beat()
    loop.each_tick.append(beat)
    loop.each_tick.append(access.flush)
    counters[MAGIC] = LAYOUT
    channel.attach(worker)
    rendezvous = int(options.get("rendezvous", -1))
    if rendezvous >= 0:
        Rendezvous(
            worker,
            channel,
            socket(fileno=rendezvous),
            path=str(options["rendezvous_path"]),
            fingerprint=str(options["fingerprint"]),
            counters=counters_fd,
        )
    # Nothing below makes reference cycles, so the collector would only cost time.
    gc.collect()
    gc.freeze()
    gc.disable()
    try:
        loop.run()
        beat()
        access.flush()
    except BaseException as error:
        if isinstance(error, MemoryError) or worker.reserve.spent:
            os._exit(EXIT_CODE)  # at once: to tell more, there is nothing left
        raise
    os._exit(0)  # the system gives back all there is; the interpreter would want memory for that


def _map(fd: int, size: int) -> memoryview:
    """Shared memory as 64-bit cells; closes the descriptor."""
    shared = mmap.mmap(fd, size)
    os.close(fd)
    return memoryview(shared).cast("Q")
