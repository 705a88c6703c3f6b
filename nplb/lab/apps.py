"""What runs in the lab's pods: a small web application, and one that echoes.

The web application says who answered, which is what one wants to know behind a load balancer:

    /            one line: pod, node, service, port, and the client's address as the pod sees it
    /json        the same as JSON (or with Accept: application/json on /)
    /bytes/N     N bytes, always the same ones
    /delay/S     the line of /, after S seconds
    /status/N    an answer with that HTTP status
    any path     with a body: how many bytes arrived, and their SHA-256
"""

import hashlib
import json
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from nplb.lab.httpd import HttpConnection, Request, Response, phrase
from nplb.lab.interface import Interface
from nplb.lab.wire import Wire

MAX_BYTES = 1 << 34
MAX_DELAY_SECONDS = 3600.0
_BLOCK = hashlib.shake_128(b"nplb lab").digest(64 * 1024)


class AppKind(StrEnum):
    """The annotation `lab.nplb.io/app`."""

    HTTP = "http"
    ECHO = "echo"


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Who a pod is. `service` is the Service that it was made for, empty for none."""

    pod: str
    namespace: str
    node: str
    ip: str
    service: str


class App(Protocol):
    """An application. It serves connections until its interface is closed."""

    def serve(self, sock: socket.socket, client: tuple[str, int], port: int, name: str) -> None:
        """Serve a connection to a port (with the port's name). Owns `sock` from now on."""

    def answer(self, datagram: bytes, client: tuple[str, int], port: int) -> bytes:
        """The answer to a datagram."""

    def drain(self) -> None:
        """Ask clients to leave: the pod has been told to stop."""


def make_app(kind: AppKind, interface: Interface, identity: Identity) -> App:
    """The application of a pod."""
    if kind is AppKind.ECHO:
        return EchoApp(interface)
    return HttpApp(interface, identity)


class HttpApp:
    """The web application, the same on every port."""

    def __init__(self, interface: Interface, identity: Identity) -> None:
        self._interface = interface
        self._identity = identity
        self._draining = False

    def serve(self, sock: socket.socket, client: tuple[str, int], port: int, name: str) -> None:
        """Serve HTTP on a connection."""

        def respond(request: Request) -> Response:
            return self._respond(request, port, name)

        HttpConnection(self._interface, sock, client, respond)

    def answer(self, datagram: bytes, client: tuple[str, int], port: int) -> bytes:
        """Who answered, and how much arrived."""
        return f"{self._line(client[0], port)}: {len(datagram)} bytes\n".encode()

    def drain(self) -> None:
        """Answer with `Connection: close` from now on."""
        self._draining = True

    def _respond(self, request: Request, port: int, name: str) -> Response:
        first, _, rest = request.path[1:].partition("/")
        if first == "bytes":
            return self._bytes(rest)
        if first == "status" and rest.isdigit() and 200 <= int(rest) <= 599:
            return self._text(phrase(int(rest)) + "\n", status=int(rest))
        if first == "delay":
            return self._late(rest, request, port)
        if request.body_sha256:
            return self._text(f"{request.body_bytes} bytes, sha256 {request.body_sha256}\n")
        if first == "json" or "application/json" in request.headers.get("accept", ""):
            return self._json(request, port, name)
        return self._text(self._line(request.client[0], port) + "\n")

    def _line(self, client: str, port: int) -> str:
        me = self._identity
        service = f", service {me.service}" if me.service else ""
        return f"{me.pod} ({me.ip}:{port}) on {me.node}{service}, client {client}"

    def _json(self, request: Request, port: int, name: str) -> Response:
        me = self._identity
        body = {
            "pod": me.pod,
            "namespace": me.namespace,
            "node": me.node,
            "ip": me.ip,
            "service": me.service,
            "port": port,
            "portName": name,
            "client": request.client[0],
            "method": request.method,
            "path": request.target,
            "headers": dict(request.headers),
        }
        text = json.dumps(body, indent=2) + "\n"
        return Response(body=text.encode(), content_type="application/json", close=self._draining)

    def _text(self, text: str, *, status: int = 200, delay_seconds: float = 0.0) -> Response:
        return Response(
            status=status, body=text.encode(), delay_seconds=delay_seconds, close=self._draining
        )

    def _bytes(self, text: str) -> Response:
        if not (text.isascii() and text.isdigit()) or int(text) > MAX_BYTES:
            return self._text(f"/bytes/N: N is a number up to {MAX_BYTES}\n", status=400)
        length = int(text)
        return Response(
            chunks=_blocks(length),
            length=length,
            content_type="application/octet-stream",
            close=self._draining,
        )

    def _late(self, text: str, request: Request, port: int) -> Response:
        try:
            seconds = float(text)
        except ValueError:
            seconds = -1.0
        if not 0 <= seconds <= MAX_DELAY_SECONDS:
            return self._text(f"/delay/S: S is seconds up to {MAX_DELAY_SECONDS:g}\n", status=400)
        return self._text(self._line(request.client[0], port) + "\n", delay_seconds=seconds)


def _blocks(length: int) -> Iterator[bytes]:
    while length > 0:
        yield _BLOCK[:length]
        length -= len(_BLOCK)


class EchoApp:
    """Sends back what it gets, byte for byte; after the client's end, its own."""

    def __init__(self, interface: Interface) -> None:
        self._interface = interface

    def serve(self, sock: socket.socket, client: tuple[str, int], port: int, name: str) -> None:
        """Echo a connection."""
        EchoConnection(self._interface, sock)

    def answer(self, datagram: bytes, client: tuple[str, int], port: int) -> bytes:
        """The same bytes."""
        return datagram

    def drain(self) -> None:
        """A byte stream has no way to ask a client to leave."""


class EchoConnection:
    """One echoed connection. Owns `sock` from the start."""

    __slots__ = ("_interface", "_wire")

    def __init__(self, interface: Interface, sock: socket.socket) -> None:
        self._interface = interface
        self._wire = Wire(interface.loop, sock, self)
        interface.join(self)

    @property
    def peer(self) -> tuple[str, int] | None:
        """The client's address."""
        return self._wire.peer

    def freeze(self) -> None:
        """Stand still and deaf."""
        self._wire.freeze(deaf=True)

    def thaw(self) -> None:
        """Go on."""
        self._wire.thaw()

    def abort(self) -> None:
        """Reset it."""
        self._wire.abort()

    def end(self) -> None:
        """Close it as a process that exits does."""
        self._wire.close()

    def on_data(self, wire: Wire, data: bytes) -> None:
        """Back to where it came from."""
        if not wire.write(data):
            wire.pause()

    def on_eof(self, wire: Wire) -> None:
        """The client has ended: so do we, after the last byte."""
        wire.shutdown()

    def on_drained(self, wire: Wire) -> None:
        """Room for more."""
        wire.resume()

    def on_closed(self, wire: Wire, error: OSError | None) -> None:
        """Gone."""
        self._interface.leave(self)
