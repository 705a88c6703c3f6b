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
from nplb.dataplane.relay.runtime import RuntimeDirectory
from nplb.dataplane.relay.survivors import Survivor, worker_fingerprint
from nplb.dataplane.relay.wire import Decoder, ProtocolError, encode
from nplb.dataplane.relay.worker.reserve import EXIT_CODE
from nplb.model.errors import HostError
from nplb.model.keys import Address

READ_BYTES = 256 << 10
# A worker that lived less than this died young.
YOUNG_SECONDS = 10.0


# What a worker of any version can be told.
ALWAYS_UNDERSTOOD = ("retire", "reset_all", "stop")


class WorkerProcess:
    """A running worker. Owns its end of the line, its memory, and its process.

    `start` makes a new one: it is synchronous and quick, so that workers can be started before
    anything heavy is imported. `of` takes one that another control has started, as yet without a
    line: what is sent to it waits until `connect` brings one. `attach` joins it to the running
    event loop. `on_message` gets what the worker says, `on_exit` is called once when the process
    has ended.

    `retired` is whether it takes no new clients, `rendezvous` the name under which the next
    control finds it, empty for none. One that is not `understood` is of another version: it is
    told how to end, and nothing else.
    """

    def __init__(self, index: int) -> None:
        self.index = index
        self.pid = 0
        self.started_at = 0.0
        self.alive = False
        self.ready = False
        self.retired = False
        self.understood = True
        self.rendezvous = ""
        self.exit_text = ""
        self.serial = 0
        self.told_sources: set[str] = set()
        # The seats of every listening socket that it was given, by row and address.
        self.seats: dict[int, dict[Address, set[int]]] = {}
        self.ended = asyncio.Event()
        self.applied: asyncio.Event | None = None
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

    def start(
        self,
        *,
        workers: int,
        affinity: int,
        access: int = -1,
        fd_limit: int = 0,
        orphan_seconds: float = 0.0,
        runtime: RuntimeDirectory | None = None,
    ) -> None:
        """Start the process. Errors: HostError when the system refuses."""
        try:
            ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        except OSError as error:
            raise self._refused(error) from error
        memory, meeting = -1, None
        try:
            memory = os.memfd_create(f"nplb-worker-{self.index}", os.MFD_CLOEXEC)
            os.ftruncate(memory, FILE_BYTES)
            options: dict[str, Any] = {
                "worker": self.index,
                "control": theirs.fileno(),
                "counters": memory,
                "workers": workers,
                "affinity": affinity,
                "access": access,
                "fd_limit": fd_limit,
                "orphan_seconds": orphan_seconds,
            }
            fds = [theirs.fileno(), memory, affinity, access]
            if runtime is not None:
                meeting, self.rendezvous = runtime.bind(self.index)
                options["rendezvous"] = meeting.fileno()
                options["rendezvous_path"] = str(runtime.path / self.rendezvous)
                options["fingerprint"] = worker_fingerprint()
                fds.append(meeting.fileno())
            self._process = subprocess.Popen(
                [
                    sys.executable,
                    "-I",
                    "-S",
                    str(Path(__file__).parent / "worker"),
                    json.dumps(options, separators=(",", ":")),
                ],
                stdin=subprocess.DEVNULL,
                pass_fds=[fd for fd in fds if fd >= 0],
            )
            self.pid = self._process.pid
            self._pidfd = os.pidfd_open(self.pid)
        except OSError as error:
            ours.close()
            if memory >= 0:
                os.close(memory)
            if runtime is not None and self.rendezvous:
                runtime.remove(self.rendezvous)
            if self._process is not None:
                self._process.kill()
                self._process.wait()
            raise self._refused(error) from error
        finally:
            theirs.close()
            if meeting is not None:
                meeting.close()
        ours.setblocking(False)
        self._sock = ours
        self._memory = memory
        self.started_at = monotonic()
        self.alive = True

    def _refused(self, error: OSError) -> HostError:
        return HostError(f"cannot start relay worker {self.index}: {error}")

    @classmethod
    def of(cls, survivor: Survivor, index: int) -> "WorkerProcess":
        """A worker that another control has started; its descriptors are taken out of
        `survivor`."""
        worker = cls(index)
        worker.pid = survivor.pid
        worker.rendezvous = survivor.name
        worker._memory, survivor.counters = survivor.counters, -1
        worker._pidfd, survivor.pidfd = survivor.pidfd, -1
        worker.ready = worker.alive = True
        worker.understood = survivor.understood
        worker.started_at = monotonic() - YOUNG_SECONDS
        return worker

    def connect(self, sock: socket.socket) -> None:
        """The line to it, owned from now on; then `attach` it."""
        self._sock = sock

    @property
    def is_child(self) -> bool:
        """Whether this process has started it."""
        return self._process is not None

    @property
    def connected(self) -> bool:
        """Whether there is a line to it."""
        return self._sock is not None

    def attach(
        self,
        on_message: "Callable[[WorkerProcess, dict[str, Any]], None]",
        on_exit: "Callable[[WorkerProcess], None]",
    ) -> None:
        """Begin to listen to it, in the running event loop, and to what it says if there is a
        line."""
        self._loop = asyncio.get_running_loop()
        self._on_message, self._on_exit = on_message, on_exit
        if self._sock is not None:
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
        if not self.understood and (
            isinstance(message, bytes) or message["op"] not in ALWAYS_UNDERSTOOD
        ):
            return
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
            async with asyncio.timeout(seconds):
                await self.ended.wait()
        except TimeoutError:
            return False
        return True

    def close(self) -> None:
        """Give everything back. The process is killed if it still runs."""
        if self.alive and self._process is not None:
            self.kill()
            self._process.wait()
        self.let_go()

    def let_go(self) -> None:
        """Give everything back, and leave the process alone."""
        self.alive = False
        if self._process is not None and self._process.returncode is None:
            self._process.returncode = 0  # it is no longer ours to wait for
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
        if self._process is None:
            self.exit_text = "why, only the control that had started it could be told"
        else:
            code = self._process.poll()
            if code is None:
                return
            if code < 0:
                self.exit_text = f"killed by {signal.Signals(-code).name}"
            elif code == EXIT_CODE:
                self.exit_text = "out of memory"
            else:
                self.exit_text = f"exit code {code}"
        self._readable_rest()
        self.alive = False
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
