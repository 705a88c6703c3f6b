"""The line between a control process and its successor, and what they say to each other over it.

    successor                       predecessor
    prepared    configuration read,
                everything imported
                                    go        nothing changes any more; its state is written; with
                                              the runtime directory's lock, and the admin server's
                                              listening socket if there is one
    ready       its workers accept,
                its plan is applied
                                    yours     the service manager has been told
    done        it has the workers
                                    (ends)

Until `yours` either may fail, and the predecessor goes on as if nothing had happened.
"""

import asyncio
import os
import socket
from collections import deque
from typing import Any

from nplb.dataplane.relay.wire import Decoder, ProtocolError, encode

ENVIRONMENT = "NPLB_SUCCEEDS"
"""Set for a successor: the descriptor of its end of the line."""


class LineBroken(Exception):
    """The other side has ended, or said something else than was expected."""


class Line:
    """One end. Owns its socket, and the descriptors that came and were not taken."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._decoder = Decoder()
        self._fds: deque[int] = deque()
        sock.setblocking(False)

    async def say(self, op: str, *, fds: tuple[int, ...] = (), **more: Any) -> None:
        """Say something, with descriptors, which stay the caller's. Errors: LineBroken."""
        data = encode({"op": op, **more})
        try:
            # So little that it always fits.
            if fds:
                socket.send_fds(self._sock, [data], list(fds))
            else:
                self._sock.send(data)
        except OSError as error:
            raise LineBroken(f"it can't be told {op!r}: {error.strerror}") from error
        await asyncio.sleep(0)

    async def hear(self, op: str) -> dict[str, Any]:
        """Wait for this and nothing else. Errors: LineBroken, with what the other side said was
        wrong if it said so."""
        loop = asyncio.get_running_loop()
        while True:
            try:
                message = next(self._decoder, None)
            except ProtocolError as error:
                raise LineBroken(str(error)) from error
            if message is not None:
                if message["op"] == "failed":
                    raise LineBroken(str(message["why"]))
                if message["op"] != op:
                    raise LineBroken(f"it said {message['op']!r} instead of {op!r}")
                return message
            readable: asyncio.Future[None] = loop.create_future()
            loop.add_reader(self._sock, _wake, readable)
            try:
                await readable
            finally:
                loop.remove_reader(self._sock)
            try:
                data, fds, _, _ = socket.recv_fds(self._sock, 65536, 8)
            except BlockingIOError:
                continue
            except OSError as error:
                raise LineBroken(str(error)) from error
            for fd in fds:
                os.set_inheritable(fd, False)
            self._fds.extend(fds)
            if not data:
                raise LineBroken("it has ended")
            self._decoder.feed(data)

    def take_fd(self) -> int:
        """A descriptor that came, in the order of sending, owned by the caller from now on."""
        return self._fds.popleft()

    def close(self) -> None:
        """Close the line, and what came and was not taken."""
        self._sock.close()
        while self._fds:
            os.close(self._fds.popleft())


def _wake(future: "asyncio.Future[None]") -> None:
    if not future.done():
        future.set_result(None)


def predecessor() -> Line | None:
    """The line to the control process that this one is to succeed, if it is to."""
    text = os.environ.pop(ENVIRONMENT, "")
    if not text.isdigit():
        return None
    try:
        sock = socket.socket(fileno=int(text))
        os.set_inheritable(sock.fileno(), False)
    except OSError:
        return None
    return Line(sock)
