"""Files of address prefixes that the configuration names."""

from pathlib import Path

import pytest

from nplb.config import InvalidConfiguration, load_settings
from nplb.model.errors import HostPermissionError
from nplb.policy.prefixes import admitted_sources
from nplb.web.render import render
from tests.support.users import as_ordinary_user, make_open_dir

ONE = "clusters: [{name: a, manifests: [a.yaml]}]\n"


def load(directory: Path, text: str) -> object:
    (directory / "nplb.yaml").write_text(ONE + text)
    return load_settings(directory / "nplb.yaml", env={})


def test_a_file_is_taken_whole_and_read_again(tmp_path: Path) -> None:
    (tmp_path / "deny.txt").write_text("192.0.2.0/24 # bad\n\n2001:db8::/32\n")
    text = "denied_ranges_file: deny.txt\nfrontends: [{service: a/b, source_ranges: 10.0.0.0/8}]\n"
    (tmp_path / "nplb.yaml").write_text(ONE + text)
    settings = load_settings(tmp_path / "nplb.yaml", env={})
    file = settings.relay.denied_ranges_file
    assert file is not None
    assert (file.path, file.count) == (str(tmp_path / "deny.txt"), 2)
    (frontend,) = settings.frontends
    assert frontend.relay is not None
    assert frontend.relay.denied_ranges_file == file
    assert admitted_sources(settings.relay) is not None
    # Shown is which file it was, not what is in it.
    assert set(render(file)) == {"path", "digest", "count"}
    assert load_settings(tmp_path / "nplb.yaml", env={}).relay == settings.relay
    (tmp_path / "deny.txt").write_text("192.0.2.0/24\n")
    assert load_settings(tmp_path / "nplb.yaml", env={}).relay != settings.relay


def test_every_wrong_line_is_named_up_to_some(tmp_path: Path) -> None:
    (tmp_path / "deny.txt").write_text("10.0.0.0/8\n10.0.0.1/8\nfoo\n")
    with pytest.raises(InvalidConfiguration) as caught:
        load(tmp_path, "denied_ranges_file: deny.txt\n")
    place = f"{tmp_path}/nplb.yaml:2:21: denied_ranges_file: {tmp_path}/deny.txt"
    assert str(caught.value).splitlines() == [
        f'{place}:2: "10.0.0.1/8" has bits behind its prefix, write 10.0.0.0/8',
        f'{place}:3: "foo" is not a CIDR such as 10.0.0.0/8',
    ]
    (tmp_path / "deny.txt").write_text("foo\n" * 100)
    with pytest.raises(InvalidConfiguration) as caught:
        load(tmp_path, "denied_ranges_file: deny.txt\n")
    assert len(caught.value.errors) == 6
    assert "deny.txt has 95 more lines like these" in str(caught.value)


def test_files_that_are_no_lists(tmp_path: Path) -> None:
    for name, said in (
        ("none.txt", "none.txt can't be read: No such file"),
        (".", "can't be read: Is a directory"),
        ("empty.txt", "empty.txt holds no CIDR, write one a line or remove the key"),
        ("binary.txt", "is not a CIDR"),
    ):
        (tmp_path / "empty.txt").write_text("# nothing\n")
        (tmp_path / "binary.txt").write_bytes(b"\xff\xfe\x00\x01\n")
        with pytest.raises(InvalidConfiguration, match=said):
            load(tmp_path, f"frontends: [{{service: a/b, source_ranges_file: '{name}'}}]\n")


def test_a_file_that_may_not_be_read_is_a_matter_of_rights() -> None:
    with make_open_dir() as directory:
        (directory / "deny.txt").write_text("10.0.0.0/8")
        (directory / "deny.txt").chmod(0)
        (directory / "nplb.yaml").write_text(ONE + "denied_ranges_file: deny.txt\n")
        with as_ordinary_user(), pytest.raises(HostPermissionError, match=r"deny\.txt: may not be"):
            load_settings(directory / "nplb.yaml", env={})
