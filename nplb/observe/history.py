"""The last hour, kept by nplb itself: a few series in all and per frontend, in rings.

Memory is bounded: 720 points of five numbers are 14 kB a frontend, and only frontends that
carry traffic have a ring, `max_frontends` of them at most; so do the reasons for which
connections ended, for all frontends together. A restart starts anew: who needs more keeps it in
Prometheus.
"""

from array import array
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from nplb.model.applied import FrontendCounters, Traffic
from nplb.model.keys import FrontendKey
from nplb.model.reasons import EndReason

STEP_SECONDS = 5.0
POINTS = 720
MAX_FRONTENDS = 2000

SERIES = ("active", "accepted", "failed", "bytes_in", "bytes_out")
"""Connections open; then per second: clients taken, clients not served, bytes each way."""

FAILURES = frozenset(
    {
        EndReason.CONNECT_REFUSED,
        EndReason.CONNECT_TIMEOUT,
        EndReason.CONNECT_UNREACHABLE,
        EndReason.NO_BACKEND,
        EndReason.QUEUE_FULL,
        EndReason.QUEUE_TIMEOUT,
        EndReason.NO_DESCRIPTORS,
        EndReason.INTERNAL,
        EndReason.BACKEND_RESET,
        EndReason.BACKEND_DOWN,
    }
)
"""Ends that a client did not ask for, for a reason on this side."""


@dataclass(frozen=True, slots=True)
class Totals:
    """What is summed and compared from one look to the next."""

    active: int = 0
    accepted: int = 0
    failed: int = 0
    bytes_in: int = 0
    bytes_out: int = 0


def totals(counters: Iterable[FrontendCounters]) -> Totals:
    """The sums over frontends."""
    active = accepted = failed = bytes_in = bytes_out = 0
    for one in counters:
        active += one.active
        accepted += one.accepted
        bytes_in += one.bytes_in
        bytes_out += one.bytes_out
        if one.ends:
            failed += sum(count for reason, count in one.ends.items() if reason in FAILURES)
    return Totals(active, accepted, failed, bytes_in, bytes_out)


def rates(before: Totals, after: Totals, seconds: float) -> tuple[float, ...]:
    """The numbers of SERIES from one look to the next."""
    if seconds <= 0:
        return (float(after.active), 0.0, 0.0, 0.0, 0.0)
    return (
        float(after.active),
        max(after.accepted - before.accepted, 0) / seconds,
        max(after.failed - before.failed, 0) / seconds,
        max(after.bytes_in - before.bytes_in, 0) / seconds,
        max(after.bytes_out - before.bytes_out, 0) / seconds,
    )


def ends_of(traffic: Traffic) -> Counter[EndReason]:
    """How many connections have ended, by reason, over all frontends."""
    found: Counter[EndReason] = Counter()
    for counters in traffic.frontends.values():
        if counters.ends:
            found.update(counters.ends)
    return found


class _Ring:
    """POINTS samples of each series; before the first there is nothing (NaN)."""

    __slots__ = ("before", "idle_since", "values")

    def __init__(self, before: Totals) -> None:
        self.values = [array("f", [float("nan")]) * POINTS for _ in SERIES]
        self.before = before
        self.idle_since = 0


class History:
    """The rings. `observe` is to be called about every STEP_SECONDS."""

    def __init__(self, max_frontends: int = MAX_FRONTENDS) -> None:
        self._max = max_frontends
        self._times = array("d", [0.0]) * POINTS
        self._count = 0
        self._all: _Ring | None = None
        self._rings: dict[FrontendKey, _Ring] = {}
        self._ends: dict[EndReason, array[float]] = {}
        self._ended: Counter[EndReason] = Counter()

    def observe(self, now: float, traffic: Traffic) -> None:
        """Take one sample. `now` is epoch seconds; one that goes backwards is left out."""
        last = self._times[(self._count - 1) % POINTS] if self._count else None
        if last is not None and now <= last:
            return
        seconds = now - last if last is not None else 0.0
        slot = self._count % POINTS
        self._times[slot] = now
        self._count += 1
        total = totals(traffic.frontends.values())
        if self._all is None:
            self._all = _Ring(total)
        _put(self._all, slot, total, seconds)
        for key, counters in traffic.frontends.items():
            ring = self._rings.get(key)
            if ring is None:
                if not (counters.accepted or counters.active) or len(self._rings) >= self._max:
                    continue
                ring = self._rings[key] = _Ring(
                    Totals() if last is not None else totals([counters])
                )
            _put(ring, slot, totals([counters]), seconds)
        self._forget(slot, traffic.frontends)
        self._observe_ends(slot, ends_of(traffic), seconds)

    def read(self, key: FrontendKey | None = None) -> Mapping[str, list[float | None]] | None:
        """The series, oldest first, with `at`; of one frontend, or of all. None if there is
        nothing of that frontend."""
        ring = self._all if key is None else self._rings.get(key)
        if ring is None:
            return None
        found: dict[str, list[float | None]] = {"at": [self._times[n] for n in self._order()]}
        for name, values in zip(SERIES, ring.values, strict=True):
            found[name] = [_shown(values[n]) for n in self._order()]
        return found

    def read_ends(self) -> Mapping[EndReason, list[float | None]]:
        """Per second, how many connections ended for each reason that there was, over all
        frontends: as many points as `read` has."""
        return {
            reason: [_shown(values[n]) for n in self._order()]
            for reason, values in sorted(self._ends.items())
        }

    def _order(self) -> list[int]:
        """The slots in use, the oldest first."""
        count = min(self._count, POINTS)
        return [(self._count - count + n) % POINTS for n in range(count)]

    def _observe_ends(self, slot: int, ended: Counter[EndReason], seconds: float) -> None:
        for reason in ended:
            if reason not in self._ends:
                self._ends[reason] = array("f", [0.0]) * POINTS
        for reason, values in self._ends.items():
            more = max(ended[reason] - self._ended[reason], 0)
            values[slot] = more / seconds if seconds > 0 else 0.0
        self._ended = ended

    def _forget(self, slot: int, present: Mapping[FrontendKey, FrontendCounters]) -> None:
        """Drop what has been away for as long as a ring is."""
        for key in [key for key in self._rings if key not in present]:
            ring = self._rings[key]
            ring.idle_since += 1
            for values in ring.values:
                values[slot] = float("nan")
            if ring.idle_since >= POINTS:
                del self._rings[key]


def _put(ring: _Ring, slot: int, after: Totals, seconds: float) -> None:
    for values, number in zip(ring.values, rates(ring.before, after, seconds), strict=True):
        values[slot] = number
    ring.before = after
    ring.idle_since = 0


def _shown(value: float) -> float | None:
    return None if value != value else float(f"{value:.6g}")
