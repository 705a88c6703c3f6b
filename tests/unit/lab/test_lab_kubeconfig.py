"""The lab's kubeconfig: written whole, its owner's alone, and never over somebody else's."""

from pathlib import Path

import pytest

from nplb.lab.kubeconfig import (
    DEFAULT_PATH,
    Access,
    find_kubeconfig,
    read_kubeconfig,
    remove_kubeconfig,
    write_kubeconfig,
)
from nplb.model.errors import ConfigurationError

ACCESS = Access(
    url="https://127.0.0.1:6443",
    token="secret-1",
    ca_pem="-----BEGIN…\nx\n",
    control_url="https://127.0.0.1:6444",
)


def test_what_was_written_is_read(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "down" / "kubeconfig"
    write_kubeconfig(path, ACCESS)
    assert read_kubeconfig(path) == ACCESS
    assert path.stat().st_mode & 0o777 == 0o600
    assert [file.name for file in path.parent.iterdir()] == ["kubeconfig"]


def test_the_next_lab_overwrites_it_and_the_old_one_leaves_it(tmp_path: Path) -> None:
    path = tmp_path / "kubeconfig"
    write_kubeconfig(path, ACCESS)
    other = Access(url="https://127.0.0.1:7443", token="secret-2")
    write_kubeconfig(path, other)
    remove_kubeconfig(path, ACCESS)
    assert read_kubeconfig(path) == other
    remove_kubeconfig(path, other)
    assert not path.exists()


def test_a_file_of_someone_else_is_never_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "config"
    path.write_text("apiVersion: v1\nkind: Config\n# my production clusters\n")
    with pytest.raises(ConfigurationError, match="no lab has written it"):
        write_kubeconfig(path, ACCESS)
    assert "my production clusters" in path.read_text()


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigurationError, match=r"file/kubeconfig.*--kubeconfig"):
        write_kubeconfig(tmp_path / "file" / "kubeconfig", ACCESS)


@pytest.mark.parametrize("text", ["", "clusters: []", "just text", "a: [", "clusters: {a: b}"])
def test_a_file_that_is_none_is_said(tmp_path: Path, text: str) -> None:
    path = tmp_path / "config"
    path.write_text(text)
    with pytest.raises(ConfigurationError, match="not a kubeconfig that `nplb lab` has written"):
        read_kubeconfig(path)


def test_a_missing_one_says_how_to_start_a_lab(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="start one with `nplb lab`"):
        read_kubeconfig(tmp_path / "none")


def test_commands_find_the_lab_that_is_meant(tmp_path: Path) -> None:
    labs, foreign = tmp_path / "lab", tmp_path / "foreign"
    write_kubeconfig(labs, ACCESS)
    foreign.write_text("apiVersion: v1\n")
    assert find_kubeconfig(foreign, {"KUBECONFIG": str(labs)}) == foreign
    assert find_kubeconfig(None, {"KUBECONFIG": str(labs)}) == labs
    assert find_kubeconfig(None, {"KUBECONFIG": str(foreign)}) == DEFAULT_PATH
    assert find_kubeconfig(None, {}) == DEFAULT_PATH
