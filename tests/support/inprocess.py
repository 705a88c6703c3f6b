"""A relay worker's parts in this process, with real sockets, for what can't be had from outside."""

from collections.abc import Callable

from nplb.dataplane.relay.worker.accesslog import AccessLog
from nplb.dataplane.relay.worker.affinity import AffinityTable
from nplb.dataplane.relay.worker.backend import Backend
from nplb.dataplane.relay.worker.loop import Loop
from nplb.dataplane.relay.worker.state import Worker
from nplb.model.reasons import EndReason


def make_worker(
    counters: memoryview,
    affinity: memoryview,
    *,
    log: Callable[[str, str, str], None],
    report_failure: Callable[[Backend, EndReason], None] = lambda backend, reason: None,
) -> Worker:
    """The only worker, in a loop that the caller turns, and whose epoll set it closes."""
    return Worker(
        index=0,
        workers=1,
        loop=Loop(),
        counters=counters,
        fd_limit=1024,
        draw=lambda count: 0,
        affinity=AffinityTable(affinity),
        access=AccessLog(-1, counters),
        log=log,
        report_failure=report_failure,
    )
