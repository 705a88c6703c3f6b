"""JSON as Go reads it: what Python takes beyond it is refused, and refusals are in Go's words."""

import json
from typing import Any, NoReturn


class JsonError(ValueError):
    """Bytes that are not JSON. The text is that of Go's `encoding/json`: exact for what cannot
    begin a value and for what ends too soon, which is what people send."""


def loads(raw: bytes) -> Any:
    """The value in some bytes. Raises JsonError."""
    try:
        text = raw.decode()
    except UnicodeDecodeError as error:
        raise JsonError(_not_text(raw)) from error
    try:
        value = json.loads(text, parse_constant=_no_constant)
    except JsonError:
        raise
    except json.JSONDecodeError as error:
        raise JsonError(_problem(error)) from error
    except RecursionError as error:
        raise JsonError("exceeded max depth") from error
    except ValueError as error:
        # A number of thousands of digits.
        raise JsonError("invalid number literal") from error
    return _whole(value) if "\\u" in text else value


def _no_constant(name: str) -> NoReturn:
    """NaN and Infinity, which Python would take."""
    character = "N" if name == "NaN" else name.lstrip("-")[0]
    raise JsonError(f"invalid character '{character}' looking for beginning of value")


def _whole(value: Any) -> Any:
    """Half of a surrogate pair is no character: Go puts U+FFFD in its place."""
    match value:
        case str():
            return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        case dict():
            return {_whole(name): _whole(item) for name, item in value.items()}
        case list():
            return [_whole(item) for item in value]
        case _:
            return value


def _problem(error: json.JSONDecodeError) -> str:
    rest = error.doc[error.pos :].lstrip()
    if not rest or error.msg.startswith("Unterminated string"):
        return "unexpected end of JSON input"
    if error.msg.startswith("Expecting property name"):
        place = "looking for beginning of object key string"
    else:
        place = {
            "Extra data": "after top-level value",
            "Expecting ',' delimiter": "after object key:value pair",
            "Expecting ':' delimiter": "after object key",
        }.get(error.msg, "looking for beginning of value")
    return f"invalid character {_character(rest[0])} {place}"


def _not_text(raw: bytes) -> str:
    """Go looks at bytes, and prints one as the character of that number."""
    first = raw.lstrip()[:1]
    character = chr(first[0]) if first else ""
    return f"invalid character {_character(character)} looking for beginning of value"


def _character(character: str) -> str:
    """`quoteChar` of Go's decoder."""
    if character == "'":
        return "'\\''"
    if character == '"':
        return "'\"'"
    printable = character if character.isprintable() else f"\\u{ord(character):04x}"
    return f"'{printable}'"
