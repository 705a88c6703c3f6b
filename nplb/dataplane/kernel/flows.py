"""Whose connections are to end now: pure, from the plan and the clock.

A backend that leaves the tables gets no new connection, and that is all: connection tracking
keeps its old ones. This says when more is asked for: a node that is down, a drain whose
deadline has passed, a policy to close.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from nplb.dataplane.kernel.serving import changed_places, stretch
from nplb.model.keys import FrontendKey, Protocol
from nplb.model.plan import Backend, Frontend
from nplb.model.reasons import BackendReason, BackendState
from nplb.model.relay import Leave

# Where answers come from: the key of a backend in connection tracking.
Source = tuple[Protocol, str, int]

# Down for want of news, not for bad news.
_UNKNOWN = frozenset({BackendReason.PROBING})


@dataclass(frozen=True, slots=True)
class Due:
    """Whose connections end now, and in how many seconds the next are due."""

    sources: frozenset[Source]
    next_seconds: float | None


def source(backend: Backend) -> Source:
    """A backend's key in connection tracking."""
    address = backend.key.address
    return backend.key.frontend.protocol, address.ip, address.port


class Leavers:
    """Backends whose connections end, now or later, those that left the plan included."""

    def __init__(self) -> None:
        self._gone: dict[Source, float] = {}
        self._before: dict[FrontendKey, Frontend] = {}
        self._deadlines: dict[FrontendKey, dict[Source, float]] = {}

    def observe(self, frontends: Iterable[Frontend], now: float) -> Due:
        """Take the plan's frontends. `now` is epoch seconds."""
        current = {frontend.key: frontend for frontend in frontends}
        own: dict[FrontendKey, dict[Source, float]] = {}
        deadlines: dict[Source, float] = {}
        for key, frontend in current.items():
            before = self._before.get(key)
            if before is not None and before is not frontend:
                self._note_gone(before, frontend, now)
            own[key] = self._deadlines[key] if before is frontend else _deadlines(frontend)
            deadlines |= own[key]
        for key, before in self._before.items():
            if key not in current:
                self._note_gone(before, None, now)
        self._before, self._deadlines = current, own
        if self._gone:
            present = {source(b) for frontend in current.values() for b in frontend.backends}
            self._gone = {s: d for s, d in self._gone.items() if s not in present}
        deadlines |= self._gone
        later = [deadline - now for deadline in deadlines.values() if deadline > now]
        return Due(
            sources=frozenset(s for s, deadline in deadlines.items() if deadline <= now),
            next_seconds=min(later, default=None),
        )

    def forget(self, sources: Iterable[Source]) -> None:
        """These have ended, and are in no plan any more."""
        for each in sources:
            self._gone.pop(each, None)

    def _note_gone(self, before: Frontend, after: Frontend | None, now: float) -> None:
        now_there = after.backends if after is not None else ()
        if changed_places(now_there, before.backends) is not None:
            return  # the usual case: a state has changed, and nobody has left
        here, there = stretch(now_there, before.backends)
        stayed = {b.key for b in now_there[here]}
        for backend in before.backends[there]:
            if backend.key in stayed:
                continue
            deadline = _deadline(before, backend)
            if deadline is None and backend.state is BackendState.ACTIVE:
                deadline = _leave_deadline(before, now)
            if deadline is None and backend.key.frontend.protocol is Protocol.UDP:
                # A client that keeps asking would stay with a node that is no more: nothing ends
                # a UDP flow but silence. kube-proxy ends them too.
                deadline = now
            if deadline is not None:
                self._gone.setdefault(source(backend), deadline)


def _deadlines(frontend: Frontend) -> dict[Source, float]:
    """When the connections of backends end that are in the plan, but not active."""
    resting = [b for b in frontend.backends if b.state is not BackendState.ACTIVE]
    found = [(source(backend), _deadline(frontend, backend)) for backend in resting]
    return {each: deadline for each, deadline in found if deadline is not None}


def _deadline(frontend: Frontend, backend: Backend) -> float | None:
    """When the connections of a backend that is in the plan, but not active, end."""
    if backend.state is BackendState.DOWN:
        ends = frontend.kernel.end_on_down or frontend.relay.reset_on_down
        if backend.reason in _UNKNOWN or not ends:
            return None
        return backend.since
    if backend.state is BackendState.DRAINING:
        return _leave_deadline(frontend, backend.since)
    return None


def _leave_deadline(frontend: Frontend, since: float) -> float | None:
    policy = frontend.relay.on_leave
    if policy is Leave.KEEP:
        return None
    return since + (frontend.relay.drain_seconds if policy is Leave.DRAIN else 0.0)
