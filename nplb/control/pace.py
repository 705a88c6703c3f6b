"""How soon a pass may follow the one before. Pure.

What changes now and then is served at once. In a burst each pass takes in all that has happened
since the one before, so the fewer there are, the less it costs to follow a cluster. kube-proxy
bounds its passes likewise (`minSyncPeriod`, 1 s, in `bounded_frequency_runner.go`), but by the
clock alone; here it is by what passes cost, so that a small cluster is followed closely:

    a burst is                   changes so close that a pass for each would take more than a fifth
                                 of the time
    after a pass                 the next may begin after as long as this one took
    after each further one in    4 times as long as before, up to 50 times what it took, and up to
    a burst                      a second

Only what clusters say waits: a change of health, a drain or another configuration goes into a pass
at once (`Inputs.hurry`).
"""

BURST_SHARE = 0.2
GROWTH = 4.0
MOST_COSTS = 50.0
MOST_SECONDS = 1.0


class Pace:
    """Of one loop. All times are seconds on a clock that only goes forward; `free_at` is when the
    next pass may begin."""

    def __init__(self) -> None:
        self.free_at = float("-inf")
        self._began = float("-inf")
        self._changes = 0
        self._row = 0

    def passed(self, began: float, ended: float, cost: float, changes: int) -> None:
        """A pass has taken `cost` seconds of processor time. `changes` is how many there ever
        were when it began."""
        new = changes - self._changes
        burst = new * cost > BURST_SHARE * (began - self._began)
        self._began, self._changes = began, changes
        self._row = self._row + 1 if burst else 0
        times = min(GROWTH ** min(self._row, 9), MOST_COSTS)
        self.free_at = ended + min(cost * times, MOST_SECONDS)
