"""Rows of counters, and the sums of workers that live and have lived."""

import os
from array import array

import pytest

from nplb.dataplane.relay.counters import (
    BYTES_IN,
    END_CELL,
    HEADER_CELLS,
    ROW_CELLS,
    TAKEN,
    row_base,
)
from nplb.dataplane.relay.rows import Rows
from nplb.dataplane.relay.traffic import Ledger, RowMap, frontend_counters
from nplb.model.reasons import EndReason


def memory(*rows: dict[int, int]) -> "array[int]":
    cells = array("Q", [0] * (HEADER_CELLS + ROW_CELLS * len(rows)))
    for number, row in enumerate(rows):
        for cell, value in row.items():
            cells[row_base(number) + cell] = value
    return cells


def test_a_key_that_returns_has_its_row_again() -> None:
    rows: Rows[str] = Rows()
    assert [rows.take(key) for key in "abca"] == [(0, False), (1, False), (2, False), (0, False)]
    rows.leave("b")
    assert rows.left == {"b": 1}
    assert rows.take("d") == (3, False)
    assert rows.take("b") == (1, False)
    assert rows.left == {}


def test_rows_are_reused_only_when_many_have_left_and_nothing_counts_in_them() -> None:
    rows: Rows[int] = Rows(keep=2)
    for key in range(6):
        rows.take(key)
    for key in range(5):
        rows.leave(key)
    rows.recycle(lambda row: row != 1)  # row 1 still has connections
    assert list(rows.left) == [1, 4]
    assert rows.take(10) == (0, True)
    assert rows.take(11) == (2, True)
    assert rows.take(12) == (3, True)
    assert rows.take(13) == (6, False)


def test_the_file_tells_the_next_one_who_has_which_row() -> None:
    fd = os.memfd_create("rows")
    try:
        rows: Rows[str | tuple[str, int]] = Rows(keep=0, fd=fd)
        for key in ("web", ("web", 1), ("web", 2)):
            rows.take(key)
        rows.write_down()
        rows.leave(("web", 1))
        rows.recycle(lambda row: True)
        assert rows.take("api") == (1, True)
        rows.write_down()
        rows.take("never written down, so nothing has counted in it")

        heir: Rows[str | tuple[str, int]] = Rows(fd=fd)
        heir.read_on()
        assert heir.left == {"web": 0, ("web", 2): 2, "api": 1}
        assert heir.take("new") == (3, False)
        heir.write_down()
        rows.read_on()
        assert rows.row("new") == 3
    finally:
        os.close(fd)


def test_what_a_dead_worker_counted_stays_and_its_connections_have_ended() -> None:
    ledger = Ledger()
    closed = END_CELL[EndReason.CLIENT_CLOSED]
    dead = memory({}, {TAKEN: 10, BYTES_IN: 500, closed: 7})
    before = frontend_counters(ledger.total(1, [dead]))
    assert (before.accepted, before.active) == (10, 3)
    ledger.bury(dead)
    live = memory({}, {TAKEN: 4, BYTES_IN: 50, closed: 2})
    after = frontend_counters(ledger.total(1, [live]))
    assert after.accepted == 14
    assert after.active == 2
    assert after.bytes_in == 550
    assert after.ends == {EndReason.CLIENT_CLOSED: 9, EndReason.INTERNAL: 3}


def test_a_row_begins_anew_for_another_key() -> None:
    ledger = Ledger()
    closed = END_CELL[EndReason.CLIENT_CLOSED]
    ledger.bury(memory({TAKEN: 5, closed: 5}))
    live = memory({TAKEN: 3, closed: 3})
    ledger.forget(0, [live])
    assert not any(ledger.total(0, [live]))
    assert ledger.total(0, [memory({TAKEN: 4, closed: 3})])[TAKEN] == 1


def test_rows_are_worked_out_when_looked_at() -> None:
    seen = []

    def make(row: int) -> int:
        seen.append(row)
        return row * 10

    view = RowMap({"a": 1, "b": 2}, make)
    assert len(view) == 2
    assert list(view) == ["a", "b"]
    assert "a" in view
    assert "c" not in view
    assert seen == []
    assert view["b"] == 20
    with pytest.raises(KeyError):
        view["c"]
