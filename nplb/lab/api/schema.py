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

import copy
from collections.abc import Callable, Mapping
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
    _decoder: "Decoder | None" = field(default=None, init=False)

    @property
    def element(self) -> "Type":
        """The type of a list's or a map's elements."""
        assert self.item is not None
        return self.item

    @property
    def decoder(self) -> "Decoder":
        """Reads a raw value of this type; made once."""
        if self._decoder is None:
            self._decoder = _decoder(self)
        return self._decoder

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
    """A value of the wrong type, in the words of Go's JSON decoder: which value, where, and the
    type that stands there. The place is put together on the way out: `owner` is the innermost
    struct, `path` the fields down to it, without indexes."""

    def __init__(self, value: Any, type_: Type) -> None:
        super().__init__()
        self.value = value
        self.type = type_
        self.owner = ""
        self.path = ""

    def inside(self, owner: str, field_name: str) -> None:
        """Say that the value stood in this field of this struct."""
        self.owner = self.owner or owner
        self.path = f"{field_name}.{self.path}" if self.path else field_name

    def __str__(self) -> str:
        match self.value:
            case bool():
                what = "bool"
            case str():
                what = "string"
            case int() | float():
                what = f"number {self.value}" if self.type.name in INT_BOUNDS else "number"
            case list():
                what = "array"
            case _:
                what = "object"
        where = f"Go struct field {self.owner}.{self.path}" if self.path else "Go value"
        return f"json: cannot unmarshal {what} into {where} of type {self.type.go_name}"


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


class Reading:
    """What one decoding carries along: the unknown fields found so far, by their paths from the
    struct under way, and whether only given fields count (`sparse`)."""

    __slots__ = ("sparse", "unknown")

    def __init__(self, unknown: list[str], sparse: bool) -> None:
        self.unknown = unknown
        self.sparse = sparse

    def prefix(self, start: int, name: str) -> None:
        """Put what contains them in front of the unknown fields found since `start`."""
        for index in range(start, len(self.unknown)):
            path = self.unknown[index]
            self.unknown[index] = f"{name}{path}" if path[0] == "[" else f"{name}.{path}"


Decoder = Callable[[Any, Reading], Any]


def decode(
    struct: Type, value: Any, unknown: list[str] | None = None, *, sparse: bool = False
) -> dict[str, Any]:
    """A raw object as Go would encode it after decoding: fields in order, unknown ones gone
    (and their paths added to `unknown`), zero values dropped where Go drops them.

    `sparse` keeps exactly the fields that were given, as for an applied configuration.
    Raises DecodeError for a value of the wrong type.
    """
    decoded: dict[str, Any] = struct.decoder(
        value, Reading([] if unknown is None else unknown, sparse)
    )
    return decoded


def zero(struct: Type) -> dict[str, Any]:
    """The zero value of a struct, as Go encodes it."""
    return decode(struct, {})


def _decoder(type_: Type) -> Decoder:
    match type_.shape:
        case Shape.STRUCT:
            return _struct_decoder(type_)
        case Shape.LIST:
            return _list_decoder(type_)
        case Shape.MAP:
            return _map_decoder(type_)
        case Shape.SCALAR:
            return _scalar_decoder(type_)


def _struct_decoder(struct: Type) -> Decoder:
    name_of_struct, known = struct.name, struct.fields.keys()
    plan = [
        (declared.name, declared.type.decoder, _drops_zero(declared), _absent(declared))
        for declared in struct.fields.values()
    ]

    def read(value: Any, reading: Reading) -> dict[str, Any]:
        if type(value) is not dict:
            raise DecodeError(value, struct)
        unknown = reading.unknown
        if not value.keys() <= known:
            unknown.extend(name for name in value if name not in known)
        decoded: dict[str, Any] = {}
        for name, decoder, drops_zero, absent in plan:
            given = value.get(name)
            if given is None:
                if absent is not None and not reading.sparse:
                    decoded[name] = absent()
                continue
            before = len(unknown)
            try:
                result = decoder(given, reading)
            except DecodeError as error:
                error.inside(name_of_struct, name)
                raise
            if len(unknown) > before:
                reading.prefix(before, name)
            if result or not drops_zero or reading.sparse:
                decoded[name] = result
        return decoded

    return read


def _drops_zero(declared: Field) -> bool:
    """Whether Go's omitempty drops the zero value of this field."""
    if declared.pointer or declared.always or declared.type.shape is Shape.STRUCT:
        return False
    return declared.type.shape is not Shape.SCALAR or declared.type.name in ZERO


def _absent(declared: Field) -> Callable[[], Any] | None:
    """What Go encodes for a field that was not given, None for nothing."""
    type_ = declared.type
    if declared.pointer:
        return None
    if type_.shape is Shape.STRUCT:
        template = zero(type_)
        return (lambda: copy.deepcopy(template)) if template else dict
    if type_.name == "Time" and type_.shape is Shape.SCALAR:
        return lambda: None
    if declared.always:
        value = ZERO.get(type_.name)
        return lambda: value
    return None


def _list_decoder(type_: Type) -> Decoder:
    element = type_.element
    decoder = element.decoder

    def read(value: Any, reading: Reading) -> list[Any]:
        if type(value) is not list:
            raise DecodeError(value, type_)
        unknown = reading.unknown
        decoded: list[Any] = []
        for index, item in enumerate(value):
            before = len(unknown)
            decoded.append(_none(element) if item is None else decoder(item, reading))
            if len(unknown) > before:
                reading.prefix(before, f"[{index}]")
        return decoded

    return read


def _map_decoder(type_: Type) -> Decoder:
    element = type_.element
    decoder = element.decoder

    def read(value: Any, reading: Reading) -> dict[str, Any]:
        if type(value) is not dict:
            raise DecodeError(value, type_)
        # Go encodes maps with their keys sorted.
        return {
            key: _none(element) if value[key] is None else decoder(value[key], reading)
            for key in sorted(value)
        }

    return read


def _none(element: Type) -> Any:
    """What a null among the elements of a list or map becomes."""
    return zero(element) if element.shape is Shape.STRUCT else ZERO.get(element.name)


def _scalar_decoder(type_: Type) -> Decoder:
    name = type_.name
    if name == "any":
        return lambda value, _reading: value
    bound = INT_BOUNDS.get(name, INT_BOUNDS["int32"])
    wanted: tuple[type, ...] = {
        "bool": (bool,),
        "int32": (int,),
        "int64": (int,),
        "intstr": (str, int),
    }.get(name, (str,))

    def read(value: Any, _reading: Reading) -> Any:
        kind = type(value)  # not isinstance: a bool is an int
        if kind not in wanted or (kind is int and not -bound <= value < bound):
            raise DecodeError(value, type_)
        return value

    return read
