"""Clients of the demo: real connections through the edge, every answer checked and counted.

A request fails when its connection is refused, reset or silent, or when the answer is wrong,
also when it is another service's. Connections that were open when a node went silent are
counted apart if they fail: no balancer can save what was already on its way through the node.
"""

import asyncio
import errno
import itertools
import json
import math
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from nplb.aio.tasks import TaskOwner
from nplb.model.keys import Address

REQUEST_TIMEOUT_SECONDS = 5.0
# A kept connection is replaced after so many requests, or so many seconds, as HTTP clients and
# servers do. The time is well within a drain's, also where a machine is slow to answer.
REQUESTS_PER_CONNECTION = 25
CONNECTION_SECONDS = 2.0
PAUSE_SECONDS = 0.02
TRICKLE_SECONDS = 0.25
# So many failures are kept one by one.
FAILURES_KEPT = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """One request that failed: what happened, how long after the connection was begun, when
    (`time.monotonic()`), and in which `phase` of what was done to the cluster."""

    reason: str
    after_seconds: float
    at: float
    phase: str


@dataclass
class Tally:
    """What the clients saw. `apart` are failures of connections that were open when a node
    went silent; `reasons` counts the other failures by what happened, and `failures` has the
    first of them. `slowest_seconds` is the slowest answer, `slowest_fresh_seconds` that over a
    connection opened since a node last went silent, connect included."""

    requests: int = 0
    failed: int = 0
    apart: int = 0
    connections: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    failures: list[Failure] = field(default_factory=list)
    pods: Counter[str] = field(default_factory=Counter)
    slowest_seconds: float = 0.0
    slowest_fresh_seconds: float = 0.0


class ClientError(Exception):
    """One request that failed, in words."""


class Connection:
    """One client connection that asks for `/json` and checks that the right service answers.

    `over` is set when the server said that it will close after its answer.
    """

    def __init__(self, address: Address, service: str) -> None:
        self._address = address
        self._service = service
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        self.begun_at = 0.0
        self.over = False

    async def open(self) -> None:
        """Connect to the edge."""
        # Before, not after: the edge may have chosen its node long before this process, which is
        # the lab's too, gets round to the answer.
        self.begun_at = time.monotonic()
        try:
            async with asyncio.timeout(REQUEST_TIMEOUT_SECONDS):
                self._streams = await asyncio.open_connection(self._address.ip, self._address.port)
        except TimeoutError:
            raise ClientError("connect timed out") from None
        except OSError as error:
            raise ClientError(f"connect failed: {_what(error)}") from None

    async def request(self) -> str:
        """One request and its answer. Returns the name of the pod that answered."""
        assert self._streams is not None
        reader, writer = self._streams
        try:
            async with asyncio.timeout(REQUEST_TIMEOUT_SECONDS):
                writer.write(b"GET /json HTTP/1.1\r\nHost: demo\r\n\r\n")
                await writer.drain()
                head = await reader.readuntil(b"\r\n\r\n")
                length = _content_length(head)
                body = await reader.readexactly(length)
        except TimeoutError:
            raise ClientError("no answer in time") from None
        except asyncio.IncompleteReadError as error:
            at = "in the answer" if error.partial else "before the answer"
            raise ClientError(f"connection closed {at}") from None
        except OSError as error:
            raise ClientError(f"connection broke: {_what(error)}") from None
        return self._check(head, body)

    def _check(self, head: bytes, body: bytes) -> str:
        if not head.startswith(b"HTTP/1.1 200 "):
            raise ClientError(f"answered {head.splitlines()[0].decode(errors='replace')}")
        self.over = b"\r\nconnection: close" in head.lower()
        answer = json.loads(body)
        name = f"{answer['namespace']}/{answer['service']}"
        if name != self._service:
            raise ClientError(f"wrong service: asked {self._service}, got {name}")
        return str(answer["pod"])

    async def close(self) -> None:
        """Close; safe at any time."""
        if self._streams is None:
            return
        writer = self._streams[1]
        self._streams = None
        writer.close()
        try:
            async with asyncio.timeout(1):
                await writer.wait_closed()
        except (OSError, TimeoutError):
            writer.transport.abort()


