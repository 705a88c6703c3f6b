"""One file of state: a JSON object with its kind, a version, a checksum and the content.

It is written to a temporary file beside it, synced, renamed over the old one, and the directory
is synced. What is damaged (a disk, a hand) is renamed to `NAME.damaged` and told in the log.
"""

import contextlib
import hashlib
import json
import logging
import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from nplb.model.errors import HostError, HostPermissionError

log = logging.getLogger(__name__)

STALE_SECONDS = 3600.0
"""A temporary file that is older than this was left behind by a crash."""

T = TypeVar("T")


class DamagedState(Exception):
    """What is in the file is not what nplb has written; the text says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StateFile:
    """A file of state. `kind` names what it holds (`port book`), `version` its format;
    `loss` says what follows when it is lost or can't be written."""

    path: Path
    kind: str
    version: int
    loss: str

    def read(self, parse: Callable[[Any], T]) -> T | None:
        """The content through `parse`, which raises KeyError, TypeError or ValueError for what
        makes no sense. None if there is no file, or if it was damaged and set aside.

        Raises HostError when the file is there and can't be read, or was written by a newer
        nplb: going on as if it were empty would lose what is in use.
        """
        path = self.path
        self._remove_leftovers()
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            return None
        except PermissionError as error:
            raise HostPermissionError(
                f"{path}: may not be read ({error.strerror}); give the user that runs nplb "
                "access to it and its directory"
            ) from error
        except OSError as error:
            raise HostError(
                f"{path}: can't be read: {error.strerror}; it must be a file that nplb has written"
            ) from error
        try:
            return self._decode(data, parse)
        except DamagedState as damage:
            aside = path.with_name(path.name + ".damaged")
            try:
                path.replace(aside)
            except OSError as error:
                raise HostError(
                    f"{path}: is damaged ({damage}) and can't be set aside: {error.strerror}; "
                    "move it away by hand"
                ) from error
            log.error(
                "%s: is damaged (%s); it is now %s, and %s", path, damage, aside.name, self.loss
            )
            return None

    def write(self, content: Any) -> None:
        """Replace the file. Raises HostError, and then the old one is still there."""
        path = self.path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            descriptor, name = tempfile.mkstemp(
                prefix=f".{path.name}.", suffix=".tmp", dir=path.parent
            )
            temporary = Path(name)
            try:
                with os.fdopen(descriptor, "wb") as file:
                    file.write(self.encode(content))
                    file.flush()
                    os.fsync(file.fileno())
                temporary.replace(path)
            except BaseException:
                temporary.unlink(missing_ok=True)
                raise
            directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
            try:
                os.fsync(directory)
            finally:
                os.close(directory)
        except OSError as error:
            raise HostError(
                f"{path}: can't be written: {error.strerror}; it holds until nplb ends, then "
                f"{self.loss}: make room, or give it a writable directory (`state_dir`)"
            ) from error

    def encode(self, content: Any) -> bytes:
        """The file's bytes."""
        text = json.dumps(
            {
                "nplb": self.kind,
                "version": self.version,
                "sha256": _checksum(content),
                "content": content,
            },
            indent=1,
        )
        return text.encode() + b"\n"

    def _decode(self, data: bytes, parse: Callable[[Any], T]) -> T:
        try:
            document = json.loads(data)
        except (ValueError, RecursionError) as error:
            raise DamagedState(f"it is not JSON: {error}") from error
        if not isinstance(document, dict) or document.get("nplb") != self.kind:
            raise DamagedState(f"it is no file of {self.kind}")
        version = document.get("version")
        if isinstance(version, int) and version > self.version:
            raise HostError(
                f"{self.path}: was written by a newer nplb (version {version} of the format, this "
                f"one knows {self.version}); upgrade nplb, or move the file away to begin anew"
            )
        if version != self.version or "content" not in document:
            raise DamagedState(f"it is no file of {self.kind} of version {self.version}")
        if document.get("sha256") != _checksum(document["content"]):
            raise DamagedState("its checksum is wrong")
        try:
            return parse(document["content"])
        except (KeyError, TypeError, ValueError) as error:
            raise DamagedState(f"an entry makes no sense: {error!r}") from error

    def _remove_leftovers(self) -> None:
        """Temporary files of writers that were killed; a young one may be somebody's work."""
        with contextlib.suppress(OSError):
            for leftover in self.path.parent.glob(f".{self.path.name}.*.tmp"):
                if time.time() - leftover.stat().st_mtime > STALE_SECONDS:
                    leftover.unlink()


def _checksum(content: Any) -> str:
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()
