"""`nplb top`: what keys do, what is drawn, and a whole run in a terminal."""

import importlib.util
import os
import pty
import select
import subprocess
import sys
from dataclasses import replace
from typing import Any

import pytest
from click.testing import CliRunner
from rich.console import Console

from nplb.cli import main
from nplb.cli.top import keys_of
from nplb.cli.topstate import Top
from nplb.cli.topviews import screen
from nplb.model.applied import FrontendCounters, Traffic
from nplb.web.render import render_status
from tests.support.admin import serving
from tests.support.status import frontend, large, status

WEB = frontend(states=("passing", "timeout", "passing"))
API = frontend("api", node_port=30081)


def document(accepted: int = 0, *, later: float = 0.0, **changes: Any) -> dict[str, Any]:
    made = status(WEB, API, **changes)
    counters = {WEB.key: FrontendCounters(accepted=accepted)}
    traffic = Traffic(frontends=counters, backends={}, workers=made.traffic.workers)
    shown: dict[str, Any] = render_status(replace(made, traffic=traffic, now=made.now + later))
    return shown


def keys(top: Top, *pressed: str) -> Top:
    for key in pressed:
        top.press(key)
    return top


def names(top: Top) -> list[str]:
    return [str(row.values[0]) for row in top.rows()]


def drawn(top: Top, height: int = 30) -> str:
    console = Console(width=120, height=height, record=True, file=open(os.devnull, "w"))  # noqa: SIM115, PTH123
    with console.file:
        console.print(screen(top, height=height))
        return console.export_text()


def test_rates_are_those_between_two_looks() -> None:
    top = Top()
    top.take(document(100))
    assert [row.values[4] for row in top.rows()] == [0.0, 0.0]
    top.take(document(150, later=2.0))
    keys(top, "/", "w", "e", "b", "enter")
    assert [row.values[4] for row in top.rows()] == [25.0]
    # A restart begins anew, and is no negative rate.
    top.take(document(3, later=4.0, started_at=7.0))
    assert [row.values[4] for row in top.rows()] == [0.0]


def test_filter_sort_and_the_nodes_of_one_service() -> None:
    top = Top()
    top.take(document())
    keys(top, "left")
    assert top.columns[top.sort[0]] == "SERVICE"
    assert names(top) == ["prod/shop/api:80/TCP", "prod/shop/web:80/TCP"]
    assert names(keys(top, "r")) == ["prod/shop/web:80/TCP", "prod/shop/api:80/TCP"]
    keys(top, "enter")
    # What is down comes first.
    assert names(top) == ["node-1", "node-0", "node-2"]
    assert names(keys(top, "/", "n", "o", "d", "e", "-", "2")) == ["node-2"]
    assert names(keys(top, "escape")) == ["node-1", "node-0", "node-2"]
    keys(top, "escape")
    assert top.frontend == ""
    assert top.rows()[top.selected].key == "prod/shop/web:80/TCP"
    assert keys(top, "q").quit


def test_a_service_that_goes_takes_its_nodes_along() -> None:
    top = Top()
    top.take(document())
    keys(top, "enter")
    assert top.frontend
    top.take(render_status(status()))
    assert top.frontend == ""
    assert keys(top, "down", "enter", "end").rows() == []


def test_what_is_drawn() -> None:
    top = Top()
    assert "asking" in drawn(top)
    top.take(document())
    text = drawn(top)
    assert "2 frontends" in text
    assert "2/3" in text
    keys(top, "end", "enter")
    assert "timeout" in drawn(top)
    top.error = "nothing listens at http://127.0.0.1:9090"
    assert "what you see is old" in drawn(top)
    top.take(render_status(large(300, 3)))
    assert "1 to 24 of 300" in drawn(top)
    assert "277 to 300 of 300" in drawn(keys(top, "end"))
    assert "no line matches" in drawn(keys(top, "/", "%"))


def test_keys_as_terminals_send_them() -> None:
    assert keys_of("j\x1b[A\x1bOB\r\x7f") == ["j", "up", "down", "enter", "backspace"]
    assert keys_of("\x1b") == ["escape"]
    assert keys_of("\x1b[15~q") == ["q"]
    assert keys_of("\x1b[1;5") == []


def test_without_a_terminal_or_rich_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    result = CliRunner().invoke(main, ["top"])
    assert result.exit_code == 2
    assert "needs a terminal" in result.stderr
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *a: None if name == "rich" else find(name, *a)
    )
    result = CliRunner().invoke(main, ["top"])
    assert result.exit_code == 1
    assert "pip install '.[top]'" in result.stderr


def test_a_whole_run_in_a_terminal() -> None:
    with serving(status(WEB, API)) as url:
        controller, terminal = pty.openpty()
        process = subprocess.Popen(
            [sys.executable, "-m", "nplb", "top", "--admin", url, "-d", "0.5"],
            stdin=terminal,
            stdout=terminal,
            stderr=terminal,
            env={**os.environ, "TERM": "xterm", "COLUMNS": "120", "LINES": "30"},
        )
        os.close(terminal)
        try:
            _wait_for(controller, b"prod/shop/api")
            os.write(controller, b"\r")
            _wait_for(controller, b"node-1")
            os.write(controller, b"q")
            assert process.wait(20) == 0
        finally:
            process.kill()
            process.wait()
            os.close(controller)


def _wait_for(descriptor: int, wanted: bytes) -> None:
    seen = b""
    while wanted not in seen:
        ready, _, _ = select.select([descriptor], [], [], 30)
        assert ready, seen
        seen += os.read(descriptor, 65536)
