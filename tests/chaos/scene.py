"""What a fault acts on: the demo's stage, and the measures that are taken meanwhile."""

import asyncio
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from nplb.demo.conditions import Check, backends_of, is_in, sources_are
from nplb.demo.stage import HTTP_SERVICES, Stage

INTERVAL_SECONDS = 1.0
TIMEOUT_SECONDS = 0.5
FALL = 2
CONNECT_SECONDS = 1.0
"""As the stage configures them."""
BOUND_SECONDS = INTERVAL_SECONDS * FALL + TIMEOUT_SECONDS
POLL_SECONDS = 0.02
# What nodes go through as pods come and go, in services with `externalTrafficPolicy: Local`: a node
# drops as soon as it has no pod, and an edge that hears of it later may have probed it meanwhile.
LOCAL_SERVICES = frozenset({"local", "front"})
PODS_MOVE = frozenset(
    {"no_local_endpoint", "local_terminating", "local_silent", "health_check_port", "probing"}
)

_SERVICE = """\
apiVersion: v1
kind: Service
metadata: {{name: {name}}}
spec:
  type: NodePort
  selector: {{app: web}}
  ports: [{{port: 80, targetPort: 8080}}]
"""


@dataclass
class Record:
    """What was seen during one fault. `slowest_seconds` is the slowest answer over a connection
    opened since the fault, connect included. `bounds` are detection times with the bound they must
    keep, `notes` other measures, both in seconds; `broken` says what went wrong besides
    requests."""

    name: str
    requests: int = 0
    failed: int = 0
    apart: int = 0
    slowest_seconds: float = 0.0
    reasons: Counter[str] = field(default_factory=Counter)
    bounds: list[tuple[str, float, float]] = field(default_factory=list)
    notes: list[tuple[str, float]] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)


class Scene:
    """The stage, and the record of the fault that is played now."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.lab = stage.lab
        self.record = Record(name="")
        self._numbers = 0

    # -- for faults ------------------------------------------------------------

    async def hold(self, seconds: float) -> None:
        """Let clients work for a while."""
        await asyncio.sleep(seconds)

    def cut(self, lasting_seconds: float = 0.0) -> None:
        """What comes now ends connections that are open, or are opened within so many seconds:
        they may fail."""
        self.stage.traffic.node_went_silent(lasting_seconds)

    def apply(self, target: str, spec: str) -> float:
        """Turn a fault of the lab's on. Returns when, on the monotonic clock."""
        self.lab.faults.apply(target, spec)
        return time.monotonic()

    def clear(self, target: str) -> None:
        """Turn a target's faults off."""
        self.lab.faults.clear(target)

    async def until(self, check: Check, what: str, *, seconds: float = 30.0) -> float:
        """Wait for a condition of the status. Returns how long it took."""
        return await self.stage.until(check, what, seconds=seconds)

    def note(self, what: str, seconds: float) -> None:
        """A measure for the report."""
        self.record.notes.append((what, seconds))

    def bound(self, what: str, seconds: float, limit: float) -> None:
        """A measure that must not pass its limit."""
        self.record.bounds.append((what, seconds, limit))

    async def leaves_in_time(self, node: str, since: float) -> None:
        """Wait until a node that broke at `since` gets no new connection, and note how long the
        last one came after that: within `interval x fall + timeout`, and the time that a connect
        which was under way then may take to fail."""
        known = await self.attempts(node)
        last = since
        while True:
            status = await self._status()
            now = time.monotonic()
            counted = _attempts(status, node)
            if counted != known:
                known, last = counted, now
            out = all(b["state"] != "active" for b in backends_of(status, node))
            if out and now - last > CONNECT_SECONDS:
                break
            if now - since > 10 * BOUND_SECONDS:
                self.record.broken.append(f"{node} still gets connections")
                break
            await asyncio.sleep(POLL_SECONDS)
        self.bound("last connect counted", last - since, BOUND_SECONDS + CONNECT_SECONDS)

    def waits_once(self) -> None:
        """Note the longest that a client waited who came after the fault: one connect to what is
        silent, and an answer of another node."""
        slowest = self.stage.traffic.tally.slowest_fresh_seconds
        self.bound("longest wait of a client", slowest, CONNECT_SECONDS)

    async def attempts(self, node: str) -> int:
        """How many connects to a node clients' connections have made so far."""
        return _attempts(await self._status(), node)

    async def stays_in(self, node: str, seconds: float) -> None:
        """See that a node is used all the time."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            status = await self._status()
            bad = {
                f"{frontend['key']['text']} {b['state']}: {b['reason']}"
                for frontend in status["plan"]["frontends"]
                for b in frontend["backends"]
                if b["key"]["node"] == node and b["state"] != "active"
                if not (
                    frontend["key"]["service"]["name"] in LOCAL_SERVICES
                    and b["reason"] in PODS_MOVE
                )
            }
            if bad:
                self.record.broken.append(f"{node} should have stayed in, but is {sorted(bad)}")
                return
            await asyncio.sleep(POLL_SECONDS * 5)

    async def sees_changes(self, *, seconds: float = 120.0) -> None:
        """See that a new Service is served and a deleted one is not: discovery works again."""
        self._numbers += 1
        name = f"late-{self._numbers}"
        await self.lab.apply(_SERVICE.format(name=name))
        port = self.lab.node_port(f"default/{name}")
        took = await self.until(_is_served(port), f"{name} to be served", seconds=seconds)
        self.note("new service served", took)
        self.stage.delete_service(f"default/{name}")
        await self.until(
            lambda status: not _is_served(port)(status), f"{name} to go", seconds=seconds
        )

    async def whole(self, *, seconds: float = 60.0) -> float:
        """Wait until everything is as it was: every node in, every source live."""
        self.lab.faults.clear()
        begun = time.monotonic()
        for name in self.lab.nodes:
            await self.until(_is_back(name), f"{name} to be back", seconds=seconds)
        await self.until(sources_are("live"), "the source to be live", seconds=seconds)
        for service in HTTP_SERVICES:
            await self.lab.service_ready(service)
        return time.monotonic() - begun

    async def _status(self) -> dict[str, Any]:
        while True:
            try:
                return await self.stage.balancer.status()
            except (aiohttp.ClientError, TimeoutError):
                if not self.stage.balancer.running:
                    raise
                await asyncio.sleep(POLL_SECONDS)


def _attempts(status: dict[str, Any], node: str) -> int:
    mark = f" via {node} ("
    return sum(
        counters["connections"] + counters["connect_failures"]
        for key, counters in status["traffic"]["backends"].items()
        if mark in key
    )


def _is_back(node: str) -> Check:
    return lambda status: bool(backends_of(status, node)) and is_in(node)(status)


def _is_served(port: int) -> Check:
    return lambda status: any(
        frontend["state"] == "serving" and any(a["port"] == port for a in frontend["listen"])
        for frontend in status["plan"]["frontends"]
    )
