"""One address of the lab with everything behind it: it can go silent, refuse or be slow as one.

A node has an interface, every pod and every ClusterIP has one. What listens there and every
connection through it register with it; a fault sets `reach`, and all of them follow. They hold
the level, not the change: whatever is opened during a fault is born into it.
"""

import asyncio
import errno
import logging
import socket
from collections.abc import Callable
from collections.abc import Set as AbstractSet
from enum import StrEnum
from typing import Protocol

from nplb.lab.silence import deafen, require_silence, restore_hearing

log = logging.getLogger(__name__)

BACKLOG = 4096
ACCEPT_BATCH = 64
RETRY_SECONDS = 1.0
ACCEPT_PAUSE_SECONDS = 0.1
_EXHAUSTED = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
_PASSING = frozenset({errno.ECONNABORTED, errno.EINTR, errno.EPROTO})

Accept = Callable[[socket.socket, tuple[str, int]], None]


class Reach(StrEnum):
    """What a client finds at an address."""

    UP = "up"
    REFUSING = "refusing"  # nothing listens: the kernel answers with a reset
    SILENT = "silent"  # everything is dropped, established connections too


class Port(Protocol):
    """Something that listens on an interface."""

    def settle(self) -> None:
        """Follow the interface's reach."""

    def close(self) -> None:
        """Stop listening for good."""


class Connection(Protocol):
    """A connection through an interface."""

    @property
    def peer(self) -> tuple[str, int] | None:
        """The client's address as it is seen here; None once it is gone."""

    def freeze(self) -> None:
        """Stand still and deaf."""

    def thaw(self) -> None:
        """Go on."""

    def abort(self) -> None:
        """Reset it, and leave the interface."""

    def end(self) -> None:
        """Close it as a process that exits does, and leave the interface."""


