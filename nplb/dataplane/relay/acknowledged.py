"""Waits until workers have taken all that was sent to them, but not for one that stands still."""

import asyncio
import contextlib
import logging
import time
from collections.abc import Sequence

from nplb.dataplane.relay.process import WorkerProcess

log = logging.getLogger(__name__)

ACKNOWLEDGE_SECONDS = 15.0
# A worker that stands still this long is not waited for.
STUCK_SECONDS = 2.0


async def commit(workers: Sequence[WorkerProcess], generation: int, serial: int) -> None:
    """Return when each of these has taken what was sent before. One that dies meanwhile is not
    waited for: its successor is told everything anew."""
    for worker in workers:
        worker.applied = asyncio.Event()
        send_commit(worker, generation, serial)
    until = time.monotonic() + ACKNOWLEDGE_SECONDS
    for worker in workers:
        while worker.alive and worker.serial < serial and time.monotonic() < until:
            # One that stands still must not keep the others from the next plan.
            if worker.ready and worker.silent_seconds > STUCK_SECONDS:
                break
            assert worker.applied is not None
            worker.applied.clear()
            if worker.serial >= serial or not worker.alive:
                break
            left = until - time.monotonic()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(min(left, STUCK_SECONDS / 4)):
                    await worker.applied.wait()
        if worker.alive and worker.serial < serial:
            log.error(
                "relay worker %d (pid %d) has not taken generation %d",
                worker.index,
                worker.pid,
                generation,
            )


def send_commit(worker: WorkerProcess, generation: int, serial: int) -> None:
    """Ask a worker to say when it has come so far."""
    worker.send({"op": "commit", "generation": generation, "serial": serial})
    worker.flush()
