"""A map of a port range for the terminal: one look says what is used, free, and in conflict."""

from collections.abc import Container
from dataclasses import dataclass
from itertools import groupby
from typing import Final

import click

from nplb.cli.table import BAD, DIM, DOUBTFUL, GOOD

COLUMNS: Final = 64
MAX_ROWS: Final = 12
_SCALES: Final = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)
_GUTTER: Final = 7


@dataclass(frozen=True, slots=True)
class Glyphs:
    """What a cell shows by how much of it is used: none, some of it in steps, all; and one in
    conflict."""

    none: str
    some: str
    all: str
    conflict: str


UNICODE: Final = Glyphs("·", "░▒▓", "█", "!")
ASCII: Final = Glyphs(".", "-+%", "#", "!")


def glyphs_for(encoding: str | None) -> Glyphs:
    """The glyphs that an output's encoding can show."""
    try:
        "".join((UNICODE.none, UNICODE.some, UNICODE.all)).encode(encoding or "ascii")
    except (LookupError, UnicodeEncodeError):
        return ASCII
    return UNICODE


def band_map(
    *,
    first: int,
    last: int,
    used: Container[int],
    conflicts: Container[int],
    colour: str,
    glyphs: Glyphs,
    columns: int = COLUMNS,
) -> list[str]:
    """The rows of one band, each with its first number in front. A cell is one number, or more
    when the band would take too many rows."""
    cell = scale(last - first + 1, columns)
    step = cell * columns
    return [
        f"{start:>{_GUTTER - 2}}  "
        + _row(start, min(start + step, last + 1), cell, used, conflicts, colour, glyphs)
        for start in range(first, last + 1, step)
    ]


def scale(size: int, columns: int = COLUMNS) -> int:
    """How many numbers a cell stands for, so that a band of this size fits."""
    return next((n for n in _SCALES if size <= n * columns * MAX_ROWS), _SCALES[-1])


def legend(cell: int, glyphs: Glyphs) -> str:
    """What the glyphs mean."""
    each = "one number" if cell == 1 else f"{cell} numbers"
    parts = [f"{glyphs.none} free"]
    if cell > 1:
        parts.append(f"{glyphs.some} partly used")
    parts += [f"{glyphs.all} used", f"{glyphs.conflict} duplicate"]
    return f"{each} a cell: {', '.join(parts)}"


def _row(
    start: int,
    end: int,
    cell: int,
    used: Container[int],
    conflicts: Container[int],
    colour: str,
    glyphs: Glyphs,
) -> str:
    cells = [
        _cell(range(at, min(at + cell, end)), used, conflicts, colour, glyphs)
        for at in range(start, end, cell)
    ]
    # Styled in runs: a code for each cell would make a page of them.
    return "".join(
        click.style("".join(glyph for glyph, _ in run), fg=fg)
        for fg, run in groupby(cells, key=lambda one: one[1])
    )


def _cell(
    numbers: range,
    used: Container[int],
    conflicts: Container[int],
    colour: str,
    glyphs: Glyphs,
) -> tuple[str, str]:
    if any(number in conflicts for number in numbers):
        return glyphs.conflict, BAD
    taken = sum(number in used for number in numbers)
    if not taken:
        return glyphs.none, DIM
    if taken == len(numbers):
        return glyphs.all, colour
    steps = len(glyphs.some)
    return glyphs.some[min(steps - 1, taken * steps // len(numbers))], colour


BAND_COLOURS: Final = {"static": "cyan", "dynamic": GOOD, "outside": DOUBTFUL}
"""A band's colour, the same in the map and in every table."""
