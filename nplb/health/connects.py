"""Connections of probes in flight: many at once, without a task or a timer for each.

All sockets share one epoll set, and the event loop watches that set as one descriptor: a
connect costs a socket, a registration and a close.

How a bare connect ends. The handshake's last acknowledgement is held back (TCP_QUICKACK
off) and the socket is closed with a reset (SO_LINGER 0). The backend's kernel sees SYN,
SYN+ACK, RST: no connection is ever handed to the application, so its log stays quiet and its
accept queue short, and no TIME_WAIT piles up on the edge or in a node's connection tracking.
HAProxy's plain checks do the same. Should the acknowledgement leave anyway, the application
sees a connection that is reset at once.

A probe that says something (`health.probes`) ends like any client: it says goodbye, finishes its
side, and waits a moment for the other side to finish too. One that failed is reset.
"""

import asyncio
import errno
import select
import socket
import struct
from collections.abc import Callable
from typing import Generic, TypeVar

from nplb.health.probes.conversation import Conversation, Result
from nplb.health.probes.proxy import proxy_header
from nplb.model.reasons import Cause
from nplb.model.relay import SendProxy

K = TypeVar("K")

IN_PROGRESS = errno.EINPROGRESS
_LINGER_RESET = struct.pack("ii", 1, 0)


FAREWELL_SECONDS = 1.0
"""How long the other side may take to close after a goodbye."""
_LINGER_CLOSE = struct.pack("ii", 0, 0)
_CHUNK = 65536


class _Flight(Generic[K]):
    """One connection. `conversation` None: the connect is all that counts."""

    __slots__ = ("conversation", "key", "leaves_at", "outgoing", "prefix", "sock", "speaks")

    def __init__(
        self,
        sock: socket.socket,
        key: K,
        conversation: Conversation | None,
        prefix: SendProxy,
    ) -> None:
        self.sock = sock
        self.key = key
        self.conversation = conversation
        self.prefix = prefix
        self.outgoing = b""
        self.speaks = False  # connected, and in conversation
        self.leaves_at = 0.0  # judged, and waiting for the other side to close, until then


