"""Whether a file has changed, by what the system says of it."""

from pathlib import Path


class FileWatch:
    """Compares what `stat` says with the last time. A file that is replaced, written to, or gone
    and back has changed once it has been the same for one look: whoever writes it may not be done.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._taken = self._seen = self._look()

    def changed(self) -> bool:
        """Whether it is another one than when this last said so, and settled."""
        before, self._seen = self._seen, self._look()
        if self._seen is None or self._seen != before or self._seen == self._taken:
            return False
        self._taken = self._seen
        return True

    def _look(self) -> tuple[int, int, int] | None:
        try:
            found = self._path.stat()
        except OSError:
            return None
        return found.st_ino, found.st_size, found.st_mtime_ns
