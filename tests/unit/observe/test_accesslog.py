"""The access log: whole lines to a file, rotated by renaming, never in anybody's way."""

import json
import os
import time
from collections.abc import Callable
from pathlib import Path

from nplb.observe.accesslog import MAX_WAITING, AccessLog


def wait(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.005)


def test_lines_reach_the_file_in_order(tmp_path: Path) -> None:
    log = AccessLog(tmp_path / "access.log")
    for number in range(100):
        log.write(b"%d\n" % number)
    log.close(seconds=20)
    assert (tmp_path / "access.log").read_text().split() == [str(n) for n in range(100)]
    assert log.dropped == 0


def test_a_rotated_file_is_begun_anew(tmp_path: Path) -> None:
    path = tmp_path / "access.log"
    log = AccessLog(path)
    log.write(b"old\n")
    wait(lambda: path.exists() and path.read_text() == "old\n", "the first line")
    path.rename(tmp_path / "access.log.1")
    log.reopen(path)
    log.write(b"new\n")
    log.close(seconds=20)
    assert path.read_text() == "new\n"
    assert (tmp_path / "access.log.1").read_text() == "old\n"


def test_a_reader_that_stands_still_costs_lines_and_no_time(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    log = AccessLog(path)
    line = b"x" * 65_535 + b"\n"
    for _ in range(MAX_WAITING + 100):
        log.write(line)
    assert log.dropped > 0
    seen = b""

    def told() -> bool:
        nonlocal seen
        try:
            seen += os.read(reader, 1 << 20)
        except BlockingIOError:
            log.write(b"more\n")
        return b"dropped_before" in seen

    wait(told, "the gap to be told")
    gaps = [json.loads(piece) for piece in seen.split(b"\n") if piece.startswith(b"{")]
    assert 0 < gaps[0]["dropped_before"] <= log.dropped
    os.close(reader)


def test_a_full_disk_is_said_and_counted(tmp_path: Path) -> None:
    log = AccessLog(Path("/dev/full"))
    log.write(b"one\ntwo\n")
    wait(lambda: log.dropped == 2, "the lines to be counted")
    log.reopen(tmp_path / "access.log")
    log.write(b"three\n")
    log.close(seconds=20)
    text = (tmp_path / "access.log").read_text()
    assert text.endswith("three\n")
    assert '"dropped_before": 2' in text
