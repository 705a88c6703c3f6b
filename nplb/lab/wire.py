"""One end of one TCP connection inside the lab, as callbacks on the event loop.

What asyncio's transports do not give and a lab needs: a reset that is sent on purpose and told
apart from a close, half-close in both directions, and freezing: a wire that stops reading and
writing while its connection stays open, deaf or not.

    data, end, reset from the peer  ─►  handler.on_data, on_eof, on_closed
    write, shutdown, abort          ◄─  handler
"""

import asyncio
import errno
import os
import socket
import struct
from typing import Protocol

from nplb.lab.silence import deafen, restore_hearing

READ_BYTES = 64 * 1024
IP_BIND_ADDRESS_NO_PORT = 24  # linux/in.h; the socket module names it from Python 3.12 on
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)


class WireHandler(Protocol):
    """Whom a wire tells. None of these may be called again after `on_closed`."""

    def on_data(self, wire: "Wire", data: bytes) -> None:
        """Bytes arrived, in order."""

    def on_eof(self, wire: "Wire") -> None:
        """The peer sends no more. It may still read."""

    def on_drained(self, wire: "Wire") -> None:
        """A `write` that had returned False has gone out, all of it."""

    def on_closed(self, wire: "Wire", error: OSError | None) -> None:
        """The socket is closed. `error` is None when both directions had ended in order."""


