"""HTTP: one request, and an answer whose status must be an expected one.

The answer is read to its end if it is short and says how long it is, so that the application
sees an ordinary client; its status alone decides. What `pkg/proxy/healthcheck/service_health.go`
says of local endpoints, in a header or, before Kubernetes 1.28, in the body alone, becomes the
result's weight.
"""

import json
from collections.abc import Sequence

from nplb.health.probes.conversation import MAX_BYTES, Result, unexpected
from nplb.model.reasons import Cause

WEIGHT_HEADER = b"x-load-balancing-endpoint-weight"
_END = b"\r\n\r\n"


class HttpRequest:
    """`host` goes into the Host header as it is; `status` are ranges of numbers, both ends
    included."""

    def __init__(
        self, *, method: str, path: str, host: str, status: Sequence[tuple[int, int]]
    ) -> None:
        self.result: Result | None = None
        self._method = method
        self._path = path
        self._host = host
        self._status = status
        self._heard = b""
        self._body_at = -1
        self._length: int | None = None

    def begin(self) -> bytes:
        """The request."""
        return (
            f"{self._method} {self._path} HTTP/1.1\r\nHost: {self._host}\r\n"
            "User-Agent: nplb-probe\r\nAccept: */*\r\nConnection: close\r\n\r\n"
        ).encode()

    def receive(self, data: bytes) -> bytes:
        """Take in a part of the answer."""
        self._heard += data
        if self._body_at < 0:
            at = self._heard.find(_END)
            if at < 0:
                if len(self._heard) > MAX_BYTES:
                    self.result = unexpected("the answer's head has no end")
                elif not b"HTTP/1.".startswith(self._heard[:7]):
                    self.result = unexpected("answered, but not in HTTP")
                return b""
            self._body_at = at + len(_END)
            self._length = self._announced()
        if self._length is None or len(self._heard) - self._body_at >= self._length:
            self._judge()
        return b""

    def end(self) -> None:
        """There is no more to come."""
        if self._body_at < 0:
            heard = "in the middle of its answer's head" if self._heard else "without an answer"
            self.result = unexpected(f"closed the connection {heard}")
        else:
            self._judge()

    def _headers(self) -> dict[bytes, bytes]:
        lines = self._heard[: self._body_at].split(b"\r\n")[1:]
        pairs = (line.partition(b":") for line in lines)
        return {name.strip().lower(): value.strip() for name, _, value in pairs}

    def _announced(self) -> int | None:
        """How long the body is that is worth reading."""
        text = self._headers().get(b"content-length", b"")
        length = int(text) if text.isdigit() and len(text) < 10 else None
        if self._method == "HEAD" or length is None or length > MAX_BYTES:
            return None
        return length

    def _judge(self) -> None:
        line = self._heard.split(b"\r\n", 1)[0]
        words = line.split(b" ", 2)
        if len(words) < 2 or not (words[1].isdigit() and len(words[1]) == 3):
            self.result = unexpected("answered, but not in HTTP")
            return
        number = int(words[1])
        if any(low <= number <= high for low, high in self._status):
            self.result = Result(cause=Cause.CONNECTED, answer=number, weight=self._weight())
        else:
            wanted = ", ".join(f"{a}-{b}" if a != b else str(a) for a, b in self._status)
            shown = b" ".join(words[1:]).decode("latin-1")
            self.result = unexpected(f"answered {shown!r}, not {wanted}", answer=number)

    def _weight(self) -> int | None:
        text = self._headers().get(WEIGHT_HEADER)
        if text is not None:
            return int(text) if text.isdigit() and len(text) < 10 else None
        body = self._heard[self._body_at :]
        if b'"localEndpoints"' not in body:
            return None
        try:
            count = json.loads(body)["localEndpoints"]
        except (ValueError, KeyError, TypeError, RecursionError):
            return None
        return count if isinstance(count, int) and count >= 0 else None
