"""Control's end of the access log's pipe: takes lines from all workers, and passes on whole ones.

The pipe outlives control, so its first bytes may be the rest of a line whose beginning the control
before has read, and the last ones the beginning of a line that the next one will read to its end.
"""

import asyncio
import os
from collections.abc import Callable

from nplb.dataplane.relay.safe import ACCESS_READ, Safe

_AT_ONCE = 1 << 20


class AccessPipe:
    """Reads while started, in the running loop. `on_lines` gets several whole lines at a time;
    without it nothing is ever read. The pipe is the safe's.

    `rest` is the beginning of a line whose end is still to come. `began_before`: another control
    has read from this pipe, so the first line may lack its beginning.
    """

    def __init__(self, safe: Safe, on_lines: Callable[[bytes], None] | None) -> None:
        self._safe = safe
        self._on_lines = on_lines
        self.rest = b""
        self.began_before = False

    def start(self) -> None:
        """Read whenever there is something."""
        if self._on_lines is not None:
            asyncio.get_running_loop().add_reader(self._safe.get(ACCESS_READ), self.read)

    def stop(self) -> None:
        """Leave what comes to somebody else. Safe to call twice, and without a pipe."""
        if self._on_lines is not None and (fd := self._safe.get(ACCESS_READ)) >= 0:
            asyncio.get_running_loop().remove_reader(fd)

    def read(self) -> None:
        """Take what is there. Before there is a pipe that is nothing."""
        fd = self._safe.get(ACCESS_READ)
        if self._on_lines is None or fd < 0:
            return
        try:
            data = os.read(fd, _AT_ONCE)
        except BlockingIOError:
            return
        if self.began_before:  # the control before may have read half a line
            self.began_before = False
            if not data.startswith(b'{"at":'):
                data = data.partition(b"\n")[2]
        whole, newline, self.rest = (self.rest + data).rpartition(b"\n")
        if newline:
            self._on_lines(whole + newline)
