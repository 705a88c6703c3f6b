"""Label and field selectors of requests, refused in the API server's words.

Label selectors follow `apimachinery/pkg/labels/selector.go` lexeme by lexeme, since its errors
do; what they mean is in `nplb.policy.selectors`. Field selectors follow
`apimachinery/pkg/fields/selector.go` and each kind's list of selectable fields.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

from nplb.lab.api import errors
from nplb.lab.api.names import label_value_problems, qualified_name_problems
from nplb.lab.api.store import JsonObject, labels_of
from nplb.policy.selectors import Operator, Requirement, Selector

_LEXEME = re.compile(r"\s*(?:(==|!=|[=!<>(),])|([^\s=!<>(),]+)|$)")
_BINARY = ("in", "notin", "=", "==", "!=", ">", "<")


class SelectorSyntaxError(Exception):
    """A text that is no label selector, in the words of apimachinery."""


def parse_labels(text: str) -> Selector:
    """Parse a label selector. Raises SelectorSyntaxError."""
    return _Parser(text).selector()


class _Parser:
    def __init__(self, text: str) -> None:
        self.lexemes: list[str] = []
        position = 0
        while found := _LEXEME.match(text, position):
            lexeme = found[1] or found[2]
            if not lexeme:
                break
            self.lexemes.append(lexeme)
            position = found.end()
        self.next = 0

    def peek(self) -> str:
        return self.lexemes[self.next] if self.next < len(self.lexemes) else ""

    def take(self) -> str:
        lexeme = self.peek()
        self.next += 1
        return lexeme

    def selector(self) -> Selector:
        requirements: list[Requirement] = []
        while self.peek():
            requirements.append(self.requirement())
            lexeme = self.take()
            if not lexeme:
                break
            if lexeme != ",":
                _fail(f"found '{lexeme}', expected: ',' or 'end of string'")
            following = self.peek()
            if following != "!" and not _is_word(following):
                _fail(f"found '{following}', expected: identifier after ','")
        return Selector(requirements=tuple(sorted(requirements, key=lambda r: r.key)))

    def requirement(self) -> Requirement:
        absent = self.peek() == "!"
        if absent:
            self.take()
        key = self.take()
        if not _is_word(key):
            _inside(f"found '{key}', expected: identifier")
        if problems := qualified_name_problems(key):
            _inside(f'key: Invalid value: "{key}": {"; ".join(problems)}')
        if absent or self.peek() in ("", ","):
            operator = Operator.ABSENT if absent else Operator.EXISTS
            return Requirement(key=key, operator=operator)
        sign = self.take()
        if sign in ("in", "notin"):
            return _requirement(key, sign, self.values())
        if sign not in _BINARY:
            _inside(f"found '{sign}', expected: {', '.join(sorted(_BINARY))}")
        return _requirement(key, sign, (self.exact(),))

    def exact(self) -> str:
        following = self.peek()
        if following in ("", ","):
            return ""
        if not _is_word(following):
            _inside(f"found '{following}', expected: identifier")
        return self.take()

    def values(self) -> tuple[str, ...]:
        opening = self.take()
        if opening != "(":
            _inside(f"found '{opening}' expected: '('")
        values: list[str] = []
        following = self.peek()
        if following == ")":
            self.take()
            return ("",)
        if following and following != "," and not _is_word(following):
            _inside(f"found '{following}', expected: ',', ')' or identifier")
        if not following:
            _inside("found '', expected: ',', ')' or identifier")
        while True:
            lexeme = self.take()
            if _is_word(lexeme):
                values.append(lexeme)
                lexeme = self.take()
                if lexeme == ")":
                    return tuple(sorted(set(values)))
                if lexeme != ",":
                    _inside(f"found '{lexeme}', expected: ',' or ')'")
                if self.peek() in (",", ")"):
                    values.append("")
            elif lexeme == ",":
                if not values:
                    values.append("")
                if self.peek() == ")":
                    values.append("")
            elif lexeme == ")":
                return tuple(sorted(set(values)))
            else:
                _inside(f"found '{lexeme}', expected: ',', or identifier")


def _is_word(lexeme: str) -> bool:
    return bool(lexeme) and lexeme not in ("==", "!=", "=", "!", "<", ">", "(", ")", ",")


def _fail(text: str) -> NoReturn:
    raise SelectorSyntaxError(text)


def _inside(text: str) -> NoReturn:
    raise SelectorSyntaxError(f"unable to parse requirement: {text}")


def _requirement(key: str, sign: str, values: tuple[str, ...]) -> Requirement:
    if sign in ("<", ">"):
        try:
            int(values[0])
        except ValueError:
            _inside(
                f'values[0]: Invalid value: "{values[0]}": '
                "for 'Gt', 'Lt' operators, the value must be an integer"
            )
        return Requirement(key=key, operator=Operator(sign), values=values)
    for index, value in enumerate(values):
        if problems := label_value_problems(value):
            listed = "; ".join(problems)
            _inside(f'values[{index}][{key}]: Invalid value: "{value}": {listed}')
    operator = Operator.NOT_IN if sign in ("!=", "notin") else Operator.IN
    return Requirement(key=key, operator=operator, values=values)


# -- fields -------------------------------------------------------------------

Getter = Callable[[JsonObject], str]


def _at(*path: str) -> Getter:
    """Reads a field as text: absent is empty, booleans as Go prints them."""

    def get(object_: JsonObject) -> str:
        value: Any = object_
        for name in path:
            value = value.get(name) if isinstance(value, dict) else None
        if isinstance(value, bool):
            return "true" if value else "false"
        return "" if value is None else str(value)

    return get


def _flag(*path: str) -> Getter:
    get = _at(*path)
    return lambda object_: get(object_) or "false"


_METADATA: Mapping[str, Getter] = {
    "metadata.name": _at("metadata", "name"),
    "metadata.namespace": _at("metadata", "namespace"),
}

# Each kind's ToSelectableFields / AddFieldLabelConversionFunc.
SELECTABLE: Mapping[str, Mapping[str, Getter]] = {
    "services": {"spec.clusterIP": _at("spec", "clusterIP"), "spec.type": _at("spec", "type")},
    "nodes": {"spec.unschedulable": _flag("spec", "unschedulable")},
    "namespaces": {"status.phase": _at("status", "phase"), "name": _at("metadata", "name")},
    "pods": {
        "spec.nodeName": _at("spec", "nodeName"),
        "spec.restartPolicy": _at("spec", "restartPolicy"),
        "spec.schedulerName": _at("spec", "schedulerName"),
        "spec.serviceAccountName": _at("spec", "serviceAccountName"),
        "spec.hostNetwork": _flag("spec", "hostNetwork"),
        "status.phase": _at("status", "phase"),
        "status.podIP": _at("status", "podIP"),
        "status.nominatedNodeName": _at("status", "nominatedNodeName"),
    },
    "events": {
        "involvedObject.kind": _at("involvedObject", "kind"),
        "involvedObject.namespace": _at("involvedObject", "namespace"),
        "involvedObject.name": _at("involvedObject", "name"),
        "involvedObject.uid": _at("involvedObject", "uid"),
        "involvedObject.apiVersion": _at("involvedObject", "apiVersion"),
        "involvedObject.resourceVersion": _at("involvedObject", "resourceVersion"),
        "involvedObject.fieldPath": _at("involvedObject", "fieldPath"),
        "regarding.kind": _at("involvedObject", "kind"),
        "regarding.namespace": _at("involvedObject", "namespace"),
        "regarding.name": _at("involvedObject", "name"),
        "regarding.uid": _at("involvedObject", "uid"),
        "reason": _at("reason"),
        "reportingComponent": _at("reportingComponent"),
        "reportingController": _at("reportingComponent"),
        "source": _at("source", "component"),
        "type": _at("type"),
    },
}


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldTerm:
    """One term of a field selector."""

    name: str
    get: Getter
    value: str
    equal: bool = True

    def matches(self, object_: JsonObject) -> bool:
        """Whether the object's field is (or is not) the value."""
        return (self.get(object_) == self.value) is self.equal


