"""Forwards one TCP connection through a node, byte for byte.

Half-close passes through, a reset on one side becomes a reset on the other, and neither side is
read faster than the other takes it. Real kube-proxy rewrites addresses in the kernel, so that
the client's handshake is with the pod; here the node has answered it before the pod is asked.
A pod that refuses therefore shows as a reset right after the connect.
"""

import errno
import logging
import socket

from nplb.lab.interface import Interface
from nplb.lab.wire import Wire, connect

log = logging.getLogger(__name__)


class Flow:
    """A client's connection through `interface` to a pod at `target`, from `source`.

    Owns `sock` from the start, whatever happens.
    """

    __slots__ = ("_client", "_frozen", "_held", "_interface", "_late", "_upstream")

    def __init__(
        self, interface: Interface, sock: socket.socket, target: tuple[str, int], source: str
    ) -> None:
        self._interface = interface
        # Data on its way through a slow node, and what came due while the node was silent.
        self._late: set[Wire] = set()
        self._held: list[tuple[Wire, bytes]] = []
        self._frozen = False
        self._client = Wire(interface.loop, sock, self)
        try:
            self._upstream = connect(interface.loop, target, self, source=source)
        except OSError as error:
            if error.errno != errno.ECONNREFUSED:
                log.warning("%s cannot reach a pod: %s", interface.name, error)
            self._upstream = self._client
            self._client.abort()
            return
        interface.join(self)

    # -- as a connection of the interface --------------------------------------

    @property
    def peer(self) -> tuple[str, int] | None:
        """The client's address."""
        return self._client.peer

    def freeze(self) -> None:
        """Stand still; the client hears nothing, not even an acknowledgement."""
        self._frozen = True
        self._client.freeze(deaf=True)
        self._upstream.freeze(deaf=False)

    def thaw(self) -> None:
        """Go on where it stood."""
        self._frozen = False
        self._client.thaw()
        self._upstream.thaw()
        held, self._held = self._held, []
        for wire, data in held:
            self._deliver(wire, data)

    def abort(self) -> None:
        """Reset both sides."""
        self._client.abort()
        self._upstream.abort()

    def end(self) -> None:
        """Close both sides as a process that exits does."""
        self._client.close()
        self._upstream.close()

    # -- as the handler of both wires ------------------------------------------

    def on_data(self, wire: Wire, data: bytes) -> None:
        """Pass on what one side sent."""
        delay = self._interface.delay_seconds
        if delay:
            self._deliver_late(wire, data, delay)
            return
        if not self._other(wire).write(data):
            wire.pause()

    def on_eof(self, wire: Wire) -> None:
        """One side has ended: end the other's direction."""
        delay = self._interface.delay_seconds
        if delay:
            self._deliver_late(wire, b"", delay)
        else:
            self._other(wire).shutdown()

    def on_drained(self, wire: Wire) -> None:
        """One side has taken all: read on from the other."""
        other = self._other(wire)
        if other not in self._late:
            other.resume()

    def on_closed(self, wire: Wire, error: OSError | None) -> None:
        """One side is gone."""
        other = self._other(wire)
        if error is not None:
            other.abort()
        if other.closed:
            self._interface.leave(self)

    # -- inside ------------------------------------------------------------------

    def _other(self, wire: Wire) -> Wire:
        return self._upstream if wire is self._client else self._client

    def _deliver_late(self, wire: Wire, data: bytes, delay: float) -> None:
        # Nothing more is read meanwhile: order is kept, and a slow node holds little.
        wire.pause()
        self._late.add(wire)
        self._interface.loop.call_later(delay, self._deliver, wire, data)

    def _deliver(self, wire: Wire, data: bytes) -> None:
        if self._frozen:
            self._held.append((wire, data))
            return
        self._late.discard(wire)
        other = self._other(wire)
        if not data:
            other.shutdown()
        elif other.write(data):
            wire.resume()
