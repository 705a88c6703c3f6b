"""Draws `nplb top` with rich: headline, table, and the line of keys."""

from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from nplb.cli.table import age, byte_size, plain
from nplb.cli.topstate import Row, Top
from nplb.cli.views import complaints, headline

_STYLES = {
    **dict.fromkeys(("serving", "active"), "green"),
    **dict.fromkeys(("pending", "draining"), "yellow"),
    **dict.fromkeys(("no_backend", "conflict", "failed", "down", "left_out"), "red"),
}
_BYTES = ("IN/s", "OUT/s")
_SERVICE_KEYS = "↑↓ move  enter nodes  / filter  ←→ sort by  r reverse  q quit"
_NODE_KEYS = "↑↓ move  esc services  / filter  ←→ sort by  r reverse  q quit"
_AROUND = 6
"""Lines that are not rows: headline, heading with its rule, a note, the keys."""


def screen(top: Top, *, height: int) -> RenderableType:
    """The whole screen, for a terminal of so many lines."""
    if top.status is None:
        return Text(plain(top.error) or "asking …", style="bold red" if top.error else "")
    parts: list[RenderableType] = [_headline(top)]
    troubles = list(complaints(top.status))[:3]
    parts += [Text(line, style="yellow", no_wrap=True, overflow="ellipsis") for line in troubles]
    rows = top.rows()
    room = max(3, height - _AROUND - len(troubles))
    first = max(0, min(top.selected - room // 2, len(rows) - room))
    parts.append(_table(top, rows[first : first + room], top.selected - first))
    shown = min(room, len(rows))
    if not rows:
        what = "no line matches" if top.filter else "nothing is served: `nplb status` says why"
        parts.append(Text(what, style="dim"))
    elif shown < len(rows):
        parts.append(Text(f"{first + 1} to {first + shown} of {len(rows)}", style="dim"))
    parts.append(_foot(top))
    return Group(*parts)


def _headline(top: Top) -> Text:
    assert top.status is not None
    if top.error:
        return Text(f"{plain(top.error)}; what you see is old", style="bold red")
    text = Text(headline(top.status), style="bold", no_wrap=True, overflow="ellipsis")
    if top.frontend:
        text.append(f"  →  {plain(top.frontend)}", style="cyan")
    return text


def _table(top: Top, rows: list[Row], selected: int) -> Table:
    table = Table(box=None, pad_edge=False, expand=True, header_style="dim")
    column, backwards = top.sort
    for index, name in enumerate(top.columns):
        mark = (" ▲" if backwards else " ▼") if index == column else ""
        is_text = index < 2 or name in ("REASON", "NODES")
        table.add_column(
            name + mark,
            justify="left" if is_text else "right",
            no_wrap=True,
            overflow="ellipsis",
            ratio=3 if index == 0 else None,
        )
    for index, row in enumerate(rows):
        cells = [_cell(name, value) for name, value in zip(top.columns, row.values, strict=True)]
        table.add_row(*cells, style="reverse" if index == selected else "")
    return table


def _cell(name: str, value: Any) -> Text:
    if value is None:
        return Text("-", style="dim")
    match name:
        case "STATE":
            return Text(str(value).replace("_", " "), style=_STYLES.get(value, ""))
        case "NODES":
            active, total = value.split("/")
            return Text(value, style="" if active == total else "yellow")
        case "SINCE":
            return Text(age(value))
        case "PROBE":
            return Text(f"{value * 1000:.1f} ms")
        case "FAILED/s" if value:
            return Text(f"{value:.1f}", style="red")
    if name in _BYTES:
        return Text(byte_size(value))
    if isinstance(value, float):
        return Text(f"{value:.1f}" if value else "0")
    return Text(plain(str(value)))


def _foot(top: Top) -> Text:
    if top.typing:
        return Text(f"filter: {top.filter}█   enter keeps it, esc drops it")
    keys = _NODE_KEYS if top.frontend else _SERVICE_KEYS
    kept = f"   filter: {plain(top.filter)} (esc drops it)" if top.filter else ""
    return Text(keys + kept, style="dim", no_wrap=True, overflow="ellipsis")
