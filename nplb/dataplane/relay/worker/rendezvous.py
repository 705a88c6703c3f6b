"""Where the next control finds this worker: a Unix socket in the runtime directory.

Whoever comes must be of the same user, or root. It asks (`inspect`), and is told what this worker
has: the frontends' rows and names, and copies of every listening socket, of the counters' memory
and of what control gave it to keep. That changes nothing. Then it may take the line over
(`adopt`), and the one before it is closed.

The first frame of an answer, its "protocol", `inspect`, `adopt`, `retire`, `reset_all` and `stop`
never change, so that a control of any version can wind down a worker of any other.
"""

import os
from _socket import (
    SCM_RIGHTS,
    SO_PEERCRED,
    SOCK_CLOEXEC,
    SOCK_NONBLOCK,
    SOCK_STREAM,
    SOL_SOCKET,
    socket,
)
from array import array
from collections import deque
from errno import EAGAIN, ETOOMANYREFS
from select import EPOLLIN, EPOLLOUT
from struct import unpack
from typing import Any

from nplb.dataplane.relay.counters import LAYOUT
from nplb.dataplane.relay.wire import PROTOCOL, Decoder, ProtocolError, encode, receive
from nplb.dataplane.relay.worker.channel import Channel
from nplb.dataplane.relay.worker.state import Worker

READ_BYTES = 64 << 10
DESCRIPTORS_AT_ONCE = 64
FRONTENDS_AT_ONCE = 500
LISTENERS_AT_ONCE = 60
MAX_VISITORS = 4
LOOK_SECONDS = 2.0


class Rendezvous:
    """The socket, which it owns, and the path that it is at. `fingerprint` says which code this
    is, `counters` is a descriptor of this worker's memory, which it owns too."""

    def __init__(
        self,
        worker: Worker,
        channel: Channel,
        sock: socket,
        *,
        path: str,
        fingerprint: str,
        counters: int,
    ) -> None:
        self.worker = worker
        self.channel = channel
        self.fingerprint = fingerprint
        self.counters = counters
        self.visitors: set[Visitor] = set()
        self._sock = sock
        self._path = path
        self._inode = _inode(self._path)
        self._look_at = 0.0
        sock.listen(MAX_VISITORS)
        sock.setblocking(False)
        worker.loop.handlers[sock.fileno()] = self
        worker.loop.register(sock.fileno(), EPOLLIN)
        worker.loop.each_tick.append(self._tick)
        worker.fixed_fds += MAX_VISITORS + 4
        channel.can_be_found = True

    def on_event(self, mask: int) -> None:
        """Somebody has come."""
        try:
            fd, _ = self._sock._accept()  # type: ignore[attr-defined]
        except OSError:
            return
        sock = socket(self._sock.family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fd)
        sock.setblocking(False)
        _, uid, _ = unpack("3i", sock.getsockopt(SOL_SOCKET, SO_PEERCRED, 12))
        if uid not in (0, os.geteuid()) or len(self.visitors) >= MAX_VISITORS:
            sock.close()
            return
        self.visitors.add(Visitor(self, sock))

    def _tick(self) -> None:
        now = self.worker.loop.now
        if now < self._look_at:
            return
        self._look_at = now + LOOK_SECONDS
        for visitor in list(self.visitors):
            visitor.flush()
        if self.channel.can_be_found and _inode(self._path) != self._inode:
            self.channel.lost()


