"""One socket of a connection, and the stream that flows from it to its peer.

Bytes are copied through one shared buffer. A stream whose peer does not keep up, or that
fills the buffer, is bulk: its bytes then go through a pipe with splice, and are not copied.
Events are edge-triggered, so a side is read until the kernel has no more, or until its turn
is over (`TURN_BYTES`) and it asks for another one.
"""

import os
from _socket import IPPROTO_TCP, SHUT_WR, SO_ERROR, SOL_SOCKET, TCP_NODELAY, socket
from errno import ECONNRESET
from select import EPOLLERR, EPOLLET, EPOLLHUP, EPOLLIN, EPOLLOUT, EPOLLPRI, EPOLLRDHUP
from typing import TYPE_CHECKING

from nplb.dataplane.relay.worker.pipes import PIPE_BYTES
from nplb.model.reasons import EndReason

if TYPE_CHECKING:
    from nplb.dataplane.relay.worker.connection import Connection

BUFFER_BYTES = 128 << 10
BULK_BYTES = 64 << 10
# Short turns: while other streams have theirs, more comes in, and one splice moves more.
TURN_BYTES = 64 << 10
LAST_READS = 8
# A bulk stream whose turns move less than this several times is bulk no longer.
SMALL_TURN_BYTES = 16 << 10
SMALL_TURNS = 4
FLUSH_BYTES = 64 << 10

READABLE = EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR
BROKEN = EPOLLHUP | EPOLLERR
# Events with which a short read is no proof that there is no more: the system stops a read
# before urgent data.
UNSURE = EPOLLHUP | EPOLLERR | EPOLLPRI
INTEREST = EPOLLIN | EPOLLRDHUP | EPOLLPRI | EPOLLET
INTEREST_OUT = INTEREST | EPOLLOUT
SPLICE_FLAGS = 1 | 2  # SPLICE_F_MOVE | SPLICE_F_NONBLOCK

# The states of a connection.
CONNECTING = 0
OPEN = 1
CLOSED = 2
HEADER = 3
WAITING = 4

_buffer = bytearray(BUFFER_BYTES)
_view = memoryview(_buffer)


