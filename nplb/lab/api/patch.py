"""The three patches that change a raw object: JSON patch, JSON merge patch, strategic merge patch.

RFC 6902, RFC 7386, and `apimachinery/pkg/util/strategicpatch/patch.go`. Server-side apply, the
fourth, is in `managed`: it works on ownership rather than on the text of the object.
All functions return a new object and leave their arguments alone.
"""

import copy
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NoReturn

from nplb.lab.api.schema import Shape, Type

JSON_PATCH = "application/json-patch+json"
MERGE_PATCH = "application/merge-patch+json"
STRATEGIC_PATCH = "application/strategic-merge-patch+json"
APPLY_PATCH = "application/apply-patch+yaml"
PATCH_TYPES = (JSON_PATCH, MERGE_PATCH, STRATEGIC_PATCH, APPLY_PATCH)

_DIRECTIVE = "$patch"
_RETAIN_KEYS = "$retainKeys"
_DELETE_PRIMITIVES = "$deleteFromPrimitiveList/"
_ELEMENT_ORDER = "$setElementOrder/"


class PatchError(Exception):
    """A patch that cannot be read or does not fit. `malformed` tells the first from the
    second: HTTP 400 and 422."""

    def __init__(self, message: str, *, malformed: bool = False) -> None:
        super().__init__(message)
        self.malformed = malformed


# -- RFC 7386 -----------------------------------------------------------------


def merge_patch(document: Any, patch: Any) -> Any:
    """JSON merge patch: objects merge, null removes, everything else replaces."""
    if not isinstance(patch, dict):
        return copy.deepcopy(patch)
    merged = dict(document) if isinstance(document, dict) else {}
    for name, value in patch.items():
        if value is None:
            merged.pop(name, None)
        else:
            merged[name] = merge_patch(merged.get(name), value)
    return merged


# -- RFC 6902 -----------------------------------------------------------------


def json_patch(document: Any, operations: Any) -> Any:
    """JSON patch: a list of operations, all of which succeed. Raises PatchError."""
    if not isinstance(operations, list):
        raise PatchError("a JSON patch is a list of operations", malformed=True)
    result = copy.deepcopy(document)
    for operation in operations:
        if not isinstance(operation, dict) or not isinstance(operation.get("path"), str):
            raise PatchError("an operation needs op and path", malformed=True)
        result = _operate(result, operation)
    return result


def _operate(document: Any, operation: Mapping[str, Any]) -> Any:
    path: str = operation["path"]
    match operation.get("op"):
        case "add":
            return _add(document, path, copy.deepcopy(_operand(operation)))
        case "remove":
            return _take(document, path)[0]
        case "replace":
            without, _ = _take(document, path)
            return _add(without, path, copy.deepcopy(_operand(operation)))
        case "move":
            without, value = _take(document, _source(operation))
            return _add(without, path, value)
        case "copy":
            return _add(document, path, copy.deepcopy(_find(document, _source(operation))))
        case "test":
            if _find(document, path) != _operand(operation):
                raise PatchError(f"testing value {path} failed: test failed")
            return document
        case other:
            raise PatchError(f"Unexpected kind: {other}", malformed=True)


def _operand(operation: Mapping[str, Any]) -> Any:
    if "value" not in operation:
        raise PatchError(f"{operation['op']} {operation['path']} needs a value", malformed=True)
    return operation["value"]


def _source(operation: Mapping[str, Any]) -> str:
    source = operation.get("from")
    if not isinstance(source, str):
        raise PatchError(f"{operation['op']} {operation['path']} needs from", malformed=True)
    return source


def _steps(path: str) -> list[str]:
    if path and not path.startswith("/"):
        raise PatchError(f"{path} is not a JSON pointer: it begins with /", malformed=True)
    return [step.replace("~1", "/").replace("~0", "~") for step in path.split("/")[1:]]


def _index(step: str, length: int, path: str, *, new: bool = False) -> int:
    if new and step == "-":
        return length
    if not step.isascii() or not step.isdigit() or (len(step) > 1 and step[0] == "0"):
        raise PatchError(f"{path}: {step} is not an index")
    index = int(step)
    if index > length or (index == length and not new):
        _missing(path)
    return index


def _missing(path: str) -> NoReturn:
    raise PatchError(f"doc is missing path: {path}: missing value")


def _find(document: Any, path: str) -> Any:
    for step in _steps(path):
        if isinstance(document, dict) and step in document:
            document = document[step]
        elif isinstance(document, list):
            document = document[_index(step, len(document), path)]
        else:
            _missing(path)
    return document


def _take(document: Any, path: str) -> tuple[Any, Any]:
    """The document without the value at `path` (it is changed in place), and that value."""
    steps = _steps(path)
    if not steps:
        return None, document
    parent = _find(document, path.rpartition("/")[0])
    if isinstance(parent, dict) and steps[-1] in parent:
        return document, parent.pop(steps[-1])
    if isinstance(parent, list):
        return document, parent.pop(_index(steps[-1], len(parent), path))
    _missing(path)


def _add(document: Any, path: str, value: Any) -> Any:
    steps = _steps(path)
    if not steps:
        return value
    parent = _find(document, path.rpartition("/")[0])
    if isinstance(parent, dict):
        parent[steps[-1]] = value
    elif isinstance(parent, list):
        parent.insert(_index(steps[-1], len(parent), path, new=True), value)
    else:
        _missing(path)
    return document


# -- strategic merge ------------------------------------------------------------


def strategic_patch(type_: Type | None, document: Any, patch: Any) -> Any:
    """Strategic merge patch: as a merge patch, but lists merge by the keys that their type
    declares, and `$` directives steer it. Raises PatchError."""
    if not isinstance(patch, dict):
        raise PatchError("Invalid JSON document", malformed=True)
    return _merge_map(type_, document if isinstance(document, dict) else {}, patch)


