"""`workers: auto` is one for each CPU that may be used."""

import os
from pathlib import Path

import pytest

from nplb.config.cpus import quota_cpus, usable_cpus


def test_the_smallest_quota_of_the_groups_counts(tmp_path: Path) -> None:
    inner = tmp_path / "system.slice" / "nplb.service"
    inner.mkdir(parents=True)
    assert quota_cpus("/system.slice/nplb.service", tmp_path) is None
    (inner / "cpu.max").write_text("max 100000\n")
    assert quota_cpus("/system.slice/nplb.service", tmp_path) is None
    (tmp_path / "system.slice" / "cpu.max").write_text("150000 100000\n")
    assert quota_cpus("/system.slice/nplb.service", tmp_path) == 1.5
    (inner / "cpu.max").write_text("50000 100000\n")
    assert quota_cpus("/system.slice/nplb.service", tmp_path) == 0.5
    assert quota_cpus("/", tmp_path) is None


@pytest.mark.parametrize("text", ["", "nonsense", "1 0", "x y"])
def test_a_quota_that_cannot_be_read_is_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "cpu.max").write_text(text)
    assert quota_cpus("/", tmp_path) is None


def test_usable_cpus_are_no_more_than_the_affinity() -> None:
    assert 1 <= usable_cpus() <= len(os.sched_getaffinity(0))
