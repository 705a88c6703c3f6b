"""The board: a status in the compact form that the dashboard draws. Pure.

`full` is everything; `change` is what is different from the board before it, as long as both
have the same rows and columns. The shape:

    at        epoch seconds
    overview  what the first page shows, see `web.overview`
    legend    letter -> [state, reason], for `cells`
    nodes     cluster -> names of its nodes, sorted: the columns
    rows      one per frontend, sorted by key:
              {key, cluster, namespace, name, port, port_name, node_port, listen, state, cells}
              `cells` has one letter per node of the row's cluster, "." where there is none
    traffic   one per row: [connections, clients/s, failed/s, bytes in/s, bytes out/s]

In a change, `rows` and `traffic` map a row's index to its new value, and `legend` and `nodes`
are left out.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from nplb.model.keys import FrontendKey
from nplb.model.plan import Frontend, Plan
from nplb.model.reasons import BackendReason, BackendState
from nplb.model.status import Status
from nplb.observe.history import Totals, rates, totals
from nplb.web.overview import Glance, look, overview
from nplb.web.render import JSON

LEGEND: tuple[tuple[str, str], ...] = tuple(
    (state, reason) for state in (*BackendState, "left_out") for reason in BackendReason
)
_LETTERS = {pair: chr(0x100 + n) for n, pair in enumerate(LEGEND)}
_ORDER = {BackendState.ACTIVE: 0, BackendState.DOWN: 1, BackendState.DRAINING: 2}
_NO_TRAFFIC: list[float] = [0, 0, 0, 0, 0]


@dataclass(frozen=True, slots=True, kw_only=True)
class Board:
    """One status, drawn. `glances` and `cells` are kept per frontend for the next board."""

    at: float
    overview: JSON
    nodes: Mapping[str, list[str]]
    rows: tuple[JSON, ...]
    traffic: tuple[list[float], ...]
    plan: Plan
    glances: Mapping[FrontendKey, Glance]
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


def draw(status: Status, before: Board | None = None) -> Board:
    """The board of a status. `before` gives rates, and spares drawing what did not change."""
    seconds = status.now - before.at if before is not None else 0.0
    sums = {str(key): totals((counters,)) for key, counters in status.traffic.frontends.items()}
    known = before.glances if before is not None else {}
    glances = {one.key: look(one, known.get(one.key)) for one in status.plan.frontends}
    nodes = _nodes(glances)
    same_columns = before is not None and before.nodes == nodes
    columns = {
        cluster: {name: n for n, name in enumerate(names)} for cluster, names in nodes.items()
    }
    drawn: dict[str, str] = {}
    if before is not None and same_columns:
        drawn = {row["key"]: row["cells"] for row in before.rows}
    rows: list[JSON] = []
    traffic: list[list[float]] = []
    for frontend in status.plan.frontends:
        key = str(frontend.key)
        unchanged = same_columns and known.get(frontend.key) is glances[frontend.key]
        cells = drawn[key] if unchanged and key in drawn else _cells(frontend, columns)
        rows.append(_row(status, frontend, key, cells))
        after = sums.get(key)
        if after is None:
            traffic.append(_NO_TRAFFIC)
            continue
        earlier = before.totals.get(key, after) if before is not None else after
        traffic.append([short(number) for number in rates(earlier, after, seconds)])
    total = totals(status.traffic.frontends.values())
    earlier = before.totals.get("", total) if before is not None else total
    return Board(
        at=status.now,
        overview=overview(status, glances, total)
        | {"rates": [short(number) for number in rates(earlier, total, seconds)]},
        nodes=before.nodes if before is not None and same_columns else nodes,
        rows=tuple(rows),
        traffic=tuple(traffic),
        plan=status.plan,
        glances=glances,
        totals={**sums, "": total},
    )


def _nodes(glances: Mapping[FrontendKey, Glance]) -> dict[str, list[str]]:
    names: dict[str, set[str]] = {}
    for key, glance in glances.items():
        names.setdefault(key.service.cluster, set()).update(glance.nodes)
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
        letters[mine[backend.key.node]] = _LETTERS[backend.state, backend.reason]
    for left in frontend.left_out:
        if letters[mine[left.node]] == ".":
            letters[mine[left.node]] = _LETTERS["left_out", left.reason]
    return "".join(letters)


def _row(status: Status, frontend: Frontend, key: str, cells: str) -> JSON:
    service = frontend.key.service
    return {
        "key": key,
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


def short(number: float) -> float:
    """Three digits are enough to look at, and spare bytes."""
    return round(number) if abs(number) >= 100 else float(f"{number:.3g}")
