"""One worker process as control sees it: start it, talk to it, notice its end."""

import array
import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
from collections import deque
from collections.abc import Callable
from pathlib import Path
from time import monotonic
from typing import Any

from nplb.dataplane.relay.counters import CELL_BYTES, FILE_BYTES, HEADER_CELLS, HEARTBEAT, OPEN
from nplb.dataplane.relay.wire import Decoder, ProtocolError, encode
from nplb.model.errors import HostError

READ_BYTES = 256 << 10


class WorkerProcess:
    """A running worker. Owns its end of the line, its memory, and its process.

    `start` is synchronous and quick, so that workers can be started before anything heavy
    is imported; `attach` joins it to the running event loop. `on_message` gets what the
    worker says, `on_exit` is called once when the process has ended.
    """

    def __init__(
        self,
        index: int,
        *,
        workers: int,
        affinity: int,
        access: int = -1,
        fd_limit: int = 0,
        orphan_seconds: float = 600.0,
    ) -> None:
        self.index = index
        self.pid = 0
        self.started_at = 0.0
        self.alive = False
        self.ready = False
        self.exit_text = ""
        self.serial = 0
        self.told_sources: set[str] = set()
        self.ended = asyncio.Event()
        self.applied: asyncio.Event | None = None
        self._workers = workers
        self._affinity = affinity
        self._access = access
        self._fd_limit = fd_limit
        self._orphan_seconds = orphan_seconds
        self._process: subprocess.Popen[bytes] | None = None
        self._sock: socket.socket | None = None
        self._memory = -1
        self._pidfd = -1
        self._out: deque[tuple[bytes, int | None]] = deque()
        self._decoder = Decoder()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._writing = False
        self._on_message: Callable[[WorkerProcess, dict[str, Any]], None] | None = None
        self._on_exit: Callable[[WorkerProcess], None] | None = None

    def start(self) -> None:
        """Start the process. Errors: HostError when the system refuses."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        memory = os.memfd_create(f"nplb-worker-{self.index}", os.MFD_CLOEXEC)
        try:
            os.ftruncate(memory, FILE_BYTES)
            options = {
                "worker": self.index,
                "control": theirs.fileno(),
                "counters": memory,
                "workers": self._workers,
                "affinity": self._affinity,
                "access": self._access,
                "fd_limit": self._fd_limit,
                "orphan_seconds": self._orphan_seconds,
            }
            self._process = subprocess.Popen(
                [
                    sys.executable,
                    "-I",
                    "-S",
                    str(Path(__file__).parent / "worker"),
                    json.dumps(options, separators=(",", ":")),
                ],
                stdin=subprocess.DEVNULL,
                pass_fds=[
                    fd for fd in (theirs.fileno(), memory, self._affinity, self._access) if fd >= 0
                ],
            )
        except OSError as error:
            ours.close()
            os.close(memory)
            raise HostError(f"cannot start relay worker {self.index}: {error}") from error
        finally:
            theirs.close()
        ours.setblocking(False)
        self._sock = ours
        self._memory = memory
        self.pid = self._process.pid
        self._pidfd = os.pidfd_open(self.pid)
        self.started_at = monotonic()
        self.alive = True

    def attach(
        self,
        on_message: "Callable[[WorkerProcess, dict[str, Any]], None]",
        on_exit: "Callable[[WorkerProcess], None]",
    ) -> None:
        """Begin to listen to it, in the running event loop."""
        assert self._sock is not None
        self._loop = asyncio.get_running_loop()
        self._on_message, self._on_exit = on_message, on_exit
        self._loop.add_reader(self._sock, self._readable)
        self._loop.add_reader(self._pidfd, self._exited)
        self._flush()

    @property
    def memory(self) -> int:
        """The descriptor of its counters; valid until `close`."""
        return self._memory

    @property
    def open_connections(self) -> int:
        """How many connections it has open, as of its last tick."""
        return self._cell(OPEN) if self.alive else 0

    @property
    def silent_seconds(self) -> float:
        """How long ago its loop last turned."""
        beat = self._cell(HEARTBEAT) / 1000 if self._memory >= 0 else 0.0
        return monotonic() - max(beat, self.started_at)

    def send(self, message: dict[str, Any] | bytes, descriptor: int | None = None) -> None:
        """Queue one frame, encoded or not. The descriptor is duplicated now, so its owner may
        close it."""
        if self.alive:
            copy = None if descriptor is None else os.dup(descriptor)
            frame = message if isinstance(message, bytes) else encode(message)
            self._out.append((frame, copy))

    def flush(self) -> None:
        """Send what is queued, as far as the line takes it now; the rest follows by itself."""
        self._flush()

    def kill(self) -> None:
        """End it at once."""
        if self.alive and self._pidfd >= 0:
            signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)

    async def wait(self, seconds: float) -> bool:
        """Wait until it has ended; whether it has, after that time."""
        try:
            await asyncio.wait_for(self.ended.wait(), seconds)
        except TimeoutError:
            return False
        return True

    def close(self) -> None:
        """Give everything back. The process is killed if it still runs."""
        if self.alive and self._process is not None:
            self.kill()
            self._process.wait()
            self.alive = False
        self._detach()
        if self._memory >= 0:
            os.close(self._memory)
            self._memory = -1

    def _cell(self, cell: int) -> int:
        data = os.pread(self._memory, CELL_BYTES, cell * CELL_BYTES)
        assert cell < HEADER_CELLS
        return int.from_bytes(data, sys.byteorder)

    def _readable(self) -> None:
        assert self._sock is not None
        try:
            data = self._sock.recv(READ_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:  # it has ended, or is about to: its process descriptor will say so
            if self._loop is not None:
                self._loop.remove_reader(self._sock)
            return
        self._decoder.feed(data)
        try:
            for message in self._decoder:
                if self._on_message is not None:
                    self._on_message(self, message)
        except ProtocolError:
            self.kill()

    def _flush(self) -> None:
        sock, out = self._sock, self._out
        if sock is None or self._loop is None:
            return
        try:
            while out:
                data, descriptor = out[0]
                if descriptor is None:
                    sent = sock.send(data)
                else:
                    rights = array.array("i", [descriptor])
                    sent = sock.sendmsg([data], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)])
                    os.close(descriptor)
                if sent < len(data):
                    out[0] = (data[sent:], None)
                else:
                    out.popleft()
        except BlockingIOError:
            if not self._writing:
                self._writing = True
                self._loop.add_writer(sock, self._flush)
            return
        except OSError:
            self._drop_queue()  # it has ended
        if self._writing:
            self._writing = False
            self._loop.remove_writer(sock)

    def _exited(self) -> None:
        process = self._process
        assert process is not None
        code = process.poll()
        if code is None:
            return
        self._readable_rest()
        self.alive = False
        if code < 0:
            self.exit_text = f"killed by {signal.Signals(-code).name}"
        else:
            self.exit_text = f"exit code {code}"
        self._detach()
        self.ended.set()
        if self.applied is not None:
            self.applied.set()
        if self._on_exit is not None:
            self._on_exit(self)

    def _readable_rest(self) -> None:
        """Hear its last words."""
        while self._sock is not None:
            try:
                data = self._sock.recv(READ_BYTES)
            except OSError:
                return
            if not data:
                return
            self._decoder.feed(data)
            try:
                for message in self._decoder:
                    if self._on_message is not None:
                        self._on_message(self, message)
            except ProtocolError:
                return

    def _drop_queue(self) -> None:
        for _, descriptor in self._out:
            if descriptor is not None:
                os.close(descriptor)
        self._out.clear()

    def _detach(self) -> None:
        self._drop_queue()
        if self._sock is not None:
            if self._loop is not None:
                self._loop.remove_reader(self._sock)
                self._loop.remove_writer(self._sock)
            self._sock.close()
            self._sock = None
        if self._pidfd >= 0:
            if self._loop is not None:
                self._loop.remove_reader(self._pidfd)
            os.close(self._pidfd)
            self._pidfd = -1
