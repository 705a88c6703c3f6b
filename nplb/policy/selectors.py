"""Kubernetes label selectors: the text that `kubectl -l` takes, and whether labels match it.

Grammar and meaning are those of apimachinery's `labels.Parse` (`pkg/labels/selector.go`):
requirements joined by commas, all of which must hold.

    tier=edge  tier==edge  tier!=edge  zone in (a, b)  zone notin (a, b)  tier  !tier
    generation > 5  generation < 9

As there, `!=` and `notin` also match where the label is absent.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import NoReturn

from nplb.model.errors import ConfigurationError


class Operator(StrEnum):
    """What a requirement asks of a label."""

    IN = "in"
    NOT_IN = "notin"
    EXISTS = "exists"
    ABSENT = "!"
    GREATER = ">"
    LESS = "<"


class SelectorError(ConfigurationError):
    """A text is not a label selector. The message says what, at which character, and what to
    do; `column` counts characters from 1."""

    def __init__(self, message: str, *, column: int) -> None:
        super().__init__(message)
        self.column = column


@dataclass(frozen=True, slots=True, kw_only=True)
class Requirement:
    """One condition on one label. `values` is empty for EXISTS and ABSENT, and holds one
    whole number for GREATER and LESS."""

    key: str
    operator: Operator
    values: tuple[str, ...] = ()

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Whether these labels meet the condition."""
        value = labels.get(self.key)
        match self.operator:
            case Operator.EXISTS:
                return value is not None
            case Operator.ABSENT:
                return value is None
            case Operator.IN:
                return value in self.values
            case Operator.NOT_IN:
                return value not in self.values
            case Operator.GREATER | Operator.LESS:
                number, bound = _int64(value), _int64(self.values[0])
                if number is None or bound is None:
                    return False
                return number > bound if self.operator is Operator.GREATER else number < bound

    def __str__(self) -> str:
        match self.operator:
            case Operator.EXISTS:
                return self.key
            case Operator.ABSENT:
                return f"!{self.key}"
            case Operator.GREATER | Operator.LESS:
                return f"{self.key}{self.operator}{self.values[0]}"
            case Operator.IN | Operator.NOT_IN:
                if len(self.values) == 1:
                    sign = "=" if self.operator is Operator.IN else "!="
                    return f"{self.key}{sign}{self.values[0]}"
                return f"{self.key} {self.operator} ({','.join(self.values)})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Selector:
    """Requirements that must all hold. Without any, everything matches. Prints in the form
    that `parse_selector` takes."""

    requirements: tuple[Requirement, ...] = ()

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Whether these labels are selected."""
        return all(requirement.matches(labels) for requirement in self.requirements)

    def __str__(self) -> str:
        return ",".join(str(requirement) for requirement in self.requirements)


def parse_selector(text: str) -> Selector:
    """Parse a label selector. Raises SelectorError."""
    return _Parser(text).selector()


_TOKEN = re.compile(r"\s*(?:(?P<sign>==|!=|[=!<>(),])|(?P<word>[^\s=!<>(),]+)|(?P<end>$))")

# validation.IsQualifiedName, IsDNS1123Subdomain and IsValidLabelValue.
_NAME = re.compile(r"[A-Za-z0-9](?:[-A-Za-z0-9_.]*[A-Za-z0-9])?")
_PREFIX = re.compile(r"[a-z0-9](?:[-a-z0-9]*[a-z0-9])?(?:\.[a-z0-9](?:[-a-z0-9]*[a-z0-9])?)*")
_INTEGER = re.compile(r"[+-]?[0-9]+")
_NAME_LENGTH = 63
_PREFIX_LENGTH = 253
_INT64 = 2**63
_SIGNS = frozenset({"=", "==", "!=", "in", "notin", "<", ">"})


class _Parser:
    """Reads one text from left to right, one lexeme ahead."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.next = 0
        self.start = 0
        self.lexeme = ""
        self.is_word = False
        self._advance()

    def selector(self) -> Selector:
        requirements: list[Requirement] = []
        if not self.lexeme:
            return Selector()
        while True:
            requirements.append(self._requirement())
            if not self.lexeme:
                return Selector(requirements=tuple(requirements))
            if self.lexeme != ",":
                self._fail(f"expected ',' or the end, found '{self.lexeme}'")
            self._advance()

    def _requirement(self) -> Requirement:
        if self.lexeme == "!":
            self._advance()
            return Requirement(key=self._key(), operator=Operator.ABSENT)
        key = self._key()
        sign = self.lexeme
        if sign in ("", ","):
            return Requirement(key=key, operator=Operator.EXISTS)
        if sign not in _SIGNS:
            self._fail(f"expected =, !=, in, notin, < or > after '{key}', found '{sign}'")
        self._advance()
        match sign:
            case "=" | "==":
                return Requirement(key=key, operator=Operator.IN, values=(self._value(),))
            case "!=":
                return Requirement(key=key, operator=Operator.NOT_IN, values=(self._value(),))
            case "in" | "notin":
                return Requirement(key=key, operator=Operator(sign), values=self._values())
            case _:
                return Requirement(key=key, operator=Operator(sign), values=(self._integer(),))

    def _key(self) -> str:
        key, start = self.lexeme, self.start
        if not self.is_word:
            self._fail("expected a label's name, found " + (f"'{key}'" if key else "the end"))
        prefix, slash, name = key.rpartition("/")
        if slash and not (_PREFIX.fullmatch(prefix) and len(prefix) <= _PREFIX_LENGTH):
            self._fail(f"'{prefix}' is not a DNS name, which a label's prefix must be", start)
        if not (_NAME.fullmatch(name) and len(name) <= _NAME_LENGTH):
            rule = f"up to {_NAME_LENGTH} letters, digits, '-', '_' or '.', ends alphanumeric"
            self._fail(f"'{name}' is not a label's name ({rule})", start)
        self._advance()
        return key

    def _value(self) -> str:
        """A value, which may be empty."""
        if not self.is_word:
            return ""
        value, start = self.lexeme, self.start
        if not (_NAME.fullmatch(value) and len(value) <= _NAME_LENGTH):
            rule = f"up to {_NAME_LENGTH} letters, digits, '-', '_' or '.', ends alphanumeric"
            self._fail(f"'{value}' is not a label's value ({rule})", start)
        self._advance()
        return value

    def _values(self) -> tuple[str, ...]:
        if self.lexeme != "(":
            self._fail("expected '(' and values, as in: zone in (a, b)")
        self._advance()
        values = [self._value()]
        while self.lexeme == ",":
            self._advance()
            values.append(self._value())
        if self.lexeme != ")":
            self._fail("expected ',' or ')' after a value")
        self._advance()
        return tuple(sorted(set(values)))

    def _integer(self) -> str:
        value, start = self._value(), self.start
        if _int64(value) is None:
            self._fail("expected a whole number after < or >", start)
        return value

    def _advance(self) -> None:
        found = _TOKEN.match(self.text, self.next)
        assert found is not None
        self.is_word = found["word"] is not None
        self.lexeme = found["sign"] or found["word"] or ""
        self.next = found.end()
        self.start = self.next - len(self.lexeme)

    def _fail(self, what: str, start: int | None = None) -> NoReturn:
        column = (self.start if start is None else start) + 1
        advice = "write it as in: tier=edge,zone in (a,b),!old"
        raise SelectorError(
            f"not a label selector: {what} at character {column}, {advice}", column=column
        )


def _int64(text: str | None) -> int | None:
    """A whole number as Go's strconv.ParseInt(text, 10, 64) takes it."""
    if text is None or len(text) > 20 or not _INTEGER.fullmatch(text):
        return None
    number = int(text)
    return number if -_INT64 <= number < _INT64 else None
