"""What control and a worker say to each other: JSON objects in frames, over a Unix stream.

A frame is a 4-byte big-endian length and that many bytes of one JSON object with an "op".
Descriptors travel with the first byte of the frame that needs them, so they are there when
the frame is complete; a frame says how many it takes with "fds".

To a worker:
  sources    a set of addresses in memory (1 descriptor), which frontends name
  forget_sources   sets that no frontend names any more
  frontend   one whole frontend, new or changed
  listen     a listening socket for it (1 descriptor)
  unlisten   one of its addresses listens no longer
  remove     the frontend has left the plan; its connections live on
  backends   quick changes: [frontend row, backend row, state, weight, since] each
  limits     what holds for the worker as a whole
  commit     everything up to here is one generation; answered by `applied`
  unlisten_all, reset_all, stop   the end, in three steps
From a worker:
  ready      the loop turns
  applied    everything before that commit is in force
  log        a line for the log (limited; what is dropped is counted)
  failure    a connect failed (limited for each backend)
"""

import json
import struct
from collections.abc import Iterator
from typing import Any

HEAD = struct.Struct(">I")
MAX_FRAME = 64 << 20


class ProtocolError(Exception):
    """The other side said something that this side does not understand."""


def encode(message: dict[str, Any]) -> bytes:
    """One frame."""
    body = json.dumps(message, separators=(",", ":")).encode()
    return HEAD.pack(len(body)) + body


class Decoder:
    """Puts frames together from whatever pieces the stream gives.

    Errors: ProtocolError for a length beyond `MAX_FRAME`, for what is not JSON, and for
    what is not an object with a text "op".
    """

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._start = 0

    def feed(self, data: bytes) -> None:
        """Take what was received."""
        self._buffer += data

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return self

    def __next__(self) -> dict[str, Any]:
        buffer, start = self._buffer, self._start
        if len(buffer) - start < HEAD.size:
            self._compact()
            raise StopIteration
        (size,) = HEAD.unpack_from(buffer, start)
        if size > MAX_FRAME:
            raise ProtocolError(f"a frame of {size} bytes is over the limit of {MAX_FRAME}")
        end = start + HEAD.size + size
        if len(buffer) < end:
            self._compact()
            raise StopIteration
        with memoryview(buffer) as view:
            body = bytes(view[start + HEAD.size : end])
        self._start = end
        try:
            message = json.loads(body)
        except (ValueError, RecursionError) as error:
            raise ProtocolError(f"a frame is not JSON: {error}") from error
        if not isinstance(message, dict) or not isinstance(message.get("op"), str):
            raise ProtocolError('a frame is not an object with a text "op"')
        return message

    @property
    def complete(self) -> bool:
        """Whether a whole frame is waiting."""
        held = len(self._buffer) - self._start
        if held < HEAD.size:
            return False
        (size,) = HEAD.unpack_from(self._buffer, self._start)
        return bool(held >= HEAD.size + size)

    def _compact(self) -> None:
        if self._start:
            del self._buffer[: self._start]
            self._start = 0
