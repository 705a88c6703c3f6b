"""A file of state: the old content or the new one, and what is damaged is set aside."""

from pathlib import Path

import pytest

from nplb.disk.statefile import StateFile
from nplb.model.errors import HostError


@pytest.fixture
def file(tmp_path: Path) -> StateFile:
    return StateFile(path=tmp_path / "state" / "x.json", kind="test", version=2, loss="it is gone")


def test_what_is_written_is_read(file: StateFile) -> None:
    assert file.read(list) is None
    file.write([1, "two", {"three": None}])
    assert file.read(list) == [1, "two", {"three": None}]
    file.write([])
    assert file.read(list) == []


def test_every_truncation_is_noticed_and_set_aside(file: StateFile) -> None:
    file.write(["something", 5])
    whole = file.path.read_bytes()
    for length in range(len(whole) - 1):
        file.path.write_bytes(whole[:length])
        assert file.read(list) is None
        assert not file.path.exists()
        assert file.path.with_name("x.json.damaged").read_bytes() == whole[:length]


def test_another_kind_and_a_changed_word_are_damage(file: StateFile) -> None:
    file.write(["word"])
    whole = file.path.read_bytes()
    for damaged in (whole.replace(b"word", b"work"), whole.replace(b'"test"', b'"toast"')):
        file.path.write_bytes(damaged)
        assert file.read(list) is None


def test_what_a_newer_nplb_wrote_is_left_alone(file: StateFile) -> None:
    newer = StateFile(path=file.path, kind="test", version=3, loss="")
    newer.write(["news"])
    with pytest.raises(HostError, match="newer nplb"):
        file.read(list)
    assert newer.read(list) == ["news"]


def test_a_place_that_cant_be_written_says_what_follows(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("a file in the way")
    file = StateFile(path=tmp_path / "state" / "x.json", kind="test", version=1, loss="it is gone")
    with pytest.raises(HostError, match=r"x\.json: can't be written.*it is gone"):
        file.write([])
