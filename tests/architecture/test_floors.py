"""The house is as ARCHITECTURE.md draws it, and as the tools that hold it want it."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def test_the_picture_of_the_floors_is_the_contract() -> None:
    """Each floor of the picture, in order, is the layer that import-linter holds."""
    text = (ROOT / "ARCHITECTURE.md").read_text()
    picture = re.search(r"## The floors.*?```\n(.*?)```", text, re.DOTALL)
    assert picture is not None
    drawn = [
        set(re.findall(r"\b([a-z]+)(?:/|\.py)", line)) for line in picture.group(1).splitlines()
    ]
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    contract = settings["tool"]["importlinter"]["contracts"][0]
    layers = [{name.strip() for name in layer.split("|")} for layer in contract["layers"]]
    assert drawn == layers


def test_every_package_states_its_law() -> None:
    silent = [
        str(path.relative_to(ROOT))
        for path in sorted((ROOT / "nplb").rglob("*.py"))
        if not path.read_text().lstrip().startswith(('"""', 'r"""'))
    ]
    assert silent == []


@pytest.mark.parametrize(
    "command",
    [["lint-imports"], ["ruff", "check", "."], ["ruff", "format", "--check", "."], ["mypy"]],
    ids=["every-import-goes-down", "ruff-check", "ruff-format", "mypy"],
)
@pytest.mark.timeout(300)
def test_the_linters_are_content(command: list[str]) -> None:
    done = subprocess.run(
        [Path(sys.executable).with_name(command[0]), *command[1:]],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
