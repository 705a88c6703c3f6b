"""The floors of ARCHITECTURE.md hold."""

from pathlib import Path

from importlinter import cli


def test_every_import_goes_down() -> None:
    root = Path(__file__).parents[2]
    assert cli.lint_imports(config_filename=str(root / "pyproject.toml"), no_cache=True) == 0