class Connects(Generic[K]):
    """Connections in flight, each for a key of the caller's. `on_end(key, errno, result)` is
    called when one ends by itself; errno 0 is success, and then there is a result if there was a
    conversation. This object owns and closes every socket."""

    def __init__(self, on_end: Callable[[K, int, Result | None], None]) -> None:
        self._on_end = on_end
        self._open: dict[int, _Flight[K]] = {}
        self._leaving: dict[int, _Flight[K]] = {}
        self._epoll: select.epoll | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def __len__(self) -> int:
        return len(self._open)

    @property
    def is_busy(self) -> bool:
        """Whether there is anything to look after."""
        return bool(self._open or self._leaving)

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Watch for ends in this loop."""
        self._loop = loop
        self._epoll = select.epoll()
        loop.add_reader(self._epoll.fileno(), self.collect)

    def stop(self) -> None:
        """Close everything, without a call of `on_end`. Safe to call twice."""
        for flights in (self._open, self._leaving):
            for flight in flights.values():
                flight.sock.close()
            flights.clear()
        if self._epoll is not None and self._loop is not None:
            self._loop.remove_reader(self._epoll.fileno())
            self._epoll.close()
        self._epoll = self._loop = None

    def begin(
        self,
        key: K,
        address: tuple[str, int],
        conversation: Conversation | None = None,
        prefix: SendProxy = SendProxy.NONE,
    ) -> tuple[int, int]:
        """Start a connect: its error number and a handle for `cancel`.

        `IN_PROGRESS` says that `on_end` will tell; any other number is the end already, and
        there is no handle. The IP address must be a literal: a name would block here. `prefix`
        is the PROXY header that goes before the conversation.
        """
        assert self._epoll is not None, "start() comes first"
        family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        try:
            sock = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        except OSError as error:
            return error.errno or errno.EIO, -1
        try:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_RESET)
            if conversation is None:
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 0)
            number = sock.connect_ex(address)
            if number == IN_PROGRESS or (number == 0 and conversation is not None):
                handle = sock.fileno()
                self._epoll.register(handle, select.EPOLLOUT | select.EPOLLONESHOT)
                self._open[handle] = _Flight(sock, key, conversation, prefix)
                return IN_PROGRESS, handle
        except OSError as error:
            number = error.errno or errno.EINVAL
        sock.close()
        return number, -1

    def cancel(self, handle: int) -> bool:
        """Give one up, without a call of `on_end`. Unknown handles are ignored. Returns whether
        it was connected already."""
        flight = self._open.pop(handle, None)
        if flight is None:
            return False
        flight.sock.close()
        return flight.speaks

    def collect(self) -> None:
        """Handle everything that has happened by now."""
        if self._epoll is None or not (self._open or self._leaving):
            return
        for handle, _ in self._epoll.poll(0, len(self._open) + len(self._leaving)):
            flight = self._open.get(handle)
            if flight is not None:
                if flight.conversation is None or not flight.speaks:
                    self._connected(handle, flight)
                else:
                    self._talk(handle, flight, flight.conversation)
            elif handle in self._leaving:
                self._see_off(handle)
        if self._leaving:
            self._sweep()

    def _connected(self, handle: int, flight: _Flight[K]) -> None:
        """The connect has ended, well or not."""
        number = flight.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        conversation = flight.conversation
        if number or conversation is None:
            self._end(handle, flight, number, None)
            return
        flight.speaks = True
        try:
            header = proxy_header(
                flight.prefix, flight.sock.getsockname()[:2], flight.sock.getpeername()[:2]
            )
        except OSError as error:
            self._end(handle, flight, error.errno or errno.ECONNRESET, None)
            return
        flight.outgoing = header + conversation.begin()
        self._send(handle, flight, conversation)

    def _talk(self, handle: int, flight: _Flight[K], conversation: Conversation) -> None:
        if flight.outgoing:
            self._send(handle, flight, conversation)
            return
        try:
            data = flight.sock.recv(_CHUNK)
        except BlockingIOError:
            self._rearm(handle, select.EPOLLIN)
            return
        except OSError as error:
            self._end(handle, flight, error.errno or errno.ECONNRESET, None)
            return
        if data:
            flight.outgoing += conversation.receive(data)
        else:
            conversation.end()
        self._send(handle, flight, conversation)

    def _send(self, handle: int, flight: _Flight[K], conversation: Conversation) -> None:
        """Send what there is to be said; then it is over, or the other side's turn."""
        if flight.outgoing:
            try:
                sent = flight.sock.send(flight.outgoing, socket.MSG_NOSIGNAL)
            except BlockingIOError:
                sent = 0
            except OSError as error:
                if conversation.result is None:
                    self._end(handle, flight, error.errno or errno.EPIPE, None)
                    return
                sent = len(flight.outgoing)
            flight.outgoing = flight.outgoing[sent:]
        if conversation.result is not None:
            self._end(handle, flight, 0, conversation.result)
        else:
            self._rearm(handle, select.EPOLLOUT if flight.outgoing else select.EPOLLIN)

    def _rearm(self, handle: int, events: int) -> None:
        assert self._epoll is not None
        self._epoll.modify(handle, events | select.EPOLLONESHOT)

    def _end(self, handle: int, flight: _Flight[K], number: int, result: Result | None) -> None:
        del self._open[handle]
        if result is not None and result.cause is Cause.CONNECTED and self._loop is not None:
            self._part(handle, flight)
        else:
            flight.sock.close()
        self._on_end(flight.key, number, result)

    def _part(self, handle: int, flight: _Flight[K]) -> None:
        """Finish our side, and let the other one finish its own."""
        assert self._loop is not None
        sock = flight.sock
        try:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_CLOSE)
            sock.shutdown(socket.SHUT_WR)
            self._rearm(handle, select.EPOLLIN)
        except OSError:
            sock.close()
            return
        flight.leaves_at = self._loop.time() + FAREWELL_SECONDS
        self._leaving[handle] = flight

    def _see_off(self, handle: int) -> None:
        """One that was judged has something to read: its end, or what nobody asked for."""
        flight = self._leaving[handle]
        try:
            while flight.sock.recv(_CHUNK):
                pass
        except BlockingIOError:
            self._rearm(handle, select.EPOLLIN)
            return
        except OSError:
            pass
        del self._leaving[handle]
        flight.sock.close()

    def _sweep(self) -> None:
        assert self._loop is not None
        now = self._loop.time()
        while self._leaving:
            handle, flight = next(iter(self._leaving.items()))
            if flight.leaves_at > now:
                return
            del self._leaving[handle]
            flight.sock.close()
