"""The access log's lines, from the workers to a file or to standard output.

A disk that is full or a reader that stands still must not hold up the balancer: lines wait in
a bounded queue for a thread that writes them, and what does not fit is dropped and counted.
"""

import json
import logging
import os
import queue
import threading
import time
from collections.abc import Callable
from pathlib import Path

log = logging.getLogger(__name__)

MAX_WAITING = 1000
"""Pieces of up to 64 KiB each."""
COMPLAIN_SECONDS = 60.0
STDOUT = 1


class AccessLog:
    """Writes lines to `path`, or to standard output when that is None.

    `reopen` begins the file anew, after it was renamed by whoever rotates it. `dropped` counts
    lines that found no place; the next line written says how many. `problem` says why the last
    ones could not be written, and is empty if they could.
    """

    def __init__(self, path: Path | None, now: Callable[[], float] = time.time) -> None:
        self._path = path
        self._now = now
        self._fd = -1
        self._queue: queue.Queue[bytes | None] = queue.Queue(MAX_WAITING)
        self._thread: threading.Thread | None = None
        self._reopen = threading.Event()
        self._complained_at = float("-inf")
        self._told = 0
        self.dropped = 0
        self.problem = ""

    def write(self, lines: bytes) -> None:
        """Take whole lines. Never blocks."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="access-log", daemon=True)
            self._thread.start()
        try:
            self._queue.put_nowait(lines)
        except queue.Full:
            self.dropped += lines.count(b"\n")

    def reopen(self, path: Path | None) -> None:
        """From the next line on, write to this path, opened anew."""
        self._path = path
        self._reopen.set()

    def close(self, seconds: float = 1.0) -> None:
        """Write what waits, at most so long, and end."""
        if self._thread is None:
            return
        try:
            self._queue.put(None, timeout=seconds)
        except queue.Full:
            return  # the thread stands still; it ends with the process
        self._thread.join(seconds)

    def _run(self) -> None:
        while (lines := self._queue.get()) is not None:
            if self._reopen.is_set():
                self._reopen.clear()
                self._close_file()
            if self.dropped > self._told:
                gap = {"time": self._now(), "dropped_before": self.dropped - self._told}
                self._told = self.dropped
                lines = json.dumps(gap).encode() + b"\n" + lines
            self._put(lines)
        self._close_file()

    def _put(self, lines: bytes) -> None:
        left = memoryview(lines)
        try:
            if self._fd < 0:
                self._fd = self._open()
            while left:
                left = left[os.write(self._fd, left) :]
        except OSError as error:
            self.dropped += bytes(left).count(b"\n")
            self._close_file()
            where = self._path or "standard output"
            self.problem = f"the access log can't be written to {where}: {error.strerror}"
            if not 0.0 <= self._now() - self._complained_at <= COMPLAIN_SECONDS:
                self._complained_at = self._now()
                log.error("%s", self.problem)
        else:
            self.problem = ""

    def _open(self) -> int:
        if self._path is None:
            return STDOUT
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
        return os.open(self._path, flags, 0o640)

    def _close_file(self) -> None:
        if self._fd > 2:
            os.close(self._fd)
        self._fd = -1
