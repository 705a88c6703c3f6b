"""The prober: probes every target on time, and keeps the verdicts.

One timer drives everything. Targets stand on one agenda by when they are due, probes in flight
on another by their deadline; a tick takes what has come and sets the timer for the next. Where
the services of a node share its probes (`health.sharing`), the node stands on the agenda in their
place, and a target only while it is in doubt.

Time. Schedules use the monotonic clock; the wall clock only dates what people read. A process
that was paused (SIGSTOP, a frozen machine) or a loop that was busy finds its deadlines passed
for no fault of a backend's: the timer measures how late it is, and a probe that lost a good
part of its time that way is made again instead of counted as a timeout.
"""

import asyncio
import errno
import itertools
import logging
import resource
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from operator import attrgetter
from typing import Protocol

from nplb.health import table
from nplb.health.agenda import Agenda
from nplb.health.causes import classify
from nplb.health.connects import IN_PROGRESS, Connects
from nplb.health.latencies import Latencies
from nplb.health.probe import Probe
from nplb.health.probes.conversation import Result
from nplb.health.probes.kinds import conversation_for
from nplb.health.sharing import NodeStream
from nplb.health.verdicts import Verdicts
from nplb.model.difference import difference
from nplb.model.keys import Address
from nplb.model.reasons import Cause
from nplb.model.verdict import ProbeTarget, Probing, Verdict

log = logging.getLogger(__name__)

_ADDRESS = attrgetter("address")

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
DOUBTS_PER_SECOND = 1000
"""Targets that share their node's probes and are in doubt are probed on their own no faster than
this in sum: when much fails at once, each is probed more rarely."""
EXHAUSTED_SECONDS = 0.1
"""How long no probe starts when the edge is out of descriptors or memory."""

_EXHAUSTED = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}


class Dice(Protocol):
    """The part of `random.Random` that jitter needs."""

    def random(self) -> float:
        """A number in [0, 1)."""
        ...


