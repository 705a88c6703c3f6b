"""Which rights to write turned out to be missing, and when to try again."""

import logging
from collections.abc import Callable

from nplb.sources.kubernetes.faults import ApiFault
from nplb.sources.kubernetes.resources import Target

log = logging.getLogger(__name__)

FORBIDDEN = 403
MAX_SHOWN = 3


class Rights:
    """Remembers refusals by resource and namespace: what is forbidden in one namespace may well
    be allowed in another. `clock` is monotonic seconds."""

    def __init__(self, retry_seconds: float, clock: Callable[[], float]) -> None:
        self._retry_seconds = retry_seconds
        self._clock = clock
        self._refused: dict[tuple[str, str], tuple[float, str]] = {}

    def may_try(self, target: Target) -> bool:
        """Whether nothing is known against it, or long enough ago."""
        refused = self._refused.get((target.right, target.namespace))
        return refused is None or self._clock() - refused[0] >= self._retry_seconds

    def refused(self, target: Target, fault: ApiFault) -> None:
        """The API server has answered 403. Told to the log once."""
        key = (target.right, target.namespace)
        if key not in self._refused:
            log.warning("%s; nplb goes on without writing that", fault)
        self._refused[key] = (self._clock(), str(fault))

    def granted(self, target: Target) -> None:
        """It has worked."""
        self._refused.pop((target.right, target.namespace), None)

    def forget(self) -> None:
        """Nothing of it is wanted any more."""
        self._refused.clear()

    @property
    def retry_seconds(self) -> float | None:
        """In how many seconds the next refused one may be tried again, or None."""
        oldest = min((at for at, _ in self._refused.values()), default=None)
        if oldest is None:
            return None
        return max(0.0, oldest + self._retry_seconds - self._clock())

    @property
    def missing(self) -> tuple[str, ...]:
        """What the API server says of each, sorted; some of them, and how many more."""
        texts = sorted({text for _, text in self._refused.values()})
        more = len(texts) - MAX_SHOWN
        return (*texts[:MAX_SHOWN], f"and {more} more like these") if more > 0 else tuple(texts)
