"""Which of several edges writes: the one that holds a Lease (coordination.k8s.io/v1).

As client-go's `tools/leaderelection` does it. Clocks of different hosts are not compared: a Lease
is another's to take once it has not *changed* for as long as it says it lasts, by this host's own
monotonic clock. Who holds it stops writing once its last renewal was longer ago than that minus a
margin, whether or not it can reach the API server.
"""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from nplb.sources.kubernetes.faults import ApiFault
from nplb.sources.kubernetes.pacing import Pacing
from nplb.sources.kubernetes.resources import LEASE_GROUP, lease
from nplb.sources.kubernetes.session import Session

NOT_FOUND, CONFLICT = 404, 409
# The share of a Lease's time after which its holder no longer trusts it.
_TRUSTED = 2 / 3


class Election:
    """Takes part in one Lease's election under an identity. `holder` is who has it, as it was
    seen last. `clock` is monotonic seconds, `now` epoch seconds."""

    def __init__(
        self,
        *,
        namespace: str,
        name: str,
        identity: str,
        pacing: Pacing,
        clock: Callable[[], float],
        now: Callable[[], float],
    ) -> None:
        self.holder = ""
        self._namespace = namespace
        self._name = name
        self._identity = identity
        self._pacing = pacing
        self._clock = clock
        self._now = now
        self._renewed_at: float | None = None
        self._seen: Mapping[str, Any] = {}
        self._seen_at = 0.0

    @property
    def holds(self) -> bool:
        """Whether this edge may write now."""
        trusted = self._pacing.lease_seconds * _TRUSTED
        return self._renewed_at is not None and self._clock() - self._renewed_at < trusted

    async def turn(self, session: Session) -> None:
        """Renew the Lease, take it if it is free, or note who has it. Errors: ApiFault."""
        asked_at = self._clock()
        try:
            found = await session.send("get", lease(self._namespace, self._name))
        except ApiFault as fault:
            if fault.status != NOT_FOUND:
                raise
            await self._write(session, "create", {}, asked_at)
            return
        spec = _mapping(found, "spec")
        if spec != self._seen:
            self._seen, self._seen_at = spec, asked_at
        self.holder = str(spec.get("holderIdentity") or "")
        if self.holder and self.holder != self._identity:
            self._renewed_at = None
            if asked_at - self._seen_at < _seconds(spec, self._pacing.lease_seconds):
                return
        await self._write(session, "update", found, asked_at)

    async def release(self, session: Session) -> None:
        """Give the Lease up, so that another edge need not wait for it to expire. Errors:
        ApiFault."""
        if not self.holds:
            return
        self._renewed_at = None
        found = await session.send("get", lease(self._namespace, self._name))
        spec = _mapping(found, "spec")
        if spec.get("holderIdentity") == self._identity:
            free = {**spec, "holderIdentity": "", "leaseDurationSeconds": 1}
            await session.send(
                "update", lease(self._namespace, self._name), {**found, "spec": free}
            )

    async def _write(
        self, session: Session, verb: str, found: Mapping[str, Any], asked_at: float
    ) -> None:
        """Write the Lease as this edge's own. Another edge that was quicker is no error."""
        before = _mapping(found, "spec")
        time = datetime.fromtimestamp(self._now(), UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        spec = {
            **before,
            "holderIdentity": self._identity,
            "leaseDurationSeconds": max(1, round(self._pacing.lease_seconds)),
            "renewTime": time,
        }
        if before.get("holderIdentity") != self._identity:
            spec["acquireTime"] = time
            spec["leaseTransitions"] = _count(before) + 1 if found else 0
        body: dict[str, Any] = {
            "apiVersion": f"{LEASE_GROUP}/v1",
            "kind": "Lease",
            **found,
            "spec": spec,
        }
        if not found:
            body["metadata"] = {"name": self._name, "namespace": self._namespace}
        name = self._name if found else ""
        try:
            # With the version that was read: of two who try, one gets a conflict.
            stored = await session.send(verb, lease(self._namespace, name), body)
        except ApiFault as fault:
            if fault.status != CONFLICT:
                raise
            self._renewed_at = None
            return
        self._seen, self._seen_at = _mapping(stored, "spec"), self._clock()
        self.holder = self._identity
        self._renewed_at = asked_at


def _mapping(value: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    inner = value.get(key)
    return inner if isinstance(inner, dict) else {}


def _seconds(spec: Mapping[str, Any], default: float) -> float:
    value = spec.get("leaseDurationSeconds")
    return float(value) if isinstance(value, (int, float)) and value > 0 else default


def _count(spec: Mapping[str, Any]) -> int:
    value = spec.get("leaseTransitions")
    return value if isinstance(value, int) else 0
