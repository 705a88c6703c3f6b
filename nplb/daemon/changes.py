"""What a reload changes, in words: one line for each setting that differs.

Settings hold no secrets, only the names of files with them; what a client is known by, such as
long lists of addresses, is told by number.
"""

from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from enum import Enum
from typing import Any

from nplb.model.settings import Settings

MAX_TEXT = 80
# What names an item of a list: of a list of others, the position.
_NAMES = ("name", "service")


def changes(before: Settings, after: Settings) -> tuple[str, ...]:
    """One line for each setting that differs, in the order of the settings."""
    return tuple(_changes("", before, after))


def _changes(path: str, before: Any, after: Any) -> Iterator[str]:
    if before == after:
        return
    if is_dataclass(before) and type(before) is type(after):
        for field in fields(before):
            below = f"{path}.{field.name}" if path else field.name
            yield from _changes(below, getattr(before, field.name), getattr(after, field.name))
        return
    if _is_named(before) and _is_named(after) and (before or after):
        old, new = _by_name(before), _by_name(after)
        for name in sorted(old.keys() - new.keys()):
            yield f"{path}: {name} removed"
        for name, value in new.items():
            if name not in old:
                yield f"{path}: {name} added"
            else:
                yield from _changes(f"{path}[{name}]", old[name], value)
        if list(old) != list(new) and old == new:
            yield f"{path}: another order"
        return
    yield f"{path}: {_text(before)} → {_text(after)}"


def _is_named(value: Any) -> bool:
    return isinstance(value, tuple) and all(
        is_dataclass(one) and any(hasattr(one, name) for name in _NAMES) for one in value
    )


def _by_name(items: tuple[Any, ...]) -> Mapping[str, Any]:
    found: dict[str, Any] = {}
    for item in items:
        name = str(next(getattr(item, name) for name in _NAMES if hasattr(item, name)))
        cluster, port = getattr(item, "cluster", None), getattr(item, "port", None)
        name = f"{cluster}/{name}" if cluster else name
        found[f"{name}:{port}" if port else name] = item
    return found


def _text(value: Any) -> str:
    if isinstance(value, Enum):
        return str(value.value)
    if value is None:
        return "none"
    if isinstance(value, tuple) and not hasattr(value, "_fields"):
        text = ", ".join(_text(one) for one in value)
        return f"{len(value)} entries" if len(text) > MAX_TEXT else f"[{text}]"
    if is_dataclass(value):
        return type(value).__name__
    text = f"{value:g}" if isinstance(value, float) else str(value)
    return text if len(text) <= MAX_TEXT else text[: MAX_TEXT - 1] + "…"
