"""What a plain scalar means by YAML 1.2's core schema (YAML 1.2.2, section 10.3.2)."""

import re
from typing import Any, Final

MAX_DIGITS: Final = 400
TOO_LONG: Final = object()

_NULL = frozenset({"", "~", "null", "Null", "NULL"})
_TRUE = frozenset({"true", "True", "TRUE"})
_FALSE = frozenset({"false", "False", "FALSE"})
_INT = re.compile(r"[-+]?[0-9]+")
_OCTAL = re.compile(r"0o[0-7]+")
_HEX = re.compile(r"0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_INFINITY = re.compile(r"[-+]?\.(?:inf|Inf|INF)")
_NAN = frozenset({".nan", ".NaN", ".NAN"})


def resolve(text: str) -> Any:
    """A plain scalar's value: None, bool, int, float or str; TOO_LONG for a whole number with
    more digits than anyone means (Python's own conversion is slow there)."""
    first = text[:1]
    if not first or first in "~nN":
        return None if text in _NULL else text
    if first in "tTfF":
        return True if text in _TRUE else False if text in _FALSE else text
    if first not in "+-.0123456789":
        return text
    if _INT.fullmatch(text):
        return int(text) if len(text) <= MAX_DIGITS else TOO_LONG
    if _OCTAL.fullmatch(text):
        return int(text, 0) if len(text) <= MAX_DIGITS else TOO_LONG
    if _HEX.fullmatch(text):
        return int(text, 0) if len(text) <= MAX_DIGITS else TOO_LONG
    if _FLOAT.fullmatch(text):
        return float(text)
    if _INFINITY.fullmatch(text):
        return float(text.replace(".", "", 1))
    return float("nan") if text in _NAN else text
