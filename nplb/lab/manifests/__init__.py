"""Example Services for a fresh lab: package data, found by `examples`."""

from pathlib import Path


def examples() -> tuple[Path, ...]:
    """The example manifests, in the order in which they are applied."""
    return tuple(sorted(Path(__file__).parent.glob("*.yaml")))
