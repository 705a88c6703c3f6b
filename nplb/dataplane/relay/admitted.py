"""Which clients a frontend admits, as workers are told: each list once, however many use it."""

import os
from collections.abc import Iterable

from nplb.dataplane.relay.process import WorkerProcess
from nplb.model.relay import RelayOptions
from nplb.policy.prefixes import admitted_sources


def send_admitted(worker: WorkerProcess, name: str, options: RelayOptions) -> None:
    """Hand a worker the list of this name, which the options have, unless it has that already.
    It goes through a file in memory, for it may be long."""
    if name in worker.told_sources:
        return
    sources = admitted_sources(options)
    assert sources is not None
    data = sources.to_bytes()
    memory = os.memfd_create("nplb-sources", os.MFD_CLOEXEC)
    try:
        with os.fdopen(memory, "wb", closefd=False) as file:
            file.write(data)
        worker.send({"op": "sources", "name": name, "bytes": len(data)}, memory)
    finally:
        os.close(memory)
    worker.told_sources.add(name)


def forget_admitted(workers: Iterable[WorkerProcess], used: set[str]) -> None:
    """Have the workers forget the lists that no frontend uses any more."""
    for worker in workers:
        gone = worker.told_sources - used
        if gone:
            worker.send({"op": "forget_sources", "names": sorted(gone)})
            worker.told_sources -= gone
