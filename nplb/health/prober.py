"""The prober: connects to every target on time, and keeps the verdicts.

One timer drives everything. Targets stand on one agenda by when they are due, probes in flight
on another by their deadline; a tick takes what has come and sets the timer for the next.

Time. Schedules use the monotonic clock; the wall clock only dates what people read. A process
that was paused (SIGSTOP, a frozen machine) or a loop that was busy finds its deadlines passed
for no fault of a backend's: the timer measures how late it is, and a probe that lost a good
part of its time that way is made again instead of counted as a timeout.
"""

import asyncio
import errno
import ipaddress
import itertools
import logging
import resource
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Protocol

from nplb.health import table
from nplb.health.agenda import Agenda
from nplb.health.causes import classify
from nplb.health.connects import IN_PROGRESS, Connects
from nplb.health.latencies import Latencies
from nplb.model.keys import Address
from nplb.model.reasons import Cause
from nplb.model.verdict import ProbeTarget, Probing, Verdict

log = logging.getLogger(__name__)

TICK_SECONDS = 0.01
"""Probes due within a tick start together: 100 wake-ups a second at most."""
HEARTBEAT_SECONDS = 0.1
"""While probes are in flight the timer runs at least this often, to see whether it is late."""
STARTS_PER_TICK = 100
"""What was missed in a pause is not made up for in one burst."""
FIRST_PROBES_PER_SECOND = 2000
"""How fast new targets are probed first: many at once are spread."""
LATE_SHARE = 0.25
"""A timeout counts only if the edge was late for less than this share of it."""
MAX_REPEATS = 3
"""A loop that is always late must not keep a silent backend in for ever."""
LIVE_GAP_SECONDS = 0.1
"""Probes asked for by live traffic keep this distance from the probe before."""
EXHAUSTED_SECONDS = 0.1
"""How long no probe starts when the edge is out of descriptors or memory."""

_EXHAUSTED = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}


class Dice(Protocol):
    """The part of `random.Random` that jitter needs."""

    def random(self) -> float:
        """A number in [0, 1)."""
        ...


class _Probe:
    """One target, its history and verdict, and its probe in flight (`handle`, -1 if none)."""

    __slots__ = (
        "count",
        "handle",
        "history",
        "is_ip",
        "live_counted",
        "lost_before",
        "repeats",
        "sockaddr",
        "started_at",
        "target",
        "verdict",
    )

    def __init__(self, target: ProbeTarget) -> None:
        self.target = target
        self.sockaddr = (target.address.ip, target.address.port)
        self.is_ip = _is_ip(target.address.ip)
        self.history = table.start(target.initial)
        self.verdict = Verdict(address=target.address)
        self.handle = -1
        self.count = 0
        self.started_at = float("-inf")
        self.lost_before = 0.0
        self.repeats = 0
        self.live_counted = False


