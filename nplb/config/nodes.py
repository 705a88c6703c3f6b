"""A document's nodes: its plain value, and where every part of it stood in the file."""

from dataclasses import dataclass
from typing import Any

Path = tuple[str | int, ...]


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


class Node:
    """One node: `value` is a scalar, a list of nodes, or a dict of entries. `size` counts
    the nodes of its expanded tree."""

    __slots__ = ("column", "line", "size", "value")

    def __init__(self, line: int, column: int, value: Any, size: int = 1) -> None:
        self.line = line
        self.column = column
        self.value = value
        self.size = size


class Entry:
    """One entry of a mapping: where its key stands, and its value."""

    __slots__ = ("column", "line", "node")

    def __init__(self, line: int, column: int, node: Node) -> None:
        self.line = line
        self.column = column
        self.node = node


class Document:
    """One document of a text.

    `value` is plain: dict (with str keys, in the order written), list, str, int, float, bool,
    None. Nothing in it is shared, aliases are copies. An empty document's value is None.
    """

    __slots__ = ("_root", "file", "value")

    def __init__(self, file: str, root: Node) -> None:
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
        node: Node | None = self._root
        for part in path:
            node, _ = _step(node, part) if node is not None else (None, None)
        return node is not None

    def _find(self, path: Path) -> tuple[Node, Entry | None]:
        node, entry = self._root, None
        for part in path:
            child, child_entry = _step(node, part)
            if child is None:
                break
            node, entry = child, child_entry
        return node, entry


def _plain(node: Node) -> Any:
    value = node.value
    if type(value) is dict:
        return {key: _plain(entry.node) for key, entry in value.items()}
    if type(value) is list:
        return [_plain(item) for item in value]
    return value


def _step(node: Node, part: str | int) -> tuple[Node | None, Entry | None]:
    value = node.value
    if type(value) is dict:
        entry = value.get(part)
        return (None, None) if entry is None else (entry.node, entry)
    if type(value) is list and isinstance(part, int) and 0 <= part < len(value):
        return value[part], None
    return None, None
