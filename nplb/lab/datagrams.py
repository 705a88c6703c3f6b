"""Forwards UDP through a node: one socket towards a pod for every client that has been heard.

A client keeps its pod while it talks, as connection tracking keeps it, and loses it after
30 seconds of quiet (`nf_conntrack_udp_timeout`) or when the pod leaves the Service.
"""

import asyncio
import contextlib
import errno
import logging
import socket
from collections.abc import Callable
from collections.abc import Set as AbstractSet

from nplb.lab.interface import Interface, Reach

log = logging.getLogger(__name__)

IDLE_SECONDS = 30.0
SWEEP_SECONDS = 5.0
MAX_CLIENTS = 4096
MAX_DATAGRAM = 65535
BATCH = 64

SocketAddress = tuple[str, int]
Route = Callable[[str], SocketAddress | None]


class _Client:
    __slots__ = ("address", "last_heard", "sock", "target")

    def __init__(self, address: SocketAddress, target: SocketAddress, sock: socket.socket) -> None:
        self.address = address
        self.target = target
        self.sock = sock
        self.last_heard = 0.0


class DatagramPort:
    """A UDP port on an interface. `route` gives the pod's socket address for a client's IP, or
    None to drop. A silent interface drops both ways; a refusing one closes the socket, so that
    the kernel answers "port unreachable"."""

    def __init__(self, interface: Interface, port: int, route: Route) -> None:
        self.problem = ""
        self._interface = interface
        self._port = port
        self._route = route
        self._sock: socket.socket | None = None
        self._clients: dict[SocketAddress, _Client] = {}
        self._sweeper: asyncio.TimerHandle | None = None
        interface.attach(self)
        self.settle()

    def settle(self) -> None:
        """Follow the interface's reach."""
        if self._interface.played_reach is Reach.REFUSING:
            self._shut()
        elif self._sock is None:
            self._open()

    def close(self) -> None:
        """Stop listening, and forget every client."""
        self._shut()
        self._interface.detach(self)

    def keep_only(self, targets: AbstractSet[SocketAddress]) -> None:
        """Forget the clients of pods that are no longer among these."""
        for client in tuple(self._clients.values()):
            if client.target not in targets:
                self._forget(client)

    def _open(self) -> None:
        sock = self._interface.socket(socket.SOCK_DGRAM)
        try:
            sock.bind((self._interface.ip, self._port))
        except OSError as error:
            sock.close()
            self.problem = f"{self._interface.ip}:{self._port}/UDP: {error.strerror}"
            if error.errno not in (errno.EACCES, errno.EPERM):
                log.error("%s cannot listen: %s", self._interface.name, self.problem)
            return
        self.problem = ""
        self._sock = sock
        self._interface.loop.add_reader(sock, self._from_clients)
        self._sweeper = self._interface.loop.call_later(SWEEP_SECONDS, self._sweep)

    def _shut(self) -> None:
        if self._sweeper is not None:
            self._sweeper.cancel()
            self._sweeper = None
        for client in tuple(self._clients.values()):
            self._forget(client)
        if self._sock is not None:
            self._interface.loop.remove_reader(self._sock)
            self._sock.close()
            self._sock = None

    def _from_clients(self) -> None:
        for _ in range(BATCH):
            if self._sock is None:
                return
            try:
                data, address = self._sock.recvfrom(MAX_DATAGRAM)
            except (BlockingIOError, InterruptedError):
                return
            except OSError:
                continue  # an earlier answer could not be delivered: the client is gone
            if self._interface.played_reach is Reach.SILENT:
                continue
            client = self._clients.get(address) or self._hear(address)
            if client is not None:
                self._later(self._to_pod, client, data)

    def _to_pod(self, client: _Client, data: bytes) -> None:
        client.last_heard = self._interface.loop.time()
        if client.sock.fileno() >= 0:
            # Full or refused: a datagram may be lost, and the client's next one tells.
            with contextlib.suppress(OSError):
                client.sock.send(data)

    def _to_client(self, client: _Client, data: bytes) -> None:
        if self._sock is not None and self._interface.played_reach is Reach.UP:
            with contextlib.suppress(OSError):
                self._sock.sendto(data, client.address)

    def _later(self, send: Callable[[_Client, bytes], None], client: _Client, data: bytes) -> None:
        delay = self._interface.delay_seconds
        if delay:
            self._interface.loop.call_later(delay, send, client, data)
        else:
            send(client, data)

    def _hear(self, address: SocketAddress) -> _Client | None:
        target = self._route(address[0])
        if target is None or len(self._clients) >= MAX_CLIENTS:
            return None
        sock = self._interface.socket(socket.SOCK_DGRAM)
        try:
            sock.bind((self._interface.ip, 0))
            sock.connect(target)
        except OSError as error:
            sock.close()
            log.warning("%s cannot reach a pod: %s", self._interface.name, error)
            return None
        client = _Client(address, target, sock)
        self._clients[address] = client
        self._interface.loop.add_reader(sock, self._from_pod, client)
        return client

    def _from_pod(self, client: _Client) -> None:
        try:
            data = client.sock.recv(MAX_DATAGRAM)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            self._forget(client)  # the pod's port is closed
            return
        client.last_heard = self._interface.loop.time()
        self._later(self._to_client, client, data)

    def _forget(self, client: _Client) -> None:
        if self._clients.pop(client.address, None) is not None:
            self._interface.loop.remove_reader(client.sock)
            client.sock.close()

    def _sweep(self) -> None:
        now = self._interface.loop.time()
        for client in tuple(self._clients.values()):
            if now - client.last_heard > IDLE_SECONDS:
                self._forget(client)
        self._sweeper = self._interface.loop.call_later(SWEEP_SECONDS, self._sweep)
