"""Accepts clients. Control owns the address; this process has a descriptor of the listener."""

from _socket import SOCK_NONBLOCK, SOCK_STREAM, socket
from collections.abc import Callable
from errno import EBADF, EINVAL, EMFILE, ENFILE, ENOBUFS, ENOMEM, ENOTSOCK, EOPNOTSUPP
from os import close
from select import EPOLLIN
from typing import Any

from nplb.dataplane.relay.counters import ACCEPT_PAUSES
from nplb.dataplane.relay.worker.arrival import admit
from nplb.dataplane.relay.worker.connection import Connection
from nplb.dataplane.relay.worker.frontend import Frontend
from nplb.dataplane.relay.worker.state import Worker

MAX_BATCH = 64
PAUSE_SECONDS = 0.1
SCARCE = (EMFILE, ENFILE, ENOBUFS, ENOMEM)
USELESS = (EBADF, EINVAL, ENOTSOCK, EOPNOTSUPP)
CLIENT_TYPE = SOCK_STREAM | SOCK_NONBLOCK


class Listener:
    """One listening socket, which it closes in `close`.

    Level-triggered, and it takes as many clients at a time as were waiting the last time: so
    it rarely asks in vain, and open connections get their turn in between.
    """

    __slots__ = (
        "_accept",
        "_batch",
        "_family",
        "bucket",
        "fd",
        "frontend",
        "sock",
        "wake",
        "worker",
    )

    def __init__(self, worker: Worker, frontend: Frontend, sock: socket) -> None:
        self.worker = worker
        self.frontend = frontend
        self.sock = sock
        self.fd = sock.fileno()
        sock.setblocking(False)
        self._accept: Callable[[], tuple[int, Any]] = sock._accept  # type: ignore[attr-defined]
        self._family = sock.family
        self._batch = 1
        self.bucket: dict[Any, None] | None = None
        self.wake = 0
        worker.loop.register(self.fd, EPOLLIN)
        worker.loop.handlers[self.fd] = self
        worker.fixed_fds += 1

    def on_event(self, mask: int) -> None:
        """Clients are waiting."""
        batch = self._batch
        if self.take(batch) == batch:
            self._batch = min(batch * 2, MAX_BATCH)
        else:
            self._batch = max(batch >> 1, 1)

    def take(self, most: int) -> int:
        """Accept up to `most` clients; how many it were."""
        worker = self.worker
        frontend = self.frontend
        accept = self._accept
        if frontend.spec is not None:
            frontend.load()
        guarded = frontend.guarded
        room = worker.room()
        for taken in range(most):
            if taken >= room:
                self._pause()
                return taken
            try:
                fd, address = accept()
            except BlockingIOError:
                return taken
            except OSError as error:
                if error.errno in SCARCE:
                    self._pause()
                    return taken
                if error.errno in USELESS:
                    worker.log("error", "listener", f"{frontend.name}: cannot accept: {error}")
                    self._pause()
                    return taken
                continue  # that client has left already
            self._welcome(fd, address, guarded)
        return most

    def _welcome(self, fd: int, address: Any, guarded: bool) -> None:
        """One client has been accepted. Apart from `take`, as the loop's handlers of exceptions are
        apart from each other: where there is no memory, a long function can't leave its own."""
        worker = self.worker
        try:
            sock = socket(self._family, CLIENT_TYPE, 0, fd)
        except MemoryError:
            close(fd)
            raise
        sock.setblocking(False)
        conn = Connection(worker, self.frontend, sock, fd, address)
        try:
            if guarded:
                admit(conn)
            else:
                conn.connect()
        except Exception as error:
            worker.loop.fault(conn, error)

    def on_time(self) -> None:
        """The pause is over."""
        self.worker.loop.modify(self.fd, EPOLLIN)

    def close(self) -> None:
        """Take who is waiting already, then listen no more."""
        loop = self.worker.loop
        for _ in range(MAX_BATCH):
            if self.take(MAX_BATCH) < MAX_BATCH:
                break
        loop.forget(self)
        # Control has a copy of this socket, so that closing ours would leave it in the epoll set,
        # where it would be in the way of the next socket with the same number.
        loop.epoll.unregister(self.fd)
        del loop.handlers[self.fd]
        self.sock.close()
        self.worker.fixed_fds -= 1

    def _pause(self) -> None:
        """Leave clients in the queue until there are descriptors and memory again."""
        loop = self.worker.loop
        self.worker.counters[ACCEPT_PAUSES] += 1
        loop.wake_at(self, loop.now + PAUSE_SECONDS)
        loop.modify(self.fd, 0)
