"""Sends Events on Services, as client-go's recorder does: one for each thing, counted when it
comes again, and few at a time.

What holds is told once, and again after a while with its count grown, since API servers forget
Events after an hour. What comes and goes counts up the same Event. A Service that is talked about
too much is silenced for a while.
"""

import random
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from nplb.model.keys import ServiceKey
from nplb.model.outbound import Notice
from nplb.sources.kubernetes.faults import ApiFault
from nplb.sources.kubernetes.resources import event
from nplb.sources.kubernetes.rights import FORBIDDEN, Rights
from nplb.sources.kubernetes.session import Session

COMPONENT = "nplb"
MAX_MESSAGE = 1000
# Of one Service: client-go's EventSourceObjectSpamFilter has the same numbers.
BURST = 25
REFILL_SECONDS = 300.0
FORGET_SECONDS = 3600.0
# What the API server refuses for good: the namespace or the Service is about to go.
_REFUSED = (400, 404, 409, 422)

Key = tuple[ServiceKey, str, str, str]


class _Sent:
    """One Event that was sent. `at` is monotonic seconds; `open`: what it says still holds."""

    __slots__ = ("at", "count", "first", "name", "open")

    def __init__(self, name: str, first: str, at: float) -> None:
        self.name = name
        self.first = first
        self.at = at
        self.count = 1
        self.open = True


class Recorder:
    """`sent` counts the requests that were taken. `clock` is monotonic seconds, `now` epoch
    seconds."""

    def __init__(
        self,
        *,
        identity: str,
        rights: Rights,
        repeat_seconds: float,
        clock: Callable[[], float],
        now: Callable[[], float],
        rng: random.Random,
    ) -> None:
        self.sent = 0
        self._identity = identity
        self._rights = rights
        self._repeat_seconds = repeat_seconds
        self._clock = clock
        self._now = now
        self._rng = rng
        self._events: dict[Key, _Sent] = {}
        self._spent: dict[ServiceKey, tuple[float, float]] = {}

    def has_work(self, notices: tuple[Notice, ...]) -> bool:
        """Whether any of these may have to be sent now; notes those that hold no more."""
        current = {_key(notice) for notice in notices}
        clock = self._clock()
        for key, sent in list(self._events.items()):
            sent.open = sent.open and key in current
            if key not in current and clock - sent.at >= FORGET_SECONDS:
                del self._events[key]
        return any(self._wants(_key(notice)) for notice in notices)

    def _wants(self, key: Key) -> bool:
        sent = self._events.get(key)
        return sent is None or not sent.open or self._clock() - sent.at >= self._repeat_seconds

    async def turn(self, session: Session, notices: tuple[Notice, ...]) -> float | None:
        """Send what was not sent yet. Returns in how many seconds there is more to do, or None.
        Errors: ApiFault for whatever concerns more than a single Event."""
        self.has_work(notices)
        for notice in notices:
            key = _key(notice)
            target = event(notice.service.namespace)
            if self._wants(key) and self._rights.may_try(target) and self._spend(notice.service):
                await self._send(session, notice, key)
        return self._repeat_seconds if notices else None

    def _spend(self, service: ServiceKey) -> bool:
        """Take one from the Service's allowance, if there is one left."""
        clock = self._clock()
        left, at = self._spent.get(service, (float(BURST), clock))
        left = min(float(BURST), left + (clock - at) / REFILL_SECONDS)
        if left < 1.0:
            return False
        self._spent[service] = left - 1.0, clock
        if len(self._spent) > 10_000:
            self._spent = dict(list(self._spent.items())[-5_000:])
        return True

    async def _send(self, session: Session, notice: Notice, key: Key) -> None:
        at = datetime.fromtimestamp(self._now(), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        sent = self._events.get(key)
        if sent is not None and await self._count_up(session, notice, sent, at):
            return
        name = f"{notice.service.name[:230]}.{self._rng.getrandbits(64):016x}"
        target = event(notice.service.namespace)
        try:
            await session.send("create", target, self._body(notice, name, at))
        except ApiFault as fault:
            if fault.status == FORBIDDEN:
                self._rights.refused(target, fault)
                return
            if fault.status not in _REFUSED:
                raise
        else:
            self._rights.granted(target)
            self.sent += 1
        self._events[key] = _Sent(name, at, self._clock())

    async def _count_up(self, session: Session, notice: Notice, sent: _Sent, at: str) -> bool:
        """Send it once more. Returns False if the API server has forgotten it."""
        target = event(notice.service.namespace, sent.name)
        body = {"count": sent.count + 1, "lastTimestamp": at}
        try:
            await session.send("patch", target, body)
        except ApiFault as fault:
            if fault.status == FORBIDDEN:
                self._rights.refused(target, fault)
                return True
            if fault.status not in _REFUSED:
                raise
            return False
        self._rights.granted(target)
        self.sent += 1
        sent.count += 1
        sent.open = True
        sent.at = self._clock()
        return True

    def _body(self, notice: Notice, name: str, at: str) -> dict[str, Any]:
        service = notice.service
        text = notice.text
        return {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"name": name, "namespace": service.namespace},
            "involvedObject": {
                "apiVersion": "v1",
                "kind": "Service",
                "namespace": service.namespace,
                "name": service.name,
                "uid": notice.uid,
            },
            "reason": notice.reason,
            "message": text if len(text) <= MAX_MESSAGE else f"{text[: MAX_MESSAGE - 3]}...",
            "type": "Warning" if notice.warning else "Normal",
            "source": {"component": COMPONENT, "host": self._identity},
            "reportingComponent": COMPONENT,
            "reportingInstance": self._identity,
            "firstTimestamp": at,
            "lastTimestamp": at,
            "count": 1,
        }


def _key(notice: Notice) -> Key:
    return notice.service, notice.uid, notice.reason, notice.text
