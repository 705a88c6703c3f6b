"""Workers that have outlived their control: find them, and ask them what they have.

Asking changes nothing, so it may be done while another control still has them.
"""

import contextlib
import hashlib
import logging
import os
import socket
import sys
import time
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nplb.dataplane.relay.counters import LAYOUT
from nplb.dataplane.relay.runtime import RuntimeDirectory
from nplb.dataplane.relay.wire import PROTOCOL, Decoder, ProtocolError, encode

log = logging.getLogger(__name__)

ANSWER_SECONDS = 3.0
ENDING_SECONDS = 0.2
READ_BYTES = 256 << 10
MOST_DESCRIPTORS = 64


@dataclass(slots=True, kw_only=True)
class Survivor:
    """What a worker says it has. All descriptors and sockets belong to whoever holds this:
    `close` gives back those that were not taken out.

    `kept` is what control gave it for safe keeping: version and descriptor by name. `listeners`
    are by row, address and seat.
    """

    name: str
    protocol: int
    layout: int
    fingerprint: str
    index: int
    pid: int
    retired: bool
    pidfd: int = -1
    counters: int = -1
    kept: dict[str, tuple[int, int]] = field(default_factory=dict)
    frontends: dict[int, str] = field(default_factory=dict)
    listeners: dict[tuple[int, str, int], socket.socket] = field(default_factory=dict)

    @property
    def understood(self) -> bool:
        """Whether this control can tell it plans, and read its counters."""
        return self.protocol == PROTOCOL and self.layout == LAYOUT

    @property
    def same_code(self) -> bool:
        """Whether it runs what a new worker would run."""
        return self.understood and self.fingerprint == worker_fingerprint()

    def close(self) -> None:
        """Close every descriptor that is still in here."""
        for fd in (self.pidfd, self.counters, *(fd for _, fd in self.kept.values())):
            if fd >= 0:
                os.close(fd)
        for sock in self.listeners.values():
            sock.close()
        self.pidfd = self.counters = -1
        self.kept.clear()
        self.listeners.clear()


def worker_fingerprint() -> str:
    """What tells the code of a worker from any other: its files' contents, and Python's."""
    root = Path(__file__).parents[2]
    files = [
        *(root / "dataplane/relay").glob("*.py"),
        *(root / "dataplane/relay/worker").glob("*.py"),
        *(root / "policy").glob("*.py"),
        root / "model/reasons.py",
    ]
    digest = hashlib.sha256(sys.version.encode())
    for path in sorted(files):
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:16]


def find_survivors(
    runtime: RuntimeDirectory, *, known: frozenset[str] = frozenset()
) -> list[Survivor]:
    """Every worker that answers, but those at a `known` name. Blocks for a short time for each,
    and removes the rendezvous of workers that have ended."""
    found = []
    for name in runtime.names():
        if name in known:
            continue
        try:
            try:
                found.append(inspect(runtime, name))
            except (
                ConnectionResetError,
                BrokenPipeError,
            ):  # it has just ended, as the next attempt will show
                time.sleep(ENDING_SECONDS)
                found.append(inspect(runtime, name))
        except (ConnectionRefusedError, FileNotFoundError):
            runtime.remove(name)
        except (OSError, ProtocolError, KeyError, ValueError, TypeError) as error:
            log.warning("the relay worker at %s does not answer: %s", name, error)
    return found


def inspect(runtime: RuntimeDirectory, name: str, seconds: float = ANSWER_SECONDS) -> Survivor:
    """Ask one worker what it has. Errors: OSError, ProtocolError, and KeyError, ValueError or
    TypeError for an answer that makes no sense."""
    until = time.monotonic() + seconds
    decoder = Decoder()
    descriptors: deque[int] = deque()
    survivor: Survivor | None = None
    with runtime.connect(name, seconds) as sock:
        sock.sendall(encode({"op": "inspect"}))
        try:
            while True:
                for message in decoder:
                    if message["op"] == "end":
                        if survivor is None:
                            raise ProtocolError("it did not say what it is")
                        found, survivor = survivor, None
                        return found
                    survivor = _take(message, survivor, name, descriptors)
                sock.settimeout(max(until - time.monotonic(), 0.001))
                data, fds, _, _ = socket.recv_fds(sock, READ_BYTES, MOST_DESCRIPTORS)
                for fd in fds:
                    os.set_inheritable(fd, False)
                descriptors.extend(fds)
                if not data:
                    raise ConnectionResetError("it has closed the line")
                decoder.feed(data)
        finally:
            if survivor is not None:
                survivor.close()
            for fd in descriptors:
                os.close(fd)


def _take(
    message: dict[str, Any], survivor: Survivor | None, name: str, descriptors: deque[int]
) -> Survivor:
    op = message["op"]
    if op == "worker":
        survivor = Survivor(
            name=name,
            protocol=int(message["protocol"]),
            layout=int(message["layout"]),
            fingerprint=str(message["fingerprint"]),
            index=int(message["worker"]),
            pid=int(message["pid"]),
            retired=bool(message["retired"]),
        )
        survivor.pidfd = descriptors.popleft()
        survivor.counters = descriptors.popleft()
        for kept, version in message["kept"]:
            survivor.kept[str(kept)] = int(version), descriptors.popleft()
        return survivor
    if survivor is None:
        raise ProtocolError(f"it began with {op!r}")
    if op == "frontends":
        survivor.frontends.update((int(row), str(text)) for row, text in message["rows"])
    elif op == "listeners":
        for row, address, seat in message["of"]:
            sock = socket.socket(fileno=descriptors.popleft())
            survivor.listeners[int(row), str(address), int(seat)] = sock
    else:
        raise ProtocolError(f"it said {op!r}")
    return survivor


def take_line(
    runtime: RuntimeDirectory, name: str, seconds: float = ANSWER_SECONDS
) -> socket.socket:
    """Become the control of the worker at `name`: the line to it, which the caller owns. The
    worker answers over it with `adopted`. Errors: OSError."""
    sock = runtime.connect(name, seconds)
    try:
        sock.sendall(encode({"op": "adopt"}))
    except BaseException:
        sock.close()
        raise
    with contextlib.suppress(OSError):
        sock.setblocking(False)
    return sock
