"""The access log: one JSON line for each connection that ended, sent without ever waiting.

Lines are gathered and sent to control once a tick. What control does not take in time is
dropped and counted, and the next line says how many were. All workers write to one pipe: a write
of up to PIPE_BUF bytes is taken whole or not at all (pipe(7)), so that no line is torn.
"""

import json
import os
from collections import deque
from itertools import islice
from select import PIPE_BUF
from time import time
from typing import TYPE_CHECKING

from nplb.dataplane.relay.counters import ACCESS_DROPPED

if TYPE_CHECKING:
    from nplb.dataplane.relay.worker.connection import Connection
    from nplb.model.reasons import EndReason

MAX_WAITING_BYTES = 256 << 10
# So many failed backends are named that a line always fits into one write.
MAX_NAMED = 32


class AccessLog:
    """Writes lines to a pipe. Owns its descriptor; -1 drops everything unseen."""

    __slots__ = ("_counters", "_dropped", "_fd", "_waiting", "_waiting_bytes")

    def __init__(self, fd: int, counters: memoryview) -> None:
        self._fd = fd
        self._counters = counters
        self._waiting: deque[bytes] = deque()
        self._waiting_bytes = 0
        self._dropped = 0
        if fd >= 0:
            os.set_blocking(fd, False)

    def ended(self, conn: "Connection", reason: "EndReason") -> None:
        """Note the end of a connection."""
        if self._fd < 0:
            return
        if self._waiting_bytes > MAX_WAITING_BYTES:
            self._drop()
            return
        try:
            data = self._line(conn, reason)
            self._waiting.append(data)
        except MemoryError:
            self._drop()
            return
        self._dropped = 0
        self._waiting_bytes += len(data)

    def _drop(self) -> None:
        self._dropped += 1
        self._counters[ACCESS_DROPPED] += 1

    def _line(self, conn: "Connection", reason: "EndReason") -> bytes:
        now = conn.loop.now
        backend, server = conn.backend, conn.server
        line: dict[str, object] = {
            "at": round(time(), 3),
            "frontend": conn.frontend.name,
            "client": join(conn.address),
            "backend": join(backend.address) if backend is not None else None,
            "reason": reason.value,
            "bytes_in": conn.client.count,
            "bytes_out": server.count if server is not None else 0,
            "seconds": round(now - conn.accepted_at, 3),
            "connect_seconds": round(conn.opened_at - conn.accepted_at, 3)
            if conn.opened_at
            else None,
            "failed_backends": [join(b.address) for b in conn.tried[:MAX_NAMED]],
        }
        if self._dropped:
            line["dropped_before"] = self._dropped
        return json.dumps(line, separators=(",", ":")).encode() + b"\n"

    def flush(self) -> None:
        """Send what is waiting, as far as it is taken now."""
        waiting = self._waiting
        while waiting:
            size = count = 0
            for line in waiting:
                if size + len(line) > PIPE_BUF:
                    break
                size += len(line)
                count += 1
            try:
                os.write(self._fd, b"".join(islice(waiting, count)))
            except BlockingIOError:
                return
            except OSError:  # nobody reads any more
                self._fd = -1
                waiting.clear()
                return
            for _ in range(count):
                waiting.popleft()
            self._waiting_bytes -= size


def join(address: tuple[object, ...]) -> str:
    """An address as it is written."""
    ip = str(address[0])
    return f"[{ip}]:{address[1]}" if ":" in ip else f"{ip}:{address[1]}"
