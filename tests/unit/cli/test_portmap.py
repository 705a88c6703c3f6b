"""The map of a range: one look tells used, free and in conflict; bands fit a terminal."""

import click
import pytest

from nplb.cli.portmap import ASCII, COLUMNS, MAX_ROWS, UNICODE, band_map, glyphs_for, scale


def plain_map(
    first: int, last: int, used: set[int], conflicts: set[int] | None = None
) -> list[str]:
    rows = band_map(
        first=first,
        last=last,
        used=used,
        conflicts=conflicts or set(),
        colour="green",
        glyphs=ASCII,
    )
    return [click.unstyle(row) for row in rows]


def test_a_small_band_shows_every_number() -> None:
    rows = plain_map(30000, 30085, {30000, 30002, 30063, 30064}, {30002})
    assert rows == [
        "30000  #.!" + "." * 60 + "#",
        "30064  #" + "." * 21,
    ]


def test_a_large_band_shows_shares() -> None:
    first = 30086
    used = {first, first + 4, first + 5, first + 8, first + 9, first + 10}
    used |= {first + n for n in range(12, 16)}
    rows = plain_map(first, 32767, used)
    assert rows[0].startswith("30086  -+%#.")
    assert len(rows) <= MAX_ROWS
    assert rows[1].startswith(f"{first + 4 * COLUMNS}  ")


def test_the_last_cell_may_be_a_short_one() -> None:
    used = {100 + n for n in range(1022)}
    (*_, last) = plain_map(100, 1121, used)
    assert last.endswith("#")


def test_one_duplicate_shows_in_any_cell() -> None:
    assert "!" in "".join(plain_map(30086, 32767, {31000}, {31000}))


@pytest.mark.parametrize("size", [1, 64, 768, 769, 2682, 65536])
def test_every_size_fits(size: int) -> None:
    rows = plain_map(0, size - 1, set())
    assert len(rows) <= MAX_ROWS
    cells = sum(len(row) - 7 for row in rows)
    assert cells == -(-size // scale(size))


@pytest.mark.parametrize(
    ("encoding", "glyphs"),
    [("utf-8", UNICODE), ("ascii", ASCII), ("latin-1", ASCII), (None, ASCII), ("none", ASCII)],
)
def test_glyphs_are_those_that_the_output_can_show(encoding: str | None, glyphs: object) -> None:
    assert glyphs_for(encoding) is glyphs
