"""Reads the files of address prefixes that the configuration names, whole and with every error."""

import hashlib
from pathlib import Path
from typing import TypeVar

from nplb.config.checks import absolute
from nplb.config.keys import Section
from nplb.config.sections import Report, Sections
from nplb.model.errors import HostPermissionError
from nplb.model.prefixes import Prefix, PrefixFile
from nplb.policy.prefixes import read_lines

MAX_BYTES = 64 * 1024 * 1024
MAX_PREFIXES = 500_000
_MAX_TOLD = 5
_KEYS = ("source_ranges_file", "denied_ranges_file")
S = TypeVar("S", bound=Section)


def read_prefix_files(sections: Sections, report: Report, base: Path) -> None:
    """Put the content of the files in the place of their paths. What is wrong in them is told to
    `report`, and takes the key out. Raises HostPermissionError for one that may not be read."""
    known: dict[Path, PrefixFile | list[str]] = {}

    def filled(section: S, path: tuple[str | int, ...]) -> S:
        changes: dict[str, PrefixFile | None] = {}
        for name in _KEYS:
            given = getattr(section, name)
            if given is None:
                continue
            place = Path(absolute(given, base))
            if place not in known:
                known[place] = _read(place)
            found = known[place]
            if isinstance(found, PrefixFile):
                changes[name] = found
            else:
                changes[name] = None
                for message in found:
                    report((*path, name), message)
        return section.model_copy(update=changes) if changes else section

    sections.edge = filled(sections.edge, ())
    for index, section in sections.frontends.items():
        sections.frontends[index] = filled(section, ("frontends", index))


def _read(place: Path) -> PrefixFile | list[str]:
    """A file's prefixes, or what is wrong with it."""
    try:
        with place.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except PermissionError:
        what = "may not be read by this user, change its owner or mode"
        raise HostPermissionError(f"{place}: {what}") from None
    except OSError as error:
        return [f"{place} can't be read: {error.strerror or error}"]
    if len(content) > MAX_BYTES:
        return [f"{place} is larger than {MAX_BYTES // 2**20} MiB, is this the list?"]
    prefixes: list[Prefix] = []
    wrong: list[str] = []
    for number, read in read_lines(content.decode("utf-8", "replace").splitlines()):
        if isinstance(read, str):
            wrong.append(f"{place}:{number}: {read}")
        else:
            prefixes.append(read)
    if len(wrong) > _MAX_TOLD:
        wrong[_MAX_TOLD:] = [f"{place} has {len(wrong) - _MAX_TOLD} more lines like these"]
    if not wrong and not prefixes:
        wrong.append(f"{place} holds no CIDR, write one a line or remove the key")
    if len(prefixes) > MAX_PREFIXES:
        wrong.append(f"{place} holds more than {MAX_PREFIXES:,} CIDRs, merge some")
    if wrong:
        return wrong
    digest = hashlib.sha256(content).hexdigest()[:16]
    return PrefixFile(path=str(place), digest=digest, count=len(prefixes), prefixes=tuple(prefixes))
