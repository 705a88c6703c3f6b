"""Tables, ages and counts for eyes: aligned in a terminal, plain in a pipe."""

import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import click

_GAP: Final = "  "
GOOD: Final = "green"
BAD: Final = "red"
DOUBTFUL: Final = "yellow"
DIM: Final = "bright_black"


@dataclass(frozen=True, slots=True)
class Cell:
    """A text with a colour, which goes where the output is no terminal."""

    text: str
    colour: str


def table(header: Sequence[str], rows: Iterable[Sequence[str | Cell]], indent: str = "") -> str:
    """Rows below a header, columns aligned. The last column is as wide as it likes. Empty
    without rows."""
    cells = [[_cell(cell) for cell in row] for row in rows]
    if not cells:
        return ""
    lines = [[Cell(name, "") for name in header], *cells] if header else cells
    widths = [max(_width(row[i].text) for row in lines) for i in range(len(lines[0]))]
    return "\n".join(indent + _line(row, widths) for row in lines)


def _line(row: Sequence[Cell], widths: Sequence[int]) -> str:
    parts = []
    for number, (cell, width) in enumerate(zip(row, widths, strict=True)):
        is_last = number == len(row) - 1
        padding = "" if is_last else " " * (width - _width(cell.text))
        text = click.style(cell.text, fg=cell.colour) if cell.colour and cell.text else cell.text
        parts.append(text + padding)
    return _GAP.join(parts).rstrip()


def _cell(cell: str | Cell) -> Cell:
    if isinstance(cell, Cell):
        return Cell(plain(cell.text), cell.colour)
    return Cell(plain(cell), "")


def plain(text: str) -> str:
    """The text on one line, without what could steer the terminal: some of it was written by
    others."""
    return "".join(c if c.isprintable() else " " for c in text)


def _width(text: str) -> int:
    """How many columns of a terminal the text takes."""
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1
        for c in text
    )


def age(seconds: float) -> str:
    """A span of time as kubectl shows it: 12s, 3m, 3m20s, 2h, 5d."""
    whole = max(0, int(seconds))
    if whole < 120:
        return f"{whole}s"
    if whole < 600:
        minutes, rest = divmod(whole, 60)
        return f"{minutes}m{rest}s" if rest else f"{minutes}m"
    if whole < 3 * 3600:
        return f"{whole // 60}m"
    if whole < 48 * 3600:
        return f"{whole // 3600}h"
    return f"{whole // 86400}d"


def counted(number: int, noun: str, plural: str | None = None) -> str:
    """`1 frontend`, `3 frontends`."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def byte_size(number: float) -> str:
    """Bytes with a unit: 312, 4.2K, 17M, in steps of 1024."""
    for unit in ("", "K", "M", "G", "T"):
        if number < 1024 or unit == "T":
            break
        number /= 1024
    return f"{number:.0f}{unit}" if number >= 10 or not unit else f"{number:.1f}{unit}"
