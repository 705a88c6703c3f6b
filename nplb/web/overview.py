"""What the dashboard's first page shows of a status. Pure.

A `Glance` is what of one frontend this needs. It is kept as long as its frontend is the same
object, since a plan of many thousand backends changes in few of them.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from nplb.model.keys import FrontendKey
from nplb.model.plan import Backend, Frontend
from nplb.model.reasons import BackendReason, BackendState
from nplb.model.status import Status
from nplb.observe.history import FAILURES, Totals, ends_of
from nplb.web.render import JSON, render

MAX_LISTED = 200
"""Frontends that are named one by one."""

# A node is not to blame for these: the Service has no endpoint here, or none at all.
_NONE_HERE = frozenset(
    {
        BackendReason.NO_LOCAL_ENDPOINT,
        BackendReason.LOCAL_SILENT,
        BackendReason.HEALTH_CHECK_PORT,
    }
)
_AS_MEANT = _NONE_HERE | {BackendReason.SERVICE_EMPTY}


@dataclass(frozen=True, slots=True, kw_only=True)
class Glance:
    """One frontend: the nodes it names, those that are active, its backends that are down, and
    how many there are of each state and reason."""

    frontend: Frontend
    nodes: frozenset[str]
    active: frozenset[str]
    down: tuple[Backend, ...]
    counts: Counter[str]


def look(frontend: Frontend, before: Glance | None = None) -> Glance:
    """A glance at a frontend; the one before if it is still true."""
    if before is not None and before.frontend is frontend:
        return before
    backends = frontend.backends
    return Glance(
        frontend=frontend,
        nodes=frozenset(b.key.node for b in backends) | {left.node for left in frontend.left_out},
        active=frozenset(b.key.node for b in backends if b.state is BackendState.ACTIVE),
        down=tuple(b for b in backends if b.state is BackendState.DOWN),
        counts=Counter(f"{b.state}/{b.reason}" for b in backends),
    )


def overview(status: Status, glances: Mapping[FrontendKey, Glance], total: Totals) -> JSON:
    """Everything that the first page shows, but for rates."""
    backends: Counter[str] = Counter()
    for glance in glances.values():
        backends.update(glance.counts)
    return {
        "version": status.version,
        "now": status.now,
        "started_at": status.started_at,
        "loop_at": status.loop_at,
        "config_path": status.config_path,
        "ready": status.is_ready and not status.stopping,
        "stopping": status.stopping,
        "parts": render(status.ready),
        "sources": render(status.sources),
        "findings": render(status.findings),
        "drains": render(status.drains),
        "writers": render(status.writers),
        "reload": render(status.reload),
        "last_error": status.last_error,
        "plan": status.plan.generation,
        "applied": status.applied.generation if status.applied is not None else None,
        "planes": dict(Counter(one.plane.value for one in status.plan.frontends)),
        "passes": status.passes,
        "workers": render(status.traffic.workers),
        "probing": {
            "targets": status.probing.targets,
            "in_flight": status.probing.in_flight,
            "ended": render(status.probing.ended),
            "repeated": status.probing.repeated,
            **render(status.plan.detection),
        },
        "frontends": dict(
            Counter(status.frontend_state(g.frontend).value for g in glances.values())
        ),
        "backends": dict(backends),
        "skipped": render(status.plan.skipped),
        "accepted": total.accepted,
        "bytes_in": total.bytes_in,
        "bytes_out": total.bytes_out,
        "ends": {reason.value: count for reason, count in ends_of(status.traffic).items()},
        "failures": sorted(reason.value for reason in FAILURES),
        "troubles": _troubles(status, glances),
    }


def _troubles(status: Status, glances: Mapping[FrontendKey, Glance]) -> JSON:
    """What a plan shows to be wrong, and since when: nodes on which nothing works, frontends
    without an active backend or without their listener, and how many backends besides are down,
    by reason."""
    nodes = _fallen(glances)
    fallen = {(one["cluster"], one["node"]) for one in nodes}
    frontends: list[JSON] = []
    others: Counter[str] = Counter()
    began: list[float] = []
    for key, glance in glances.items():
        if not glance.active:
            reasons = Counter(b.reason for b in glance.down)
            frontends.append(
                {
                    "key": str(key),
                    "since": max((b.since for b in glance.frontend.backends), default=None),
                    "reason": reasons.most_common(1)[0][0].value if reasons else "",
                }
            )
            continue
        for backend in glance.down:
            place = (key.service.cluster, backend.key.node)
            if backend.reason not in _NONE_HERE and place not in fallen:
                others[backend.reason.value] += 1
                began.append(backend.since)
    errors = status.applied.listen_errors if status.applied is not None else {}
    listen = [
        {"key": str(key), "address": str(one.address), "detail": one.detail}
        for key, found in sorted(errors.items())
        for one in found
    ]
    return {
        "nodes": nodes,
        "frontends": frontends[:MAX_LISTED],
        "frontends_more": max(len(frontends) - MAX_LISTED, 0),
        "listen": listen[:MAX_LISTED],
        "others": dict(others),
        "others_since": max(began, default=None),
    }


def _fallen(glances: Mapping[FrontendKey, Glance]) -> list[JSON]:
    """The nodes on which nothing works."""
    active: dict[str, set[str]] = {}
    down: dict[tuple[str, str], list[Backend]] = {}
    for key, glance in glances.items():
        active.setdefault(key.service.cluster, set()).update(glance.active)
        for backend in glance.down:
            # A Service without endpoints says nothing about a node, nor does a node that drains
            # for one Service about the others.
            if backend.reason not in _AS_MEANT:
                down.setdefault((key.service.cluster, backend.key.node), []).append(backend)
    found: list[JSON] = []
    for (cluster, node), backends in sorted(down.items()):
        if len(backends) < 2 or node in active[cluster]:
            continue
        reason, count = Counter(b.reason for b in backends).most_common(1)[0]
        if reason is BackendReason.PROBING:
            continue
        found.append(
            {
                "cluster": cluster,
                "node": node,
                "since": max(b.since for b in backends),
                "reason": reason.value,
                "count": count,
            }
        )
    return found
