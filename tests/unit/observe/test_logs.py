"""Log lines as text and JSON, and what is held back."""

import io
import json
import logging
from collections.abc import Iterator

import pytest

from nplb.model.settings import LogSettings
from nplb.observe.logs import BURST, JsonFormatter, LineHandler, TextFormatter, set_up_logging


class Line:
    """A handler with a clock of its own, and what it has written."""

    def __init__(self, formatter: logging.Formatter) -> None:
        self.at = 100.0
        self.stream = io.StringIO()
        self.handler = LineHandler(self.stream, clock=lambda: self.at)
        self.handler.setFormatter(formatter)
        self.log = logging.getLogger("nplb.test.line")
        self.log.propagate = False
        self.log.setLevel(logging.INFO)
        self.log.handlers[:] = [self.handler]

    @property
    def lines(self) -> list[str]:
        return self.stream.getvalue().splitlines()


@pytest.fixture
def text() -> Line:
    return Line(TextFormatter())


@pytest.fixture
def as_json() -> Line:
    return Line(JsonFormatter())


def test_a_text_line(text: Line) -> None:
    text.log.warning("probe of %s failed", "10.0.0.1:80")
    (line,) = text.lines
    time, level, name, rest = line.split(" ", 3)
    assert time.endswith("Z")
    assert (level, name) == ("warning", "test.line:")
    assert rest == "probe of 10.0.0.1:80 failed"


def test_what_others_sent_cannot_forge_a_line(text: Line) -> None:
    text.log.info("node %s", "a\n2026-01-01T00:00:00Z error root: forged\x1b[31m")
    assert len(text.lines) == 1
    assert "\\n2026" in text.lines[0]
    assert "\x1b" not in text.lines[0]


def test_a_json_line_has_the_callers_fields_and_the_traceback(as_json: Line) -> None:
    try:
        raise ValueError("no\nsuch thing")
    except ValueError:
        as_json.log.exception("it broke", extra={"kind": "backend_down", "node": "n1"})
    (text,) = as_json.lines
    line = json.loads(text)
    assert line["level"] == "error"
    assert line["logger"] == "nplb.test.line"
    assert line["message"] == "it broke"
    assert (line["kind"], line["node"]) == ("backend_down", "n1")
    assert "ValueError" in line["error"]


def test_lines_that_repeat_are_held_back_and_counted(text: Line) -> None:
    for n in range(BURST + 30):
        text.log.info("client %d came", n)
    text.log.info("something else")
    assert len(text.lines) == BURST + 1
    text.at += 60
    text.log.info("client %d came", 999)
    assert "30 more lines like 'client %d came' were left out" in text.lines[-2]
    assert text.lines[-1].endswith("client 999 came")


def test_kinds_of_one_template_are_held_back_apart(text: Line) -> None:
    for _ in range(BURST + 1):
        text.log.info("%s", "x", extra={"kind": "frontend_added"})
    text.log.info("%s", "y", extra={"kind": "backend_down"})
    assert text.lines[-1].endswith(": y")
    text.handler.close()
    assert "1 more lines like 'frontend_added: %s'" in text.lines[-1]


def test_many_different_lines_do_not_grow_the_memory(text: Line) -> None:
    for n in range(5000):
        text.log.log(logging.INFO, f"template {n}")  # noqa: G004 - as a careless library does
    assert len(text.handler._windows) <= 1001
    assert len(text.lines) == 5000


@pytest.fixture
def root() -> Iterator[logging.Logger]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    others = {name: logging.getLogger(name).level for name in ("aiohttp.access", "asyncio")}
    yield root
    root.handlers[:] = handlers
    root.setLevel(level)
    for name, before in others.items():
        logging.getLogger(name).setLevel(before)
    logging.captureWarnings(False)


def test_set_up_twice_is_set_up_once_with_the_last_settings(root: logging.Logger) -> None:
    first, second = io.StringIO(), io.StringIO()
    set_up_logging(LogSettings(level="debug", format="text"), first)
    set_up_logging(LogSettings(level="warning", format="json"), second)
    log = logging.getLogger("nplb.test.setup")
    log.info("not shown")
    log.warning("shown")
    assert first.getvalue() == ""
    assert [json.loads(line)["message"] for line in second.getvalue().splitlines()] == ["shown"]
