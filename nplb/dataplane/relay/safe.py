"""What must outlive control, in descriptors that every worker keeps for it.

Files in memory and a pipe: while one worker lives, so do they, whatever becomes of control. They
are the table of rows, the counters of dead workers, the affinity of clients, the pipe of the
access log, and what the rest of control gives away under names of its own. A version is written
whole before it is given away, so no crash leaves half of one.
"""

import contextlib
import os
from collections.abc import Callable, Iterable, Iterator

from nplb.dataplane.relay.survivors import Survivor
from nplb.dataplane.relay.worker.affinity import FILE_BYTES as AFFINITY_BYTES

AFFINITY = "affinity"
CARRIED = "carried"
ROWS = "rows"
# And a worker's rendezvous: its counters, which so outlive the worker and control both.
COUNTERS = "counters:"
ACCESS_READ, ACCESS_WRITE = "access-read", "access-write"
# Names that others give begin with this.
OTHERS = "state:"


class Safe:
    """The descriptors by name, each with its version. Owns them.

    `on_put` is called with name, version and descriptor whenever one is new, so that every
    worker can be given it, and `on_drop` with the name of one that is needed no more.
    """

    def __init__(
        self, on_put: Callable[[str, int, int], None], on_drop: Callable[[str], None]
    ) -> None:
        self._on_put = on_put
        self._on_drop = on_drop
        self._held: dict[str, tuple[int, int]] = {}

    def inherit(self, survivors: Iterable[Survivor]) -> None:
        """Take over the latest version of everything that workers have kept."""
        for survivor in survivors:
            for name, (version, fd) in list(survivor.kept.items()):
                if version > self._held.get(name, (0, -1))[0]:
                    self._replace(name, version, fd)
                    del survivor.kept[name]

    def outdo(self, survivors: Iterable[Survivor]) -> None:
        """Put everything anew of which a worker that another control had has as late a version or
        a later one."""
        theirs: dict[str, int] = {}
        for survivor in survivors:
            for name, (version, _) in survivor.kept.items():
                theirs[name] = max(theirs.get(name, 0), version)
        for name, (version, fd) in list(self._held.items()):
            if theirs.get(name, 0) >= version:
                self._held[name] = theirs[name] + 1, fd
                self._on_put(name, theirs[name] + 1, fd)

    def fill(self) -> None:
        """Make what is missing of the relay's own."""
        for name, size in ((AFFINITY, AFFINITY_BYTES), (CARRIED, 0), (ROWS, 0)):
            if name not in self._held:
                fd = os.memfd_create(f"nplb-{name}", os.MFD_CLOEXEC)
                os.ftruncate(fd, size)
                self.put(name, fd)
        if not {ACCESS_READ, ACCESS_WRITE} <= self._held.keys():
            read, write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
            self.put(ACCESS_READ, read)
            self.put(ACCESS_WRITE, write)

    def put(self, name: str, fd: int) -> None:
        """Keep a descriptor, owned from now on, in place of the version before."""
        version = self._held.get(name, (0, -1))[0] + 1
        self._replace(name, version, fd)
        self._on_put(name, version, fd)

    def drop(self, name: str) -> None:
        """Keep it no longer."""
        held = self._held.pop(name, None)
        if held is not None:
            os.close(held[1])
            self._on_drop(name)

    def put_bytes(self, name: str, data: bytes) -> None:
        """Keep data under a name of others."""
        fd = os.memfd_create(f"nplb-{name}", os.MFD_CLOEXEC)
        try:
            with memoryview(data) as view:
                done = 0
                while done < len(data):
                    done += os.write(fd, view[done : done + (4 << 20)])
        except BaseException:
            os.close(fd)
            raise
        self.put(OTHERS + name, fd)

    def read_bytes(self, name: str) -> bytes | None:
        """The data under a name of others; None if there is none."""
        fd = self.get(OTHERS + name)
        if fd < 0:
            return None
        size = os.fstat(fd).st_size
        data = bytearray()
        while len(data) < size and (piece := os.pread(fd, 4 << 20, len(data))):
            data += piece
        return bytes(data)

    def get(self, name: str) -> int:
        """The descriptor, which stays the safe's; -1 if there is none."""
        return self._held.get(name, (0, -1))[1]

    def __iter__(self) -> Iterator[tuple[str, int, int]]:
        for name, (version, fd) in self._held.items():
            yield name, version, fd

    def _replace(self, name: str, version: int, fd: int) -> None:
        old = self._held.get(name)
        if old is not None:
            os.close(old[1])
        self._held[name] = version, fd

    def close(self) -> None:
        """Close all of them here; workers keep theirs."""
        for _, fd in self._held.values():
            with contextlib.suppress(OSError):
                os.close(fd)
        self._held.clear()
