"""One socket of a connection, and the stream that flows from it to its peer.

Most events are of one kind: some bytes have come, and the peer takes them at once. `on_event`
begins with that case and holds it as short as it can be, since a request costs two of them.
Everything else (the first exchange, ends, urgent data, a peer that does not keep up) is `usual`
no more, and goes to `_on_rare_event`.

Bytes are copied through one shared buffer. A stream that fills half of it, or whose peer does
not keep up, is bulk: its bytes then go through a pipe with splice, and are not copied. Events
are edge-triggered. A read that comes up short is the proof that there is no more, since more
would be a new event; without that proof the loop is asked to tell again (`ask_again`), which
also gives other streams their turn.
"""

from _socket import IPPROTO_TCP, SHUT_WR, SO_ERROR, SOL_SOCKET, TCP_NODELAY, socket
from collections.abc import Callable
from errno import ECONNRESET
from os import splice
from select import EPOLLERR, EPOLLET, EPOLLHUP, EPOLLIN, EPOLLOUT, EPOLLPRI, EPOLLRDHUP
from typing import TYPE_CHECKING

from nplb.dataplane.relay.worker.pipes import PIPE_BYTES
from nplb.model.reasons import EndReason

if TYPE_CHECKING:
    from nplb.dataplane.relay.worker.connection import Connection

BUFFER_BYTES = 64 << 10
BULK_BYTES = 32 << 10
LAST_READS = 8
# A bulk stream's turn is over after so many full pipes, or one that was not full.
TURN_PIPES = 2
# A bulk stream with so many turns in a row that move less than this is bulk no longer.
SMALL_TURN_BYTES = 4 << 10
SMALL_TURNS = 8
FLUSH_BYTES = 128 << 10
FLUSH_BULK_BYTES = 4 << 20

