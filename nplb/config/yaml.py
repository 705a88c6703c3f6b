"""Reads YAML 1.2 (core schema) into plain values, and keeps where every value stood.

PyYAML scans and parses; composing and resolving are ours, because PyYAML's own follow
YAML 1.1 (`on` and `yes` are booleans there, `010` is eight, `30080:53` a number to base 60),
keep the last of two equal keys without a word, and expand aliases without a bound.

The subset: several documents, anchors and aliases (bounded), every style of scalar, the core
schema's tags. Not taken: duplicate keys, keys that are not strings, merge keys (`<<`), other
tags. Lines and columns count from 1, columns in characters.
"""

import contextlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final, NoReturn

import yaml

from nplb.model.errors import ConfigurationError

MAX_CHARACTERS: Final = 64 * 1024 * 1024
MAX_DEPTH: Final = 100
MAX_ALIASED_NODES: Final = 100_000
_MAX_DIGITS: Final = 400
_SHOWN: Final = 40

Path = tuple[str | int, ...]

_FAST: Any = getattr(yaml, "CSafeLoader", None)
_CORE = "tag:yaml.org,2002:"

# YAML 1.2.2, section 10.3.2, in the order of its table.
_NULL = frozenset({"", "~", "null", "Null", "NULL"})
_TRUE = frozenset({"true", "True", "TRUE"})
_FALSE = frozenset({"false", "False", "FALSE"})
_INT = re.compile(r"[-+]?[0-9]+")
_OCTAL = re.compile(r"0o[0-7]+")
_HEX = re.compile(r"0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_INFINITY = re.compile(r"[-+]?\.(?:inf|Inf|INF)")
_NAN = frozenset({".nan", ".NaN", ".NAN"})

# What YAML calls c-printable, without a byte order mark inside the text.
_UNPRINTABLE = re.compile(
    "[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]"
)
_BREAK = re.compile("\r\n|[\n\r\x85\u2028\u2029]")


@dataclass(frozen=True, slots=True)
class Mark:
    """A place in a file. Prints as `file:line:column`."""

    file: str
    line: int
    column: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong with a text, where, and what to do."""

    mark: Mark
    message: str

    def __str__(self) -> str:
        return f"{self.mark}: {self.message}"


class YamlError(ConfigurationError):
    """A text is not YAML, or not the subset taken here. The message is the first problem's
    `file:line:column: what, what to do`; `problems` has all that were found."""

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        super().__init__(str(problems[0]))
        self.problems = problems
        self.mark = problems[0].mark


class _Node:
    """One node: `value` is a scalar, a list of nodes, or a dict of entries. `size` counts
    the nodes of its expanded tree."""

    __slots__ = ("column", "line", "size", "value")

    def __init__(self, line: int, column: int, value: Any, size: int = 1) -> None:
        self.line = line
        self.column = column
        self.value = value
        self.size = size


class _Entry:
    """One entry of a mapping: where its key stands, and its value."""

    __slots__ = ("column", "line", "node")

    def __init__(self, line: int, column: int, node: _Node) -> None:
        self.line = line
        self.column = column
        self.node = node


class Document:
    """One document of a text.

    `value` is plain: dict (with str keys, in the order written), list, str, int, float, bool,
    None. Nothing in it is shared, aliases are copies. An empty document's value is None.
    """

    __slots__ = ("_root", "file", "value")

    def __init__(self, file: str, root: _Node) -> None:
        self.file = file
        self._root = root
        self.value: Any = _plain(root)

    def mark(self, path: Path = ()) -> Mark:
        """Where the value at this path stands, or else its nearest existing parent."""
        node, _ = self._find(path)
        return Mark(self.file, node.line, node.column)

    def key_mark(self, path: Path) -> Mark:
        """Where the key of the entry at this path stands (for an item of a list, the item),
        or else that of its nearest existing parent."""
        node, entry = self._find(path)
        place = entry or node
        return Mark(self.file, place.line, place.column)

    def has(self, path: Path) -> bool:
        """Whether there is a value at this path."""
        node: _Node | None = self._root
        for part in path:
            node, _ = _step(node, part) if node is not None else (None, None)
        return node is not None

    def _find(self, path: Path) -> tuple[_Node, _Entry | None]:
        node, entry = self._root, None
        for part in path:
            child, child_entry = _step(node, part)
            if child is None:
                break
            node, entry = child, child_entry
        return node, entry


def parse(text: str | bytes, *, file: str) -> list[Document]:
    """Every document of a text. `file` is the name that errors and marks show.

    Raises YamlError, with all problems that could be found.
    """
    documents, problems = compose(text, file=file)
    if problems:
        raise YamlError(tuple(problems))
    return documents


def compose(
    text: str | bytes, *, file: str, fast: bool = True
) -> tuple[list[Document], list[Problem]]:
    """Every document of a text, and every problem, for who wants to go on checking.

    Of two equal keys the first one counts. A syntax error ends the reading: the documents
    before it are returned, and it is the last problem. `fast` uses libyaml where PyYAML was
    built with it.
    """
    composer = _Composer(file)
    with contextlib.suppress(_StopReading):
        composer.read(text, _FAST if fast and _FAST is not None else yaml.SafeLoader)
    return composer.documents, composer.problems


class _StopReading(Exception):  # noqa: N818 - a way out, not an error
    """Reading cannot go on; the problem has been noted."""


class _Composer:
    """Makes documents of PyYAML's events."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.documents: list[Document] = []
        self.problems: list[Problem] = []
        self._anchors: dict[str, _Node | None] = {}
        self._aliased = 0
        self._events: Iterator[Any] = iter(())

    def read(self, source: str | bytes, loader: Any) -> None:
        """Compose everything. Raises _StopReading when the rest can't be read."""
        text = self._checked(self._decoded(source))
        self._events = yaml.parse(text, Loader=loader)
        try:
            for event in self._events:
                if isinstance(event, yaml.DocumentStartEvent):
                    self._anchors.clear()
                    root = self._node(next(self._events), 0)
                    self.documents.append(Document(self.file, root))
        except yaml.MarkedYAMLError as error:
            self._syntax(error, text)

    def _decoded(self, source: str | bytes) -> str:
        if isinstance(source, str):
            return source.removeprefix("\ufeff")
        try:
            return source.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            before = source[: error.start].decode("utf-8", "replace")
            place = _position(before, len(before))
            what = f"byte 0x{source[error.start]:02x} is not UTF-8"
            self._stop(*place, f"{what}, save the file as UTF-8")

    def _checked(self, text: str) -> str:
        """The text, if it is of a bearable size and all its characters may stand in YAML."""
        if len(text) > MAX_CHARACTERS:
            limit = MAX_CHARACTERS // (1024 * 1024)
            self._stop(1, 1, f"larger than {limit} Mi characters, split the file")
        if found := _UNPRINTABLE.search(text):
            what = f"character U+{ord(found[0]):04X} may not stand in YAML"
            place = _position(text, found.start())
            self._stop(*place, f'{what}, remove it or write it as an escape in "..."')
        return text

    def _node(self, event: Any, depth: int) -> _Node:
        line, column = _at(event)
        if isinstance(event, yaml.AliasEvent):
            return self._alias(event, line, column)
        if depth >= MAX_DEPTH:
            self._stop(line, column, f"nested deeper than {MAX_DEPTH} levels, flatten it")
        anchor: str | None = event.anchor
        if anchor is not None:
            self._anchors[anchor] = None
        if isinstance(event, yaml.ScalarEvent):
            node = _Node(line, column, self._scalar(event))
        elif isinstance(event, yaml.SequenceStartEvent):
            self._collection_tag(event, "seq")
            node = self._sequence(line, column, depth)
        else:
            self._collection_tag(event, "map")
            node = self._mapping(line, column, depth)
        if anchor is not None:
            self._anchors[anchor] = node
        return node

    def _alias(self, event: Any, line: int, column: int) -> _Node:
        name = event.anchor
        if name not in self._anchors:
            self._note(line, column, f"alias *{name} has no anchor &{name} before it, define it")
            return _Node(line, column, None)
        target = self._anchors[name]
        if target is None:
            self._note(line, column, f"alias *{name} stands inside its own anchor, write it out")
            return _Node(line, column, None)
        self._aliased += target.size
        if self._aliased > MAX_ALIASED_NODES:
            what = f"aliases expand to more than {MAX_ALIASED_NODES} values"
            self._stop(line, column, f"{what}, write them out")
        return _Node(line, column, target.value, target.size)

    def _sequence(self, line: int, column: int, depth: int) -> _Node:
        items: list[_Node] = []
        size = 1
        for event in self._events:
            if isinstance(event, yaml.SequenceEndEvent):
                break
            item = self._node(event, depth + 1)
            items.append(item)
            size += item.size
        return _Node(line, column, items, size)

    def _mapping(self, line: int, column: int, depth: int) -> _Node:
        entries: dict[str, _Entry] = {}
        size = 1
        for event in self._events:
            if isinstance(event, yaml.MappingEndEvent):
                break
            key_line, key_column = _at(event)
            key = self._key(event, depth)
            node = self._node(next(self._events), depth + 1)
            size += node.size
            if key is None:
                continue
            if (first := entries.get(key)) is not None:
                where = f"the first is at line {first.line}, column {first.column}"
                what = f"duplicate key {_shown(key)} ({where}), remove one"
                self._note(key_line, key_column, what)
                continue
            entries[key] = _Entry(key_line, key_column, node)
        return _Node(line, column, entries, size)

    def _key(self, event: Any, depth: int) -> str | None:
        """A mapping's key; None, and a problem noted, if it can't be one."""
        line, column = _at(event)
        count = len(self.problems)
        value = self._node(event, depth + 1).value
        if len(self.problems) > count:
            return None
        if isinstance(event, yaml.ScalarEvent) and not event.style and value == "<<":
            what = "merge keys (<<) are not in YAML 1.2"
            self._note(line, column, f"{what}, write the keys out, or quote it as a plain key")
            return None
        if isinstance(value, str):
            return value
        if isinstance(value, (list, dict)):
            what = "a key must be a string, not a list or a mapping"
            self._note(line, column, f"{what}; quote a value that starts with '{{' or '['")
        elif value is None and not getattr(event, "value", ""):
            self._note(line, column, "a key is missing before ':', write one")
        else:
            shown = _shown(getattr(event, "value", str(value)))
            kind = _KINDS[type(value)]
            self._note(line, column, f"key {shown} is {kind}, keys must be strings, quote it")
        return None

    def _scalar(self, event: Any) -> Any:
        text: str = event.value
        tag: str | None = event.tag
        if tag is None:
            if not event.implicit[0]:
                return text
            return self._number(event, _resolve(text))
        name = tag.removeprefix(_CORE)
        if tag == "!" or name == "str":
            return text
        line, column = _at(event)
        if name not in ("null", "bool", "int", "float") or name == tag:
            self._note(line, column, f"tag {_tag(tag)} is not known here, remove it")
            return text
        value = self._number(event, _resolve(text))
        if name == "float" and type(value) is int:
            value = float(value)
        kinds: dict[str, type] = {"null": type(None), "bool": bool, "int": int, "float": float}
        if type(value) is not kinds[name]:
            self._note(line, column, f"{_shown(text)} is not what its tag {_tag(tag)} says")
        return value

    def _number(self, event: Any, value: Any) -> Any:
        if value is not _TOO_LONG:
            return value
        what = f"a number of more than {_MAX_DIGITS} digits"
        self._note(*_at(event), f"{what}, quote it if it is meant as text")
        return 0

    def _collection_tag(self, event: Any, kind: str) -> None:
        tag: str | None = event.tag
        if tag is not None and tag not in ("!", _CORE + kind):
            self._note(*_at(event), f"tag {_tag(tag)} is not known here, remove it")

    def _note(self, line: int, column: int, message: str) -> None:
        self.problems.append(Problem(Mark(self.file, line, column), message))

    def _stop(self, line: int, column: int, message: str) -> NoReturn:
        self._note(line, column, message)
        raise _StopReading

    def _syntax(self, error: yaml.MarkedYAMLError, text: str) -> None:
        mark = error.problem_mark or error.context_mark
        line, column = (mark.line + 1, mark.column + 1) if mark is not None else (1, 1)
        lines = _BREAK.split(text)
        rest = lines[line - 1][column - 1 :] if line <= len(lines) else ""
        message = _explain(error, rest, lines[line - 1][: column - 1] if rest else "")
        start = error.context_mark
        if start is not None and start.line + 1 != line:
            message += f" (in what begins at line {start.line + 1}, column {start.column + 1})"
        self._note(line, column, message)


_TOO_LONG: Final = object()
_KINDS: Final[dict[type, str]] = {
    bool: "a boolean",
    int: "a number",
    float: "a number",
    type(None): "null",
}


def _resolve(text: str) -> Any:
    """A plain scalar's value by the core schema."""
    first = text[:1]
    if not first or first in "~nN":
        return None if text in _NULL else text
    if first in "tTfF":
        return True if text in _TRUE else False if text in _FALSE else text
    if first not in "+-.0123456789":
        return text
    if _INT.fullmatch(text):
        return int(text) if len(text) <= _MAX_DIGITS else _TOO_LONG
    if _OCTAL.fullmatch(text):
        return int(text, 0) if len(text) <= _MAX_DIGITS else _TOO_LONG
    if _HEX.fullmatch(text):
        return int(text, 0) if len(text) <= _MAX_DIGITS else _TOO_LONG
    if _FLOAT.fullmatch(text):
        return float(text)
    if _INFINITY.fullmatch(text):
        return float(text.replace(".", "", 1))
    return float("nan") if text in _NAN else text


def _plain(node: _Node) -> Any:
    value = node.value
    if type(value) is dict:
        return {key: _plain(entry.node) for key, entry in value.items()}
    if type(value) is list:
        return [_plain(item) for item in value]
    return value


def _step(node: _Node, part: str | int) -> tuple[_Node | None, _Entry | None]:
    value = node.value
    if type(value) is dict:
        entry = value.get(part)
        return (None, None) if entry is None else (entry.node, entry)
    if type(value) is list and isinstance(part, int) and 0 <= part < len(value):
        return value[part], None
    return None, None


def _at(event: Any) -> tuple[int, int]:
    mark = event.start_mark
    return mark.line + 1, mark.column + 1


def _position(text: str, index: int) -> tuple[int, int]:
    """Line and column of a character's index."""
    line, start = 1, 0
    for found in _BREAK.finditer(text, 0, index):
        line, start = line + 1, found.end()
    return line, index - start + 1


def _shown(text: str) -> str:
    """A value as a message shows it: quoted, on one line, not too long."""
    cut = text if len(text) <= _SHOWN else text[: _SHOWN - 3] + "..."
    return '"' + cut.encode("unicode_escape").decode("ascii").replace('"', '\\"') + '"'


def _tag(tag: str) -> str:
    name = "!!" + tag.removeprefix(_CORE) if tag.startswith(_CORE) else tag
    return name if len(name) <= _SHOWN else name[: _SHOWN - 3] + "..."


def _explain(error: yaml.MarkedYAMLError, rest: str, before: str) -> str:
    """PyYAML's or libyaml's error in the terms of who wrote the file. `rest` is the line
    from the error on, `before` what stands before it."""
    problem = str(error.problem or error.context or "cannot be read")
    character = rest[:1]
    if "cannot start any token" in problem:
        if character == "\t":
            return "a tab stands where only spaces may, indent with spaces"
        return f"a value cannot start with {_shown(character)}, quote it"
    if "mapping values are not allowed" in problem:
        return "a ':' where no key can stand, check the indentation, or quote the value"
    if "expected ':'" in problem:
        return "a key without ':' after it, write 'key: value', or check the indentation"
    if "quoted scalar" in str(error.context) and "end of stream" in problem:
        return "a quoted value has no end, close the quote"
    if "tab" in problem or (before.strip(" ") == "" and character == "\t"):
        return "a tab stands where only spaces may, indent with spaces"
    if "undefined tag handle" in problem:
        return "a tag's handle is not defined, remove the tag"
    if "expected <block end>" in problem or "did not find expected key" in problem:
        return "the indentation does not fit what stands before, align it with its neighbours"
    if "expected '-' indicator" in problem:
        return "expected another '- ' item here, align it with the items before"
    if "expected ',' or" in problem:
        closing = "]" if "]" in problem else "}"
        return f"expected ',' or '{closing}' here, close what was opened, or quote the value"
    if "expected the node content" in problem or "expected node content" in problem:
        return "a value is missing here, write one"
    return f"not valid YAML: {problem}, correct it"
