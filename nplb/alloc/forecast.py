"""How fast numbers are taken, and when none will be left.

The rate is a difference over the time watched, up to a day: what was taken less what was given
back. It is simple on purpose, so that an operator can check it against the journal.
"""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass

WINDOW_SECONDS = 24 * 3600.0
STEP_SECONDS = 300.0
MIN_WATCHED_SECONDS = 600.0


@dataclass(frozen=True, slots=True)
class _Sample:
    at: float
    used: Mapping[str, int]


class History:
    """How much of each of several things was used, sampled every few minutes for a day.

    Names are free (bands, namespaces). A name that a sample lacks was 0 then.
    """

    __slots__ = ("_samples",)

    def __init__(self) -> None:
        self._samples: deque[_Sample] = deque()

    @property
    def since(self) -> float | None:
        """The time of the oldest sample."""
        return self._samples[0].at if self._samples else None

    def note(self, now: float, used: Mapping[str, int]) -> None:
        """Take a sample if it is time for one. A clock that went back starts over."""
        samples = self._samples
        if samples and now < samples[-1].at:
            samples.clear()
        if not samples or now - samples[-1].at >= STEP_SECONDS:
            samples.append(_Sample(now, dict(used)))
        while len(samples) > 2 and samples[1].at <= now - WINDOW_SECONDS:
            samples.popleft()

    def per_hour(self, name: str, used: int, now: float) -> float | None:
        """How many more are used than at the start of the window, for each hour since; None
        until ten minutes have been watched."""
        if not self._samples:
            return None
        oldest = self._samples[0]
        watched = now - oldest.at
        if watched < MIN_WATCHED_SECONDS:
            return None
        return (used - oldest.used.get(name, 0)) * 3600.0 / watched


def full_at(free: int, per_hour: float | None, now: float) -> float | None:
    """When nothing is free at this rate; `now` if nothing is, None if it is not filling."""
    if free <= 0:
        return now
    if per_hour is None or per_hour <= 0:
        return None
    return now + free / per_hour * 3600.0