class Wire:
    """One socket. The wire owns it and closes it.

    It closes by itself once the peer has ended and `shutdown` has been carried out.
    """

    __slots__ = (
        "_connecting", "_deaf", "_ended", "_frozen", "_handler", "_linger_seconds", "_loop",
        "_out", "_paused", "_reading", "_shut", "_shut_wanted", "_sock", "_writing", "closed",
        "fd",
    )  # fmt: skip

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        sock: socket.socket,
        handler: WireHandler,
        *,
        connecting: bool = False,
    ) -> None:
        self._loop = loop
        self._sock = sock
        self._handler = handler
        self._out = bytearray()
        self._connecting = connecting
        self._ended = self._shut = self._shut_wanted = False
        self._paused = self._frozen = self._deaf = False
        self._reading = self._writing = False
        self._linger_seconds: float | None = None
        self.closed = False
        self.fd = sock.fileno()
        self._settle()

    @property
    def peer(self) -> tuple[str, int] | None:
        """The address at the other end; None once it is gone."""
        try:
            ip, port = self._sock.getpeername()
        except OSError:
            return None
        return ip, port

    @property
    def ended(self) -> bool:
        """Whether the peer has ended its direction."""
        return self._ended

    # -- what the handler asks for -------------------------------------------

    def write(self, data: bytes) -> bool:
        """Send bytes. False if some wait for the peer: `on_drained` follows.

        Writes after `shutdown` or after the end are dropped in silence.
        """
        if self.closed or self._shut_wanted:
            return True
        if not self._out and not self._frozen and not self._connecting:
            try:
                sent = self._sock.send(data)
            except (BlockingIOError, InterruptedError):
                sent = 0
            except OSError as error:
                self._lost(error)
                return True
            if sent == len(data):
                return True
            data = data[sent:]
        self._out += data
        self._settle()
        return False

    def shutdown(self) -> None:
        """End our direction once everything written has gone out."""
        if self.closed or self._shut_wanted:
            return
        self._shut_wanted = True
        if not self._out and not self._frozen and not self._connecting:
            self._shut_now()
        else:
            self._settle()

    def finish(self, linger_seconds: float = 2.0) -> None:
        """Send what is written, end our direction, and close when the peer ends, or when it
        has had `linger_seconds` to do so. Input is dropped from now on: closing with unread
        input would reset what was just sent."""
        if self.closed:
            return
        self._handler = _Nobody(self._handler)
        self._linger_seconds = linger_seconds
        self._paused = False
        self.shutdown()
        self._settle()

    def close(self) -> None:
        """Close now, in the way the kernel sees fit: a FIN if nothing is left unread."""
        self._close(None)

    def abort(self) -> None:
        """Reset the connection."""
        if not self.closed:
            self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
            self._close(ConnectionAbortedError(errno.ECONNABORTED, "aborted by the lab"))

    def pause(self) -> None:
        """Read no more, so that the peer's window fills."""
        if not self._paused:
            self._paused = True
            self._settle()

    def resume(self) -> None:
        """Read on."""
        if self._paused:
            self._paused = False
            self._settle()

    # -- faults --------------------------------------------------------------

    def freeze(self, *, deaf: bool) -> None:
        """Read and write nothing until `thaw`; if `deaf`, the kernel does not even
        acknowledge."""
        if self.closed or self._frozen:
            return
        self._frozen = True
        if deaf:
            self._deaf = True
            deafen(self._sock)
        self._settle()

    def thaw(self) -> None:
        """Undo `freeze`."""
        if self.closed or not self._frozen:
            return
        self._frozen = False
        if self._deaf:
            self._deaf = False
            restore_hearing(self._sock)
        self._settle()

    # -- inside --------------------------------------------------------------

    def _settle(self) -> None:
        """Watch the socket for exactly what can be done now."""
        live = not self.closed and not self._frozen
        reading = live and not (self._paused or self._ended or self._connecting)
        writing = live and (self._connecting or bool(self._out) or self._unshut())
        if reading is not self._reading:
            self._reading = reading
            if reading:
                self._loop.add_reader(self.fd, self._readable)
            else:
                self._loop.remove_reader(self.fd)
        if writing is not self._writing:
            self._writing = writing
            if writing:
                self._loop.add_writer(self.fd, self._writable)
            else:
                self._loop.remove_writer(self.fd)

    def _unshut(self) -> bool:
        return self._shut_wanted and not self._shut

    def _readable(self) -> None:
        try:
            data = self._sock.recv(READ_BYTES)
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            self._lost(error)
            return
        if data:
            self._handler.on_data(self, data)
            return
        self._ended = True
        self._settle()
        self._handler.on_eof(self)
        self._close_if_done()

    def _writable(self) -> None:
        if self._connecting:
            code = self._sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if code:
                self._lost(OSError(code, os.strerror(code)))
                return
            self._connecting = False
        if self._out:
            try:
                sent = self._sock.send(self._out)
            except (BlockingIOError, InterruptedError):
                return
            except OSError as error:
                self._lost(error)
                return
            del self._out[:sent]
            if self._out:
                return
            self._handler.on_drained(self)
        if not self.closed and not self._out:
            if self._unshut():
                self._shut_now()
            if not self.closed:
                self._settle()

    def _shut_now(self) -> None:
        self._shut = True
        try:
            self._sock.shutdown(socket.SHUT_WR)
        except OSError as error:
            self._lost(error)
            return
        if self._linger_seconds is not None and not self._ended:
            self._loop.call_later(self._linger_seconds, self.close)
        self._close_if_done()

    def _close_if_done(self) -> None:
        if self._ended and self._shut:
            self._close(None)

    def _lost(self, error: OSError) -> None:
        self._close(error)

    def _close(self, error: OSError | None) -> None:
        if self.closed:
            return
        self.closed = True
        self._settle()
        self._out.clear()
        self._sock.close()
        self._handler.on_closed(self, error)


class _Nobody:
    """Takes the place of a handler that has finished: only the close is told."""

    __slots__ = ("_handler",)

    def __init__(self, handler: WireHandler) -> None:
        self._handler = handler

    def on_data(self, wire: Wire, data: bytes) -> None:
        """Dropped."""

    def on_eof(self, wire: Wire) -> None:
        """Nothing is waited for."""

    def on_drained(self, wire: Wire) -> None:
        """Nothing more is written."""

    def on_closed(self, wire: Wire, error: OSError | None) -> None:
        """The one thing that the handler still wants to know."""
        self._handler.on_closed(wire, error)


def connect(
    loop: asyncio.AbstractEventLoop,
    target: tuple[str, int],
    handler: WireHandler,
    *,
    source: str = "",
) -> Wire:
    """Begin to connect, from the address `source` if given. The wire can be written to at
    once; `on_closed` tells of a failure. Raises OSError if it could not even begin."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    try:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if source:
            # The port is chosen at connect, so that it need only be unique per target.
            sock.setsockopt(socket.IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1)
            sock.bind((source, 0))
        code = sock.connect_ex(target)
        if code not in (0, errno.EINPROGRESS):
            raise OSError(code, os.strerror(code))
    except OSError:
        sock.close()
        raise
    return Wire(loop, sock, handler, connecting=True)
