"""A pool of pipes for splice: a stream borrows one while bytes are in it, and no longer."""

import os
from fcntl import F_SETPIPE_SZ, fcntl

PIPE_BYTES = 1 << 20


class PipePool:
    """Pipes, kept up to `keep` of them when idle. A pipe is (read end, write end).

    A pipe that may hold bytes must be dropped, never given back: bytes of one client must
    not reach another.
    """

    __slots__ = ("_idle", "_keep", "held")

    def __init__(self, keep: int = 64) -> None:
        self._idle: list[tuple[int, int]] = []
        self._keep = keep
        self.held = 0

    def take(self) -> tuple[int, int] | None:
        """An empty pipe, or None when the system gives none."""
        if self._idle:
            return self._idle.pop()
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

    def give(self, pipe: tuple[int, int]) -> None:
        """Take back an empty pipe."""
        if len(self._idle) < self._keep:
            self._idle.append(pipe)
        else:
            self.drop(pipe)

    def drop(self, pipe: tuple[int, int]) -> None:
        """Close a pipe, whatever is in it."""
        os.close(pipe[0])
        os.close(pipe[1])
        self.held -= 1

    def close(self) -> None:
        """Close the idle ones."""
        while self._idle:
            self.drop(self._idle.pop())