class Prober:
    """Probes targets and publishes verdicts.

    `publish` gets the whole mapping whenever a `healthy` or a `cause` has changed, or a
    target has gone; what is only newer (`probed_at`, latency) waits for the next time, and
    `verdicts()` has it. `hurry` is called after that if it can't wait: a target that was judged
    before is judged otherwise now. `now` gives epoch seconds. `max_in_flight` None takes a
    quarter of this process's descriptor limit.
    """

    def __init__(
        self,
        *,
        publish: Callable[[Mapping[Address, Verdict]], None],
        hurry: Callable[[], None] = lambda: None,
        rng: Dice,
        now: Callable[[], float],
        max_in_flight: int | None = None,
    ) -> None:
        self._rng = rng
        if max_in_flight is None:
            soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
            max_in_flight = min(max(soft // 4, 64), 4096) if soft > 0 else 4096
        self._max_in_flight = max_in_flight
        self._targets: tuple[ProbeTarget, ...] = ()
        self._probes: dict[Address, Probe] = {}
        self._verdicts = Verdicts(publish, hurry, now)
        self._restored: dict[Address, Verdict] = {}
        self._streams: dict[str, NodeStream[Probe]] = {}
        self._due: Agenda[Probe | NodeStream[Probe]] = Agenda()
        self._deadlines: Agenda[Probe] = Agenda()
        self._connects: Connects[Probe] = Connects(self._ended)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._lost = 0.0  # seconds that the loop was late, in sum
        self._paused_until = 0.0
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
        for stream in self._streams.values():
            self._due.put(stream, at + stream.turn_seconds * self._dice())
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
        interval, timeout, rise or fall; an address no longer named is forgotten. No two
        targets have one address."""
        if targets == self._targets:
            return
        gone, come = difference(self._targets, targets, _ADDRESS)
        wanted = {target.address: target for target in come}
        self._targets = targets
        at = self._loop.time() if self._loop is not None else 0.0
        for address in (target.address for target in gone):
            if address not in wanted:
                self._forget(self._probes.pop(address))
                self._verdicts.forget(address, at)
        fresh: list[Probe] = []
        hurried: list[Probe] = []
        for address, target in wanted.items():
            probe = self._probes.get(address)
            if probe is not None and _starts_anew(probe.target, target):
                self._forget(self._probes.pop(address))
                self._verdicts.changed(at)
                probe = None
            if probe is None:
                probe = self._probes[address] = Probe(target)
                if (known := self._restored.pop(address, None)) is not None:
                    probe.verdict = replace(known, by_node=False)
                    probe.history = table.resume(known.healthy, known.streak, target.health.initial)
                self._place(probe, at)
                self._verdicts.begin(probe)
                if probe.stream is None or not probe.stream.is_down:
                    fresh.append(probe)
            elif probe.target != target:
                sooner = target.health.interval_seconds < probe.target.health.interval_seconds
                probe.target = target
                was_shared = probe.stream is not None
                self._place(probe, at)
                if (sooner or was_shared) and probe.stream is None and probe.handle < 0:
                    hurried.append(probe)
        if targets:
            self._restored.clear()
        if self._loop is None:
            return
        self._spread(fresh, at)
        self._hurry(hurried, at)
        self._arm(at)

    def _place(self, probe: Probe, at: float) -> None:
        """Have a target share its node's probes, or not, as it says."""
        turn = probe.target.turn_seconds
        ip = probe.target.address.ip
        stream = self._streams.get(ip) if turn else None
        if turn and stream is None:
            stream = self._streams[ip] = NodeStream(turn, probe.target.health)
            if self._loop is not None:
                self._due.put(stream, at + turn * self._dice())
        if stream is not None:
            stream.turn_seconds = turn
            stream.health = probe.target.health
            stream.add(probe)
        if probe.stream is not None and probe.stream is not stream:
            self._take_out(probe)
        probe.stream = stream
        if stream is not None and not probe.in_doubt and not stream.waits_for(probe):
            self._due.drop(probe)

    def _take_out(self, probe: Probe) -> None:
        stream = probe.stream
        if stream is None:
            return
        stream.remove(probe)
        probe.stream = None
        self._verdicts.show(probe)
        if not stream.members:
            self._due.drop(stream)
            self._streams.pop(probe.target.address.ip, None)
        elif not stream.is_busy and stream not in self._due and self._loop is not None:
            self._due.put(stream, self._loop.time() + stream.turn_seconds)

    def restore(self, verdicts: Mapping[Address, Verdict]) -> None:
        """Go on from what another prober knew of its targets: those named next take it over."""
        self._restored = dict(verdicts)

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
            told = "seen by a client's connection"
            self._verdicts.observe(probe, cause, told, None, at, None)
        if probe.handle < 0:
            self._sooner(probe, max(at, probe.started_at + LIVE_GAP_SECONDS))
        stream = probe.stream
        if stream is not None and not stream.is_busy and (stream.is_down or not passed):
            stream.alarmed = True  # is it the node?
            self._sooner(stream, max(at, stream.begun_at + LIVE_GAP_SECONDS))
        self._arm(at)

    def _sooner(self, what: Probe | NodeStream[Probe], when: float) -> None:
        due_at = self._due.when(what)
        if due_at is None or when < due_at:
            self._due.put(what, when)

    def verdicts(self) -> Mapping[Address, Verdict]:
        """The newest verdicts, also what was not worth publishing; a copy."""
        return self._verdicts.copy()

    def probing(self) -> Probing:
        """What the prober did so far."""
        return Probing(
            targets=len(self._probes),
            in_flight=len(self._connects),
            ended=dict(self._ends),
            repeated=self._repeated,
            latency_buckets=self._latencies.buckets(),
            latency_seconds=self._latencies.seconds,
            sharing=sum(len(stream.members) for stream in self._streams.values()),
            streams=len(self._streams),
            nodes_down=sum(stream.is_down for stream in self._streams.values()),
        )

    # -- time -----------------------------------------------------------------

    def _dice(self) -> float:
        return self._rng.random()

    def _gap(self, probe: Probe) -> float:
        gap = probe.gap(self._dice())
        if probe.stream is not None:
            gap = max(gap, len(self._due) / DOUBTS_PER_SECOND)
        return gap

    def _spread(self, fresh: list[Probe], at: float) -> None:
        for probe in fresh:
            window = min(probe.target.health.interval_seconds, len(fresh) / FIRST_PROBES_PER_SECOND)
            if probe.stream is not None:  # there are many
                window = len(fresh) / FIRST_PROBES_PER_SECOND
            self._due.put(probe, at + window * self._dice())

    def _hurry(self, hurried: Iterable[Probe], at: float) -> None:
        """Probe these soon, though they may have been probed a short while ago."""
        hurried = list(hurried)
        for probe in hurried:
            interval = probe.target.health.interval_seconds
            window = min(interval, len(hurried) / FIRST_PROBES_PER_SECOND)
            earliest = probe.started_at + self._gap(probe)
            due_at = self._due.when(probe) or earliest
            self._due.put(probe, min(due_at, max(earliest, at + window * self._dice())))

    def _arm(self, at: float) -> None:
        """Set the timer for what comes next."""
        if self._loop is None:
            return
        heartbeat = at + HEARTBEAT_SECONDS if self._connects.is_busy else None
        wanted = (
            self._due.soonest(),
            self._deadlines.soonest(),
            self._verdicts.publish_at,
            heartbeat,
        )
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
            self._verdicts.publish_if_due(at, self._loop.time)
        finally:
            self._arm(self._loop.time())

    # -- probes ---------------------------------------------------------------

    def _start_due(self, at: float) -> None:
        room = min(STARTS_PER_TICK, self._max_in_flight - len(self._connects))
        if room > 0 and at >= self._paused_until:
            for what in itertools.islice(self._due.due(at), room):
                if isinstance(what, Probe):
                    self._begin(what)
                else:
                    self._take_turn(what, at)
                if at < self._paused_until:
                    break

    def _take_turn(self, stream: NodeStream[Probe], at: float) -> None:
        """The next of a node's shared probes. The turn after it is due when this one is over,
        or at the latest when all of its probes must have ended long since."""
        lost_at = stream.begun_at + (MAX_REPEATS + 1) * stream.health.timeout_seconds
        if stream.is_busy and at < lost_at:
            self._due.put(stream, lost_at)
            return
        chosen = stream.take_turn(at, self._dice)
        longest = (MAX_REPEATS + 1) * stream.health.timeout_seconds
        self._due.put(
            stream, at + (max(longest, stream.turn_seconds) if chosen else stream.turn_seconds)
        )
        for probe in chosen:
            if probe.handle < 0:
                self._due.drop(probe)
                self._begin(probe)

    def _begin(self, probe: Probe) -> None:
        assert self._loop is not None
        at = probe.started_at = self._loop.time()
        probe.lost_before = self._lost
        probe.count += 1
        if not probe.is_ip:
            self._could_not(probe, f"{probe.sockaddr[0]!r} is not an IP address", at)
            return
        target = probe.target
        conversation = conversation_for(target.check, target.address)
        number, handle = self._connects.begin(
            probe, probe.sockaddr, conversation, target.check.proxy
        )
        if number == IN_PROGRESS:
            probe.handle = handle
            self._deadlines.put(probe, at + target.health.timeout_seconds)
            return
        if number in _EXHAUSTED:
            self._paused_until = at + EXHAUSTED_SECONDS
        self._judge(probe, *classify(number, at_once=True), at)

    def _ended(self, probe: Probe, number: int, result: Result | None) -> None:
        """A probe has ended by itself."""
        if self._loop is not None:
            self._land(probe)
            at = self._loop.time()
            if result is not None:
                self._judge(probe, result.cause, result.detail, at, result)
            else:
                self._judge(probe, *classify(number, at_once=False), at)
            self._arm(at)

    def _expire(self, at: float) -> None:
        for probe in self._deadlines.due(at):
            connected = self._connects.cancel(probe.handle)
            self._land(probe)
            seconds = probe.target.health.timeout_seconds
            late = self._lost - probe.lost_before
            if late > seconds * LATE_SHARE and probe.repeats < MAX_REPEATS:
                probe.repeats += 1
                self._repeated += 1
                self._due.put(probe, at)
            elif connected:
                detail = f"connected, but did not answer within {seconds:g} s"
                self._judge(probe, Cause.UNEXPECTED_ANSWER, detail, at)
            else:
                self._judge(probe, Cause.TIMEOUT, f"no answer within {seconds:g} s", at)

    def _judge(
        self, probe: Probe, cause: Cause, detail: str, at: float, result: Result | None = None
    ) -> None:
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
        self._verdicts.observe(probe, cause, detail, latency, at, result)
        self._go_on(probe, cause, at)

    def _go_on(self, probe: Probe, cause: Cause | None, at: float) -> None:
        """Plan what comes after a probe that has ended; None: it says nothing of the node."""
        stream = probe.stream
        if stream is None:
            self._due.put(probe, max(at, probe.started_at + self._gap(probe)))
            return
        was_down = stream.is_down
        if stream.hear(probe, cause):
            if stream.is_down is not was_down:
                self._turned(stream, at)
            soonest = at if cause is not None else at + LIVE_GAP_SECONDS
            self._due.put(stream, max(soonest, stream.next_at(self._dice)))
        elif stream.is_down and cause is Cause.CONNECTED and not stream.is_busy:
            self._sooner(stream, at)
        if stream.is_down or not probe.in_doubt:
            self._due.drop(probe)
        elif probe not in self._due:
            self._due.put(probe, max(at, probe.started_at + self._gap(probe)))

    def _turned(self, stream: NodeStream[Probe], at: float) -> None:
        """A node has gone down for all its services, or is there again."""
        for probe in stream.members:
            self._verdicts.show(probe)
            if stream.is_down:
                self._due.drop(probe)
        if not stream.is_down:
            # What they were before may be true no more: each is probed once.
            self._hurry((probe for probe in stream.members if probe.handle < 0), at)
        self._verdicts.changed(at, urgent=True)

    def _could_not(self, probe: Probe, detail: str, at: float) -> None:
        """The edge itself could not probe: says nothing about the backend."""
        self._ends[Cause.LOCAL_ERROR] += 1
        if not self._local_errors:
            log.warning(
                "a probe of %s could not be made: %s; backends keep their state meanwhile",
                probe.target.address,
                detail,
            )
        self._local_errors += 1
        self._verdicts.could_not(probe, detail, at)
        if probe.stream is not None:
            self._go_on(probe, None, at)
        if probe.stream is None or probe.in_doubt:
            wait = min(probe.target.health.interval_seconds, 1.0) * (0.5 + self._dice())
            self._due.put(probe, at + wait)

    def _land(self, probe: Probe) -> None:
        """There is no probe of it in flight any more."""
        probe.handle = -1
        self._deadlines.drop(probe)

    def _forget(self, probe: Probe) -> None:
        self._connects.cancel(probe.handle)
        self._land(probe)
        self._due.drop(probe)
        self._take_out(probe)


def _starts_anew(before: ProbeTarget, after: ProbeTarget) -> bool:
    """Whether what was seen of a target says nothing of it any more."""
    return before.expect_refusal > after.expect_refusal or before.check != after.check
