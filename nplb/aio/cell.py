"""A cell holds the latest value of something, and wakes whoever waits for a change.

Levels, not edges: ten changes before the reader looks are one change.
"""

from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Cell(Generic[T]):
    """The latest value, and how often it was set. `on_change` is called at each `set`."""

    __slots__ = ("_on_change", "_value", "version")

    def __init__(self, value: T, on_change: Callable[[], None]) -> None:
        self._value = value
        self._on_change = on_change
        self.version = 0

    def get(self) -> T:
        """The latest value."""
        return self._value

    def set(self, value: T) -> None:
        """Replace the value and wake the reader."""
        self._value = value
        self.version += 1
        self._on_change()