def _inner(type_: Type | None, name: str) -> Type | None:
    if type_ is None:
        return None
    if type_.shape is Shape.STRUCT:
        declared = type_.fields.get(name)
        return declared.type if declared else None
    return type_.item if type_.shape is Shape.MAP else None


def _merge_map(type_: Type | None, document: Mapping[str, Any], patch: Mapping[str, Any]) -> Any:
    match patch.get(_DIRECTIVE):
        case None | "merge":
            pass
        case "replace":
            return _plain({name: item for name, item in patch.items() if name != _DIRECTIVE})
        case "delete":
            return {}
        case other:
            raise PatchError(f"Unknown patch type found: {other}", malformed=True)
    merged = dict(document)
    orders: dict[str, Any] = {}
    for name, value in patch.items():
        if name == _RETAIN_KEYS:
            merged = _retain(merged, patch, value)
    for name, value in patch.items():
        if name in (_DIRECTIVE, _RETAIN_KEYS):
            continue
        if name.startswith(_ELEMENT_ORDER):
            orders[name.removeprefix(_ELEMENT_ORDER)] = value
        elif name.startswith(_DELETE_PRIMITIVES):
            listed = name.removeprefix(_DELETE_PRIMITIVES)
            gone = _a_list(name, value)
            if isinstance(merged.get(listed), list):
                merged[listed] = [item for item in merged[listed] if item not in gone]
        elif value is None:
            merged.pop(name, None)
        else:
            merged[name] = _merge_value(_inner(type_, name), merged.get(name), value, name)
    for name, order in orders.items():
        if isinstance(merged.get(name), list):
            before = document.get(name)
            merged[name] = _ordered(
                _inner(type_, name),
                merged[name],
                _a_list(_ELEMENT_ORDER + name, order),
                before if isinstance(before, list) else [],
            )
    return merged


def _merge_value(type_: Type | None, old: Any, new: Any, name: str) -> Any:
    if isinstance(new, dict):
        return _merge_map(type_, old if isinstance(old, dict) else {}, new)
    if isinstance(new, list) and isinstance(old, list) and type_ is not None and type_.merges:
        if type_.merge_key:
            return _merge_list(type_, old, new, name)
        return [*old, *(item for item in new if item not in old)]
    return _plain(new)


def _merge_list(type_: Type, old: Sequence[Any], new: Sequence[Any], name: str) -> list[Any]:
    key = type_.merge_key
    items = [_keyed(item, key, name) for item in new if not _is_replace(item)]
    if len(items) < len(new):
        # `$patch: replace` stands as an element of its own: the list becomes the others.
        return [_plain(item) for item in items]
    merged = list(old)
    for item in items:
        value = item[key]
        places = [i for i, other in enumerate(merged) if _value_of(other, key) == value]
        if item.get(_DIRECTIVE) == "delete":
            merged = [other for i, other in enumerate(merged) if i not in places]
        elif places:
            merged[places[0]] = _merge_map(type_.item, merged[places[0]], item)
        else:
            merged.append(_merge_map(type_.item, {}, item))
    return merged


def _is_replace(item: Any) -> bool:
    return isinstance(item, dict) and item.get(_DIRECTIVE) == "replace"


def _value_of(item: Any, key: str) -> Any:
    return item.get(key) if isinstance(item, dict) else None


def _keyed(item: Any, key: str, name: str) -> Mapping[str, Any]:
    if not isinstance(item, dict):
        raise PatchError(f"{name}: an element of this list is an object", malformed=True)
    if key not in item:
        raise PatchError(f"{name}: {item} does not contain declared merge key: {key}")
    return item


def _retain(document: Mapping[str, Any], patch: Mapping[str, Any], keys: Any) -> dict[str, Any]:
    kept = _a_list(_RETAIN_KEYS, keys)
    for name in patch:
        if name != _RETAIN_KEYS and not name.startswith("$") and name not in kept:
            raise PatchError(f"{_RETAIN_KEYS} does not list {name}", malformed=True)
    return {name: value for name, value in document.items() if name in kept}


def _ordered(
    type_: Type | None, merged: Sequence[Any], order: Sequence[Any], before: Sequence[Any]
) -> list[Any]:
    """The merged list in the order that the patch asks for. Elements that it does not name
    keep their place relative to the others, as far as the list before has both."""
    key = type_.merge_key if type_ is not None else ""

    def identity(item: Any) -> Any:
        return _value_of(item, key) if key else item

    wanted = [identity(item) for item in order]
    known = [identity(item) for item in before]
    named = sorted(
        (item for item in merged if identity(item) in wanted),
        key=lambda item: wanted.index(identity(item)),
    )
    others = [item for item in merged if identity(item) not in wanted]
    result: list[Any] = []
    for item in named:
        place = known.index(identity(item)) if identity(item) in known else None
        while (
            others
            and place is not None
            and identity(others[0]) in known
            and known.index(identity(others[0])) < place
        ):
            result.append(others.pop(0))
        result.append(item)
    return [*result, *others]


def _a_list(name: str, value: Any) -> Sequence[Any]:
    if not isinstance(value, list):
        raise PatchError(f"{name} is a list", malformed=True)
    return value


def _plain(value: Any) -> Any:
    """A value of a patch without nulls and directives, for where there is nothing to merge."""
    if isinstance(value, dict):
        return {
            name: _plain(item)
            for name, item in value.items()
            if item is not None and not name.startswith("$")
        }
    if isinstance(value, list):
        return [_plain(item) for item in _without_directives(value)]
    return value


def _without_directives(items: Iterable[Any]) -> Iterable[Any]:
    return (item for item in items if not (isinstance(item, dict) and _DIRECTIVE in item))