class Visitor:
    """One that has come, until it leaves or becomes control."""

    def __init__(self, rendezvous: Rendezvous, sock: socket) -> None:
        self.rendezvous = rendezvous
        self.sock = sock
        self.fd = sock.fileno()
        self._decoder = Decoder()
        self._descriptors: deque[int] = deque()
        # Frames, and descriptors that go with the first byte of each and stay this worker's own.
        self._out: deque[tuple[bytes, list[int]]] = deque()
        self._listeners: deque[tuple[int, str, int]] = deque()
        self._ends = False
        self._pidfds: list[int] = []
        loop = rendezvous.worker.loop
        loop.handlers[self.fd] = self
        loop.register(self.fd, EPOLLIN)

    def on_event(self, mask: int) -> None:
        """It has said something, or there is room to answer."""
        if mask & EPOLLOUT:
            self.flush()
        if mask & ~EPOLLOUT:
            self._receive()

    def _receive(self) -> None:
        received = receive(self.sock, READ_BYTES, DESCRIPTORS_AT_ONCE)
        if received is None:
            return
        data, descriptors = received
        self._descriptors.extend(descriptors)
        if not data:
            self.close()
            return
        self._decoder.feed(data)
        try:
            for message in self._decoder:
                if message["op"] == "inspect":
                    self._tell_all()
                elif message["op"] == "adopt":
                    self._leave_loop()
                    self.rendezvous.channel.replace(self.sock, self._decoder, self._descriptors)
                    return
                else:
                    raise ProtocolError(f"no operation {message['op']!r}")
        except ProtocolError:
            self.close()

    def _tell_all(self) -> None:
        rendezvous = self.rendezvous
        worker, channel = rendezvous.worker, rendezvous.channel
        kept = sorted(channel.kept.items())
        pidfd = os.pidfd_open(os.getpid())
        hello: dict[str, Any] = {
            "op": "worker",
            "protocol": PROTOCOL,
            "layout": LAYOUT,
            "fingerprint": rendezvous.fingerprint,
            "worker": worker.index,
            "workers": worker.workers,
            "pid": os.getpid(),
            "retired": channel.retired,
            "kept": [[name, version] for name, (version, _) in kept],
            "fds": 2 + len(kept),
        }
        fds = [pidfd, rendezvous.counters, *(fd for _, (_, fd) in kept)]
        self._out.append((encode(hello), fds))
        self._pidfds.append(pidfd)
        rows = [[row, frontend.name] for row, frontend in worker.frontends.items()]
        for at in range(0, len(rows), FRONTENDS_AT_ONCE):
            frame = encode({"op": "frontends", "rows": rows[at : at + FRONTENDS_AT_ONCE]})
            self._out.append((frame, []))
        self._listeners.extend(
            (row, *key) for row, frontend in worker.frontends.items() for key in frontend.listeners
        )
        self._ends = True
        self.flush()

    def _next(self) -> bool:
        """Prepare the next frame, if there is one: of listeners, those that are there now."""
        if self._out:
            return True
        frontends = self.rendezvous.worker.frontends
        of: list[tuple[int, str, int]] = []
        fds: list[int] = []
        while self._listeners and len(fds) < LISTENERS_AT_ONCE:
            row, address, seat = self._listeners.popleft()
            frontend = frontends.get(row)
            listener = frontend.listeners.get((address, seat)) if frontend is not None else None
            if listener is not None:
                of.append((row, address, seat))
                fds.append(listener.fd)
        if fds:
            self._out.append((encode({"op": "listeners", "of": of, "fds": len(fds)}), fds))
        elif self._ends:
            self._ends = False
            self._out.append((encode({"op": "end"}), []))
        return bool(self._out)

    def flush(self) -> None:
        """Send what is waiting, as far as it is taken now."""
        out = self._out
        loop = self.rendezvous.worker.loop
        try:
            while self._next():
                data, fds = out[0]
                if fds:
                    rights = [(SOL_SOCKET, SCM_RIGHTS, array("i", fds))]
                    sent = self.sock.sendmsg([data], rights)
                else:
                    sent = self.sock.send(data)
                if sent < len(data):
                    out[0] = data[sent:], []
                else:
                    out.popleft()
        except OSError as error:
            if error.errno == EAGAIN:
                loop.modify(self.fd, EPOLLIN | EPOLLOUT)
            elif error.errno == ETOOMANYREFS:  # too many on their way: the next look tries again
                loop.modify(self.fd, EPOLLIN)
            else:
                self.close()
            return
        loop.modify(self.fd, EPOLLIN)

    def close(self) -> None:
        """It has left."""
        self._leave_loop()
        self.sock.close()
        while self._descriptors:
            os.close(self._descriptors.popleft())

    def _leave_loop(self) -> None:
        loop = self.rendezvous.worker.loop
        loop.epoll.unregister(self.fd)
        del loop.handlers[self.fd]
        self.rendezvous.visitors.discard(self)
        while self._pidfds:
            os.close(self._pidfds.pop())


def _inode(path: str) -> int:
    try:
        return os.stat(path).st_ino  # noqa: PTH116 -- pathlib is slow to import
    except OSError:
        return 0
