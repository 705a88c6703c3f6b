"""Tables line up, whatever stands in them, and steer no terminal."""

import click
import pytest

from nplb.cli.table import Cell, age, byte_size, counted, plain, table


def test_columns_are_aligned_and_lines_have_no_trailing_space() -> None:
    text = table(["NAME", "STATE", "NOTE"], [["a", "serving", ""], ["longer", "x", "a note"]])
    assert text.splitlines() == [
        "NAME    STATE    NOTE",
        "a       serving",
        "longer  x        a note",
    ]


def test_colours_and_wide_characters_do_not_disturb_the_columns() -> None:
    text = table(["A", "B"], [[Cell("ok", "green"), "1"], ["日本", "2"], ["e\u0301", "3"]])
    lines = click.unstyle(text).splitlines()
    assert lines == ["A     B", "ok    1", "日本  2", "e\u0301     3"]
    assert "\x1b[32mok\x1b[0m" in text


def test_a_table_without_rows_is_nothing() -> None:
    assert table(["A"], []) == ""


def test_what_others_wrote_cannot_steer_the_terminal() -> None:
    assert plain("a\x1b[2J\r\nb\u202e") == "a [2J  b "
    assert "\x1b" not in table(["A"], [["\x1b]0;title\x07"]])


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-1, "0s"),
        (0.9, "0s"),
        (119, "119s"),
        (120, "2m"),
        (200, "3m20s"),
        (600, "10m"),
        (10_799, "179m"),
        (10_800, "3h"),
        (172_799, "47h"),
        (172_800, "2d"),
    ],
)
def test_ages(seconds: float, text: str) -> None:
    assert age(seconds) == text


def test_counts_and_sizes() -> None:
    assert counted(1, "frontend") == "1 frontend"
    assert counted(1200, "frontend") == "1,200 frontends"
    assert counted(0, "process", "processes") == "0 processes"
    sizes = (0, 1023, 1024, 15_000, 3_000_000_000, 5e15)
    assert [byte_size(n) for n in sizes] == ["0", "1023", "1.0K", "15K", "2.8G", "4547T"]
