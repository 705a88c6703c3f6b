"""Reads fields of raw API objects, and names the object and the field in every error."""

from collections.abc import Callable, Mapping
from datetime import datetime
from types import MappingProxyType
from typing import Any

from nplb.model.cluster import EMPTY
from nplb.model.errors import ClusterError

Path = tuple[str | int, ...]
Raw = Mapping[str, Any]
Warn = Callable[[str], None]

# kubectl's copy of the whole object: as large as the object, and nothing to nplb.
LAST_APPLIED_ANNOTATION = "kubectl.kubernetes.io/last-applied-configuration"


class DecodeError(ClusterError):
    """One object is not what the API says it is. `path` leads to the field within the object,
    `problem` says what is wrong with it and what it must be."""

    def __init__(self, kind: str, namespace: str, name: str, path: Path, problem: str) -> None:
        self.kind = kind
        self.namespace = namespace
        self.name = name
        self.path = path
        self.problem = problem
        self.field = field_text(path)
        where = f"{self.subject}: {self.field}" if path else self.subject
        super().__init__(f"{where}: {problem}")

    @property
    def subject(self) -> str:
        """The object as a person names it: `Service shop/web`."""
        return subject_text(self.kind, self.namespace, self.name)


def field_text(path: Path) -> str:
    """A path as the API server writes it: `spec.ports[0].nodePort`."""
    text = ""
    for step in path:
        if isinstance(step, int):
            text += f"[{step}]"
        else:
            text += f".{step}" if text else step
    return text


def subject_text(kind: str, namespace: str, name: str) -> str:
    """An object as a person names it: `Service shop/web`, `Node a`, `Service (no name)`."""
    name = name or "(no name)"
    return f"{kind} {namespace}/{name}" if namespace else f"{kind} {name}"


class Reader:
    """Reads fields of one raw object and names the field in every error.

    Each method takes the mapping that holds the field, the field's key, and the path of the
    mapping within the object.
    """

    __slots__ = ("_warn", "kind", "metadata", "name", "namespace", "raw")

    def __init__(self, kind: str, raw: object, warn: Warn | None) -> None:
        self.kind = kind
        self.namespace = ""
        self.name = ""
        self._warn = warn
        if not isinstance(raw, Mapping):
            raise self.error((), f"must be an object, not {_shown(raw)}")
        self.raw: Raw = raw
        self.metadata = self.mapping(raw, "metadata")
        # Both first, so that every later error can name the object.
        name, namespace = self.metadata.get("name"), self.metadata.get("namespace")
        self.name = name if isinstance(name, str) else ""
        self.namespace = namespace if isinstance(namespace, str) else ""
        if not self.text(self.metadata, "name", ("metadata",)):
            raise self.error(("metadata", "name"), "is missing")
        self.text(self.metadata, "namespace", ("metadata",))

    def error(self, path: Path, problem: str) -> DecodeError:
        """The error to raise about the field at `path`."""
        return DecodeError(self.kind, self.namespace, self.name, path, problem)

    def warn(self, path: Path, problem: str) -> None:
        """Tell whoever asked about a value that was read around."""
        if self._warn is not None:
            self._warn(str(self.error(path, problem)))

    def require_namespace(self) -> str:
        if not self.namespace:
            raise self.error(("metadata", "namespace"), "is missing")
        return self.namespace

    def text(self, raw: Raw, key: str, at: Path) -> str:
        value = raw.get(key)
        if isinstance(value, str):
            return value
        if value is None:
            return ""
        raise self.error((*at, key), f"must be a string, not {_shown(value)}")

    def number(
        self,
        raw: Raw,
        key: str,
        at: Path,
        low: int,
        high: int | None,
        *,
        required: bool = False,
    ) -> int:
        """An integer from `low` to `high`, 0 when absent."""
        value = raw.get(key)
        if value is None and not required:
            return 0
        # bool is an int to Python, and not to the API.
        if isinstance(value, int) and not isinstance(value, bool):
            if value >= low and (high is None or value <= high):
                return value
            reach = f"from {low} to {high}" if high is not None else f"of at least {low}"
            raise self.error((*at, key), f"must be a number {reach}, not {value}")
        if value is None:
            raise self.error((*at, key), "is missing")
        raise self.error((*at, key), f"must be a whole number, not {_shown(value)}")

    def flag(self, raw: Raw, key: str, at: Path, *, default: bool) -> bool:
        value = raw.get(key)
        if isinstance(value, bool):
            return value
        if value is None:
            return default
        raise self.error((*at, key), f"must be true or false, not {_shown(value)}")

    def mapping(self, raw: Raw, key: str, at: Path = ()) -> Raw:
        value = raw.get(key)
        if value is None:
            return EMPTY
        if isinstance(value, Mapping):
            return value
        raise self.error((*at, key), f"must be an object, not {_shown(value)}")

    def items(self, raw: Raw, key: str, at: Path) -> list[Any]:
        value = raw.get(key)
        if value is None:
            return []
        if isinstance(value, list):
            return value
        raise self.error((*at, key), f"must be a list, not {_shown(value)}")

    def objects(self, raw: Raw, key: str, at: Path) -> list[tuple[int, Raw]]:
        """A list of objects with their positions."""
        entries = list(enumerate(self.items(raw, key, at)))
        for index, value in entries:
            if not isinstance(value, Mapping):
                raise self.error((*at, key, index), f"must be an object, not {_shown(value)}")
        return entries

    def texts(self, raw: Raw, key: str, at: Path) -> tuple[str, ...]:
        """A list of strings."""
        values = self.items(raw, key, at)
        for index, value in enumerate(values):
            if not isinstance(value, str):
                raise self.error((*at, key, index), f"must be a string, not {_shown(value)}")
        return tuple(values)

    def text_map(self, raw: Raw, key: str, at: Path) -> Mapping[str, str]:
        """A map of strings to strings; a null value is the empty string."""
        values = self.mapping(raw, key, at)
        if not values:
            return EMPTY
        result = {}
        for name, value in values.items():
            if not isinstance(name, str):
                raise self.error((*at, key), f"must have strings as keys, not {_shown(name)}")
            if value is not None and not isinstance(value, str):
                raise self.error((*at, key, name), f"must be a string, not {_shown(value)}")
            result[name] = value or ""
        return MappingProxyType(result)

    def annotations(self) -> Mapping[str, str]:
        values = self.text_map(self.metadata, "annotations", ("metadata",))
        if LAST_APPLIED_ANNOTATION not in values:
            return values
        return MappingProxyType({k: v for k, v in values.items() if k != LAST_APPLIED_ANNOTATION})

    def time(self, raw: Raw, key: str, at: Path) -> float | None:
        """An RFC 3339 time as epoch seconds."""
        text = self.text(raw, key, at)
        if not text:
            return None
        try:
            moment = datetime.fromisoformat(text)
        except ValueError:
            moment = None
        if moment is None or moment.tzinfo is None:
            raise self.error((*at, key), f"must be a time as 2006-01-02T15:04:05Z, not {text!r}")
        return moment.timestamp()


def _shown(value: object) -> str:
    """A value in an error, short whatever it is."""
    if value is None:
        return "nothing"
    if isinstance(value, Mapping):
        return "an object"
    if isinstance(value, list):
        return "a list"
    if isinstance(value, bool):
        return "true" if value else "false"
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
