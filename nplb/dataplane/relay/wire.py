"""What control and a worker say to each other: JSON objects in frames, over a Unix stream.

A frame is a 4-byte big-endian length and that many bytes of one JSON object with an "op".
Descriptors travel with the first byte of the frame that needs them, so they are there when
the frame is complete; a frame says how many it takes with "fds".

To a worker:
  keep       a descriptor for safe keeping under a name (1 descriptor): the next control is given
             it, should this one die
  drop       what is kept under a name is needed no more
  sources    a set of addresses in memory (1 descriptor), which frontends name
  forget_sources   sets that no frontend names any more
  frontend   one whole frontend, new or changed
  listen     a listening socket for it (1 descriptor): address, and its seat of those with it
  unlisten   one of its addresses listens no longer; one seat of it, or all
  remove     the frontend has left the plan; its connections live on
  backends   quick changes: [frontend row, backend row, state, weight, since] each
  limits     what holds for the worker as a whole
  commit     everything up to here is one generation; answered by `applied`
  retire     listen no more, and end with the last connection
  unlisten_all, reset_all, stop   the end, in three steps
From a worker:
  ready      the loop turns
  applied    everything before that commit is in force
  log        a line for the log (limited; what is dropped is counted)
  failure    a connect failed (limited for each backend)

At a worker's rendezvous (see `worker.rendezvous`), the next control says `inspect` and is told:
  worker     what it is; its process and counters, then all that was kept (descriptors)
  frontends  rows and names
  listeners  [row, address, seat] each, and the sockets (descriptors)
  end        that was all
then `adopt`, answered by `adopted`: from then on, this is the line to control.
"""

import json
import struct
from _socket import CMSG_SPACE, SCM_RIGHTS, SOL_SOCKET, socket
from collections.abc import Iterator
from typing import Any

HEAD = struct.Struct(">I")
# Grows whenever a worker of before would misunderstand control, or the other way round.
PROTOCOL = 1
MAX_FRAME = 64 << 20


class ProtocolError(Exception):
    """The other side said something that this side does not understand."""


def encode(message: dict[str, Any]) -> bytes:
    """One frame."""
    body = json.dumps(message, separators=(",", ":")).encode()
    return HEAD.pack(len(body)) + body


def receive(sock: socket, most_bytes: int, most_descriptors: int) -> tuple[bytes, list[int]] | None:
    """What has come: bytes, and the descriptors with them, which the caller owns. None if nothing
    has; no bytes if the other side has closed the line, or it is broken."""
    try:
        data, ancillary, _, _ = sock.recvmsg(most_bytes, CMSG_SPACE(4 * most_descriptors))
    except BlockingIOError:
        return None
    except OSError:
        return b"", []
    descriptors: list[int] = []
    for level, kind, payload in ancillary:
        if level == SOL_SOCKET and kind == SCM_RIGHTS:
            whole = len(payload) // 4 * 4
            descriptors += [fd for (fd,) in struct.iter_unpack("i", payload[:whole])]
    return data, descriptors


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
