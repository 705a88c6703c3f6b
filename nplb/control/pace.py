"""How soon a pass may follow the one before. Pure.

What changes in a quiet time is served at once. In a burst each pass takes in all that has happened
since the one before, so the fewer there are, the less it costs to follow a cluster. kube-proxy
bounds its passes likewise (`minSyncPeriod`, 1 s, in `bounded_frequency_runner.go`), but by the
clock alone; here it is by what passes cost, so that a small cluster is followed closely:

    after the first pass in a row    the next may begin after as long as this one took
    after each further one           4 times as long, up to 50 times, and up to a second

A row ends when nothing has changed until the next might have begun. Only what clusters say waits:
a change of health, a drain or another configuration goes into a pass at once (`Inputs.hurry`).
"""

GROWTH = 4.0
MOST_COSTS = 50.0  # so that following a cluster takes no more than 2 % of the time
MOST_SECONDS = 1.0


class Pace:
    """Of one loop. All times are seconds on a clock that only goes forward."""

    def __init__(self) -> None:
        self._free_at = float("-inf")
        self._row = 0

    def begin_at(self, changed_at: float) -> float:
        """When the pass may begin that takes in what has changed since `changed_at`."""
        self._row = self._row + 1 if changed_at < self._free_at else 0
        return self._free_at

    def passed(self, at: float, cost: float) -> None:
        """That pass has ended, and has taken `cost` seconds of processor time."""
        times = min(GROWTH ** min(self._row, 9), MOST_COSTS)
        self._free_at = at + min(cost * times, MOST_SECONDS)
