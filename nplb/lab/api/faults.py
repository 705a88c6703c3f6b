"""Faults of the API server, on command: what a balancer in front of a cluster must live through.

Each fault lasts for a number of seconds, or until it is cleared. They can be combined. Requests
meet them in this order: the listener is closed, the server hangs, something in front of it
answers 502, priority and fairness answers 429, authentication 401, authorization 403, and then
the server itself fails with 500. Open watch streams can be stalled, or cut in mid-line.
"""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum


class FaultKind(StrEnum):
    """What can be wrong with the API server, apart from missing rights."""

    DOWN = "down"  # connections are refused, open ones were cut
    HANG = "hang"  # connections are accepted, and nothing is answered
    BAD_GATEWAY = "bad_gateway"  # a proxy answers 502 with HTML
    TOO_MANY_REQUESTS = "too_many_requests"  # 429 with Retry-After
    UNAUTHORIZED = "unauthorized"  # 401 for every token
    INTERNAL_ERROR = "internal_error"  # 500
    STALL = "stall"  # watch streams stay open and send nothing
    CUT = "cut"  # watch streams end in the middle of a line


@dataclass(frozen=True, slots=True, kw_only=True)
class Denial:
    """A right that nobody has. `*` stands for every verb, resource or namespace."""

    verb: str = "*"
    resource: str = "*"
    namespace: str = "*"

    def covers(self, verb: str, resource: str, namespace: str) -> bool:
        """Whether a request falls under this denial; `namespace` is empty for all of them."""
        return (
            self.verb in ("*", verb)
            and self.resource in ("*", resource)
            and self.namespace in ("*", namespace)
        )


class ApiFaults:
    """What the API server does wrong now. Every method may be called at any time from the
    server's own event loop, and acts at once."""

    def __init__(self) -> None:
        self.denials: tuple[Denial, ...] = ()
        self.retry_after_seconds = 1
        self.cuts = 0  # how often streams were told to break off; watches compare
        self._until: dict[FaultKind, float] = {}
        self._changed = asyncio.Event()
        self.on_change: Callable[[], None] = lambda: None
        self.on_restart: Callable[[], None] = lambda: None

    # -- commands -------------------------------------------------------------

    def down(self, seconds: float | None = None) -> None:
        """Refuse connections and cut every open one."""
        self.start(FaultKind.DOWN, seconds)

    def hang(self, seconds: float | None = None) -> None:
        """Accept connections and never answer; what was asked meanwhile is answered after."""
        self.start(FaultKind.HANG, seconds)

    def restart(self, seconds: float = 0.0) -> None:
        """Go away, for `seconds`, and come back as a new process: every connection is cut, the
        watch cache begins anew (any earlier resourceVersion is Expired, 410), and continue
        tokens are too old."""
        self.on_restart()
        self.start(FaultKind.DOWN, seconds)

    def bad_gateway(self, seconds: float | None = None) -> None:
        """Answer every request with a proxy's 502 and its HTML."""
        self.start(FaultKind.BAD_GATEWAY, seconds)

    def too_many_requests(self, seconds: float | None = None, *, retry_after: int = 1) -> None:
        """Answer every request with 429, to be repeated after `retry_after` seconds."""
        self.retry_after_seconds = retry_after
        self.start(FaultKind.TOO_MANY_REQUESTS, seconds)

    def unauthorized(self, seconds: float | None = None) -> None:
        """Take no token."""
        self.start(FaultKind.UNAUTHORIZED, seconds)

    def internal_error(self, seconds: float | None = None) -> None:
        """Answer every request with 500."""
        self.start(FaultKind.INTERNAL_ERROR, seconds)

    def stall_watches(self, seconds: float | None = None) -> None:
        """Let watch streams stay open and send nothing, not even their end."""
        self.start(FaultKind.STALL, seconds)

    def cut_streams(self, seconds: float | None = 0) -> None:
        """Break every open watch stream off in the middle of a line. With `seconds`, streams
        that open meanwhile break off in their first line."""
        self.cuts += 1
        self.start(FaultKind.CUT, seconds)

    def forbid(self, verb: str = "*", resource: str = "*", namespace: str = "*") -> None:
        """Take a right away: requests that need it get 403."""
        denial = Denial(verb=verb, resource=resource, namespace=namespace)
        self.denials = (*self.denials, denial)

    def allow(self) -> None:
        """Give every right back."""
        self.denials = ()

    def start(self, kind: FaultKind, seconds: float | None = None) -> None:
        """Begin a fault, for a time or until `clear`."""
        self._until[kind] = float("inf") if seconds is None else time.monotonic() + seconds
        self._notify()

    def clear(self, kind: FaultKind | None = None) -> None:
        """End one fault, or all of them and the denials."""
        if kind is None:
            self._until.clear()
            self.allow()
        else:
            self._until.pop(kind, None)
        self._notify()

    # -- asked by the server ----------------------------------------------------

    def is_active(self, kind: FaultKind) -> bool:
        """Whether this is wrong now."""
        return self._until.get(kind, 0.0) > time.monotonic()

    @property
    def active(self) -> dict[FaultKind, float]:
        """What is wrong now, and for how many more seconds (infinite: until cleared)."""
        now = time.monotonic()
        return {kind: until - now for kind, until in self._until.items() if until > now}

    def is_denied(self, verb: str, resource: str, namespace: str) -> bool:
        """Whether a right was taken away."""
        return any(denial.covers(verb, resource, namespace) for denial in self.denials)

    async def until_over(self, *kinds: FaultKind) -> None:
        """Wait until none of these is active."""
        while left := [seconds for kind, seconds in self.active.items() if kind in kinds]:
            await self.changed(max(left))

    async def changed(self, seconds: float) -> None:
        """Wait until a fault begins or is cleared, or until so many seconds have passed."""
        event = self._changed
        try:
            async with asyncio.timeout(None if seconds == float("inf") else seconds):
                await event.wait()
        except TimeoutError:
            return

    def _notify(self) -> None:
        # Whoever waits now is woken; whoever waits next waits for the next change.
        event, self._changed = self._changed, asyncio.Event()
        event.set()
        self.on_change()
