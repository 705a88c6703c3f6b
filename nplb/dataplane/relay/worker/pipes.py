"""A pool of pipes for splice: a stream borrows one while bytes are in it, and no longer."""

import os
from fcntl import F_SETPIPE_SZ, fcntl

PIPE_BYTES = 1 << 20


class PipePool:
    """Empty pipes for whoever needs one: `idle` has those that nobody uses, and takes them back.
    A pipe is (read end, write end); `held` is how many there are in all.

    A pipe that may hold bytes must be dropped, never given back: bytes of one client must
    not reach another.
    """

    __slots__ = ("_keep", "held", "idle")

    def __init__(self, keep: int = 64) -> None:
        self.idle: list[tuple[int, int]] = []
        self._keep = keep
        self.held = 0

    def take(self) -> tuple[int, int] | None:
        """An idle pipe or a new one, None when the system gives none."""
        if self.idle:
            return self.idle.pop()
        try:
            pipe = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:
            return None
        self.held += 1
        try:  # noqa: SIM105 -- contextlib is slow to import
            fcntl(pipe[1], F_SETPIPE_SZ, PIPE_BYTES)
        except OSError:
            pass  # over the user's share of pipe memory: a smaller pipe works too
        return pipe

    def trim(self) -> None:
        """Close idle ones that are more than are kept. To be called now and then."""
        while len(self.idle) > self._keep:
            self.drop(self.idle.pop())

    def drop(self, pipe: tuple[int, int]) -> None:
        """Close a pipe, whatever is in it."""
        os.close(pipe[0])
        os.close(pipe[1])
        self.held -= 1
