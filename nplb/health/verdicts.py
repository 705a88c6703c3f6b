"""The verdicts: what observations amount to, what is shown of them, and when that is published."""

from collections.abc import Callable, Mapping
from dataclasses import replace

from nplb.health import table
from nplb.health.probe import Probe
from nplb.health.probes.conversation import Result
from nplb.model.keys import Address
from nplb.model.reasons import Cause
from nplb.model.verdict import Verdict

# Copying the mapping for whoever it is published to takes no more than this part of the time.
COPY_SHARE = 0.1


class Verdicts:
    """Keeps the verdict of every target. What a target itself was found to be is in its probe;
    while its node is down for all services, that is what is shown of it instead.

    `publish` gets the whole mapping when something that decides has changed, and `hurry` is called
    if that is no target's first verdict or end; `now` gives epoch seconds. `publish_at` is when
    that is due, None if nothing has changed."""

    def __init__(
        self,
        publish: Callable[[Mapping[Address, Verdict]], None],
        hurry: Callable[[], None],
        now: Callable[[], float],
    ) -> None:
        self._publish = publish
        self._hurry = hurry
        self._now = now
        self._urgent = False
        self._shown: dict[Address, Verdict] = {}
        self._copy_seconds = 0.0
        self.publish_at: float | None = None

    def copy(self) -> Mapping[Address, Verdict]:
        """All of them, as they are now."""
        return dict(self._shown)

    def begin(self, probe: Probe) -> None:
        """A target that is new."""
        self._shown[probe.target.address] = probe.verdict
        self.show(probe)

    def forget(self, address: Address, at: float) -> None:
        """A target that is no more."""
        del self._shown[address]
        self.changed(at)

    def observe(
        self,
        probe: Probe,
        cause: Cause,
        detail: str,
        latency: float | None,
        at: float,
        result: Result | None,
    ) -> None:
        """A probe of a target has ended, or a client has met it (without a latency)."""
        before, health = probe.verdict, probe.target.health
        passed = cause is Cause.CONNECTED
        history = probe.history = table.step(
            probe.history, passed, rise=health.rise, fall=health.fall
        )
        healthy = history.healthy
        answer = result.answer if result is not None else None
        weight = result.weight if result is not None else None
        if healthy is not passed and before.healthy is healthy:
            # One observation that contradicts does not change what was said before it.
            answer, weight = before.answer, before.weight
        if healthy is False and passed and before.healthy is False:
            # Why it is down stays true until it is up again.
            cause = before.cause or cause
            detail = f"answers again: {history.streak} of {health.rise} in a row"
        wall = self._now()
        probe.verdict = Verdict(
            address=before.address,
            healthy=healthy,
            cause=cause,
            detail=detail,
            since=before.since if healthy is before.healthy else wall,
            probed_at=wall,
            latency_seconds=latency,
            streak=history.streak,
            answer=answer,
            weight=weight,
        )
        self.show(probe)
        if (
            healthy is not before.healthy
            or cause is not before.cause
            or (answer, weight) != (before.answer, before.weight)
        ):
            self.changed(at, urgent=before.healthy is not None)

    def could_not(self, probe: Probe, detail: str, at: float) -> None:
        """The edge itself could not probe: that is told only of a target that was never probed."""
        before = probe.verdict
        if before.healthy is None and before.detail != detail:
            probe.verdict = Verdict(address=before.address, cause=Cause.LOCAL_ERROR, detail=detail)
            self.show(probe)
            self.changed(at)

    def show(self, probe: Probe) -> None:
        """Show what is known of a target: of itself, or that its whole node is down."""
        address, stream = probe.target.address, probe.stream
        shown = self._shown[address]
        if stream is not None and stream.is_down:
            if shown.by_node:
                return
            shown = replace(
                probe.verdict,
                healthy=False,
                cause=stream.cause,
                detail=stream.detail,
                since=self._now(),
                by_node=True,
            )
        else:
            if shown.by_node:
                probe.verdict = replace(probe.verdict, since=self._now())
            shown = probe.verdict
        self._shown[address] = shown

    def changed(self, at: float, *, urgent: bool = False) -> None:
        """Publish soon; rarely enough that copying stays a small part of the time."""
        self._urgent |= urgent
        if self.publish_at is None:
            self.publish_at = at + self._copy_seconds / COPY_SHARE

    def publish_if_due(self, at: float, clock: Callable[[], float]) -> None:
        """Publish if it is time to. `clock` is the one that `at` was read from."""
        if self.publish_at is not None and self.publish_at <= at:
            self.publish_at = None
            verdicts = self.copy()
            self._copy_seconds = clock() - at
            self._publish(verdicts)
            if self._urgent:
                self._urgent = False
                self._hurry()
