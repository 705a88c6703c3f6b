"""Memory that is set aside, for what has to be done when there is no other.

It is address space that nothing is ever written to, so it costs nothing as long as it is not
needed. Given back, it is enough to end what can't be served, to say why, and to go on with the
connections that are open. New clients wait until some of those have ended: what they leave is of
use to others, also where the system does not get it back.
"""

import mmap

RESERVE_BYTES = 4 << 20
# What one step takes at most that must not fail halfway.
STEP_BYTES = 2 << 20
# How many of the connections that were open when memory ran out may be open afterwards.
SHARE = 0.95
# So long after memory was short, what is to spare is set aside again.
CALM_SECONDS = 1.0
MANY = 1 << 30
EXIT_CODE = 12
"""Of a worker that could not go on even so."""


class Reserve:
    """The reserve; it is there once this is made, if it can be. `spent` is whether it has been
    given back, `most` how many connections may be open until it is there again."""

    __slots__ = ("_held", "_short_at", "most", "spent")

    def __init__(self) -> None:
        self.most = MANY
        self._short_at = 0.0
        self._held = _set_aside(RESERVE_BYTES)
        self.spent = self._held is None

    def spend(self, now: float, connections: int) -> bool:
        """Memory is short, with so many connections open: give the reserve back. Returns whether
        it was there."""
        was_there = not self.spent
        if self._held is not None:
            self._held.close()
            self._held = None
        self.spent = True
        self._short_at = now
        self.most = min(self.most, max(int(connections * SHARE), 1))
        return was_there

    def recover(self, now: float) -> bool:
        """Set memory aside again, if there is as much by now. Returns whether it is there."""
        if now - self._short_at < CALM_SECONDS:
            return False
        self._held = _set_aside(RESERVE_BYTES)
        if self._held is not None:
            self.spent = False
            self.most = MANY
        return not self.spent


def has_room() -> bool:
    """Whether there is memory for a step, without the reserve."""
    room = _set_aside(STEP_BYTES)
    if room is None:
        return False
    room.close()
    return True


def _set_aside(size: int) -> mmap.mmap | None:
    try:
        return mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    except (OSError, MemoryError):
        return None