READABLE = EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR
BROKEN = EPOLLHUP | EPOLLERR
# Events with which a short read is no proof that there is no more: the system stops a read
# before urgent data.
UNSURE = EPOLLHUP | EPOLLERR | EPOLLPRI
INTEREST = EPOLLIN | EPOLLRDHUP | EPOLLPRI | EPOLLET
INTEREST_OUT = INTEREST | EPOLLOUT
SPLICE_FLAGS = 1 | 2  # SPLICE_F_MOVE | SPLICE_F_NONBLOCK
MSG_MORE = 0x8000  # the socket module does not have it

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

    `usual` is the event that says no more than that there is something to read; it is 0 while
    anything is special: the connection is not open or new, the stream is bulk or has ended, or
    the peer's is held back and waits for this socket. `recv_into` reads from this socket and
    `write` writes to the peer's; they are there for usual events.

    `count` is how many bytes of the stream its peer has taken, `flushed` how many of those are
    in the counters, `active` the tick at which some last were. `armed` is whether the loop
    tells when the socket can be written to, `nodelay` whether TCP_NODELAY is set: a client's
    socket has it from the listener, a backend's gets it before its second write, since most
    short connections never come to that.
    """

    __slots__ = (
        "active",
        "armed",
        "bulk",
        "conn",
        "count",
        "done",
        "eof",
        "fd",
        "flushed",
        "held",
        "loop",
        "nodelay",
        "peer",
        "pipe",
        "piped",
        "recv_into",
        "small",
        "sock",
        "usual",
        "write",
    )

    peer: "Side"
    recv_into: Callable[[bytearray], int]
    write: Callable[[memoryview], int]

    def __init__(self, conn: "Connection", sock: socket, fd: int, nodelay: bool) -> None:
        self.conn = conn
        self.loop = conn.loop
        self.sock = sock
        self.fd = fd
        self.nodelay = nodelay
        self.usual = 0
        self.count = 0
        self.flushed = 0
        self.active = 0
        self.armed = False
        self.eof = False
        self.done = False
        self.bulk = False
        self.small = 0
        self.held: memoryview | None = None
        self.pipe: tuple[int, int] | None = None
        self.piped = 0

    def on_event(self, mask: int) -> None:
        """Read what can be read, write what could not be written before."""
        if mask != self.usual:
            self._on_rare_event(mask)
            return
        try:
            size = self.recv_into(_buffer)
        except OSError as error:
            self._read_failed(error)
            return
        if not size:
            self._end()
            return
        try:
            sent = self.write(_view[:size])
        except OSError as error:
            self._write_failed(error, size)
            return
        self.active = self.loop.tick
        self.count = count = self.count + sent
        if sent < size:
            self._hold(sent, size)
        elif size >= BULK_BYTES:
            self._become_bulk()
            self.ask_again()
        elif count - self.flushed >= FLUSH_BYTES:
            self.conn.flush()

    def _on_rare_event(self, mask: int) -> None:
        if self.bulk and mask == EPOLLIN and not self.piped and self.held is None:
            self._splice()
            return
        conn = self.conn
        if conn.state != OPEN:
            conn.on_early_event(self, mask)
            return
        if mask & READABLE:
            if not self.eof and self.held is None and not self.piped:
                self.pump(mask)
            elif mask & BROKEN:
                conn.check_broken(self)
        if mask & EPOLLOUT and conn.state == OPEN:
            peer = self.peer
            if peer.held is not None:
                peer._send_held()
            elif peer.piped and peer._empty_pipe():
                self._see_usual()
                peer.ask_again()

    def pump(self, mask: int) -> None:
        """Move bytes to the peer. `mask` is the event that says that there are some; 0 when
        there may be."""
        if self.bulk:
            self._splice()
            return
        try:
            size = self.sock.recv_into(_buffer)
        except OSError as error:
            self._read_failed(error)
            return
        if not size:
            self._end()
            return
        peer = self.peer
        if not peer.nodelay and self.count:
            peer.no_delay()
        proof = mask and not mask & UNSURE and size < BULK_BYTES
        last = proof and mask & EPOLLRDHUP
        try:
            # With the stream's end known to be next, both go out in one packet.
            sent = peer.sock.send(_view[:size], MSG_MORE if last else 0)
        except OSError as error:
            self._write_failed(error, size)
            return
        self.active = self.loop.tick
        self.count += sent
        if sent < size:
            self._hold(sent, size)
        elif last:
            self._end()
        elif size >= BULK_BYTES:
            self._become_bulk()
            self.ask_again()
        else:
            self._see_usual()
            if not proof:
                self.ask_again()

    def _see_usual(self) -> None:
        """See whether from now on the usual event is all that there is to expect."""
        peer = self.peer
        special = self.bulk or self.eof or peer.held is not None or peer.piped
        if not special and peer.nodelay:
            self.recv_into = self.sock.recv_into
            self.write = peer.sock.send
            self.usual = EPOLLIN | EPOLLOUT if self.armed else EPOLLIN

    def no_delay(self) -> None:
        """From now on, small writes do not wait for what was sent before to be acknowledged."""
        self.nodelay = True
        try:  # noqa: SIM105 -- contextlib is slow to import
            self.sock.setsockopt(IPPROTO_TCP, TCP_NODELAY, 1)
        except OSError:
            pass  # it was reset, and writing to it will say so

    def ask_again(self) -> None:
        """Let the loop tell at its next turn if there is something to read."""
        self.loop.modify(self.fd, INTEREST_OUT if self.armed else INTEREST)

    def _tell_writable(self) -> None:
        """Let the loop tell when this socket can be written to, also if it can be by now."""
        self.armed = True
        self.usual = 0
        self.loop.modify(self.fd, INTEREST_OUT)

    def _hold(self, sent: int, size: int) -> None:
        """The peer took only `sent` of the `size` bytes in the buffer: keep the rest for it."""
        self.held = memoryview(bytes(_view[sent:size]))
        self._become_bulk()
        self.peer._tell_writable()

    def _send_held(self) -> None:
        """Send what was held back; when nothing of it is left, go on reading."""
        held = self.held
        assert held is not None
        try:
            sent = self.peer.sock.send(held)
        except BlockingIOError:
            sent = 0
        except OSError as error:
            self.conn.write_failed(self, error.errno)
            return
        self.active = self.loop.tick
        self.count += sent
        if sent < len(held):
            self.held = held[sent:]
            self.peer._tell_writable()
            return
        self.held = None
        self.peer._see_usual()
        self.ask_again()

    # -- bulk ----------------------------------------------------------------

    def _become_bulk(self) -> None:
        peer = self.peer
        self.bulk = True
        self.usual = 0
        self.small = 0
        # To be told at each event that the socket can be written to, too, is of no use now.
        self.armed = peer.held is not None or peer.piped > 0
        if not peer.nodelay:
            peer.no_delay()

    def _splice(self) -> None:
        """One turn of a bulk stream: what there is goes into a pipe and on to the peer."""
        pipes = self.conn.worker.pipes
        for _ in range(TURN_PIPES):
            pipe = pipes.take()
            if pipe is None:  # no descriptors left for one
                self._copy_bulk()
                return
            try:
                size = splice(self.fd, pipe[1], PIPE_BYTES, None, None, SPLICE_FLAGS)
            except OSError as error:
                pipes.idle.append(pipe)
                self._read_failed(error)
                return
            if not size:
                pipes.idle.append(pipe)
                self._end()
                return
            self.pipe = pipe
            self.piped = size
            if not self._empty_pipe():
                return
            if size < PIPE_BYTES:
                break
        if size >= SMALL_TURN_BYTES:
            self.small = 0
        else:
            self.small += 1
            if self.small >= SMALL_TURNS:
                self.bulk = False
                self._see_usual()
        # A pipe may be full before it has so many bytes, so a short splice proves nothing.
        self.ask_again()

    def _empty_pipe(self) -> bool:
        """Bring what is in the pipe to the peer. True when all of it is there."""
        pipe, piped = self.pipe, self.piped
        assert pipe is not None
        try:
            sent = splice(pipe[0], self.peer.fd, piped, None, None, SPLICE_FLAGS)
        except BlockingIOError:
            sent = 0
        except OSError as error:
            self.conn.write_failed(self, error.errno)
            return False
        self.active = self.loop.tick
        self.count = count = self.count + sent
        if count - self.flushed >= FLUSH_BULK_BYTES:
            self.conn.flush()
        if sent < piped:
            self.piped = piped - sent
            self.peer._tell_writable()
            return False
        self.pipe = None
        self.piped = 0
        self.conn.worker.pipes.idle.append(pipe)
        return True

    def _copy_bulk(self) -> None:
        """One turn of a bulk stream without a pipe."""
        self.bulk = False
        self.pump(0)

    # -- ends ----------------------------------------------------------------

    def _read_failed(self, error: OSError) -> None:
        if not isinstance(error, BlockingIOError):
            self.conn.broken(self, error.errno)

    def _write_failed(self, error: OSError, size: int) -> None:
        """The peer took nothing of the `size` bytes in the buffer."""
        if isinstance(error, BlockingIOError):
            self._hold(0, size)
        else:
            self.conn.write_failed(self, error.errno)

    def _end(self) -> None:
        """The stream has ended and all of it is written: pass the end on."""
        self.eof = True
        self.usual = 0
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
        for _ in range(LAST_READS):
            try:
                size = self.sock.recv_into(_buffer)
                if not size:
                    return
                self.count += self.peer.sock.send(_view[:size])
            except OSError:
                return
