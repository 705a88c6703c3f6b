"""The epoll loop of a worker: events, the clock, and the wheel of deadlines."""

import select
from _socket import socket
from collections.abc import Callable
from time import monotonic
from typing import Any, Protocol

TICK_SECONDS = 0.05
IDLE_WAIT_SECONDS = 0.5
EVENTS = 256


class Handler(Protocol):
    """Whoever owns a descriptor in the loop."""

    def on_event(self, mask: int) -> None:
        """Something happened to the descriptor."""


class Timed(Protocol):
    """Whoever waits in the wheel. `bucket` belongs to the wheel."""

    bucket: "dict[Any, None] | None"
    wake: int

    def on_time(self) -> None:
        """The tick that it waited for has come."""


class Loop:
    """One thread's events. `now` is monotonic seconds, taken once per turn; `turn` counts the
    turns, `tick` the ticks of the wheel (a twentieth of a second each). `fault` is called with
    whoever raised an exception, and that: it must not cost the others anything. Who is None where
    the loop itself had no memory, and events may have been lost.

    Sockets in `dead` are closed at the end of the turn. So within a turn no descriptor's number
    gets a new owner, who would be told of events that were the old one's.
    """

    __slots__ = (
        "_poll",
        "_soon",
        "_wheel",
        "dead",
        "each_tick",
        "epoll",
        "fault",
        "handlers",
        "modify",
        "now",
        "register",
        "running",
        "tick",
        "turn",
    )

    def __init__(self) -> None:
        self.epoll = select.epoll()
        self.register = self.epoll.register
        self.modify = self.epoll.modify
        self._poll = self.epoll.poll
        self.handlers: dict[int, Handler] = {}
        self.dead: list[socket] = []
        self._soon: list[Callable[[], None]] = []
        self._wheel: dict[int, dict[Timed, None]] = {}
        self.each_tick: list[Callable[[], None]] = []
        self.now = monotonic()
        self.tick = int(self.now / TICK_SECONDS)
        self.turn = 0
        self.running = True
        self.fault: Callable[[Any, Exception], None] = _tell

    def soon(self, call: Callable[[], None]) -> None:
        """Call once at the next turn, after that turn's events."""
        self._soon.append(call)

    def wake_at(self, timed: Timed, at: float) -> None:
        """Wake `timed` when `at` has passed, instead of when it was to wake before."""
        bucket = timed.bucket
        if bucket is not None:
            bucket.pop(timed, None)
        tick = int(at / TICK_SECONDS) + 1
        if tick <= self.tick:
            tick = self.tick + 1
        bucket = self._wheel.get(tick)
        if bucket is None:
            bucket = self._wheel[tick] = {}
        bucket[timed] = None
        timed.bucket = bucket
        timed.wake = tick

    def forget(self, timed: Timed) -> None:
        """`timed` is not to be woken any more."""
        bucket = timed.bucket
        if bucket is not None:
            bucket.pop(timed, None)
            timed.bucket = None

    def run(self) -> None:
        """Turn until `running` is false."""
        handlers = self.handlers
        dead = self.dead
        next_tick = (self.tick + 1) * TICK_SECONDS
        while self.running:
            if self._soon:
                wait = 0.0
            elif self._wheel:
                wait = TICK_SECONDS
            else:
                wait = IDLE_WAIT_SECONDS
            events = self._events(wait)
            now = self.now = monotonic()
            self.turn += 1
            for fd, mask in events:
                handler = handlers.get(fd)
                if handler is not None:
                    try:
                        handler.on_event(mask)
                    except Exception as error:
                        self.fault(handler, error)
            if self._soon:
                self._call()
            if now >= next_tick:
                self._advance(int(now / TICK_SECONDS))
                next_tick = (self.tick + 1) * TICK_SECONDS
            while dead:
                dead.pop().close()

    # Handlers of exceptions are to be near the beginning of a function: CPython leaves one with the
    # number of an instruction in hand, for which it wants memory from 257 on, and where there is
    # none it tries again for ever.

    def _events(self, wait: float) -> list[tuple[int, int]]:
        try:
            return self._poll(wait, EVENTS)
        except MemoryError as error:
            self.fault(None, error)
            return []

    def _call(self) -> None:
        calls = self._soon
        self._soon = []
        for call in calls:
            try:
                call()
            except Exception as error:
                self.fault(getattr(call, "__self__", None), error)

    def _wake(self, bucket: dict[Timed, None]) -> None:
        while bucket:
            timed = next(iter(bucket))
            del bucket[timed]
            timed.bucket = None
            try:
                timed.on_time()
            except Exception as error:
                self.fault(timed, error)

    def _advance(self, tick: int) -> None:
        wheel = self._wheel
        # After a long sleep of the machine, look at what is there instead of at each tick.
        if tick - self.tick > len(wheel) + 1000:
            due = sorted(t for t in wheel if t <= tick)
        else:
            due = [t for t in range(self.tick + 1, tick + 1) if t in wheel]
        self.tick = tick
        for t in due:
            self._wake(wheel.pop(t))
        for call in self.each_tick:
            try:
                call()
            except MemoryError as error:
                self.fault(None, error)


def _tell(who: Any, error: Exception) -> None:
    import traceback  # slow to import, and rarely needed

    traceback.print_exception(error)
