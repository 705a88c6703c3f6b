"""Logging set-up: text for people or JSON lines for machines, on standard error.

One record is one line (a traceback follows its line in text, and is a field in JSON): line
breaks in what others sent can't forge a record, and what looks like a secret is not written.
Lines that repeat are held back: of those with the same logger, level and template, `BURST` pass
in each `WINDOW_SECONDS`, and one line says afterwards how many did not.
"""

import json
import logging
import sys
import time
from collections import OrderedDict
from collections.abc import Callable
from datetime import UTC, datetime
from typing import IO, Any

from nplb.model.secrets import scrubbed
from nplb.model.settings import LogSettings

BURST = 50
WINDOW_SECONDS = 10.0
_MAX_KEYS = 1000

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
_CONTROL = {n: f"\\x{n:02x}" for n in (*range(32), 127)} | {9: "\t", 10: "\\n", 13: "\\r"}


def set_up_logging(settings: LogSettings, stream: IO[str] | None = None) -> None:
    """Send every logger's lines to `stream` (standard error), as the settings say.

    May be called again, after a reload. Warnings of Python's own become log lines too.
    """
    handler = LineHandler(stream if stream is not None else sys.stderr)
    handler.setFormatter(JsonFormatter() if settings.format == "json" else TextFormatter())
    root = logging.getLogger()
    for old in [old for old in root.handlers if isinstance(old, LineHandler)]:
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(settings.level.upper())
    # One line for every request or retry of a library says nothing about the balancer.
    for noisy in ("aiohttp.access", "urllib3", "kubernetes_asyncio"):
        logging.getLogger(noisy).setLevel(max(root.level, logging.WARNING))
    logging.getLogger("asyncio").setLevel(max(root.level, logging.INFO))
    logging.captureWarnings(True)


class TextFormatter(logging.Formatter):
    """`2026-11-22T10:54:08.123Z warning health.prober: what happened`."""

    def format(self, record: logging.LogRecord) -> str:
        name = record.name.removeprefix("nplb.")
        text = scrubbed(record.getMessage()).translate(_CONTROL)
        line = f"{_time(record)} {record.levelname.lower()} {name}: {text}"
        trace = _trace(self, record)
        return f"{line}\n{trace}" if trace else line


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time, level, logger, message, then what the caller added in
    `extra`, then `error` with a traceback."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": _time(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": scrubbed(record.getMessage()),
        }
        for name, value in vars(record).items():
            if name not in _STANDARD and not name.startswith("_"):
                line.setdefault(name, value)
        trace = _trace(self, record)
        if trace:
            line["error"] = trace
        return json.dumps(line, default=str, ensure_ascii=False)


class LineHandler(logging.StreamHandler[IO[str]]):
    """Writes to a stream and holds back what repeats. `clock` gives monotonic seconds."""

    def __init__(self, stream: IO[str], clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__(stream)
        self._clock = clock
        self._windows: OrderedDict[tuple[str, int, str, str], list[float]] = OrderedDict()

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record, unless it is one too many of its kind."""
        at = self._clock()
        self._close_windows(at)
        key = (record.name, record.levelno, str(record.msg), str(getattr(record, "kind", "")))
        window = self._windows.setdefault(key, [at, 0.0])
        window[1] += 1
        if window[1] <= BURST:
            super().emit(record)

    def close(self) -> None:
        """Say how many lines were held back: logging does so at the end of the process."""
        self._close_windows(float("inf"))
        self.flush()
        super().close()

    def _close_windows(self, at: float) -> None:
        windows = self._windows
        while windows:
            key, (opened, count) = next(iter(windows.items()))
            if at - opened < WINDOW_SECONDS and len(windows) <= _MAX_KEYS:
                return
            del windows[key]
            if count > BURST:
                name, level, template, kind = key
                text = "%d more lines like %r were left out"
                arguments = (int(count - BURST), f"{kind}: {template}" if kind else template)
                super().emit(logging.LogRecord(name, level, "", 0, text, arguments, None))


def _time(record: logging.LogRecord) -> str:
    at = datetime.fromtimestamp(record.created, UTC)
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _trace(formatter: logging.Formatter, record: logging.LogRecord) -> str:
    if not record.exc_info:
        return ""
    return scrubbed(formatter.formatException(record.exc_info))
