"""Values of the model as JSON and back, by their types.

What is at its default is left out, what is unknown is ignored, and what is missing becomes the
default: so a value that one version has written can be read by the next one, and by the one
before.
"""

from collections.abc import Callable, Mapping
from dataclasses import MISSING, fields, is_dataclass
from enum import Enum
from functools import cache
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

Convert = Callable[[Any], Any]

_PLAIN = (str, int, float, bool, NoneType)


class CannotBeCoded(TypeError):
    """A type that this module does not know."""


@cache
def encoder(kind: Any) -> Convert:
    """What turns a value of this type into something for `json.dumps`."""
    return _coder(kind, encoder, _encode_dataclass, lambda value: value.value, _encode_mapping)


@cache
def decoder(kind: Any) -> Convert:
    """What turns the former back. It raises KeyError, TypeError or ValueError for what can't be
    of this type."""
    return _coder(kind, decoder, _decode_dataclass, kind, _decode_mapping)


def _coder(
    kind: Any,
    coder: Callable[[Any], Convert],
    of_dataclass: Callable[[Any], Convert],
    of_enum: Convert,
    of_mapping: Callable[[Any, Any], Convert],
) -> Convert:
    decoding = coder is decoder
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in (Union, UnionType):
        rest = [one for one in arguments if one is not NoneType]
        if all(one in _PLAIN for one in rest):
            return _same
        if len(rest) != 1:
            raise CannotBeCoded(str(kind))
        inner = coder(rest[0])
        return lambda value: None if value is None else inner(value)
    if kind in _PLAIN or kind is Any:
        return _same
    if origin is tuple:
        outer: Convert = tuple if decoding else list
        if len(arguments) == 2 and arguments[1] is Ellipsis:
            inner = coder(arguments[0])
            if inner is _same:
                return outer
            return lambda value: outer([inner(one) for one in value])
        parts = [coder(one) for one in arguments]
        return lambda value: outer([c(one) for c, one in zip(parts, value, strict=True)])
    if origin is frozenset:
        inner = coder(arguments[0])
        return lambda value: (frozenset if decoding else sorted)([inner(one) for one in value])
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return of_mapping(*arguments)
    if isinstance(kind, type):
        if is_dataclass(kind):
            return of_dataclass(kind)
        if issubclass(kind, Enum):
            return of_enum
        if issubclass(kind, tuple) and hasattr(kind, "_fields"):
            hints = get_type_hints(kind)
            parts = [coder(hints[name]) for name in kind._fields]
            if decoding:
                return lambda value: kind(*(c(one) for c, one in zip(parts, value, strict=True)))
            return lambda value: [c(one) for c, one in zip(parts, value, strict=True)]
        if issubclass(kind, Path):
            return kind if decoding else str
    raise CannotBeCoded(str(kind))


def _same(value: Any) -> Any:
    return value


def _encode_dataclass(kind: Any) -> Convert:
    hints = get_type_hints(kind)
    plan = [(one.name, _default(one), encoder(hints[one.name])) for one in fields(kind)]

    def encode(value: Any) -> dict[str, Any]:
        found = {}
        for name, default, code in plan:
            one = getattr(value, name)
            if one is not default and one != default:
                found[name] = code(one)
        return found

    return encode


def _decode_dataclass(kind: Any) -> Convert:
    hints = get_type_hints(kind)
    known = {field.name: decoder(hints[field.name]) for field in fields(kind) if field.init}

    def decode(value: Any) -> Any:
        return kind(**{n: known[n](one) for n, one in value.items() if n in known})

    return decode


def _default(field: Any) -> Any:
    if field.default is not MISSING:
        return field.default
    if field.default_factory is not MISSING:
        return field.default_factory()
    return MISSING


def _encode_mapping(key: Any, value: Any) -> Convert:
    keys, values = encoder(key), encoder(value)
    return lambda mapping: [[keys(k), values(v)] for k, v in mapping.items()]


def _decode_mapping(key: Any, value: Any) -> Convert:
    keys, values = decoder(key), decoder(value)
    return lambda pairs: {keys(k): values(v) for k, v in pairs}
