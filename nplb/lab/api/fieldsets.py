"""Sets of field paths: which fields changed between two objects, and which an object names.

Mirrors structured-merge-diff (`typed/compare.go`, `typed/tofieldset.go`, `fieldpath`). A path
is a tuple of elements as FieldsV1 spells them: `f:name` for a field or map key,
`k:{"port":80,"protocol":"TCP"}` for an element of a keyed list, `v:"x"` for a member of a set.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from nplb.lab.api.schema import Shape, Type

Path = tuple[str, ...]
Paths = set[Path]
MISSING: Any = object()

# `metadata` that belongs to the system and is never owned (fieldmanager/stripmeta.go).
STRIPPED: frozenset[Path] = frozenset(
    {
        ("f:apiVersion",),
        ("f:kind",),
        ("f:metadata",),
        *(
            ("f:metadata", f"f:{name}")
            for name in (
                "name", "namespace", "creationTimestamp", "selfLink", "uid", "generation",
                "managedFields", "resourceVersion",
            )
        ),
    }
)  # fmt: skip


@dataclass(slots=True, kw_only=True)
class Comparison:
    """What differs between an old and a new object."""

    added: Paths = field(default_factory=set)
    modified: Paths = field(default_factory=set)
    removed: Paths = field(default_factory=set)


def compare(struct: Type, old: Any, new: Any) -> Comparison:
    """What changed from `old` to `new`, both decoded objects of this type."""
    result = Comparison()
    _compare(struct, old, new, (), result)
    return result


def field_set(struct: Type, value: Any) -> Paths:
    """The paths that an applied configuration names, and so claims."""
    paths: Paths = set()
    _collect(struct, value, (), paths)
    return paths


def without(paths: Paths, roots: Iterable[Path]) -> Paths:
    """The paths that are not at or below any of `roots`."""
    dropped = tuple(roots)
    return {path for path in paths if not any(path[: len(root)] == root for root in dropped)}


def key_of(type_: Type, item: Mapping[str, Any]) -> str:
    """The element of a path for one element of a keyed list, absent keys by their default."""
    fields = type_.element.fields
    values = {key: item.get(key, fields[key].default) for key in type_.keys if key in fields}
    named = {key: value for key, value in sorted(values.items()) if value is not None}
    return "k:" + json.dumps(named, separators=(",", ":"), ensure_ascii=False)


def member_of(value: Any) -> str:
    """The element of a path for one member of a set."""
    return "v:" + json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def children(type_: Type, value: Any) -> dict[str, tuple[Type, Any]] | None:
    """What lies below a value, by path element. None if the type is one value to ownership."""
    match type_.shape:
        case Shape.STRUCT if not type_.atomic:
            return {
                f"f:{name}": (type_.fields[name].type, inner)
                for name, inner in value.items()
                if name in type_.fields and inner is not None
            }
        case Shape.MAP if not type_.atomic:
            return {f"f:{name}": (type_.element, inner) for name, inner in value.items()}
        case Shape.LIST if type_.is_set:
            return {member_of(inner): (type_.element, inner) for inner in value}
        case Shape.LIST if type_.keys:
            found = {key_of(type_, inner): (type_.element, inner) for inner in value}
            # Old objects may hold a key twice (a node with two InternalIPs): one value then.
            return found if len(found) == len(value) else None
        case _:
            return None


def _compare(type_: Type, old: Any, new: Any, path: Path, result: Comparison) -> None:
    if old == new and old is not MISSING:
        return
    before = {} if old is MISSING or old is None else children(type_, old)
    after = {} if new is MISSING or new is None else children(type_, new)
    is_leaf = before is None or after is None or (not before and not after)
    if old is MISSING or old is None:
        if path:
            result.added.add(path)
    elif new is MISSING or new is None:
        result.removed.add(path)
    elif is_leaf:
        result.modified.add(path)
    if is_leaf:
        return
    assert before is not None
    assert after is not None
    for element in {**before, **after}:
        inner = (before.get(element) or after[element])[0]
        _compare(
            inner,
            before[element][1] if element in before else MISSING,
            after[element][1] if element in after else MISSING,
            (*path, element),
            result,
        )


def _collect(type_: Type, value: Any, path: Path, paths: Paths) -> None:
    below = None if value is None else children(type_, value)
    if not below:
        if path:
            paths.add(path)
        return
    for element, (inner, item) in below.items():
        where = (*path, element)
        if element.startswith("k:"):
            paths.add(where)
        _collect(inner, item, where, paths)


# -- FieldsV1 -----------------------------------------------------------------


def to_fields(paths: Iterable[Path]) -> dict[str, Any]:
    """The set as FieldsV1: nested objects, `.` for a path that has others below it."""
    root: dict[str, Any] = {}
    for path in sorted(paths):
        node = root
        for element in path:
            node = node.setdefault(element, {})
        node["."] = {}
    return _tidied(root)


def _tidied(node: dict[str, Any]) -> dict[str, Any]:
    if len(node) == 1 and "." in node:
        return {}
    return {name: {} if name == "." else _tidied(node[name]) for name in sorted(node)}


def from_fields(fields: Mapping[str, Any]) -> Paths:
    """The inverse of `to_fields`."""
    paths: Paths = set()

    def walk(node: Mapping[str, Any], path: Path) -> None:
        if not node and path:
            paths.add(path)
        for element, inner in node.items():
            if element == ".":
                paths.add(path)
            else:
                walk(inner, (*path, element))

    walk(fields, ())
    return paths


def readable(path: Sequence[str]) -> str:
    """A path as the API server prints it: `.spec.ports[port=80,protocol="TCP"].nodePort`."""
    text = ""
    for element in path:
        sort, _, rest = element.partition(":")
        if sort == "f":
            text += f".{rest}"
        elif sort == "v":
            text += f"[={rest}]"
        else:
            keys = json.loads(rest)
            named = ",".join(f"{key}={json.dumps(value)}" for key, value in keys.items())
            text += f"[{named}]"
    return text


# -- taking paths out of an object ---------------------------------------------


def remove_paths(type_: Type, value: Any, paths: Paths) -> Any:
    """The value without what stands at these paths. An element of a keyed list that goes takes
    everything in it along."""
    return _remove(type_, value, (), paths)


def _remove(type_: Type, value: Any, path: Path, paths: Paths) -> Any:
    if value is None:
        return None
    below = children(type_, value)
    if below is None:
        return value
    kept = {
        element: _remove(inner, item, (*path, element), paths)
        for element, (inner, item) in below.items()
        if (*path, element) not in paths
    }
    if type_.shape is Shape.LIST:
        return list(kept.values())
    return {
        name: kept.get(f"f:{name}", item)
        for name, item in value.items()
        if f"f:{name}" in kept or f"f:{name}" not in below
    }
