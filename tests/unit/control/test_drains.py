"""Nodes taken out by hand: kept over restarts, with who and why."""

from pathlib import Path

from nplb.aio.cell import Cell
from nplb.control.drains import Drains
from nplb.model.drain import ManualDrain


def drains(path: Path | None, now: float = 1.0) -> tuple[Drains, list[int]]:
    wakes: list[int] = []
    cell: Cell[tuple[ManualDrain, ...]] = Cell((), lambda: wakes.append(1))
    return Drains(path, cell, lambda: now), wakes


def test_a_drain_outlives_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "drains.json"
    first, wakes = drains(path)
    first.drain("prod", "node-2", who="ann", why="disk")
    first.drain("prod", "node-1", who="bob", why="")
    assert len(wakes) == 3  # the file that was read, and two changes
    second, _ = drains(path, now=9.0)
    assert [(d.node, d.who, d.why, d.at) for d in second.drains] == [
        ("node-1", "bob", "", 1.0),
        ("node-2", "ann", "disk", 1.0),
    ]
    assert second.undrain("prod", "node-2")
    assert not second.undrain("prod", "node-2")
    assert [d.node for d in drains(path)[0].drains] == ["node-1"]


def test_a_second_drain_changes_the_reason_and_keeps_the_time(tmp_path: Path) -> None:
    path = tmp_path / "drains.json"
    drains(path, now=1.0)[0].drain("prod", "node-1", who="ann", why="disk")
    again = drains(path, now=5.0)[0].drain("prod", "node-1", who="bob", why="fan")
    assert (again.at, again.who, again.why) == (1.0, "bob", "fan")


def test_without_a_writable_place_it_holds_and_says_so(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("in the way")
    place, _ = drains(None)
    assert place.drain("prod", "node-1", who="", why="").node == "node-1"
    assert place.problem == ""
    broken = tmp_path / "state2"
    kept, _ = drains(broken / "drains.json")
    broken.write_text("in the way")
    kept.drain("prod", "node-1", who="", why="")
    assert [d.node for d in kept.drains] == ["node-1"]
    assert "can't be written" in kept.problem