EVERYTHING = Selector()


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectSelector:
    """Both selectors of a request. Empty selects everything."""

    labels: Selector = EVERYTHING
    fields: tuple[FieldTerm, ...] = ()

    @property
    def is_empty(self) -> bool:
        """Whether everything is selected."""
        return not self.labels.requirements and not self.fields

    @property
    def name(self) -> str | None:
        """The one name that can match, if there is only one."""
        for term in self.fields:
            if term.name == "metadata.name" and term.equal:
                return term.value
        return None

    def matches(self, object_: JsonObject) -> bool:
        """Whether the object is selected."""
        return self.labels.matches(labels_of(object_)) and all(
            term.matches(object_) for term in self.fields
        )


def parse_selectors(resource: str, labels: str, fields: str) -> ObjectSelector:
    """The selectors of a request for a resource. Raises ApiError 400."""
    try:
        selector = parse_labels(labels)
    except SelectorSyntaxError as error:
        raise errors.bad_request(str(error)) from error
    known = {**_METADATA, **SELECTABLE.get(resource, {})}
    terms: list[FieldTerm] = []
    for text in _split_terms(fields):
        found = re.fullmatch(r"((?:[^=!\\]|\\.)*?)(!=|==|=)(.*)", text, re.DOTALL)
        if not found:
            raise errors.bad_request(f"invalid selector: '{fields}'; can't understand '{text}'")
        name, sign, value = found[1], found[2], re.sub(r"\\([\\,=])", r"\1", found[3])
        if name not in known:
            raise errors.bad_request(f"field label not supported: {name}")
        terms.append(FieldTerm(name=name, get=known[name], value=value, equal=sign != "!="))
    return ObjectSelector(labels=selector, fields=tuple(terms))


def _split_terms(text: str) -> list[str]:
    return [term for term in re.split(r"(?<!\\),", text) if term]
