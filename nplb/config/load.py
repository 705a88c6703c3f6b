"""Reads the configuration: file, environment and flags in, settings or every error out."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nplb.config.build import build_settings
from nplb.config.checks import check_sections
from nplb.config.document import EdgeSection
from nplb.config.errors import ConfigProblem, InvalidConfiguration, spelled
from nplb.config.planes import check_planes
from nplb.config.prefixfiles import read_prefix_files
from nplb.config.sections import key_paths, read_sections, section_paths
from nplb.config.words import did_you_mean, shown
from nplb.config.yaml import Document, Mark, Problem, compose
from nplb.model.errors import HostPermissionError
from nplb.model.keys import Address
from nplb.model.settings import Settings

MAX_BYTES = 4 * 1024 * 1024
ENV_PREFIX = "NPLB_"

# What belongs to flags, of whichever command: never a key, and never a key misspelt.
FLAG_VARIABLES = frozenset(
    ENV_PREFIX + name
    for name in (
        "ADMIN",
        "CA_FILE",
        "CLIENT_CERT",
        "CONFIG",
        "DEBUG",
        "LAB_KUBECONFIG",
        "OUTPUT",
        "TOKEN_FILE",
    )
)

KeyPath = tuple[str | int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Configuration:
    """What was read. `warnings` are things that look unintended and stop nothing."""

    path: Path
    settings: Settings
    warnings: tuple[ConfigProblem, ...] = ()


def load_configuration(
    path: Path | str,
    *,
    env: Mapping[str, str] | None = None,
    overrides: Mapping[str, str] | None = None,
) -> Configuration:
    """The configuration of a file.

    `overrides` (flags) go before `env` (os.environ if None), that before the file, that before
    the defaults. Overrides are keyed by a key's path, as in `health.interval`; the environment
    has the same path as `NPLB_HEALTH_INTERVAL`. Their values are YAML, as in the file. Keys of
    lists can't be set this way, whole lists can; whole sections only by `overrides`.

    Raises InvalidConfiguration with every error, HostPermissionError if the file may not be
    read.
    """
    place = Path(path)
    env = os.environ if env is None else env
    reading = _Reading(str(path), _read(place))
    reading.apply_environment(env)
    reading.apply_overrides(overrides or {})
    base = place.absolute().parent
    sections = read_sections(reading.value, reading.report)
    read_prefix_files(sections, reading.report, base)
    check_sections(sections, reading.report, reading.warn, base)
    settings = build_settings(sections, base, env)
    check_planes(settings, sections, reading.report)
    if reading.errors:
        raise InvalidConfiguration(tuple(sorted(reading.errors, key=_order)))
    warnings = tuple(sorted(reading.warnings, key=_order))
    return Configuration(path=place, settings=settings, warnings=warnings)


def read_admin_listen(path: Path, *, env: Mapping[str, str] | None = None) -> Address | None:
    """The admin server's address of a configuration that may be wrong elsewhere: for asking the
    nplb that runs on with the one before. Where the key is wrong itself, its default; None for
    `off`. Errors: InvalidConfiguration if there is no file to read."""
    content = _read(path)
    try:
        reading = _Reading(str(path), content)
    except InvalidConfiguration:
        return EdgeSection().admin.listen
    reading.apply_environment(os.environ if env is None else env)
    if not isinstance(reading.value, dict):
        return EdgeSection().admin.listen
    return read_sections(reading.value, reading.report).edge.admin.listen


def setting_variables() -> dict[str, str]:
    """The environment's variables for keys, and the paths of the keys.

    A section has none: `$NPLB_ADMIN` is the flag's, its keys are `$NPLB_ADMIN_LISTEN` and so on.
    """
    sections = section_paths()
    return {_variable(path): path for path in _settable() if path not in sections}


def _settable() -> tuple[str, ...]:
    """The keys that flags may set: all but those of lists."""
    return tuple(path for path in key_paths() if "[]" not in path)


def _variable(path: str) -> str:
    return ENV_PREFIX + path.replace(".", "_").upper()


class _Reading:
    """One reading of one file: the plain value with what was laid over it, and its problems."""

    def __init__(self, file: str, content: bytes) -> None:
        self.file = file
        self.errors: list[ConfigProblem] = []
        self.warnings: list[ConfigProblem] = []
        self._origins: dict[KeyPath, str] = {}
        self._broken: set[Mark] = set()
        self._document = self._one_document(content)
        self.value: Any = self._document.value

    def report(self, path: KeyPath, message: str, *, at_key: bool = False) -> None:
        """Note an error, unless YAML's own at this value is its cause."""
        if self._document.has(path) and self._document.mark(path) in self._broken:
            return
        self.errors.append(self._problem(path, message, at_key))

    def warn(self, path: KeyPath, message: str, *, at_key: bool = False) -> None:
        """Note a warning."""
        self.warnings.append(self._problem(path, message, at_key))

    def apply_environment(self, env: Mapping[str, str]) -> None:
        """Lay the environment's values over the file's."""
        variables = setting_variables()
        for name in sorted(env):
            if not name.startswith(ENV_PREFIX) or not env[name] or name in FLAG_VARIABLES:
                continue
            if name in variables:
                self._lay(variables[name], env[name], f"${name}")
            elif guess := did_you_mean(name, variables, likeness=0.9):
                what = f"names no key, did you mean ${guess}?"
                self.warnings.append(ConfigProblem(file=f"${name}", message=what))

    def apply_overrides(self, overrides: Mapping[str, str]) -> None:
        """Lay the flags' values over everything else's."""
        known = set(_settable())
        for path, text in overrides.items():
            if path in known:
                self._lay(path, text, f"--set {path}")
                continue
            guess = did_you_mean(path, known)
            hint = f'did you mean "{guess}"?' if guess else "see the commented example"
            what = f"there is no key {shown(path)} that can be set so, {hint}"
            self.errors.append(ConfigProblem(file="--set", message=what))

    def _lay(self, path: str, text: str, origin: str) -> None:
        documents, problems = compose(text, file=origin)
        if problems or len(documents) > 1:
            message = problems[0].message if problems else "must be one value"
            self.errors.append(ConfigProblem(file=origin, path=path, message=message))
            return
        value = documents[0].value if documents else None
        *parents, last = path.split(".")
        place = self.value
        for key in parents:
            if not isinstance(place, dict):
                return  # the file's own value is wrong there, and will be reported
            place = place.setdefault(key, {})
            if place is None:
                return
        if isinstance(place, dict):
            place[last] = value
            self._origins[tuple(path.split("."))] = origin

    def _one_document(self, content: bytes) -> Document:
        documents, problems = compose(content, file=self.file)
        self.errors += [_from_yaml(problem) for problem in problems]
        self._broken = {problem.mark for problem in problems}
        if len(documents) > 1:
            at = documents[1].mark()
            what = "a second document begins here, the configuration is one, remove '---'"
            self.errors.append(
                ConfigProblem(file=self.file, line=at.line, column=at.column, message=what)
            )
        if not documents or documents[0].value is None:
            if not self.errors:
                what = "the file is empty, name at least one cluster"
                self.errors.append(ConfigProblem(file=self.file, line=1, column=1, message=what))
            raise InvalidConfiguration(tuple(self.errors))
        return documents[0]

    def _problem(self, path: KeyPath, message: str, at_key: bool) -> ConfigProblem:
        for length in range(len(path), 0, -1):
            origin = self._origins.get(path[:length])
            if origin is not None:
                return ConfigProblem(file=origin, path=spelled(path), message=message)
        # A single value where a list may stand has no items of its own.
        while path and isinstance(path[-1], int) and not self._document.has(path):
            path = path[:-1]
        is_value = self._document.has(path) and not isinstance(self._at(path), (dict, list))
        mark = (
            self._document.mark(path) if is_value and not at_key else self._document.key_mark(path)
        )
        return ConfigProblem(
            file=mark.file, line=mark.line, column=mark.column, path=spelled(path), message=message
        )

    def _at(self, path: KeyPath) -> Any:
        value = self._document.value
        for part in path:
            value = value[part]
        return value


def _read(path: Path) -> bytes:
    """The file's content, of a bearable size."""
    file = str(path)
    try:
        with path.open("rb") as stream:
            content = stream.read(MAX_BYTES + 1)
    except FileNotFoundError:
        what = "there is no such file, correct the path or write it"
    except IsADirectoryError:
        what = "is a directory, name the file in it"
    except PermissionError:
        what = "may not be read by this user, change its owner or mode"
        raise HostPermissionError(f"{file}: {what}") from None
    except OSError as error:
        what = f"cannot be read: {error.strerror or error}"
    else:
        if len(content) <= MAX_BYTES:
            return content
        what = f"is larger than {MAX_BYTES // 2**20} MiB, is this the configuration?"
    raise InvalidConfiguration((ConfigProblem(file=file, message=what),))


def _from_yaml(problem: Problem) -> ConfigProblem:
    mark = problem.mark
    return ConfigProblem(
        file=mark.file, line=mark.line, column=mark.column, message=problem.message
    )


def _order(problem: ConfigProblem) -> tuple[int, int, str]:
    return problem.line, problem.column, problem.path
