"""The probes that the services of one node share: whom to ask next, and what the answers say. Pure.

While all is well one service is asked at a turn, each in its own turn. When it does not answer as
it should, that may be its own fault: so the next turn asks a jury of several others at once, and
the node's own history, by the same table as a backend's, counts a turn as failed only if none of
those asked answers. `fall` such turns in a row, two at least, and the node is down for all its
services; then juries are asked at the slow interval until `rise` of them in a row pass.
"""

from collections.abc import Callable, Hashable
from typing import Generic, Protocol, TypeVar

from nplb.health import table
from nplb.model.health import HealthSettings, InitialState
from nplb.model.reasons import Cause

JURY = 5
MIN_FALL = 2
"""One failed turn does not speak for a node, however low `fall` is."""


class Member(Hashable, Protocol):
    """A target that shares. `works`: by what is known of it alone, it answers."""

    @property
    def works(self) -> bool:
        """Whether it should answer."""
        ...


M = TypeVar("M", bound=Member)


class NodeStream(Generic[M]):
    """The shared probes of one node. Times in seconds, by the caller's clock."""

    def __init__(self, turn_seconds: float, health: HealthSettings) -> None:
        self.turn_seconds = turn_seconds
        self.health = health
        self.history = table.start(InitialState.UP)
        self.members: dict[M, None] = {}
        self.begun_at = float("-inf")
        self.alarmed = False
        self.cause: Cause | None = None
        self.detail = ""
        self._queue: list[M] = []
        self._pending: set[M] = set()
        self._asked = 0
        self._answered = False
        self._voted = False

    @property
    def is_down(self) -> bool:
        """Whether the node is down for all its services."""
        return self.history.healthy is False

    @property
    def is_busy(self) -> bool:
        """Whether a turn's probes have not all ended yet."""
        return bool(self._pending)

    def waits_for(self, member: M) -> bool:
        """Whether this turn's probe of a member has not ended yet."""
        return member in self._pending

    def add(self, member: M) -> None:
        """A service that shares from now on."""
        if member not in self.members:
            self.members[member] = None

    def remove(self, member: M) -> None:
        """One that shares no more; a turn does not wait for it."""
        self.members.pop(member, None)
        self._pending.discard(member)

    def take_turn(self, at: float, draw: Callable[[], float]) -> list[M]:
        """Whom to probe now. Empty if there is nobody."""
        self.begun_at = at
        calm = self.history.state in (table.State.UP, table.State.TRUSTED) and not self.alarmed
        self.alarmed = False
        asked = [self._next()] if calm else self._jury(draw)
        chosen = [member for member in asked if member is not None]
        self._pending = set(chosen)
        self._asked = len(chosen)
        self._answered = self._voted = False
        return chosen

    def hear(self, member: M, cause: Cause | None) -> bool:
        """A probe of this turn has ended; None says nothing of the node. Returns whether the turn
        is over, and with it perhaps the node's state another one."""
        if member not in self._pending:
            return False
        self._pending.discard(member)
        if cause is not None:
            self._voted = True
            self._note(member, cause)
        if self._pending:
            return False
        if self._voted:
            self.history = table.step(
                self.history,
                self._answered,
                rise=self.health.rise,
                fall=max(self.health.fall, MIN_FALL),
            )
        return True

    def next_at(self, draw: Callable[[], float]) -> float:
        """When the next turn is due, after one that is over."""
        state = self.history.state
        if state is table.State.DOWN:
            seconds = self.health.slow_seconds or self.health.interval_seconds
        elif state in (table.State.FALLING, table.State.RISING):
            seconds = min(self.health.fast_seconds, self.turn_seconds)
        else:
            seconds = self.turn_seconds
        return self.begun_at + seconds * (1.0 - self.health.jitter * draw())

    def _note(self, member: M, cause: Cause) -> None:
        if cause in (Cause.TIMEOUT, Cause.UNREACHABLE, Cause.REFUSED) and (
            cause is not Cause.REFUSED or self._expected(member)
        ):
            self.cause = cause
            asked = f"{self._asked} services" if self._asked > 1 else "one service"
            self.detail = f"{asked} of the node asked, none answers"
        else:
            self._answered = True

    def _expected(self, member: M) -> bool:
        """Whether a refusal says anything: a Service without endpoints refuses on any node."""
        return not getattr(member, "expects_refusal", False)

    def _next(self) -> M | None:
        """The one whose turn it is; those that do not work anyway are passed over if possible."""
        for _ in range(len(self.members) + 1):
            while self._queue:
                member = self._queue.pop()
                if member in self.members and member.works:
                    return member
            self._queue = list(self.members)[::-1]
            if not any(member.works for member in self._queue):
                return next(iter(self.members), None)
        return None

    def _jury(self, draw: Callable[[], float]) -> list[M]:
        able = [member for member in self.members if member.works] or list(self.members)
        if len(able) <= JURY:
            return able
        return [able.pop(int(draw() * len(able))) for _ in range(JURY)]
