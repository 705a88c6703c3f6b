"""Who owns which field: managedFields on update, and server-side apply.

Mirrors `apimachinery/pkg/util/managedfields` over structured-merge-diff's `merge/update.go`:
an update takes over what it changes; an apply claims what it names, conflicts with others that
own it at another value, and drops what this manager named before and nobody names now.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nplb.lab.api import errors
from nplb.lab.api.fieldsets import (
    STRIPPED,
    Comparison,
    Path,
    Paths,
    compare,
    field_set,
    from_fields,
    readable,
    remove_paths,
    to_fields,
    without,
)
from nplb.lab.api.schema import Shape, Type
from nplb.lab.api.store import JsonObject

APPLY = "Apply"
UPDATE = "Update"


@dataclass(frozen=True, slots=True, kw_only=True)
class Manager:
    """Who makes a request, and how: the name (`fieldManager`, or the user agent's first word),
    the operation, the version of the objects sent, and the subresource."""

    name: str
    operation: str = UPDATE
    api_version: str
    subresource: str = ""


@dataclass(slots=True, kw_only=True)
class _Entry:
    paths: Paths
    time: str


Entries = dict[Manager, _Entry]


def track_update(
    struct: Type,
    live: JsonObject,
    new: JsonObject,
    manager: Manager,
    *,
    now: str,
    ignored: Iterable[Path] = (),
) -> None:
    """Write into `new` the managedFields that follow from this manager changing `live` to it.

    `live` is the zero value of the struct on create. `ignored` are roots that the request
    cannot change (the status, on the main resource).
    """
    entries = _read_sent(live, new, manager)
    ignored = tuple(ignored)
    changed = _changes(struct, live, new, ignored)
    entries = _take_over(entries, manager, changed)
    old = entries.get(manager)
    owned = old.paths if old else set()
    owned = (owned - changed.removed) | changed.modified | changed.added
    owned = without(owned - STRIPPED, ignored)
    _set(entries, manager, owned, now)
    _write(new, entries)


def apply(
    struct: Type,
    live: JsonObject,
    applied: JsonObject,
    manager: Manager,
    *,
    now: str,
    force: bool,
    ignored: Iterable[Path] = (),
) -> JsonObject:
    """Merge an applied configuration into a live object (the zero value if there is none) and
    return the result with its managedFields.

    `applied` holds only what the manager named. Raises ApiError 409 on a conflict unless
    `force`.
    """
    ignored = tuple(ignored)
    entries = _read(live)
    last = entries[manager].paths if manager in entries else set()
    merged = merge(struct, live, applied)
    claimed = without(field_set(struct, applied) - STRIPPED, ignored)
    others = {path for key, entry in entries.items() if key != manager for path in entry.paths}
    kept = _with_parents(others | claimed)
    merged = remove_paths(struct, merged, {path for path in last - claimed if path not in kept})
    changed = _changes(struct, live, merged, ignored)
    if not force:
        _refuse_conflicts(entries, manager, changed)
    entries = _take_over(entries, manager, changed)
    _set(entries, manager, claimed, now)
    _write(merged, entries)
    result: JsonObject = merged
    return result


def merge(type_: Type, live: Any, applied: Any) -> Any:
    """What an apply makes of a live value: named fields win, keyed lists and sets merge, in
    the order of the live list and then of the applied one."""
    if live is None or applied is None:
        return applied
    match type_.shape:
        case Shape.STRUCT if not type_.atomic:
            merged = dict(live)
            for name, value in applied.items():
                declared = type_.fields.get(name)
                if declared is not None and name in live:
                    merged[name] = merge(declared.type, live[name], value)
                else:
                    merged[name] = value
            return merged
        case Shape.MAP if not type_.atomic:
            return {**live, **applied}
        case Shape.LIST if type_.is_set:
            return [*live, *(value for value in applied if value not in live)]
        case Shape.LIST if type_.keys:
            return _merge_keyed(type_, live, applied)
        case _:
            return applied


def _merge_keyed(type_: Type, live: Sequence[Any], applied: Sequence[Any]) -> list[Any]:
    fields = type_.element.fields

    def key(item: Mapping[str, Any]) -> tuple[Any, ...]:
        return tuple(item.get(name, fields[name].default) for name in type_.keys)

    named = {key(item): item for item in applied}
    merged = [
        merge(type_.element, item, named.pop(key(item))) if key(item) in named else item
        for item in live
    ]
    return [*merged, *named.values()]


def _changes(
    struct: Type, live: JsonObject, new: JsonObject, ignored: Sequence[Path]
) -> Comparison:
    changed = compare(struct, live, new)
    return Comparison(
        added=without(changed.added - STRIPPED, ignored),
        modified=without(changed.modified - STRIPPED, ignored),
        removed=without(changed.removed - STRIPPED, ignored),
    )


def _take_over(entries: Entries, manager: Manager, changed: Comparison) -> Entries:
    """The others' entries without what this change takes from them."""
    lost = changed.modified | changed.added | changed.removed
    left: Entries = {}
    for key, entry in entries.items():
        paths = entry.paths if key == manager else entry.paths - lost
        if paths:
            left[key] = _Entry(paths=paths, time=entry.time)
    return left


def _refuse_conflicts(entries: Entries, manager: Manager, changed: Comparison) -> None:
    taken = changed.modified | changed.added
    causes: list[dict[str, str]] = []
    lines: list[str] = []
    for key in sorted(entries, key=lambda entry: (entry.name, entry.operation)):
        paths = sorted(entries[key].paths & taken)
        if key == manager or not paths:
            continue
        who = f'"{key.name}"'
        if key.subresource:
            who += f' with subresource "{key.subresource}"'
        if key.operation == UPDATE:
            who += f" using {key.api_version}"
        texts = [readable(path) for path in paths]
        causes += [
            {"reason": "FieldManagerConflict", "message": f"conflict with {who}", "field": text}
            for text in texts
        ]
        if len(texts) == 1:
            lines.append(f"conflict with {who}: {texts[0]}")
        else:
            lines.append(f"conflicts with {who}:\n" + "\n".join(f"- {text}" for text in texts))
    if causes:
        count = "1 conflict" if len(causes) == 1 else f"{len(causes)} conflicts"
        raise errors.apply_conflict(f"Apply failed with {count}: " + "\n".join(lines), causes)


def _with_parents(paths: Paths) -> Paths:
    return {path[:length] for path in paths for length in range(1, len(path) + 1)}


def _read_sent(live: JsonObject, new: JsonObject, manager: Manager) -> Entries:
    """The ownership that a write starts from (`decodeLiveOrNew`). A client may write it: that
    is how kubectl hands fields over from client-side to server-side apply, and a single empty
    entry forgets everything. Absent or unreadable, it is the live object's."""
    sent = new.get("metadata", {}).get("managedFields")
    if manager.subresource or not sent:
        return _read(live)
    if sent == [{}]:
        return {}
    try:
        return _read(new) or _read(live)
    except (TypeError, AttributeError, ValueError):
        return _read(live)


def _read(live: JsonObject) -> Entries:
    entries: Entries = {}
    for raw in live.get("metadata", {}).get("managedFields", ()):
        key = Manager(
            name=raw.get("manager", ""),
            operation=raw.get("operation", UPDATE),
            api_version=raw.get("apiVersion", ""),
            subresource=raw.get("subresource", ""),
        )
        paths = from_fields(raw.get("fieldsV1", {}))
        entries[key] = _Entry(paths=paths, time=raw.get("time", ""))
    return entries


def _set(entries: Entries, manager: Manager, paths: Paths, now: str) -> None:
    old = entries.get(manager)
    if not paths:
        entries.pop(manager, None)
    elif old is None or old.paths != paths:
        entries[manager] = _Entry(paths=paths, time=now)


def _write(object_: JsonObject, entries: Entries) -> None:
    metadata = object_.setdefault("metadata", {})
    order = sorted(
        entries.items(),
        key=lambda item: (
            item[0].operation, item[1].time, item[0].name, item[0].api_version,
            item[0].subresource,
        ),
    )  # fmt: skip
    managed = []
    for key, entry in order:
        raw: dict[str, Any] = {
            "manager": key.name,
            "operation": key.operation,
            "apiVersion": key.api_version,
            "time": entry.time,
            "fieldsType": "FieldsV1",
            "fieldsV1": to_fields(entry.paths),
        }
        if key.subresource:
            raw["subresource"] = key.subresource
        managed.append(raw)
    metadata.pop("managedFields", None)
    if managed:
        metadata["managedFields"] = managed
