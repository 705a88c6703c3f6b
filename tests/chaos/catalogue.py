"""The list of faults, and how one gets into it."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.chaos.scene import Scene

Play = Callable[["Scene"], Awaitable[None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One fault. `play` does it, waits and mends it. `cuts` says that it ends connections by its
    nature: those that were open when `scene.cut()` was called may fail."""

    name: str
    play: Play
    cuts: bool = False


FAULTS: list[Fault] = []


def fault(name: str, *, cuts: bool = False) -> Callable[[Play], Play]:
    """Put a function into the list."""

    def register(play: Play) -> Play:
        FAULTS.append(Fault(name=name, play=play, cuts=cuts))
        return play

    return register
