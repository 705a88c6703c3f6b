"""Connects in flight: many at once, without a task or a timer for each.

All sockets share one epoll set, and the event loop watches that set as one descriptor: a
connect costs a socket, a registration and a close.

How a probe's connection ends. The handshake's last acknowledgement is held back (TCP_QUICKACK
off) and the socket is closed with a reset (SO_LINGER 0). The backend's kernel sees SYN,
SYN+ACK, RST: no connection is ever handed to the application, so its log stays quiet and its
accept queue short, and no TIME_WAIT piles up on the edge or in a node's connection tracking.
HAProxy's plain checks do the same. Should the acknowledgement leave anyway, the application
sees a connection that is reset at once.
"""

import asyncio
import errno
import select
import socket
import struct
from collections.abc import Callable
from typing import Generic, TypeVar

K = TypeVar("K")

IN_PROGRESS = errno.EINPROGRESS
_LINGER_RESET = struct.pack("ii", 1, 0)


class Connects(Generic[K]):
    """Connects in flight, each for a key of the caller's. `on_end(key, errno)` is called when
    one ends by itself; 0 is success. This object owns and closes every socket."""

    def __init__(self, on_end: Callable[[K, int], None]) -> None:
        self._on_end = on_end
        self._open: dict[int, tuple[socket.socket, K]] = {}
        self._epoll: select.epoll | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def __len__(self) -> int:
        return len(self._open)

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Watch for ends in this loop."""
        self._loop = loop
        self._epoll = select.epoll()
        loop.add_reader(self._epoll.fileno(), self.collect)

    def stop(self) -> None:
        """Close everything, without a call of `on_end`. Safe to call twice."""
        for handle in list(self._open):
            self.cancel(handle)
        if self._epoll is not None and self._loop is not None:
            self._loop.remove_reader(self._epoll.fileno())
            self._epoll.close()
        self._epoll = self._loop = None

    def begin(self, key: K, address: tuple[str, int]) -> tuple[int, int]:
        """Start a connect: its error number and a handle for `cancel`.

        `IN_PROGRESS` says that `on_end` will tell; any other number is the end already, and
        there is no handle. The IP address must be a literal: a name would block here.
        """
        assert self._epoll is not None, "start() comes first"
        family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        try:
            sock = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        except OSError as error:
            return error.errno or errno.EIO, -1
        try:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 0)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_RESET)
            number = sock.connect_ex(address)
            if number == IN_PROGRESS:
                handle = sock.fileno()
                self._epoll.register(handle, select.EPOLLOUT | select.EPOLLONESHOT)
                self._open[handle] = (sock, key)
                return number, handle
        except OSError as error:
            number = error.errno or errno.EINVAL
        sock.close()
        return number, -1

    def cancel(self, handle: int) -> None:
        """Give a connect up, without a call of `on_end`. Unknown handles are ignored."""
        entry = self._open.pop(handle, None)
        if entry is not None:
            entry[0].close()

    def collect(self) -> None:
        """Handle every connect that has ended by now."""
        if self._epoll is None or not self._open:
            return
        for handle, _ in self._epoll.poll(0, len(self._open)):
            entry = self._open.pop(handle, None)
            if entry is None:
                continue
            sock, key = entry
            number = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            sock.close()
            self._on_end(key, number)
