"""Finds the files that paths, directories and patterns mean, and reads them whole.

Nothing here knows what is in them. A file that is being written is not read half: contents
count only once the files have stood still.
"""

import glob
import hashlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from nplb.model.errors import ConfigurationError

SUFFIXES = (".yaml", ".yml", ".json")
MAX_BYTES = 64 * 1024 * 1024
_MAX_READS = 20

Stamp = tuple[tuple[str, int, int, int, int], ...]
"""Path, device's inode, size, time of content and of state (ns) of every file, sorted."""


class ManifestError(ConfigurationError):
    """Manifests that can't be used. `errors` has every reason, each with its place and what to
    do; the message is all of them, one a line."""

    def __init__(self, errors: Sequence[str]) -> None:
        super().__init__("\n".join(errors))
        self.errors = tuple(errors)


@dataclass(frozen=True, slots=True, kw_only=True)
class FileSet:
    """The contents of all files, sorted by path. `digest` differs when any path or content
    does; `stamp` is what the file system said of them when they were read."""

    stamp: Stamp
    digest: str
    contents: tuple[tuple[str, bytes], ...] = field(repr=False)


def find_files(paths: Sequence[str]) -> tuple[str, ...]:
    """The files that paths mean, sorted and each once: a file itself, a directory's files with
    one of `SUFFIXES` (not those of directories within it), or what a pattern matches.

    Errors: ManifestError naming every path that is missing or means no file. Deleting all
    manifests is thus an error, and not a cluster without services.
    """
    found: set[str] = set()
    errors = []
    for path in paths:
        try:
            found.update(_expand(path))
        except OSError as error:
            errors.append(f"{path}: can't be read: {_said(error)}; check the path and its rights")
        except ManifestError as error:
            errors.extend(error.errors)
    if errors:
        raise ManifestError(errors)
    return tuple(sorted(found))


def _expand(path: str) -> list[str]:
    place = Path(path)
    if place.is_dir():
        # Names with a leading dot are editors' and Kubernetes volumes' own.
        files = [
            str(file)
            for file in place.iterdir()
            if file.suffix in SUFFIXES and not file.name.startswith(".") and file.is_file()
        ]
        if not files:
            listed = ", ".join(SUFFIXES)
            raise ManifestError([f"{path}: the directory has no file ending in {listed}; add one"])
        return files
    if glob.has_magic(path) and not place.exists():
        matches = glob.glob(path, recursive=True)  # noqa: PTH207 - Path.glob takes no absolute one
        files = [match for match in matches if Path(match).is_file()]
        if not files:
            raise ManifestError([f"{path}: no file matches this pattern; correct it or add one"])
        return files
    if not place.exists():
        raise ManifestError([f"{path}: there is no such file; correct the path or make it"])
    return [path]


def stamp_files(files: Sequence[str]) -> Stamp:
    """What the file system says of these files now.

    Errors: ManifestError if one of them has gone.
    """
    stamps = []
    for file in files:
        try:
            stat = Path(file).stat()
        except OSError as error:
            raise ManifestError([f"{file}: can't be read: {_said(error)}"]) from None
        stamps.append((file, stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns))
    return tuple(stamps)


def read_files(
    paths: Sequence[str],
    *,
    settle_seconds: float,
    sleep: Callable[[float], None] = time.sleep,
) -> FileSet:
    """The contents of the files that paths mean, once they have not changed for
    `settle_seconds`. Blocks; whoever has an event loop calls it in a thread.

    Errors: ManifestError for what can't be read, or does not stand still.
    """
    for _ in range(_MAX_READS):
        stamp = stamp_files(find_files(paths))
        sleep(settle_seconds)
        contents = tuple((file, _content(file)) for file, *_ in stamp)
        if stamp_files(find_files(paths)) == stamp:
            break
    else:
        raise ManifestError([f"{', '.join(paths)}: the files change all the time; write them once"])
    digest = hashlib.sha256()
    for file, content in contents:
        digest.update(f"{file}\0{len(content)}\0".encode())
        digest.update(content)
    return FileSet(stamp=stamp, digest=digest.hexdigest(), contents=contents)


def _content(file: str) -> bytes:
    try:
        with Path(file).open("rb") as stream:
            content = stream.read(MAX_BYTES + 1)
    except OSError as error:
        raise ManifestError([f"{file}: can't be read: {_said(error)}; check its rights"]) from None
    if len(content) > MAX_BYTES:
        raise ManifestError([f"{file}: it has more than {MAX_BYTES} bytes; is it a manifest?"])
    return content


def _said(error: OSError) -> str:
    return str(error.strerror or error).lower()
