"""What Services have by their annotations, on disk: so that a restart changes nothing of it."""

import asyncio
import logging
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from nplb.daemon.codec import decoder, encoder
from nplb.disk.statefile import StateFile
from nplb.model.annotations import Grant
from nplb.model.errors import HostError

log = logging.getLogger(__name__)

VERSION = 1
INTERVAL_SECONDS = 1.0

Grants = tuple[Grant, ...]


class GrantsFile:
    """Keeps `grants()` in a file. `problem` says why it could not be written, and is empty
    otherwise."""

    def __init__(self, path: Path, grants: Callable[[], Grants]) -> None:
        self._file = StateFile(
            path=path,
            kind="annotations",
            version=VERSION,
            loss="a wrong annotation has no last good value, and no Service a port that it had",
        )
        self._grants = grants
        self._written: Grants = ()
        self._lock = threading.Lock()
        self.problem = ""

    def read(self) -> Grants:
        """What the nplb before has left. Errors: HostError if it is there and can't be read."""
        self._written = self._file.read(_parse) or ()
        return self._written

    async def run(self) -> None:
        """Write it when it has changed, until cancelled, and then once more."""
        try:
            while True:
                await asyncio.sleep(INTERVAL_SECONDS)
                await asyncio.to_thread(self._write)
        finally:
            self._write()

    def _write(self) -> None:
        # A thread may be at it still when the last one is to be written.
        with self._lock:
            grants = self._grants()
            if grants == self._written:
                return
            code = encoder(Grant)
            try:
                self._file.write([code(grant) for grant in grants])
            except HostError as error:
                if not self.problem:
                    log.error("%s", error)
                self.problem = str(error)
            else:
                self._written = grants
                self.problem = ""


def _parse(content: Any) -> Grants:
    code = decoder(Grant)
    return tuple(code(one) for one in content)