class Traffic:
    """A trickle of clients, each its own task, until stopped. `phase` is what failures are said
    to have happened in."""

    def __init__(self) -> None:
        self.tally = Tally()
        self.pause_seconds = PAUSE_SECONDS
        self.phase = ""
        self._tasks = TaskOwner("traffic")
        self._stop: dict[str, asyncio.Event] = {}
        self._running: dict[str, list[asyncio.Task[None]]] = {}
        self._silent_at = 0.0
        self._numbers = itertools.count(1)

    def start(
        self, service: str, address: Address, *, kept: int, fresh: int, lifelong: int = 0
    ) -> None:
        """Start clients of one service (`namespace/name`) at one edge address.

        `kept` clients send several requests over each connection, `fresh` ones open a
        connection for every request, `lifelong` ones never give theirs up.
        """
        stop = self._stop.setdefault(service, asyncio.Event())
        running = self._running.setdefault(service, [])
        brief = (REQUESTS_PER_CONNECTION, CONNECTION_SECONDS)
        kinds = [brief] * kept + [(1, 0.0)] * fresh + [(10**9, math.inf)] * lifelong
        for requests, seconds in kinds:
            client = self._client(service, address, requests, seconds, stop.is_set)
            running.append(self._tasks.spawn(client, f"client-{next(self._numbers)}"))

    async def stop(self, service: str | None = None) -> None:
        """Let the clients of one service (or all) finish their request, then end them."""
        for name in [service] if service is not None else list(self._stop):
            self._stop.pop(name).set()
            await asyncio.gather(*self._running.pop(name))

    def node_went_silent(self, lasting_seconds: float = 0.0) -> None:
        """Connections begun before now, or within so many seconds, may fail without it being the
        balancer's fault."""
        self._silent_at = time.monotonic() + lasting_seconds

    async def _client(
        self,
        service: str,
        address: Address,
        requests: int,
        seconds: float,
        stopped: Callable[[], bool],
    ) -> None:
        """One connection after another, each for so many requests or so long, until stopped."""
        tally = self.tally
        while not stopped():
            connection = Connection(address, service)
            try:
                begun = time.monotonic()
                await connection.open()
                tally.connections += 1
                for _ in range(requests):
                    pod = await connection.request()
                    self._note_time(connection, time.monotonic() - begun)
                    tally.requests += 1
                    tally.pods[pod] += 1
                    await asyncio.sleep(self.pause_seconds)
                    if connection.over or stopped():
                        break
                    begun = time.monotonic()
                    if begun - connection.begun_at > seconds:
                        break
            except ClientError as error:
                tally.requests += 1
                if connection.begun_at <= self._silent_at:
                    tally.apart += 1
                else:
                    self._note_failure(f"{service}: {error}", connection)
                    await asyncio.sleep(PAUSE_SECONDS)
            finally:
                await connection.close()

    def _note_time(self, connection: Connection, seconds: float) -> None:
        tally = self.tally
        tally.slowest_seconds = max(tally.slowest_seconds, seconds)
        if connection.begun_at > self._silent_at:
            tally.slowest_fresh_seconds = max(tally.slowest_fresh_seconds, seconds)

    def _note_failure(self, reason: str, connection: Connection) -> None:
        tally = self.tally
        tally.failed += 1
        tally.reasons[reason] += 1
        if len(tally.failures) < FAILURES_KEPT:
            at = time.monotonic()
            after = at - connection.begun_at
            failure = Failure(reason=reason, after_seconds=after, at=at, phase=self.phase)
            tally.failures.append(failure)

    async def close(self) -> None:
        """End everything at once."""
        await self._tasks.close()


def _what(error: OSError) -> str:
    """Its number by name: asyncio's own text of a failed connect leaves that out."""
    name = errno.errorcode.get(error.errno or 0)
    return name or error.strerror or str(error)


def _content_length(head: bytes) -> int:
    for line in head.split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        if name.strip().lower() == b"content-length":
            return int(value)
    raise ClientError("the answer has no Content-Length")
