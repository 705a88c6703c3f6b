"""What changed between two plans, as entries for the journal."""

from collections.abc import Iterator
from operator import attrgetter, is_

from nplb.model.decision import Decision, DecisionKind
from nplb.model.difference import difference
from nplb.model.keys import FrontendKey
from nplb.model.plan import Backend, Frontend, Plan
from nplb.model.reasons import BackendReason, BackendState

_BACKEND_KINDS = {
    BackendState.ACTIVE: DecisionKind.BACKEND_JOINED,
    BackendState.DRAINING: DecisionKind.BACKEND_DRAINING,
    BackendState.DOWN: DecisionKind.BACKEND_DOWN,
}


def plan_decisions(previous: Plan, plan: Plan, now: float) -> tuple[Decision, ...]:
    """Every difference between two plans, in the order of their keys."""
    return tuple(_decisions(previous, plan, now))


def _decisions(previous: Plan, plan: Plan, now: float) -> Iterator[Decision]:
    if plan is previous:
        return
    gone, come = difference(previous.frontends, plan.frontends, attrgetter("key"), is_)
    before = {frontend.key: frontend for frontend in gone}
    after = {frontend.key: frontend for frontend in come}
    for key in sorted(before.keys() | after.keys()):
        old, new = before.get(key), after.get(key)
        if new is None:
            yield _entry(key, now, DecisionKind.FRONTEND_REMOVED, text="no longer served")
            continue
        if old is None:
            yield _entry(key, now, DecisionKind.FRONTEND_ADDED, text=_listening(new))
        else:
            yield from _frontend_changes(old, new, now)
        yield from _backend_changes(old, new, now)
    yield from _skipped(previous, plan, now)


def _frontend_changes(old: Frontend, new: Frontend, now: float) -> Iterator[Decision]:
    if old.listen != new.listen:
        yield _entry(new.key, now, DecisionKind.FRONTEND_CHANGED, text=_listening(new))
    for name in ("node_port", "balance", "timeouts", "connect_attempts"):
        was, now_is = getattr(old, name), getattr(new, name)
        if was != now_is:
            text = f"{name}: {was} -> {now_is}"
            yield _entry(new.key, now, DecisionKind.FRONTEND_CHANGED, text=text)


def _backend_changes(old: Frontend | None, new: Frontend, now: float) -> Iterator[Decision]:
    before = {b.key: b for b in old.backends} if old is not None else {}
    after = {b.key: b for b in new.backends}
    for key in sorted(before.keys() | after.keys()):
        was, backend = before.get(key), after.get(key)
        if backend is None:
            text = f"{key.node} ({key.address}) is no longer a node of this service"
            yield _entry(new.key, now, DecisionKind.BACKEND_REMOVED, node=key.node, text=text)
        elif was is None and backend.reason is BackendReason.PROBING:
            continue  # every new backend begins so; what comes of it is the news
        elif was is None or (was.state, was.reason) != (backend.state, backend.reason):
            yield _backend_entry(backend, was, now)


def _backend_entry(backend: Backend, was: Backend | None, now: float) -> Decision:
    key = backend.key
    text = f"{key.node} ({key.address}) is {backend.state}: {backend.reason}"
    if backend.detail:
        text += f" ({backend.detail})"
    if was is not None:
        text += f"; it was {was.state}: {was.reason}"
    return _entry(
        key.frontend,
        now,
        _kind(backend),
        reason=backend.reason,
        node=key.node,
        text=text,
    )


def _kind(backend: Backend) -> DecisionKind:
    if backend.reason is BackendReason.KEPT:
        return DecisionKind.BACKEND_KEPT
    return _BACKEND_KINDS[backend.state]


def _skipped(previous: Plan, plan: Plan, now: float) -> Iterator[Decision]:
    before = {s.key: s for s in previous.skipped}
    for skipped in plan.skipped:
        was = before.get(skipped.key)
        if was is None or was.reason != skipped.reason:
            yield _entry(
                skipped.key,
                now,
                DecisionKind.SKIPPED,
                reason=skipped.reason,
                text=f"not served: {skipped.detail or skipped.reason}",
            )


def _listening(frontend: Frontend) -> str:
    return "to be served at " + ", ".join(str(address) for address in frontend.listen)


def _entry(
    key: FrontendKey, now: float, kind: DecisionKind, *, text: str, reason: str = "", node: str = ""
) -> Decision:
    return Decision(
        at=now,
        kind=kind,
        subject=str(key),
        reason=reason,
        text=text,
        service=str(key.service),
        node=node,
        cluster=key.service.cluster,
    )
