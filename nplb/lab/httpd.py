"""A small HTTP/1.1 server on a wire, for pods and health checks.

Keep-alive, pipelining, chunked and sized request bodies (counted and hashed, not kept), 1.0
clients, `Expect: 100-continue`, HEAD, half-close after the request. One request at a time: the
next one is looked at when the answer to this one has gone out.
"""

import hashlib
import socket
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus

from nplb.lab.interface import Interface
from nplb.lab.wire import Wire

MAX_HEAD_BYTES = 64 * 1024
_BODILESS = frozenset({204, 205, 304})


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One request. Header names are in lower case. `client` is the peer's address."""

    method: str
    target: str
    headers: Mapping[str, str]
    client: tuple[str, int]
    body_bytes: int = 0
    body_sha256: str = ""

    @property
    def path(self) -> str:
        """The target without its query."""
        return self.target.partition("?")[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class Response:
    """One answer. `chunks` may stand in for a large body, and then `length` says how long it
    is. `delay_seconds` holds the answer back. `close` ends the connection after it."""

    status: int = 200
    body: bytes = b""
    content_type: str = "text/plain; charset=utf-8"
    headers: Mapping[str, str] = field(default_factory=dict)
    chunks: Iterator[bytes] | None = None
    length: int = 0
    delay_seconds: float = 0.0
    close: bool = False


Respond = Callable[[Request], Response]


class _BadRequestError(Exception):
    """What the client sent is not HTTP; `status` is the answer."""

    def __init__(self, status: int, why: str) -> None:
        super().__init__(why)
        self.status = status


class HttpConnection:
    """One client's connection. Owns `sock` from the start."""

    __slots__ = (
        "_answering", "_body", "_buffer", "_chunked", "_chunks", "_client", "_finished", "_head",
        "_interface", "_keep_alive", "_left", "_length", "_respond", "_wire",
    )  # fmt: skip

    def __init__(
        self, interface: Interface, sock: socket.socket, client: tuple[str, int], respond: Respond
    ) -> None:
        self._interface = interface
        self._respond = respond
        self._client = client
        self._buffer = bytearray()
        self._head: tuple[str, str, dict[str, str]] | None = None
        self._left = 0  # bytes of the body, or of its present chunk, still to come
        self._length = 0
        self._chunked = False
        self._body: hashlib._Hash | None = None
        self._keep_alive = True
        self._answering = self._finished = False
        self._chunks: Iterator[bytes] | None = None
        self._wire = Wire(interface.loop, sock, self)
        interface.join(self)

    # -- as a connection of the interface ---------------------------------------

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

    # -- as the wire's handler ---------------------------------------------------

    def on_data(self, wire: Wire, data: bytes) -> None:
        """Take in bytes, and answer whatever is complete."""
        self._buffer += data
        if not self._answering:
            self._advance()
        if self._answering and len(self._buffer) > MAX_HEAD_BYTES:
            wire.pause()

    def on_eof(self, wire: Wire) -> None:
        """The client sends no more: answer what it asked, then close."""
        if not self._answering:
            self._advance()

    def on_drained(self, wire: Wire) -> None:
        """Room for more of a large body."""
        if self._chunks is not None:
            self._send_chunks(self._chunks)
            self._advance()

    def on_closed(self, wire: Wire, error: OSError | None) -> None:
        """The connection is gone."""
        self._chunks = None
        self._finished = True
        self._interface.leave(self)

    # -- reading requests ----------------------------------------------------------

    def _advance(self) -> None:
        """Answer requests until one is not complete yet, or its answer takes time."""
        try:
            while not self._answering and not self._finished:
                if self._head is None:
                    if not self._read_head():
                        break
                elif self._read_body():
                    self._answer()
                else:
                    break
            if self._wire.ended and not self._answering:
                self._finish()
        except _BadRequestError as bad:
            self._keep_alive = False
            text = f"{phrase(bad.status)}: {bad}\n".encode()
            self._send(Response(status=bad.status, body=text, close=True), head_only=False)

    def _read_head(self) -> bool:
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            if len(self._buffer) > MAX_HEAD_BYTES:
                raise _BadRequestError(431, "the request's head is too large")
            return False
        lines = self._buffer[:end].decode("latin-1").lstrip("\r\n").split("\r\n")
        del self._buffer[: end + 4]
        parts = lines[0].split(" ")
        if len(parts) != 3 or not parts[2].startswith("HTTP/1."):
            raise _BadRequestError(400, "the first line is not a request line")
        headers: dict[str, str] = {}
        for line in lines[1:]:
            name, colon, value = line.partition(":")
            if not colon or not name or name != name.strip():
                raise _BadRequestError(400, "a header line is malformed")
            headers[name.lower()] = value.strip()
        connection = headers.get("connection", "").lower()
        if parts[2] == "HTTP/1.0":
            self._keep_alive = "keep-alive" in connection
        else:
            self._keep_alive = "close" not in connection
        self._head = (parts[0], parts[1], headers)
        self._begin_body(headers)
        return True

    def _begin_body(self, headers: Mapping[str, str]) -> None:
        self._chunked = headers.get("transfer-encoding", "").lower() == "chunked"
        length = headers.get("content-length", "0")
        if not self._chunked and not (length.isascii() and length.isdigit()):
            raise _BadRequestError(400, "Content-Length is not a number")
        self._left = 0 if self._chunked else int(length)
        self._length = 0
        self._body = hashlib.sha256() if self._chunked or self._left else None
        if self._body is not None and headers.get("expect", "").lower() == "100-continue":
            self._wire.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def _read_body(self) -> bool:
        """Take in what has come of the body; whether it is complete."""
        if self._body is None:
            return True
        while True:
            if self._left:
                piece = bytes(self._buffer[: self._left])
                del self._buffer[: len(piece)]
                self._body.update(piece)
                self._left -= len(piece)
                self._length += len(piece)
                if self._left:
                    return False
                if not self._chunked:
                    return True
            if not self._chunked:
                return True
            size = self._next_chunk()
            if size is None:
                return False
            if size == 0:
                return True
            self._left = size

    def _next_chunk(self) -> int | None:
        """The next chunk's size, None if its line has not come yet. Trailers are dropped."""
        start = 2 if self._length and self._buffer[:2] == b"\r\n" else 0
        end = self._buffer.find(b"\r\n", start)
        if end < 0:
            return None
        text = self._buffer[start:end].split(b";")[0].strip()
        try:
            size = int(text, 16)
        except ValueError:
            raise _BadRequestError(400, "a chunk's size is malformed") from None
        if size == 0:
            tail = self._buffer.find(b"\r\n\r\n", end)
            if tail < 0:
                return None
            del self._buffer[: tail + 4]
        else:
            del self._buffer[: end + 2]
        return size

    # -- answering -------------------------------------------------------------------

    def _answer(self) -> None:
        assert self._head is not None
        method, target, headers = self._head
        request = Request(
            method=method,
            target=target,
            headers=headers,
            client=self._client,
            body_bytes=self._length,
            body_sha256=self._body.hexdigest() if self._body is not None else "",
        )
        response = self._respond(request)
        self._answering = True
        if response.delay_seconds > 0:
            loop = self._interface.loop
            loop.call_later(response.delay_seconds, self._send_late, response, method == "HEAD")
        else:
            self._send(response, head_only=method == "HEAD")

    def _send_late(self, response: Response, head_only: bool) -> None:
        self._send(response, head_only)
        self._advance()

    def _send(self, response: Response, head_only: bool) -> None:
        self._answering = True
        length = len(response.body) if response.chunks is None else response.length
        self._keep_alive = self._keep_alive and not response.close
        lines = [f"HTTP/1.1 {response.status} {phrase(response.status)}"]
        if response.status in _BODILESS:
            head_only = True
        else:
            lines.append(f"Content-Type: {response.content_type}")
            lines.append(f"Content-Length: {length}")
        lines.extend(f"{name}: {value}" for name, value in response.headers.items())
        if not self._keep_alive:
            lines.append("Connection: close")
        head = ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")
        if head_only or response.chunks is None:
            self._wire.write(head if head_only else head + response.body)
            self._done()
        else:
            self._wire.write(head)
            self._send_chunks(response.chunks)

    def _send_chunks(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        for chunk in chunks:
            if not self._wire.write(chunk):
                return  # on_drained goes on
            if self._finished:
                return
        self._chunks = None
        self._done()

    def _done(self) -> None:
        self._answering = False
        self._head = None
        if self._keep_alive:
            self._wire.resume()
        else:
            self._finish()

    def _finish(self) -> None:
        if not self._finished:
            self._finished = True
            self._wire.finish()


def phrase(status: int) -> str:
    """A status in words; the number itself where there are none."""
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return str(status)


def http_accept(
    interface: Interface, respond: Respond
) -> Callable[[socket.socket, tuple[str, int]], None]:
    """An `accept` for a Listener that serves HTTP."""

    def accept(sock: socket.socket, peer: tuple[str, int]) -> None:
        HttpConnection(interface, sock, peer, respond)

    return accept
