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
from typing import Any, Final, NoReturn

import yaml

from nplb.config.nodes import Document, Entry, Mark, Node, Path, Problem
from nplb.config.scalars import MAX_DIGITS, TOO_LONG, resolve
from nplb.config.syntax import explain
from nplb.config.words import shorten, shown
from nplb.model.errors import ConfigurationError

MAX_CHARACTERS: Final = 64 * 1024 * 1024
MAX_DEPTH: Final = 100
MAX_ALIASED_NODES: Final = 100_000

__all__ = [
    "MAX_ALIASED_NODES",
    "MAX_CHARACTERS",
    "MAX_DEPTH",
    "Document",
    "Mark",
    "Path",
    "Problem",
    "YamlError",
    "compose",
    "parse",
]

_FAST: Any = getattr(yaml, "CSafeLoader", None)
_CORE = "tag:yaml.org,2002:"

# All but what YAML calls c-printable; and three characters that break lines in YAML 1.1, as
# PyYAML reads it, and do not in YAML 1.2; and a byte order mark inside the text.
_UNPRINTABLE = re.compile(
    "[^\t\n\r\x20-\x7e\xa0-\u2027\u202a-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]"
)
_SURROGATE = re.compile("[\ud800-\udfff]")
_BREAK = re.compile("\r\n|[\n\r]")


