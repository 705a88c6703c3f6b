"""The worker's end of the line to control: takes plans in small portions, sends what happened.

Without control the worker goes on with the plan that it has. If another control can find it (see
`rendezvous`), it also takes new clients, for `orphan_seconds` (0: for as long as it takes);
otherwise it listens no more, and exits when its connections have ended, `LONE_SECONDS` later at
most.
"""

from _socket import socket
from collections import deque
from collections.abc import Callable
from os import close, pread, write
from select import EPOLLIN, EPOLLOUT
from time import gmtime, monotonic, strftime
from typing import Any

from nplb.dataplane.relay.counters import GENERATION, LOG_DROPPED
from nplb.dataplane.relay.wire import Decoder, ProtocolError, encode, receive
from nplb.dataplane.relay.worker.backend import Backend
from nplb.dataplane.relay.worker.connection import Connection
from nplb.dataplane.relay.worker.frontend import NEVER, Frontend
from nplb.dataplane.relay.worker.listener import Listener
from nplb.dataplane.relay.worker.side import Side
from nplb.dataplane.relay.worker.state import Worker
from nplb.model.reasons import EndReason

READ_BYTES = 256 << 10
WORK_SECONDS = 0.002
MAX_QUEUE = 1000
LOG_LINES_PER_SECOND = 20
FAILURE_SECONDS = 0.2
DESCRIPTORS_AT_ONCE = 64
LONE_SECONDS = 600.0
# What a frame with wrong contents can raise.
NONSENSE = (KeyError, TypeError, ValueError, IndexError, AttributeError, OverflowError, OSError)


