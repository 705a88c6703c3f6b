"""How long successful probes took, in buckets that a histogram can be made of."""

from bisect import bisect_left
from math import inf

BOUNDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, inf)
"""Upper bounds in seconds. A node in the same building answers in the first few, one with a
lost SYN in the one after 1 s."""


class Latencies:
    """Counts durations by bucket, and sums them."""

    __slots__ = ("_counts", "seconds")

    def __init__(self) -> None:
        self._counts = [0] * len(BOUNDS)
        self.seconds = 0.0

    def add(self, seconds: float) -> None:
        """Count one duration."""
        self._counts[bisect_left(BOUNDS, seconds)] += 1
        self.seconds += seconds

    def buckets(self) -> tuple[tuple[float, int], ...]:
        """Upper bound and count of each bucket, not cumulated."""
        return tuple(zip(BOUNDS, self._counts, strict=True))
