"""The board: a status in the compact form that the dashboard draws. Pure.

`full` is everything; `change` is what is different from the board before it, as long as both
have the same rows and columns. The shape:

    at        epoch seconds
    overview  what the first page shows
    legend    letter -> [state, reason], for `cells`
    nodes     cluster -> names of its nodes, sorted: the columns
    rows      one per frontend, sorted by key:
              {key, cluster, namespace, name, port, port_name, node_port, listen, state, cells}
              `cells` has one letter per node of the row's cluster, "." where there is none
    traffic   one per row: [connections, clients/s, failed/s, bytes in/s, bytes out/s]

In a change, `rows` and `traffic` map a row's index to its new value, and `legend` and `nodes`
are left out.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from nplb.model.plan import Backend, Frontend, Plan
from nplb.model.reasons import BackendReason, BackendState
from nplb.model.status import Status
from nplb.observe.history import FAILURES, Totals, rates, totals
from nplb.web.render import JSON, render

LEGEND: tuple[tuple[str, str], ...] = (
    (BackendState.ACTIVE, BackendReason.PASSING),
    (BackendState.ACTIVE, BackendReason.UNPROBED),
    (BackendState.ACTIVE, BackendReason.PROBES_OFF),
    (BackendState.ACTIVE, BackendReason.FAIL_OPEN),
    *(
        (BackendState.DRAINING, reason)
        for reason in BackendReason
        if reason not in (BackendReason.PASSING, BackendReason.UNPROBED, BackendReason.FAIL_OPEN)
    ),
    *((BackendState.DOWN, reason) for reason in BackendReason),
    *(("left_out", reason) for reason in BackendReason),
)
_LETTERS = {pair: chr(0x100 + n) for n, pair in enumerate(LEGEND)}
_ORDER = {BackendState.ACTIVE: 0, BackendState.DOWN: 1, BackendState.DRAINING: 2}
_NO_TRAFFIC: list[float] = [0, 0, 0, 0, 0]


@dataclass(frozen=True, slots=True, kw_only=True)
class Board:
    """One status, drawn. `cells` are kept per frontend for the next board."""

    at: float
    overview: JSON
    nodes: Mapping[str, list[str]]
    rows: tuple[JSON, ...]
    traffic: tuple[list[float], ...]
    plan: Plan
    troubles: JSON
    totals: Mapping[str, Totals]

    def full(self) -> JSON:
        """Everything."""
        return {
            "at": self.at,
            "overview": self.overview,
            "legend": {_LETTERS[pair]: list(pair) for pair in LEGEND},
            "nodes": self.nodes,
            "rows": self.rows,
            "traffic": self.traffic,
        }

    def change(self, before: "Board") -> JSON | None:
        """What is different from `before`; None if only `full` can say it."""
        same_rows = len(before.rows) == len(self.rows) and (
            before.rows is self.rows
            or all(
                old["key"] == new["key"] for old, new in zip(before.rows, self.rows, strict=True)
            )
        )
        if not same_rows or before.nodes != self.nodes:
            return None
        pairs = zip(before.rows, self.rows, strict=True)
        numbers = zip(before.traffic, self.traffic, strict=True)
        return {
            "at": self.at,
            "overview": self.overview,
            "rows": {str(n): new for n, (old, new) in enumerate(pairs) if old != new},
            "traffic": {str(n): new for n, (old, new) in enumerate(numbers) if old != new},
        }


# A node is not to blame for these: the Service has no endpoint, or none here.
_AS_MEANT = frozenset({BackendReason.SERVICE_EMPTY, BackendReason.NO_LOCAL_ENDPOINT})


def draw(status: Status, before: Board | None = None) -> Board:
    """The board of a status. `before` gives rates, and spares drawing what did not change."""
    seconds = status.now - before.at if before is not None else 0.0
    sums = {str(key): totals((counters,)) for key, counters in status.traffic.frontends.items()}
    if before is not None and before.plan is status.plan:
        nodes, drawn = before.nodes, [row["cells"] for row in before.rows]
        troubles = before.troubles
    else:
        nodes, troubles = _nodes(status.plan), _troubles(status.plan)
        columns = {
            cluster: {name: n for n, name in enumerate(names)} for cluster, names in nodes.items()
        }
        drawn = [_cells(one, columns) for one in status.plan.frontends]
    rows: list[JSON] = []
    traffic: list[list[float]] = []
    for frontend, cells in zip(status.plan.frontends, drawn, strict=True):
        row = _row(status, frontend, cells)
        rows.append(row)
        after = sums.get(row["key"])
        if after is None:
            traffic.append(_NO_TRAFFIC)
            continue
        earlier = before.totals.get(row["key"], after) if before is not None else after
        traffic.append([_short(number) for number in rates(earlier, after, seconds)])
    return Board(
        at=status.now,
        overview=_overview(status, before, seconds) | {"troubles": troubles},
        nodes=nodes,
        rows=tuple(rows),
        traffic=tuple(traffic),
        plan=status.plan,
        troubles=troubles,
        totals={**sums, "": totals(status.traffic.frontends.values())},
    )


def _troubles(plan: Plan) -> JSON:
    """What a plan shows to be wrong, and since when: nodes on which nothing works, frontends
    without an active backend, and how many backends besides are down, by reason."""
    by_node: dict[tuple[str, str], list[Backend]] = {}
    for frontend in plan.frontends:
        for backend in frontend.backends:
            place = (frontend.key.service.cluster, backend.key.node)
            by_node.setdefault(place, []).append(backend)
    nodes: list[JSON] = []
    fallen: set[tuple[str, str]] = set()
    for place, backends in sorted(by_node.items()):
        # A Service without endpoints says nothing about a node, nor does a node that drains
        # for one Service about the others.
        down = [b for b in backends if b.state is BackendState.DOWN and b.reason not in _AS_MEANT]
        if len(down) < 2 or any(b.state is BackendState.ACTIVE for b in backends):
            continue
        reason, count = Counter(b.reason for b in down).most_common(1)[0]
        if reason is BackendReason.PROBING:
            continue
        fallen.add(place)
        since = max(b.since for b in down)
        nodes.append(
            {"cluster": place[0], "node": place[1], "since": since}
            | {"reason": reason.value, "count": count}
        )
    frontends: list[JSON] = []
    others: Counter[str] = Counter()
    for frontend in plan.frontends:
        reasons = Counter(b.reason for b in frontend.backends if b.state is BackendState.DOWN)
        if not frontend.active:
            began = max((b.since for b in frontend.backends), default=None)
            worst = reasons.most_common(1)[0][0].value if reasons else ""
            frontends.append({"key": str(frontend.key), "since": began, "reason": worst})
            continue
        for backend in frontend.backends:
            place = (frontend.key.service.cluster, backend.key.node)
            if (
                backend.state is BackendState.DOWN
                and backend.reason is not BackendReason.NO_LOCAL_ENDPOINT
                and place not in fallen
            ):
                others[backend.reason.value] += 1
    return {"nodes": nodes, "frontends": frontends, "others": dict(others)}


def _nodes(plan: Plan) -> dict[str, list[str]]:
    names: dict[str, set[str]] = {}
    for frontend in plan.frontends:
        mine = names.setdefault(frontend.key.service.cluster, set())
        mine.update(backend.key.node for backend in frontend.backends)
        mine.update(left.node for left in frontend.left_out)
    return {cluster: sorted(mine, key=_natural) for cluster, mine in sorted(names.items())}


def _natural(name: str) -> tuple[str, int, str]:
    """`node-10` after `node-9`."""
    head = name.rstrip("0123456789")
    tail = name[len(head) :]
    return head, int(tail) if tail else -1, name


def _cells(frontend: Frontend, columns: Mapping[str, Mapping[str, int]]) -> str:
    mine = columns[frontend.key.service.cluster]
    letters = ["."] * len(mine)
    # A node may be there twice, draining at its old address: the better one shows.
    for backend in sorted(frontend.backends, key=lambda b: _ORDER[b.state], reverse=True):
        pair = (backend.state, backend.reason)
        letters[mine[backend.key.node]] = _LETTERS[pair]
    for left in frontend.left_out:
        if letters[mine[left.node]] == ".":
            letters[mine[left.node]] = _LETTERS["left_out", left.reason]
    return "".join(letters)


def _row(status: Status, frontend: Frontend, cells: str) -> JSON:
    service = frontend.key.service
    return {
        "key": str(frontend.key),
        "cluster": service.cluster,
        "namespace": service.namespace,
        "name": service.name,
        "port": frontend.key.port,
        "port_name": frontend.port_name,
        "node_port": frontend.node_port,
        "listen": [str(address) for address in frontend.listen],
        "state": status.frontend_state(frontend).value,
        "cells": cells,
    }


def _overview(status: Status, before: Board | None, seconds: float) -> JSON:
    states = Counter(status.frontend_state(one).value for one in status.plan.frontends)
    backends: Counter[str] = Counter()
    for frontend in status.plan.frontends:
        for backend in frontend.backends:
            backends[f"{backend.state}/{backend.reason}"] += 1
    total = totals(status.traffic.frontends.values())
    earlier = before.totals.get("", total) if before is not None else total
    ends: Counter[str] = Counter()
    for counters in status.traffic.frontends.values():
        for reason, count in counters.ends.items():
            ends[reason.value] += count
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
        "reload": render(status.reload),
        "last_error": status.last_error,
        "plan": status.plan.generation,
        "applied": status.applied.generation if status.applied is not None else None,
        "passes": status.passes,
        "workers": render(status.traffic.workers),
        "probing": {
            "targets": status.probing.targets,
            "in_flight": status.probing.in_flight,
            "ended": render(status.probing.ended),
            "repeated": status.probing.repeated,
        },
        "frontends": dict(states),
        "backends": dict(backends),
        "skipped": render(status.plan.skipped),
        "rates": [_short(number) for number in rates(earlier, total, seconds)],
        "accepted": total.accepted,
        "bytes_in": total.bytes_in,
        "bytes_out": total.bytes_out,
        "ends": dict(ends),
        "failures": sorted(reason.value for reason in FAILURES),
    }


def _short(number: float) -> float:
    """Three digits are enough to look at, and spare bytes."""
    return round(number) if abs(number) >= 100 else float(f"{number:.3g}")
