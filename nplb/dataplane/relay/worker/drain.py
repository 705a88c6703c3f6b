"""Ending the connections of a backend that leaves: at once, or in time and not all together."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from nplb.dataplane.relay.worker.connection import Connection
from nplb.dataplane.relay.worker.side import Side
from nplb.model.reasons import EndReason

if TYPE_CHECKING:
    from nplb.dataplane.relay.worker.backend import Backend
    from nplb.dataplane.relay.worker.state import Worker

# The last part of the time that a drain has, over which its forced ends are spread.
SPREAD_SHARE = 0.2


def connections_of(worker: "Worker", backend: "Backend") -> Iterator[Connection]:
    """The connections that this backend has. Looks at all: leaving is rare."""
    for handler in list(worker.loop.handlers.values()):
        if isinstance(handler, Side):
            conn = handler.conn
            if conn.backend is backend and conn.server is not handler:
                yield conn


def reset(worker: "Worker", backend: "Backend", reason: EndReason) -> None:
    """End all of them now."""
    for conn in connections_of(worker, backend):
        conn.close(reason, reset=True)


def drain(worker: "Worker", backend: "Backend", seconds: float, reason: EndReason) -> None:
    """Let them end by themselves for most of the time; then end those that were silent
    longest first, spread out, so that clients do not all come back at one moment."""
    found = sorted(connections_of(worker, backend), key=lambda conn: conn.active)
    now = worker.loop.now
    for number, conn in enumerate(found, 1):
        share = 1.0 - SPREAD_SHARE * (1.0 - number / len(found))
        conn.end_by(now + seconds * share, reason)


def stay(worker: "Worker", backend: "Backend") -> None:
    """The backend has come back: its connections need not end."""
    for conn in connections_of(worker, backend):
        conn.end_by(0.0, None)