class Prober:
    """Probes targets by TCP connect and publishes verdicts.

    `publish` gets the whole mapping whenever a `healthy` or a `cause` has changed, or a
    target has gone; what is only newer (`probed_at`, latency) waits for the next time, and
    `verdicts()` has it. `now` gives epoch seconds. `max_in_flight` None takes a quarter of
    this process's descriptor limit.
    """

    def __init__(
        self,
        *,
        publish: Callable[[Mapping[Address, Verdict]], None],
        rng: Dice,
        now: Callable[[], float],
        max_in_flight: int | None = None,
    ) -> None:
        self._publish = publish
        self._rng = rng
        self._now = now
        if max_in_flight is None:
            soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
            max_in_flight = min(max(soft // 4, 64), 4096) if soft > 0 else 4096
        self._max_in_flight = max_in_flight
        self._targets: tuple[ProbeTarget, ...] = ()
        self._probes: dict[Address, _Probe] = {}
        self._verdicts: dict[Address, Verdict] = {}
        self._due: Agenda[_Probe] = Agenda()
        self._deadlines: Agenda[_Probe] = Agenda()
        self._connects: Connects[_Probe] = Connects(self._ended)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._lost = 0.0  # seconds that the loop was late, in sum
        self._paused_until = 0.0
        self._publish_at: float | None = None
        self._copy_seconds = 0.0
        self._local_errors = 0
        self._ends: Counter[Cause] = Counter()
        self._repeated = 0
        self._latencies = Latencies()

    # -- public ---------------------------------------------------------------

    async def run(self) -> None:
        """Probe until cancelled."""
        self.start()
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            self.stop()

    def start(self) -> None:
        """Begin to probe, in the running loop."""
        self._loop = asyncio.get_running_loop()
        self._connects.start(self._loop)
        at = self._loop.time()
        self._spread([probe for probe in self._probes.values() if probe not in self._due], at)
        self._arm(at)

    def stop(self) -> None:
        """End all probes without judging them. Safe to call twice."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop = None
        self._connects.stop()
        for probe in self._probes.values():
            self._land(probe)

    def retarget(self, targets: tuple[ProbeTarget, ...]) -> None:
        """Probe these from now on. What is known of an address outlives a change of its
        interval, timeout, rise or fall; an address no longer named is forgotten. Of several
        targets with one address the first counts."""
        if targets == self._targets:
            return
        self._targets = targets
        wanted: dict[Address, ProbeTarget] = {}
        for target in targets:
            wanted.setdefault(target.address, target)
        at = self._loop.time() if self._loop is not None else 0.0
        for address in [address for address in self._probes if address not in wanted]:
            self._forget(self._probes.pop(address))
            del self._verdicts[address]
            self._changed(at)
        fresh: list[_Probe] = []
        hurried: list[_Probe] = []
        for address, target in wanted.items():
            probe = self._probes.get(address)
            if probe is not None and probe.target.expect_refusal > target.expect_refusal:
                self._forget(self._probes.pop(address))
                self._changed(at)
                probe = None
            if probe is None:
                probe = self._probes[address] = _Probe(target)
                self._verdicts[address] = probe.verdict
                fresh.append(probe)
            elif probe.target != target:
                sooner = target.interval_seconds < probe.target.interval_seconds
                probe.target = target
                if sooner and probe.handle < 0:
                    hurried.append(probe)
        if self._loop is None:
            return
        self._spread(fresh, at)
        for probe in hurried:
            window = min(probe.target.interval_seconds, len(hurried) / FIRST_PROBES_PER_SECOND)
            earliest = probe.started_at + self._gap(probe)
            due_at = self._due.when(probe) or earliest
            self._due.put(probe, min(due_at, max(earliest, at + window * self._dice())))
        self._arm(at)

    def report(self, address: Address, cause: Cause) -> None:
        """What live traffic met at an address: `CONNECTED`, or why a connect failed.

        Between two probes, one live observation counts like a probe's end. One that
        contradicts the verdict has a probe follow at once.
        """
        probe = self._probes.get(address)
        if probe is None or self._loop is None or cause is Cause.LOCAL_ERROR:
            return
        passed = cause is Cause.CONNECTED
        if passed and probe.history.state is table.State.UP:
            return
        at = self._loop.time()
        if not probe.live_counted:
            probe.live_counted = True
            self._observe(probe, cause, "seen by a client's connection", None, at)
        if probe.handle < 0:
            soon = max(at, probe.started_at + LIVE_GAP_SECONDS)
            due_at = self._due.when(probe)
            if due_at is None or soon < due_at:
                self._due.put(probe, soon)
        self._arm(at)

    def verdicts(self) -> Mapping[Address, Verdict]:
        """The newest verdicts, also what was not worth publishing; a copy."""
        return dict(self._verdicts)

    def probing(self) -> Probing:
        """What the prober did so far."""
        return Probing(
            targets=len(self._probes),
            in_flight=len(self._connects),
            ended=dict(self._ends),
            repeated=self._repeated,
            latency_buckets=self._latencies.buckets(),
            latency_seconds=self._latencies.seconds,
        )

    # -- time -----------------------------------------------------------------

    def _dice(self) -> float:
        return self._rng.random()

    def _gap(self, probe: _Probe) -> float:
        """Seconds from one probe's start to the next. The second probe of a target comes
        after a random part of the interval: targets that came together drift apart."""
        interval = probe.target.interval_seconds
        if probe.count == 1:
            return interval * (0.1 + 0.9 * self._dice())
        return interval * (1.0 + probe.target.jitter * (2.0 * self._dice() - 1.0))

    def _spread(self, fresh: list[_Probe], at: float) -> None:
        for probe in fresh:
            window = min(probe.target.interval_seconds, len(fresh) / FIRST_PROBES_PER_SECOND)
            self._due.put(probe, at + window * self._dice())

    def _arm(self, at: float) -> None:
        """Set the timer for what comes next."""
        if self._loop is None:
            return
        heartbeat = at + HEARTBEAT_SECONDS if len(self._connects) else None
        wanted = (self._due.soonest(), self._deadlines.soonest(), self._publish_at, heartbeat)
        times = [when for when in wanted if when is not None]
        if not times:
            return
        when = max(min(times), at + TICK_SECONDS)
        if self._timer is not None:
            if self._timer.when() <= when:
                return
            self._timer.cancel()
        self._timer = self._loop.call_at(when, self._tick)

    def _tick(self) -> None:
        assert self._loop is not None
        assert self._timer is not None
        at = self._loop.time()
        self._lost += max(0.0, at - self._timer.when() - TICK_SECONDS)
        self._timer = None
        try:
            # What the network answered in the meantime is an answer, however late we look.
            self._connects.collect()
            self._expire(at)
            self._start_due(at)
            if self._publish_at is not None and self._publish_at <= at:
                self._publish_at = None
                verdicts = dict(self._verdicts)
                self._copy_seconds = self._loop.time() - at
                self._publish(verdicts)
        finally:
            self._arm(self._loop.time())

    # -- probes ---------------------------------------------------------------

    def _start_due(self, at: float) -> None:
        room = min(STARTS_PER_TICK, self._max_in_flight - len(self._connects))
        if room > 0 and at >= self._paused_until:
            for probe in itertools.islice(self._due.due(at), room):
                self._begin(probe)
                if at < self._paused_until:
                    break

    def _begin(self, probe: _Probe) -> None:
        assert self._loop is not None
        at = probe.started_at = self._loop.time()
        probe.lost_before = self._lost
        probe.count += 1
        if not probe.is_ip:
            self._could_not(probe, f"{probe.sockaddr[0]!r} is not an IP address", at)
            return
        number, handle = self._connects.begin(probe, probe.sockaddr)
        if number == IN_PROGRESS:
            probe.handle = handle
            self._deadlines.put(probe, at + probe.target.timeout_seconds)
            return
        if number in _EXHAUSTED:
            self._paused_until = at + EXHAUSTED_SECONDS
        self._judge(probe, *classify(number, at_once=True), at)

    def _ended(self, probe: _Probe, number: int) -> None:
        """A connect has ended by itself."""
        if self._loop is not None:
            self._land(probe)
            at = self._loop.time()
            self._judge(probe, *classify(number, at_once=False), at)
            self._arm(at)

    def _expire(self, at: float) -> None:
        for probe in self._deadlines.due(at):
            self._connects.cancel(probe.handle)
            self._land(probe)
            seconds = probe.target.timeout_seconds
            late = self._lost - probe.lost_before
            if late > seconds * LATE_SHARE and probe.repeats < MAX_REPEATS:
                probe.repeats += 1
                self._repeated += 1
                self._due.put(probe, at)
                continue
            self._judge(probe, Cause.TIMEOUT, f"no answer within {seconds:g} s", at)

    def _judge(self, probe: _Probe, cause: Cause, detail: str, at: float) -> None:
        """A probe has ended: count it, learn from it, plan the next."""
        if cause is Cause.LOCAL_ERROR:
            self._could_not(probe, detail, at)
            return
        if self._local_errors:
            log.info("probes can be made again, after %d that could not", self._local_errors)
            self._local_errors = 0
        self._ends[cause] += 1
        probe.repeats = 0
        probe.live_counted = False
        latency = at - probe.started_at
        if cause is Cause.CONNECTED:
            self._latencies.add(latency)
        self._observe(probe, cause, detail, latency, at)
        self._due.put(probe, max(at, probe.started_at + self._gap(probe)))

    def _could_not(self, probe: _Probe, detail: str, at: float) -> None:
        """The edge itself could not probe: says nothing about the backend."""
        self._ends[Cause.LOCAL_ERROR] += 1
        if not self._local_errors:
            log.warning(
                "a probe of %s could not be made: %s; backends keep their state meanwhile",
                probe.target.address,
                detail,
            )
        self._local_errors += 1
        verdict = probe.verdict
        if verdict.healthy is None and verdict.detail != detail:
            self._keep(
                probe,
                Verdict(address=verdict.address, cause=Cause.LOCAL_ERROR, detail=detail),
            )
            self._changed(at)
        self._due.put(probe, at + min(probe.target.interval_seconds, 1.0) * (0.5 + self._dice()))

    def _observe(
        self, probe: _Probe, cause: Cause, detail: str, latency: float | None, at: float
    ) -> None:
        before = probe.verdict
        target = probe.target
        history = probe.history = table.step(
            probe.history, cause is Cause.CONNECTED, rise=target.rise, fall=target.fall
        )
        healthy = history.healthy
        if healthy is False and cause is Cause.CONNECTED and before.healthy is False:
            # Why it is down stays true until it is up again.
            cause = before.cause or cause
            detail = f"answers again: {history.streak} of {target.rise} in a row"
        wall = self._now()
        self._keep(
            probe,
            Verdict(
                address=before.address,
                healthy=healthy,
                cause=cause,
                detail=detail,
                since=before.since if healthy is before.healthy else wall,
                probed_at=wall,
                latency_seconds=latency,
                streak=history.streak,
            ),
        )
        if healthy is not before.healthy or cause is not before.cause:
            self._changed(at)

    def _keep(self, probe: _Probe, verdict: Verdict) -> None:
        probe.verdict = verdict
        self._verdicts[verdict.address] = verdict

    def _changed(self, at: float) -> None:
        """Publish soon; rarely enough that copying the mapping stays a small part of the time."""
        if self._publish_at is None:
            self._publish_at = at + self._copy_seconds * 10

    def _land(self, probe: _Probe) -> None:
        """There is no probe of it in flight any more."""
        probe.handle = -1
        self._deadlines.drop(probe)

    def _forget(self, probe: _Probe) -> None:
        self._connects.cancel(probe.handle)
        self._land(probe)
        self._due.drop(probe)


def _is_ip(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True