class Channel:
    """Reads frames from control and does what they say; queues frames for control.

    `kept` are descriptors that control has given away for safe keeping, by name: each with the
    number of the version, the highest being the latest. `retired` is whether the worker takes
    no new clients any more, and ends with its last connection. `can_be_found` is whether another
    control may take the line over when this one ends.
    """

    def __init__(self, worker_options: dict[str, Any], sock: socket) -> None:
        self.sock = sock
        self.fd = sock.fileno()
        sock.setblocking(False)
        self.worker: Worker
        self.orphan_seconds = float(worker_options.get("orphan_seconds", 0.0))
        self.can_be_found = False
        self.retired = False
        self.kept: dict[str, tuple[int, int]] = {}
        self._decoder = Decoder()
        self._descriptors: deque[int] = deque()
        self._out: deque[bytes] = deque()
        self._working = False
        self._log_window = 0
        self._log_lines = 0
        self._reported: dict[Backend, float] = {}
        self._orphan = False
        self._orphan_deadline = 0.0
        self._ops: dict[str, Callable[[dict[str, Any]], None]] = {
            "sources": self._sources,
            "forget_sources": self._forget_sources,
            "frontend": self._frontend,
            "listen": self._listen,
            "unlisten": self._unlisten,
            "remove": self._remove,
            "backends": self._backends,
            "limits": self._limits,
            "commit": self._commit,
            "keep": self._keep,
            "drop": self._drop,
            "retire": self._retire,
            "unlisten_all": self._unlisten_all,
            "reset_all": self._reset_all,
            "stop": self._stop,
        }

    def attach(self, worker: Worker) -> None:
        """Begin: `worker` is what the frames are about."""
        self.worker = worker
        worker.loop.handlers[self.fd] = self
        worker.loop.register(self.fd, EPOLLIN)
        worker.loop.fault = self.fault
        worker.loop.each_tick.append(self._tick)
        self._send({"op": "ready"})

    def replace(self, sock: socket, decoder: Decoder, descriptors: deque[int]) -> None:
        """Another control has come: it speaks from now on, over this socket, of which the
        `decoder` and the `descriptors` have what it has said already."""
        loop = self.worker.loop
        if not self._orphan:
            loop.epoll.unregister(self.fd)
            del loop.handlers[self.fd]
        self.sock.close()
        while self._descriptors:
            close(self._descriptors.popleft())
        self.sock, self.fd = sock, sock.fileno()
        self._decoder, self._descriptors = decoder, descriptors
        self._orphan = False
        # What was for the one before may be cut off in the middle of a frame.
        self._out.clear()
        loop.handlers[self.fd] = self
        loop.register(self.fd, EPOLLIN)
        self._send({"op": "adopted"})
        if not self._working:
            self._work()

    # -- from control --------------------------------------------------------

    def on_event(self, mask: int) -> None:
        """Frames have come, or there is room to send."""
        if mask & EPOLLOUT:
            self._flush()
        if mask & ~EPOLLOUT:
            self._receive()

    def _receive(self) -> None:
        self.worker.make_room()  # what is read and lost would be missing in the plan
        received = receive(self.sock, READ_BYTES, DESCRIPTORS_AT_ONCE)
        if received is None:
            return
        data, descriptors = received
        self._descriptors.extend(descriptors)
        if not data:
            self._orphaned("control has closed the line", expected=not self.worker.open)
            return
        self._decoder.feed(data)
        if not self._working:
            self._work()

    def _work(self) -> None:
        """Do what frames say, for a bounded time, so that clients are not kept waiting."""
        self._working = False
        if self._orphan:
            return
        until = monotonic() + WORK_SECONDS
        try:
            for message in self._decoder:
                self.handle(message)
                if monotonic() >= until:
                    if self._decoder.complete:
                        self._working = True
                        self.worker.loop.soon(self._work)
                    return
        except ProtocolError as error:
            self._orphaned(f"control does not speak our language: {error}")

    def handle(self, message: dict[str, Any]) -> None:
        """Do what one frame says. A frame that makes no sense is reported and left."""
        call = self._ops.get(message["op"])
        try:
            if call is None:
                raise ValueError(f"no operation {message['op']!r}")
            call(message)
        except (
            KeyError,
            TypeError,
            ValueError,
            IndexError,
            AttributeError,
            OverflowError,
            OSError,
        ) as error:
            self.log("error", "control", f"cannot do {message['op']!r}: {error!r}")

    def _sources(self, message: dict[str, Any]) -> None:
        """A set of addresses that frontends refer to by its name."""
        fd = self._descriptors.popleft()
        try:
            data = pread(fd, int(message["bytes"]), 0)
        finally:
            close(fd)
        if len(data) != message["bytes"]:
            raise ValueError(f"{len(data)} bytes of {message['bytes']} came")
        from nplb.policy.addressset import AddressSet  # rarely needed

        self.worker.sources[str(message["name"])] = AddressSet.from_bytes(data)

    def _forget_sources(self, message: dict[str, Any]) -> None:
        for name in message["names"]:
            self.worker.sources.pop(name, None)

    def _frontend(self, message: dict[str, Any]) -> None:
        frontends = self.worker.frontends
        row = _row(message["row"])
        frontend = frontends.get(row)
        if frontend is None:
            frontend = Frontend(self.worker, row)
            frontend.update(message)
            frontends[row] = frontend
        else:
            frontend.update(message)

    def _listen(self, message: dict[str, Any]) -> None:
        fd = self._descriptors.popleft()
        sock = socket(fileno=fd)
        frontend = self.worker.frontends[_row(message["row"])]
        key = (str(message["address"]), int(message["seat"]))
        old = frontend.listeners.pop(key, None)
        if old is not None:
            old.close()
        frontend.listeners[key] = Listener(self.worker, frontend, sock)

    def _unlisten(self, message: dict[str, Any]) -> None:
        frontend = self.worker.frontends.get(_row(message["row"]))
        if frontend is None:
            return
        seat = message.get("seat")
        for key in list(frontend.listeners):
            if key[0] == message["address"] and seat in (None, key[1]):
                frontend.listeners.pop(key).close()

    def _remove(self, message: dict[str, Any]) -> None:
        frontend = self.worker.frontends.pop(_row(message["row"]), None)
        if frontend is not None:
            for listener in frontend.listeners.values():
                listener.close()
            frontend.listeners.clear()
            frontend.removed()

    def _backends(self, message: dict[str, Any]) -> None:
        frontends = self.worker.frontends
        for frontend_row, row, state, weight, since in message["changes"]:
            frontend = frontends.get(frontend_row)
            if frontend is not None:
                frontend.set_backend(row, int(state), float(weight), float(since))

    def _limits(self, message: dict[str, Any]) -> None:
        worker = self.worker
        worker.workers = max(int(message["workers"]), 1)
        worker.max_connections = worker.share(int(message["max_connections"]))
        for frontend in worker.frontends.values():
            if frontend.spec is None:
                frontend.set_guarded()

    def _commit(self, message: dict[str, Any]) -> None:
        generation = int(message["generation"])
        self.worker.counters[GENERATION] = generation
        self.worker.tick()
        self._send({"op": "applied", "generation": generation, "serial": int(message["serial"])})

    def _unlisten_all(self, message: dict[str, Any]) -> None:
        for frontend in self.worker.frontends.values():
            for listener in frontend.listeners.values():
                listener.close()
            frontend.listeners.clear()

    def _reset_all(self, message: dict[str, Any]) -> None:
        reason = EndReason(message["reason"])
        for handler in list(self.worker.loop.handlers.values()):
            if isinstance(handler, Side):
                handler.conn.close(reason, reset=True)

    def _keep(self, message: dict[str, Any]) -> None:
        fd = self._descriptors.popleft()
        name, version = str(message["name"]), int(message["version"])
        old = self.kept.pop(name, None)
        if old is not None:
            close(old[1])
        else:
            self.worker.fixed_fds += 1
        self.kept[name] = version, fd

    def _drop(self, message: dict[str, Any]) -> None:
        old = self.kept.pop(str(message["name"]), None)
        if old is not None:
            close(old[1])
            self.worker.fixed_fds -= 1

    def _retire(self, message: dict[str, Any]) -> None:
        self.retired = True
        self._unlisten_all({})

    def _stop(self, message: dict[str, Any]) -> None:
        self.worker.loop.running = False

    # -- without control -----------------------------------------------------

    def _orphaned(self, why: str, *, expected: bool = False) -> None:
        if self._orphan:
            return
        loop = self.worker.loop
        self._orphan = True
        self._out.clear()
        del loop.handlers[self.fd]
        loop.epoll.unregister(self.fd)
        seconds = self.orphan_seconds if self.can_be_found else LONE_SECONDS
        self._orphan_deadline = loop.now + seconds if seconds else NEVER
        waits = self.can_be_found and not self.retired
        if not waits:
            self._retire({})
        # Nobody writes the log now. A worker that nobody can find and that has no connections just
        # ends, as on a failed start.
        if not expected or waits:
            then = "served to their end"
            if waits:
                limit = f" for {seconds:g} s" if seconds else ""
                then = f"old and new ones are served on until the next control comes{limit}"
            at = strftime("%Y-%m-%dT%H:%M:%SZ", gmtime())
            what = f"{why}; {self.worker.open} connections open, {then}"
            line = f"{at} warning dataplane.relay: worker {self.worker.index}: {what}\n"
            try:  # noqa: SIM105 -- contextlib is slow to import
                write(2, line.encode())
            except OSError:
                pass  # whoever read the log has gone too

    def lost(self) -> None:
        """Nobody can find this worker any more."""
        self.can_be_found = False
        if self._orphan and not self.retired:
            self._orphan_deadline = self.worker.loop.now + LONE_SECONDS
            self._retire({})

    def _tick(self) -> None:
        worker = self.worker
        if self._orphan and worker.loop.now >= self._orphan_deadline:
            if self.retired:
                worker.loop.running = False
            else:  # nobody has come in all that time
                self._orphan_deadline = worker.loop.now + LONE_SECONDS
                self._retire({})
        if self.retired and not worker.open and not self._out:
            worker.loop.running = False

    # -- to control ----------------------------------------------------------

    def log(self, level: str, event: str, text: str) -> None:
        """Send a line for the log, but no more than some a second; the rest are counted."""
        second = int(monotonic())
        if second != self._log_window:
            self._log_window = second
            self._log_lines = 0
        self._log_lines += 1
        if self._log_lines > LOG_LINES_PER_SECOND or len(self._out) > MAX_QUEUE:
            self.worker.counters[LOG_DROPPED] += 1
            return
        dropped = self.worker.counters[LOG_DROPPED]
        line = {"op": "log", "level": level, "event": event, "text": text, "dropped": dropped}
        try:
            self._send(line)
        except MemoryError:
            self.worker.counters[LOG_DROPPED] += 1

    def report_failure(self, backend: Backend, reason: EndReason) -> None:
        """Tell control of a failed connect, a few times a second for each backend."""
        now = monotonic()
        if now - self._reported.get(backend, -1.0) < FAILURE_SECONDS:
            return
        if len(self._reported) > MAX_QUEUE:
            self._reported.clear()
        self._reported[backend] = now
        if len(self._out) <= MAX_QUEUE:
            ip, port = backend.address[:2]
            self._send({"op": "failure", "ip": ip, "port": port, "reason": reason.value})

    def fault(self, who: Any, error: Exception) -> None:
        """An exception that should not have been: end what it was about, tell, and go on.

        Errors: MemoryError, where that was about the plan, of which a part is lost now, or where
        there is no reserve left to go on with: then this worker has to be replaced.
        """
        conn = who if isinstance(who, Connection) else getattr(who, "conn", None)
        if isinstance(error, MemoryError):
            if who is self or (who is None and self.worker.reserve.spent):
                raise error
            reason = EndReason.NO_MEMORY
            self.worker.out_of_memory()
        else:
            reason = EndReason.INTERNAL
            try:
                import traceback  # slow to import, and rarely needed

                self.log("error", "fault", "".join(traceback.format_exception(error, limit=-6)))
            except Exception:  # without memory, an import fails in many ways
                self.worker.counters[LOG_DROPPED] += 1
        if isinstance(conn, Connection):
            conn.close(reason, reset=True)
        elif who is None:
            for side in list(self.worker.loop.handlers.values()):
                if isinstance(side, Side):
                    side.ask_again()

    def _send(self, message: dict[str, Any]) -> None:
        self._out.append(encode(message))
        self._flush()

    def _flush(self) -> None:
        out = self._out
        if self._orphan:
            out.clear()
            return
        try:
            while out:
                sent = self.sock.send(out[0])
                if sent < len(out[0]):
                    out[0] = out[0][sent:]
                else:
                    out.popleft()
        except BlockingIOError:
            self.worker.loop.modify(self.fd, EPOLLIN | EPOLLOUT)
            return
        except OSError:
            return  # the line is gone; reading from it will say so
        self.worker.loop.modify(self.fd, EPOLLIN)


def _row(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise ValueError(f"{value!r} is no row")
    return value