class Interface:
    """One loopback address. `name` is for messages.

    `delay_seconds` is how long every piece of data through it is held up, each way. A subclass
    may have its sockets elsewhere (`socket`), and play `reach` there in another way than by
    what its sockets do.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, ip: str, name: str) -> None:
        self.loop = loop
        self.ip = ip
        self.name = name
        self._delay_seconds = 0.0
        self._reach = Reach.UP
        self._ports: set[Port] = set()
        self._connections: set[Connection] = set()

    @property
    def reach(self) -> Reach:
        """What a client finds here."""
        return self._reach

    @reach.setter
    def reach(self, reach: Reach) -> None:
        if reach is self._reach:
            return
        if reach is Reach.SILENT:
            require_silence()
        was_silent = self._reach is Reach.SILENT
        self._reach = reach
        for port in tuple(self._ports):
            port.settle()
        if reach is Reach.SILENT:
            for connection in tuple(self._connections):
                connection.freeze()
        elif was_silent:
            for connection in tuple(self._connections):
                connection.thaw()

    @property
    def delay_seconds(self) -> float:
        """How long every piece of data is held up, each way."""
        return self._delay_seconds

    @delay_seconds.setter
    def delay_seconds(self, seconds: float) -> None:
        self._delay_seconds = seconds

    @property
    def played_reach(self) -> Reach:
        """The part of `reach` that its sockets are to play."""
        return self._reach

    def socket(self, kind: socket.SocketKind) -> socket.socket:
        """A new non-blocking socket there, not bound yet. The caller owns it."""
        return socket.socket(socket.AF_INET, kind | socket.SOCK_NONBLOCK)

    @property
    def connections(self) -> int:
        """How many connections are open through it."""
        return len(self._connections)

    def attach(self, port: Port) -> None:
        """Count a port as listening here."""
        self._ports.add(port)

    def detach(self, port: Port) -> None:
        """Forget a port."""
        self._ports.discard(port)

    def join(self, connection: Connection) -> None:
        """Count a connection as going through here."""
        self._connections.add(connection)
        if self.played_reach is Reach.SILENT:
            connection.freeze()

    def leave(self, connection: Connection) -> None:
        """Forget a connection."""
        self._connections.discard(connection)

    def reset_connections(self) -> None:
        """Reset every connection through it."""
        for connection in tuple(self._connections):
            connection.abort()
        self._connections.clear()

    def reset_peers(self, peers: AbstractSet[tuple[str, int]]) -> None:
        """Reset the connections of these clients."""
        for connection in tuple(self._connections):
            if connection.peer in peers:
                connection.abort()

    def end_connections(self) -> None:
        """Close every connection through it."""
        for connection in tuple(self._connections):
            connection.end()
        self._connections.clear()

    def close_ports(self) -> None:
        """Stop listening everywhere."""
        for port in tuple(self._ports):
            port.close()


class Listener:
    """A TCP port on an interface. Sockets given to `accept` belong to it from then on; they
    are non-blocking.

    `silent` drops SYNs on this port alone. With `fallback`, a port that cannot be had (below
    1024 without the right, or held by another process) is replaced by any free one: `bound`
    tells which. Without, it is tried again every second. `problem` says what is in the way.
    """

    def __init__(
        self,
        interface: Interface,
        port: int,
        accept: Accept,
        *,
        silent: bool = False,
        fallback: bool = False,
    ) -> None:
        self.port = port
        self.bound = (interface.ip, port)
        self.problem = ""
        self._interface = interface
        self._accept = accept
        self._silent = silent
        self._fallback = fallback
        self._sock: socket.socket | None = None
        self._deaf = self._watched = self._resting = False
        self._timer: asyncio.TimerHandle | None = None
        interface.attach(self)
        self.settle()

    @property
    def silent(self) -> bool:
        """Whether this port drops SYNs whatever the interface does."""
        return self._silent

    @silent.setter
    def silent(self, silent: bool) -> None:
        if silent is not self._silent:
            self._silent = silent
            self.settle()

    def settle(self) -> None:
        """Follow the interface's reach and `silent`."""
        reach = self._interface.played_reach
        if reach is Reach.REFUSING:
            self.take_waiting()
            self._shut()
            return
        if self._sock is None and not self._open():
            return
        assert self._sock is not None
        deaf = self._silent or reach is Reach.SILENT
        if deaf is not self._deaf:
            self._deaf = deaf
            (deafen if deaf else restore_hearing)(self._sock)
        watched = not deaf and not self._resting
        if watched is not self._watched:
            self._watched = watched
            if watched:
                self._interface.loop.add_reader(self._sock, self._acceptable)
            else:
                self._interface.loop.remove_reader(self._sock)

    def take_waiting(self) -> None:
        """Before it listens no longer, or is deaf: accept who has connected already. They have a
        connection, which on a real machine is the kernel's affair and lives on; closing the socket
        would reset them. Who comes meanwhile is not heard, and asks again."""
        if self._sock is not None and self._watched:
            deafen(self._sock)
            self._deaf, self._watched = True, False
            self._interface.loop.remove_reader(self._sock)
            self._acceptable(BACKLOG)

    def close(self) -> None:
        """Stop listening. Connections already accepted live on."""
        self._shut()
        self._interface.detach(self)

    def _shut(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._sock is not None:
            self._interface.loop.remove_reader(self._sock)
            self._sock.close()
            self._sock = None
            self._deaf = self._watched = False

    def _open(self) -> bool:
        sock = self._interface.socket(socket.SOCK_STREAM)
        try:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # inherited
            self._bind(sock)
            if self._silent or self._interface.played_reach is Reach.SILENT:
                deafen(sock)  # before it listens, or a client could slip in
                self._deaf = True
            sock.listen(BACKLOG)
        except OSError as error:
            sock.close()
            self._deaf = False
            self._not_bound(error)
            return False
        self._sock = sock
        self.bound = sock.getsockname()
        if self.problem:
            log.info("%s listens on %s:%d now", self._interface.name, *self.bound)
            self.problem = ""
        return True

    def _bind(self, sock: socket.socket) -> None:
        try:
            sock.bind(self.bound)
        except OSError:
            if not self._fallback:
                raise
            sock.bind((self._interface.ip, 0))

    def _not_bound(self, error: OSError) -> None:
        where = f"{self._interface.ip}:{self.port}"
        permanent = error.errno in (errno.EACCES, errno.EPERM)
        if not self.problem and not permanent:
            log.error(
                "%s cannot listen on %s: %s; free it, or run the lab on another network. "
                "It is tried again every second",
                self._interface.name,
                where,
                error.strerror,
            )
        self.problem = f"{where}: {error.strerror}"
        if not permanent:
            self._timer = self._interface.loop.call_later(RETRY_SECONDS, self.settle)

    def _acceptable(self, most: int = ACCEPT_BATCH) -> None:
        for _ in range(most):
            if self._sock is None:
                return
            try:
                sock, peer = self._sock.accept()
            except (BlockingIOError, InterruptedError):
                return
            except OSError as error:
                if error.errno in _PASSING:
                    continue
                if error.errno not in _EXHAUSTED:
                    raise
                self._pause(error)
                return
            sock.setblocking(False)
            self._accept(sock, peer)

    def _pause(self, error: OSError) -> None:
        log.warning("%s accepts nothing for a moment: %s", self._interface.name, error.strerror)
        self._resting = True
        self._interface.loop.call_later(ACCEPT_PAUSE_SECONDS, self._after_pause)
        self.settle()

    def _after_pause(self) -> None:
        self._resting = False
        if self._sock is not None:
            self.settle()
