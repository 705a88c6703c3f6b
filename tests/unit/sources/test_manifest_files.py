"""Which files paths mean, and that nothing is read while it is being written."""

from pathlib import Path

import pytest

from nplb.sources.manifests.files import ManifestError, find_files, read_files


def test_a_file_a_directory_and_a_pattern(tmp_path: Path) -> None:
    for name in ("a.yaml", "b.yml", "c.json", "d.txt", ".hidden.yaml", "sub/e.yaml", "one"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("")
    (tmp_path / "f.yaml").mkdir()

    def names(*paths: str) -> list[str]:
        found = find_files([str(tmp_path / path) for path in paths])
        return [str(Path(file).relative_to(tmp_path)) for file in found]

    assert names("one") == ["one"]
    assert names(".") == ["a.yaml", "b.yml", "c.json"]
    assert names("*.yaml") == ["a.yaml"]
    assert names("**/*.yaml") == ["a.yaml", "sub/e.yaml"]
    assert names("sub", "a.yaml", ".") == ["a.yaml", "b.yml", "c.json", "sub/e.yaml"]


def test_a_file_whose_name_looks_like_a_pattern(tmp_path: Path) -> None:
    (tmp_path / "a[1].yaml").write_text("")
    assert len(find_files([str(tmp_path / "a[1].yaml")])) == 1


def test_every_path_that_means_no_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    paths = [str(tmp_path / name) for name in ("empty", "gone.yaml", "*.yml")]
    with pytest.raises(ManifestError) as caught:
        find_files(paths)
    assert [error.split(": ")[0] for error in caught.value.errors] == paths
    assert "has no file ending in" in caught.value.errors[0]
    assert "there is no such file" in caught.value.errors[1]
    assert "no file matches" in caught.value.errors[2]


def test_a_file_that_is_being_written_is_read_when_it_is_whole(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_text("first ha")
    pieces = ["first half, second", "first half, second half"]

    def sleep(_seconds: float) -> None:
        if pieces:
            file.write_text(pieces.pop(0))

    files = read_files([str(tmp_path)], settle_seconds=1.0, sleep=sleep)
    assert files.contents == ((str(file), b"first half, second half"),)


def test_a_file_that_never_stands_still_is_an_error(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_text("")

    def sleep(_seconds: float) -> None:
        with file.open("a") as stream:
            stream.write("more\n")

    with pytest.raises(ManifestError, match="change all the time"):
        read_files([str(file)], settle_seconds=1.0, sleep=sleep)


def test_the_digest_is_of_paths_and_contents_and_not_of_times(tmp_path: Path) -> None:
    def digest() -> str:
        return read_files([str(tmp_path)], settle_seconds=0.0).digest

    (tmp_path / "a.yaml").write_text("x")
    first = digest()
    (tmp_path / "a.yaml").write_text("x")
    assert digest() == first
    (tmp_path / "a.yaml").write_text("y")
    second = digest()
    (tmp_path / "a.yaml").rename(tmp_path / "b.yaml")
    assert len({first, second, digest()}) == 3
