"""Pods as processes: an application behind listeners on the pod's own address.

A pod's port is served at the pod's twin on loopback, or, where that port cannot be had, at a free
one; the directory knows which, so that every Service's port works whatever its number.
"""

import logging
import socket
from collections.abc import Callable, Mapping

from nplb.lab.addresses import twin
from nplb.lab.apps import App, AppKind, Identity, make_app
from nplb.lab.datagrams import MAX_DATAGRAM
from nplb.lab.interface import Interface, Listener, Reach
from nplb.model.keys import Protocol

log = logging.getLogger(__name__)

PodPort = tuple[Protocol, int]
Answer = Callable[[bytes, tuple[str, int], int], bytes]


class Directory:
    """Where the ports of pods are really served. What it does not know is at the twin: manual
    EndpointSlices name addresses where someone else's process listens."""

    def __init__(self) -> None:
        self._moved: dict[tuple[str, Protocol, int], tuple[str, int]] = {}

    def resolve(self, ip: str, port: int, protocol: Protocol) -> tuple[str, int]:
        """A socket address for an address of the API."""
        return self._moved.get((ip, protocol, port)) or (twin(ip), port)

    def put(self, ip: str, port: int, protocol: Protocol, bound: tuple[str, int]) -> None:
        """Remember where a port is served, if it is not at the twin."""
        if bound != (twin(ip), port):
            self._moved[ip, protocol, port] = bound

    def forget(self, ip: str) -> None:
        """A pod is gone."""
        for key in [key for key in self._moved if key[0] == ip]:
            del self._moved[key]


class PodServer:
    """One pod's process. `interface` is its network: faults act on it."""

    def __init__(
        self, interface: Interface, kind: AppKind, identity: Identity, directory: Directory
    ) -> None:
        self.interface = interface
        self.identity = identity
        self._kind = kind
        self._directory = directory
        self._ports: dict[PodPort, str] = {}
        self._app: App = make_app(kind, interface, identity)
        self._up = True

    def serve(self, ports: Mapping[PodPort, str]) -> None:
        """Listen on these ports (to their names), too."""
        for key, name in ports.items():
            if key not in self._ports:
                self._ports[key] = name
                if self._up:
                    self._listen(key)

    def drain(self) -> None:
        """It has been told to stop: it goes on serving, and asks its clients to leave."""
        self._app.drain()

    def exit(self) -> None:
        """The process ends: its ports close, and its connections as the kernel sees fit."""
        self._up = False
        self.interface.close_ports()
        self.interface.end_connections()
        self._directory.forget(self.identity.ip)

    def crash(self) -> None:
        """It dies: its ports refuse, its connections are reset."""
        self._up = False
        self.interface.close_ports()
        self.interface.reset_connections()

    def restart(self) -> None:
        """It runs again, on the same ports."""
        self.interface.reach = Reach.UP
        self._app = make_app(self._kind, self.interface, self.identity)
        self._up = True
        for key in self._ports:
            self._listen(key)

    def _listen(self, key: PodPort) -> None:
        protocol, port = key
        if protocol is Protocol.TCP:
            listener = Listener(
                self.interface,
                port,
                lambda sock, client: self._app.serve(sock, client, port, self._ports[key]),
                fallback=True,
            )
            self._directory.put(self.identity.ip, port, protocol, listener.bound)
        elif protocol is Protocol.UDP:
            answerer = DatagramAnswerer(self.interface, port, self._answer)
            self._directory.put(self.identity.ip, port, protocol, answerer.bound)

    def _answer(self, datagram: bytes, client: tuple[str, int], port: int) -> bytes:
        return self._app.answer(datagram, client, port)


class DatagramAnswerer:
    """A UDP port of a pod that answers every datagram."""

    def __init__(self, interface: Interface, port: int, answer: Answer) -> None:
        self._interface = interface
        self._port = port
        self._answer = answer
        self._sock = interface.socket(socket.SOCK_DGRAM)
        try:
            self._sock.bind((interface.ip, port))
        except OSError:
            self._sock.bind((interface.ip, 0))
        self.bound: tuple[str, int] = self._sock.getsockname()
        interface.attach(self)
        interface.loop.add_reader(self._sock, self._readable)

    def settle(self) -> None:
        """A silent or refusing pod drops what arrives; see `_readable`."""

    def close(self) -> None:
        """Stop listening."""
        self._interface.loop.remove_reader(self._sock)
        self._sock.close()
        self._interface.detach(self)

    def _readable(self) -> None:
        try:
            data, client = self._sock.recvfrom(MAX_DATAGRAM)
            if self._interface.played_reach is Reach.UP:
                self._sock.sendto(self._answer(data, client, self._port), client)
        except OSError:
            return  # nothing there, or the client is gone
