"""Holds up every frame between a machine and the switch: what netem does, on any kernel.

While there is a delay, the machine's port is taken out of the bridge, and frames are carried
between it and a port in its place by two packet sockets of this process. They carry what the
kernel knows of a frame (checksums still to be made, segments still to be cut) along with it
(`PACKET_VNET_HDR`, packet(7)).
"""

import asyncio
import contextlib
import socket
from collections import deque

from nplb.lab.netns.namespace import Namespace
from nplb.model.errors import HostError

# linux/if_packet.h and linux/if_ether.h; the socket module does not name them.
_SOL_PACKET, _VNET_HDR, _IGNORE_OUTGOING = 263, 15, 23
_ALL_PROTOCOLS = 0x0003
_MAX_FRAME = 65536 + 256
_BATCH = 256
# A line that holds more than this loses what comes, as a real one does.
_MAX_HELD = 20_000


class DelayLine:
    """One machine's cable to the bridge. `port` is its end in the switch."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, switch: Namespace, port: str, bridge: str
    ) -> None:
        self._loop = loop
        self._switch = switch
        self._port = port
        self._bridge = bridge
        self._seconds = 0.0
        self._carriers: tuple[_Carrier, ...] = ()

    @property
    def delay_seconds(self) -> float:
        """How long frames are held up, each way."""
        return self._seconds

    @delay_seconds.setter
    def delay_seconds(self, seconds: float) -> None:
        self._seconds = seconds
        for carrier in self._carriers:
            carrier.seconds = seconds
        if bool(seconds) is bool(self._carriers):
            return
        if seconds:
            self._take_out()
        else:
            self._put_back()

    def plug(self) -> None:
        """Join the port to the bridge."""
        self._switch.ip(f"link set {self._port} master {self._bridge}", f"link set {self._port} up")

    def close(self) -> None:
        """Carry no more. The namespace goes with its links."""
        carriers, self._carriers = self._carriers, ()
        for carrier in carriers:
            carrier.close()

    def _take_out(self) -> None:
        bridged, carried = f"b-{self._port}", f"c-{self._port}"
        self._switch.ip(
            f"link add {bridged} type veth peer name {carried}",
            f"link set {bridged} master {self._bridge}",
            f"link set {bridged} up",
            f"link set {carried} up",
            f"link set {self._port} nomaster",
        )
        near, far = (self._open(name) for name in (self._port, carried))
        self._carriers = (
            _Carrier(self._loop, near, far, self._seconds),
            _Carrier(self._loop, far, near, self._seconds),
        )

    def _put_back(self) -> None:
        self.close()
        with contextlib.suppress(HostError):
            self._switch.ip(f"link del b-{self._port}")
        self.plug()

    def _open(self, link: str) -> socket.socket:
        with self._switch.entered():
            sock = socket.socket(
                socket.AF_PACKET,
                socket.SOCK_RAW | socket.SOCK_NONBLOCK,
                socket.htons(_ALL_PROTOCOLS),
            )
        sock.setsockopt(_SOL_PACKET, _VNET_HDR, 1)
        sock.setsockopt(_SOL_PACKET, _IGNORE_OUTGOING, 1)
        sock.bind((link, 0))
        return sock


class _Carrier:
    """One direction. Owns `source`; the other direction's carrier owns `target`."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        source: socket.socket,
        target: socket.socket,
        seconds: float,
    ) -> None:
        self.seconds = seconds
        self._loop = loop
        self._source = source
        self._target = target
        self._held: deque[tuple[float, bytes]] = deque()
        self._timer: asyncio.TimerHandle | None = None
        loop.add_reader(source, self._take)

    def close(self) -> None:
        """Give up what is held."""
        self._loop.remove_reader(self._source)
        self._source.close()
        self._held.clear()
        if self._timer is not None:
            self._timer.cancel()

    def _take(self) -> None:
        due = self._loop.time() + self.seconds
        for _ in range(_BATCH):
            try:
                frame = self._source.recv(_MAX_FRAME)
            except OSError:
                break  # nothing more, or the link is down
            if len(self._held) < _MAX_HELD:
                self._held.append((due, frame))
        if self._held and self._timer is None:
            self._timer = self._loop.call_at(self._held[0][0], self._give)

    def _give(self) -> None:
        self._timer = None
        now = self._loop.time()
        while self._held and self._held[0][0] <= now:
            _, frame = self._held.popleft()
            with contextlib.suppress(OSError):  # full, or down: lost
                self._target.send(frame)
        if self._held:
            self._timer = self._loop.call_at(self._held[0][0], self._give)