class Side:
    """One socket of a connection, and the stream that flows from it to its peer.

    `count` is how many bytes of that stream its peer has taken, `flushed` how many of those
    are in the counters. `armed` is whether the loop tells when it can be written to, `nodelay`
    whether TCP_NODELAY is set: a client's socket has it from the listener, a backend's gets it
    before its second write, since most short connections never come to that.
    """

    __slots__ = (
        "armed",
        "backend_cell",
        "bulk",
        "conn",
        "count",
        "done",
        "eof",
        "fd",
        "flushed",
        "frontend_cell",
        "held",
        "nodelay",
        "peer",
        "pipe",
        "piped",
        "ready",
        "recv_into",
        "send",
        "small",
        "sock",
    )

    peer: "Side"

    def __init__(self, conn: "Connection", sock: socket, fd: int) -> None:
        self.conn = conn
        self.sock = sock
        self.fd = fd
        self.recv_into = sock.recv_into
        self.send = sock.send
        self.held: memoryview | None = None
        self.pipe: tuple[int, int] | None = None
        self.piped = 0
        self.bulk = False
        self.small = 0
        self.eof = False
        self.done = False
        self.armed = False
        self.nodelay = True
        self.ready = 0
        self.count = 0
        self.flushed = 0
        self.frontend_cell = 0
        self.backend_cell = 0

    def on_event(self, mask: int) -> None:
        """Read what can be read, write what could not be written before."""
        conn = self.conn
        if conn.state != OPEN:
            conn.on_early_event(self, mask)
            return
        if mask & READABLE:
            if self.held is None and not self.piped:
                if not self.eof:
                    self.pump(mask)
                elif mask & BROKEN:
                    conn.check_broken(self)
            elif mask & BROKEN:
                conn.check_broken(self)
        if mask & EPOLLOUT and conn.state == OPEN:
            peer = self.peer
            if peer.held is not None or peer.piped:
                peer.pump(0)

    def again(self) -> None:
        """Another turn for a stream that used up its last one."""
        if self.conn.state == OPEN and self.held is None and not self.piped and not self.eof:
            self.pump(0)

    def pump(self, mask: int) -> None:
        """Move bytes to the peer until there are no more, or it takes no more.

        `mask` is the event that says there is something to read. A short read is the proof
        that there is no more, since more would be a new event; and that the end has come, when
        the event told of one. With 0, or an unsure event, the stream is read until the system
        says so itself.
        """
        conn = self.conn
        peer = self.peer
        conn.active = conn.loop.tick
        if not peer.nodelay and self.count:
            peer.no_delay()
        if self.held is not None and not self._send_held():
            return
        if self.bulk:
            self._splice()
            return
        while True:
            try:
                size = self.recv_into(_buffer)
            except BlockingIOError:
                return
            except OSError as error:
                conn.broken(self, error.errno)
                return
            if not size:
                self.eof = True
                self._finish()
                return
            try:
                sent = peer.send(_view[:size])
            except BlockingIOError:
                sent = 0
            except OSError as error:
                conn.write_failed(self, error.errno)
                return
            self.count += sent
            if sent < size:
                self.held = memoryview(bytes(_view[sent:size]))
                self.bulk = True
                peer.arm()
                return
            if size >= BULK_BYTES:
                self.bulk = True
                self._splice()
                return
            if self.count - self.flushed >= FLUSH_BYTES:
                self.flush()
            if mask and not mask & UNSURE:
                if mask & EPOLLRDHUP:
                    self.eof = True
                    self._finish()
                return
            if not peer.nodelay:
                peer.no_delay()

    def no_delay(self) -> None:
        """From now on, small writes do not wait for what was sent before to be acknowledged."""
        self.nodelay = True
        try:  # noqa: SIM105 -- contextlib is slow to import
            self.sock.setsockopt(IPPROTO_TCP, TCP_NODELAY, 1)
        except OSError:
            pass  # it was reset, and writing to it will say so

    def arm(self) -> None:
        """From now on, tell when this socket can be written to."""
        if not self.armed:
            self.armed = True
            self.conn.loop.modify(self.fd, INTEREST_OUT)

    def flush(self) -> None:
        """Bring the counters up to date."""
        size = self.count - self.flushed
        if size:
            self.flushed = self.count
            counters = self.conn.worker.counters
            counters[self.frontend_cell] += size
            counters[self.backend_cell] += size

    def _send_held(self) -> bool:
        """Send what was held back; True when nothing of it is left."""
        held = self.held
        assert held is not None
        try:
            sent = self.peer.send(held)
        except BlockingIOError:
            self.peer.arm()
            return False
        except OSError as error:
            self.conn.write_failed(self, error.errno)
            return False
        self.count += sent
        if sent < len(held):
            self.held = held[sent:]
            self.peer.arm()
            return False
        self.held = None
        if self.eof:
            self._finish()
            return False
        return True

    def _splice(self) -> None:
        """Move bytes through a pipe, without copying them."""
        conn = self.conn
        peer = self.peer
        if not peer.nodelay:
            peer.no_delay()
        fd, peer_fd = self.fd, peer.fd
        pipe = self.pipe
        if pipe is None:
            pipe = conn.worker.pipes.take()
            if pipe is None:  # no descriptors left for a pipe: copy
                self._copy_bulk()
                return
        splice = os.splice
        moved = 0
        piped = self.piped
        while True:
            if piped:
                try:
                    size = splice(pipe[0], peer_fd, piped, flags=SPLICE_FLAGS)
                except BlockingIOError:
                    self.pipe, self.piped = pipe, piped
                    self.count += moved
                    self.flush()
                    peer.arm()
                    return
                except OSError as error:
                    self.pipe, self.piped = pipe, piped
                    self.count += moved
                    conn.write_failed(self, error.errno)
                    return
                piped -= size
                moved += size
                if piped:
                    continue
            if moved >= TURN_BYTES or self.eof:
                break
            try:
                piped = splice(fd, pipe[1], PIPE_BYTES, flags=SPLICE_FLAGS)
            except BlockingIOError:
                break
            except OSError as error:
                conn.worker.pipes.give(pipe)
                self.pipe, self.piped = None, 0
                self.count += moved
                conn.broken(self, error.errno)
                return
            if not piped:
                self.eof = True
                break
        conn.worker.pipes.give(pipe)
        self.pipe, self.piped = None, 0
        self.count += moved
        self.flush()
        if self.eof:
            self._finish()
        elif moved >= TURN_BYTES:
            conn.loop.soon(self.again)
        elif moved < SMALL_TURN_BYTES:
            self.small += 1
            if self.small >= SMALL_TURNS:
                self.bulk = False
                self.small = 0
        else:
            self.small = 0

    def _copy_bulk(self) -> None:
        """One turn of a bulk stream without a pipe."""
        conn = self.conn
        try:
            size = self.recv_into(_buffer)
        except BlockingIOError:
            return
        except OSError as error:
            conn.broken(self, error.errno)
            return
        if not size:
            self.eof = True
            self._finish()
            return
        self.held = memoryview(bytes(_view[:size]))
        if self._send_held():
            conn.loop.soon(self.again)

    def _finish(self) -> None:
        """The stream has ended and all of it is written: pass the end on."""
        conn = self.conn
        peer = self.peer
        self.done = True
        if conn.first is None:
            conn.first = (
                EndReason.CLIENT_CLOSED if self is conn.client else EndReason.BACKEND_CLOSED
            )
        if peer.done:
            conn.close(conn.first)
            return
        try:
            peer.sock.shutdown(SHUT_WR)
        except OSError:  # not connected any more: it was reset
            conn.broken(peer, peer.sock.getsockopt(SOL_SOCKET, SO_ERROR) or ECONNRESET)
            return
        conn.half_closed()

    def last_words(self) -> None:
        """Pass on what this socket has left to read after it was reset."""
        target = self.peer
        for _ in range(LAST_READS):
            try:
                size = self.recv_into(_buffer)
                if not size:
                    return
                self.count += target.send(_view[:size])
            except OSError:
                return
