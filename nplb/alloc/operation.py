"""A transaction on an allocator: allocate at once, defer releases, undo unless committed.

Mirrors `PortAllocationOperation` of `pkg/registry/core/service/portallocator/operation.go` and
its rule: it is better to leak a port than to allocate it twice. So what is taken is taken at
once, what is given back is given back only after the new owner has been written, and a failed
release is left to the repair loop.
"""

from nplb.alloc.allocator import PortAllocator
from nplb.alloc.errors import PortAllocated

_NO_PORT_YET = 32768


class Operation:
    """One transaction. After `commit` or `rollback` it is over; both may be called again and
    then do nothing, so a `finally` may always roll back.

    With `dry_run` the allocator is asked and never changed. As in the original, a dry run does
    not know the range: it accepts a number outside, and what it draws is only a placeholder.
    """

    __slots__ = ("_allocated", "_allocator", "_deferred", "_over", "dry_run")

    def __init__(self, allocator: PortAllocator, *, dry_run: bool = False) -> None:
        self._allocator = allocator
        self._allocated: list[int] = []
        self._deferred: list[int] = []
        self._over = False
        self.dry_run = dry_run

    @property
    def allocated(self) -> tuple[int, ...]:
        """What this operation has taken, in order."""
        return tuple(self._allocated)

    @property
    def deferred(self) -> tuple[int, ...]:
        """What it will give back when it is committed."""
        return tuple(self._deferred)

    def allocate(self, port: int) -> None:
        """Take a number. Raises PortAllocated or PortNotInRange (the latter never in a dry
        run)."""
        self._check_open()
        if not self.dry_run:
            self._allocator.allocate(port)
        elif self._allocator.has(port) or port in self._allocated:
            raise PortAllocated
        self._allocated.append(port)

    def allocate_next(self) -> int:
        """Take any number; in a dry run, one more than the highest so far, or 32769.

        Raises RangeFull (never in a dry run).
        """
        self._check_open()
        if self.dry_run:
            port = max(self._allocated, default=_NO_PORT_YET) + 1
        else:
            port = self._allocator.allocate_next()
        self._allocated.append(port)
        return port

    def release_deferred(self, port: int) -> None:
        """Give a number back when this operation is committed."""
        self._check_open()
        self._deferred.append(port)

    def commit(self) -> None:
        """Keep what was taken and give back what was deferred."""
        if not self._over:
            self._over = True
            self._release(self._deferred)

    def rollback(self) -> None:
        """Give back what was taken, and forget what was deferred."""
        if not self._over:
            self._over = True
            self._release(self._allocated)

    def _release(self, ports: list[int]) -> None:
        if not self.dry_run:
            for port in ports:
                self._allocator.release(port)

    def _check_open(self) -> None:
        if self._over:
            raise RuntimeError("this operation is over; start another one")