class YamlError(ConfigurationError):
    """A text is not YAML, or not the subset taken here. The message is the first problem's
    `file:line:column: what, what to do`; `problems` has all that were found."""

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        super().__init__(str(problems[0]))
        self.problems = problems
        self.mark = problems[0].mark


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
    built with it; what both scanners take they take alike, but PyYAML's own refuses tabs
    between tokens.
    """
    composer = _Composer(file)
    with contextlib.suppress(_StopReading):
        composer.read(text, _FAST if fast and _FAST is not None else yaml.SafeLoader)
    return composer.documents, composer.problems


class _StopReading(Exception):
    """Reading cannot go on; the problem has been noted."""


class _Composer:
    """Makes documents of PyYAML's events."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.documents: list[Document] = []
        self.problems: list[Problem] = []
        self._anchors: dict[str, Node | None] = {}
        self._aliased = 0
        self._events: Iterator[Any] = iter(())
        self._end = (1, 1)

    def read(self, source: str | bytes, loader: Any) -> None:
        """Compose everything. Raises _StopReading when the rest can't be read."""
        text = self._checked(self._decoded(source))
        self._end = _position(text, len(text))
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
            what = f"character U+{ord(found[0]):04X} cannot stand here"
            place = _position(text, found.start())
            self._stop(*place, f'{what}, remove it or write it as an escape in "..."')
        return text

    def _node(self, event: Any, depth: int) -> Node:
        line, column = self._at(event)
        if isinstance(event, yaml.AliasEvent):
            return self._alias(event, line, column)
        if depth >= MAX_DEPTH:
            self._stop(line, column, f"nested deeper than {MAX_DEPTH} levels, flatten it")
        anchor: str | None = event.anchor
        if anchor is not None:
            self._anchors[anchor] = None
        if isinstance(event, yaml.ScalarEvent):
            node = Node(line, column, self._scalar(event))
        elif isinstance(event, yaml.SequenceStartEvent):
            self._collection_tag(event, "seq")
            node = self._sequence(line, column, depth)
        else:
            self._collection_tag(event, "map")
            node = self._mapping(line, column, depth)
        if anchor is not None:
            self._anchors[anchor] = node
        return node

    def _alias(self, event: Any, line: int, column: int) -> Node:
        name = event.anchor
        if name not in self._anchors:
            self._note(line, column, f"alias *{name} has no anchor &{name} before it, define it")
            return Node(line, column, None)
        target = self._anchors[name]
        if target is None:
            self._note(line, column, f"alias *{name} stands inside its own anchor, write it out")
            return Node(line, column, None)
        self._aliased += target.size
        if self._aliased > MAX_ALIASED_NODES:
            what = f"aliases expand to more than {MAX_ALIASED_NODES} values"
            self._stop(line, column, f"{what}, write them out")
        return Node(line, column, target.value, target.size)

    def _sequence(self, line: int, column: int, depth: int) -> Node:
        items: list[Node] = []
        size = 1
        for event in self._events:
            if isinstance(event, yaml.SequenceEndEvent):
                break
            item = self._node(event, depth + 1)
            items.append(item)
            size += item.size
        return Node(line, column, items, size)

    def _mapping(self, line: int, column: int, depth: int) -> Node:
        entries: dict[str, Entry] = {}
        size = 1
        for event in self._events:
            if isinstance(event, yaml.MappingEndEvent):
                break
            key_line, key_column = self._at(event)
            key = self._key(event, depth)
            node = self._node(next(self._events), depth + 1)
            size += node.size
            if key is None:
                continue
            if (first := entries.get(key)) is not None:
                where = f"the first is at line {first.line}, column {first.column}"
                what = f"duplicate key {shown(key)} ({where}), remove one"
                self._note(key_line, key_column, what)
                continue
            entries[key] = Entry(key_line, key_column, node)
        return Node(line, column, entries, size)

    def _key(self, event: Any, depth: int) -> str | None:
        """A mapping's key; None, and a problem noted, if it can't be one."""
        line, column = self._at(event)
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
            key = shown(getattr(event, "value", str(value)))
            kind = _KINDS[type(value)]
            self._note(line, column, f"key {key} is {kind}, keys must be strings, quote it")
        return None

    def _scalar(self, event: Any) -> Any:
        text: str = event.value
        if _SURROGATE.search(text):
            self._note(*self._at(event), "an escape for half a character, write the character")
            return ""
        tag: str | None = event.tag
        if tag is None:
            if not event.implicit[0]:
                return text
            return self._number(event, resolve(text))
        name = tag.removeprefix(_CORE)
        if tag == "!" or name == "str":
            return text
        line, column = self._at(event)
        if name not in ("null", "bool", "int", "float") or name == tag:
            self._note(line, column, f"tag {_tag(tag)} is not known here, remove it")
            return text
        value = self._number(event, resolve(text))
        if name == "float" and type(value) is int:
            value = float(value)
        kinds: dict[str, type] = {"null": type(None), "bool": bool, "int": int, "float": float}
        if type(value) is not kinds[name]:
            self._note(line, column, f"{shown(text)} is not what its tag {_tag(tag)} says")
        return value

    def _number(self, event: Any, value: Any) -> Any:
        if value is not TOO_LONG:
            return value
        what = f"a number of more than {MAX_DIGITS} digits"
        self._note(*self._at(event), f"{what}, quote it if it is meant as text")
        return 0

    def _collection_tag(self, event: Any, kind: str) -> None:
        tag: str | None = event.tag
        if tag is not None and tag not in ("!", _CORE + kind):
            self._note(*self._at(event), f"tag {_tag(tag)} is not known here, remove it")

    def _at(self, event: Any) -> tuple[int, int]:
        """Where an event begins. libyaml ends a text that has no newline with one of its own,
        and lets an empty value begin after it."""
        mark = event.start_mark
        return min((mark.line + 1, mark.column + 1), self._end)

    def _note(self, line: int, column: int, message: str) -> None:
        self.problems.append(Problem(Mark(self.file, line, column), message))

    def _stop(self, line: int, column: int, message: str) -> NoReturn:
        self._note(line, column, message)
        raise _StopReading

    def _syntax(self, error: yaml.MarkedYAMLError, text: str) -> None:
        mark = error.problem_mark or error.context_mark
        line, column = (mark.line + 1, mark.column + 1) if mark is not None else (1, 1)
        line, column = min((line, column), self._end)
        lines = _BREAK.split(text)
        rest = lines[line - 1][column - 1 :] if line <= len(lines) else ""
        message = explain(error, rest)
        start = error.context_mark
        if start is not None and start.line + 1 < line:
            message += f" (in what begins at line {start.line + 1}, column {start.column + 1})"
        self._note(line, column, message)


_KINDS: Final[dict[type, str]] = {
    bool: "a boolean",
    int: "a number",
    float: "a number",
    type(None): "null",
}


def _position(text: str, index: int) -> tuple[int, int]:
    """Line and column of a character's index."""
    line, start = 1, 0
    for found in _BREAK.finditer(text, 0, index):
        line, start = line + 1, found.end()
    return line, index - start + 1


def _tag(tag: str) -> str:
    name = "!!" + tag.removeprefix(_CORE) if tag.startswith(_CORE) else tag
    return shorten(name)
