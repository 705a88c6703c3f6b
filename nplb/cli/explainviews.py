"""Shows to eyes why nodes are in or out. Documents are those of `/api/v1/frontend`, each node
with `signal_at`."""

import time
from collections.abc import Iterator
from typing import Any

from nplb.cli.table import Cell, age, counted, plain, table
from nplb.cli.views import word

Document = dict[str, Any]
DECISIONS = 10
_ORDER = {"down": 0, "left_out": 1, "draining": 2, "active": 3}


def page_text(page: Document, *, one_node: bool = False) -> str:
    """One frontend: its state, its nodes by reason, and its last decisions. `one_node`: the page
    has been narrowed to one, so it says nothing of how many there are."""
    active = sum(one["state"] == "active" for one in page["backends"])
    total = len(page["backends"])
    count = "" if one_node else f", {active} of {counted(total, 'backend')} active"
    lines = [
        f"{page['key']['text']}: {page['state']}{count}",
        f"  {plain(page['explanation'])}",
        f"  Served by: {plain(page['served_by'])}",
    ]
    lines += [f"  {plain(error['detail'])}" for error in page["listen_errors"]]
    if page["panic"]:
        lines.append("  Panic: fewer of its nodes pass their probes than health.panic_below says.")
    for group in _groups(page):
        lines += ["", *_group_lines(group, page["now"])]
    if not total and not page["left_out"]:
        lines.append("  No node may serve it.")
    decisions = page["decisions"][-DECISIONS:]
    if decisions:
        lines += ["", "  Decided last:"]
        lines.append(table([], [_decision(one) for one in reversed(decisions)], indent="    "))
    return "\n".join(lines)


def _groups(page: Document) -> list[list[Document]]:
    """Nodes that are in or out for the same reason, those in trouble first."""
    found: dict[tuple[str, str], list[Document]] = {}
    for one in (*page["backends"], *page["left_out"]):
        found.setdefault((one["state"], one["reason"]), []).append(one)
    return sorted(found.values(), key=lambda group: _ORDER.get(group[0]["state"], 4))


def _group_lines(group: list[Document], now: float) -> Iterator[str]:
    first = group[0]
    told = first["explanation"]
    state = first["state"].replace("_", " ")
    yield f"  {counted(len(group), 'node')} {state}: {first['reason']}"
    yield f"    {told['meaning']}"
    yield f"    Would change it: {told['change']}"
    rows: list[list[str | Cell]] = []
    for one in group:
        key = one.get("key") or {"node": one["node"], "address": {"text": ""}}
        rows.append(
            [
                key["node"],
                key["address"]["text"],
                word(state) if state != "left out" else Cell(state, "red"),
                f"for {age(now - one['since'])}" if one.get("since") else "",
                _signal(one, now),
                one["detail"],
            ]
        )
    yield table([], rows, indent="    ")


def _signal(one: Document, now: float) -> str:
    """What says so, and how old it is: `probe: timeout, 2s ago`."""
    signal, at = one["explanation"]["signal"], one["signal_at"]
    verdict = one.get("verdict") or {}
    bits = []
    if signal == "probe" and verdict.get("cause"):
        bits.append(verdict["cause"])
        if verdict["cause"] == "connected" and verdict.get("latency_seconds") is not None:
            bits.append(f"{verdict['latency_seconds'] * 1000:.1f} ms")
    bits.append(f"{age(now - at)} ago" if at else "not seen yet")
    return f"{signal}: {', '.join(bits)}"


def _decision(one: Document) -> list[str | Cell]:
    at = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(one["at"]))
    reason = f" ({one['reason']})" if one["reason"] else ""
    return [at, f"{one['kind'].replace('_', ' ')}{reason}", one["text"]]
