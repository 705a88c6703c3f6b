"""The shape of API objects as Go declares it, and raw JSON read by it.

A struct is declared as a small table, one line per field, in Go's order:

    name    type    flags

Types: `string`, `int32`, `int64`, `bool`, `Time`, `intstr`, `any`, the name of another struct,
`[]T`, `map[string]T`; with `*` in front for a pointer. Flags:

    !               always encoded, even when zero (Go: no `omitempty`)
    set             a list that server-side apply merges as a set (`listType=set`)
    map=a,b         a list that server-side apply merges by these keys (`listType=map`)
    merge[=a]       a list that a strategic merge patch merges, by this key (`patchMergeKey`)
    atomic          a map or struct that server-side apply treats as one value
    default=x       what a key of a `map=` list counts as when absent

A list without `set` or `map=` is atomic, one without `merge` is replaced. From these tables
follow decoding (wrong types, unknown fields, zero values dropped as Go drops them), strategic
merge, field ownership and the OpenAPI documents.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Any

INT_BOUNDS = {"int32": 2**31, "int64": 2**63}
SCALARS = frozenset({"string", "int32", "int64", "bool", "Time", "intstr", "any"})
ZERO: Mapping[str, Any] = {"string": "", "int32": 0, "int64": 0, "bool": False}


class Shape(Enum):
    """What a type is made of."""

    SCALAR = auto()
    STRUCT = auto()
    LIST = auto()
    MAP = auto()


@dataclass(slots=True, kw_only=True, eq=False)
class Type:
    """One type. `name` is the scalar's or struct's; `item` the element of a list or map."""

    shape: Shape
    name: str = ""
    fields: dict[str, "Field"] = field(default_factory=dict)
    item: "Type | None" = None
    atomic: bool = False
    is_set: bool = False
    keys: tuple[str, ...] = ()
    merges: bool = False
    merge_key: str = ""

    @property
    def element(self) -> "Type":
        """The type of a list's or a map's elements."""
        assert self.item is not None
        return self.item

    @property
    def go_name(self) -> str:
        """The type as a Go error names it."""
        if self.shape is Shape.LIST:
            return f"[]{self.element.go_name}"
        if self.shape is Shape.MAP:
            return f"map[string]{self.element.go_name}"
        if self.shape is Shape.STRUCT or self.name == "Time":
            return f"v1.{self.name}"
        return {"intstr": "intstr.IntOrString", "any": "interface {}"}.get(self.name, self.name)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Field:
    """One field of a struct. `always` encodes zero values; a pointer keeps explicit ones."""

    name: str
    type: Type
    pointer: bool = False
    always: bool = False
    default: str | None = None


class DecodeError(Exception):
    """A value of the wrong type, in the words of Go's JSON decoder."""


class Schema:
    """Declared structs by name. Structs may be declared in any order."""

    def __init__(self) -> None:
        self._structs: dict[str, Type] = {}

    def struct(self, name: str, table: str, *, atomic: bool = False) -> Type:
        """Declare a struct by its table of fields."""
        struct = self._named(name)
        struct.atomic = atomic
        for line in table.strip().splitlines():
            words = line.split()
            if words:
                declared = self._field(words[0], words[1], words[2:])
                struct.fields[declared.name] = declared
        return struct

    def check(self) -> None:
        """Raise ValueError if a struct was named but never declared."""
        empty = sorted(name for name, struct in self._structs.items() if not struct.fields)
        if empty:
            raise ValueError(f"undeclared structs: {', '.join(empty)}")

    def __getitem__(self, name: str) -> Type:
        return self._structs[name]

    def structs(self) -> Iterable[Type]:
        """Every declared struct."""
        return self._structs.values()

    def _named(self, name: str) -> Type:
        if name not in self._structs:
            self._structs[name] = Type(shape=Shape.STRUCT, name=name)
        return self._structs[name]

    def _field(self, name: str, spelled: str, flags: list[str]) -> Field:
        options = dict(flag.partition("=")[::2] for flag in flags)
        pointer = spelled.startswith("*")
        type_ = self._type(spelled.lstrip("*"))
        if type_.shape in (Shape.LIST, Shape.MAP):
            type_.atomic = "atomic" in options
            type_.is_set = "set" in options
            type_.keys = tuple(options["map"].split(",")) if "map" in options else ()
            type_.merges = "merge" in options
            type_.merge_key = options.get("merge", "")
            if type_.shape is Shape.LIST and not type_.is_set and not type_.keys:
                type_.atomic = True
        return Field(
            name=name,
            type=type_,
            pointer=pointer,
            always="!" in options,
            default=options.get("default"),
        )

    def _type(self, spelled: str) -> Type:
        if spelled.startswith("[]"):
            return Type(shape=Shape.LIST, item=self._type(spelled[2:]))
        if spelled.startswith("map[string]"):
            return Type(shape=Shape.MAP, item=self._type(spelled.removeprefix("map[string]")))
        if spelled in SCALARS:
            return Type(shape=Shape.SCALAR, name=spelled)
        return self._named(spelled)


def decode(
    struct: Type, value: Any, unknown: list[str] | None = None, *, sparse: bool = False
) -> dict[str, Any]:
    """A raw object as Go would encode it after decoding: fields in order, unknown ones gone
    (and their paths added to `unknown`), zero values dropped where Go drops them.

    `sparse` keeps exactly the fields that were given, as for an applied configuration.
    Raises DecodeError for a value of the wrong type.
    """
    decoder = _Decoder([] if unknown is None else unknown, sparse)
    decoded: dict[str, Any] = decoder.struct(struct, value, struct.name, "", "")
    return decoded


def zero(struct: Type) -> dict[str, Any]:
    """The zero value of a struct, as Go encodes it."""
    return decode(struct, {})


class _Decoder:
    """Carries the list of unknown fields. `owner` is the innermost struct's name, `path` the
    fields so far without indexes (as Go's errors have it), `place` the same with them."""

    def __init__(self, unknown: list[str], sparse: bool) -> None:
        self.unknown = unknown
        self.sparse = sparse

    def struct(self, struct: Type, value: Any, owner: str, path: str, place: str) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise _mismatch(value, struct, owner, path)
        for name in value:
            if name not in struct.fields:
                self.unknown.append(f"{place}.{name}" if place else name)
        decoded: dict[str, Any] = {}
        for name, declared in struct.fields.items():
            given = value.get(name)
            inner = f"{path}.{name}" if path else name
            where = f"{place}.{name}" if place else name
            if given is None:
                self._absent(declared, decoded)
                continue
            result = self.value(declared.type, given, struct.name, inner, where)
            keeps_zero = declared.pointer or declared.always or self.sparse
            if keeps_zero or not _is_zero(declared.type, result):
                decoded[name] = result
        return decoded

    def _absent(self, declared: Field, decoded: dict[str, Any]) -> None:
        """What Go encodes for a field that was not given."""
        type_ = declared.type
        if declared.pointer or self.sparse:
            return
        if type_.shape is Shape.STRUCT:
            decoded[declared.name] = zero(type_)
        elif type_.shape is Shape.SCALAR and type_.name == "Time":
            decoded[declared.name] = None
        elif declared.always:
            decoded[declared.name] = ZERO.get(type_.name)

    def value(self, type_: Type, value: Any, owner: str, path: str, place: str) -> Any:
        match type_.shape:
            case Shape.STRUCT:
                return self.struct(type_, value, owner, path, place)
            case Shape.LIST:
                if not isinstance(value, list):
                    raise _mismatch(value, type_, owner, path)
                element = type_.element
                return [
                    self._element(element, item, owner, path, f"{place}[{index}]")
                    for index, item in enumerate(value)
                ]
            case Shape.MAP:
                if not isinstance(value, dict):
                    raise _mismatch(value, type_, owner, path)
                element = type_.element
                # Go encodes maps with their keys sorted.
                return {
                    key: self._element(element, value[key], owner, path, f"{place}.{key}")
                    for key in sorted(value)
                }
            case Shape.SCALAR:
                return _scalar(type_, value, owner, path)

    def _element(self, type_: Type, value: Any, owner: str, path: str, place: str) -> Any:
        if value is None:
            if type_.shape is Shape.STRUCT:
                return {} if self.sparse else zero(type_)
            return ZERO.get(type_.name)
        return self.value(type_, value, owner, path, place)


def _is_zero(type_: Type, value: Any) -> bool:
    """Whether Go's omitempty drops this value."""
    if type_.shape is Shape.STRUCT:
        return False
    if type_.shape in (Shape.LIST, Shape.MAP):
        return not value
    return type_.name in ZERO and value == ZERO[type_.name]


def _scalar(type_: Type, value: Any, owner: str, path: str) -> Any:
    name = type_.name
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    match name:
        case "string" | "Time":
            good = isinstance(value, str)
        case "int32" | "int64":
            good = isinstance(value, int) and is_number and abs(value) < INT_BOUNDS[name]
        case "bool":
            good = isinstance(value, bool)
        case "intstr":
            good = isinstance(value, str) or (isinstance(value, int) and is_number)
        case _:
            good = True
    if not good:
        raise _mismatch(value, type_, owner, path)
    return value


def _mismatch(value: Any, type_: Type, owner: str, path: str) -> DecodeError:
    match value:
        case bool():
            what = "bool"
        case str():
            what = "string"
        case int() | float():
            what = f"number {value}" if type_.name in INT_BOUNDS else "number"
        case list():
            what = "array"
        case _:
            what = "object"
    where = f"Go struct field {owner}.{path}" if path else "Go value"
    return DecodeError(f"json: cannot unmarshal {what} into {where} of type {type_.go_name}")
