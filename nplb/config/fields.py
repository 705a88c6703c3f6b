"""The kinds of values that keys of the configuration hold: each with its reader and its schema.

Readers take what YAML gave and raise ValueError with what is wrong and what to do; nothing is
converted in silence (`"4"` is not 4, `yes` is not true).
"""

import math
import re
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from enum import StrEnum
from ipaddress import ip_network
from pathlib import Path
from types import NoneType
from typing import Annotated, Any, TypeVar, get_args

from pydantic import (
    AfterValidator,
    BeforeValidator,
    GetCoreSchemaHandler,
    PlainValidator,
    WithJsonSchema,
)
from pydantic_core import CoreSchema

from nplb.alloc.portrange import InvalidPortRange, parse_port_range
from nplb.config.values import (
    DURATION_PATTERN,
    kind_of,
    read_address,
    read_duration,
    read_ip,
    read_label,
    read_listen_address,
    read_listen_ip,
    read_service,
    show_duration,
)
from nplb.config.words import did_you_mean, listed, shown
from nplb.model.keys import Address
from nplb.policy.selectors import SelectorError, parse_selector

T = TypeVar("T")
E = TypeVar("E", bound=StrEnum)
H = TypeVar("H", bound=Hashable)

MAX_WORKERS = 256
_DNS_LABEL = r"[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?"


class _Given:
    """Makes `T | None` a T to who writes the file: None stands for a key that is absent, and
    can't be written."""

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        (kind,) = (part for part in get_args(source) if part is not NoneType)
        return handler.generate_schema(kind)


Maybe = Annotated[T | None, _Given()]
"""A key that may be absent."""


def _read_text(value: object) -> str:
    if isinstance(value, (int, float)):
        raise ValueError(f'must be text, quote it: "{value}"')
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"must be text, not {kind_of(value)}")
    return value


def _read_path(value: object) -> str:
    """A path, `~` in it being a home directory that there is."""
    text = _read_text(value)
    try:
        Path(text).expanduser()
    except RuntimeError:
        raise ValueError(f"{shown(text)}: no such home directory, write the whole path") from None
    if "\0" in text:
        raise ValueError(f"{shown(text)} is not a path")
    return text


def _read_bool(value: object) -> bool:
    if isinstance(value, bool):
        return value
    raise ValueError(f"must be true or false, not {kind_of(value)}")


def _read_selector(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError(f'must be a label selector such as "tier=edge", not {kind_of(value)}')
    try:
        parse_selector(value)
    except SelectorError as error:
        raise ValueError(str(error)) from None
    return value


def _read_port_range(value: object) -> str:
    form = "write it as 30000-32767"
    if not isinstance(value, str):
        raise ValueError(f"must be a range of ports, not {kind_of(value)}, {form}")
    try:
        ports = parse_port_range(value)
    except InvalidPortRange as error:
        raise ValueError(f"{shown(value)} is not a range of ports ({error}), {form}") from None
    if not ports.size or ports.base < 1:
        raise ValueError(f"{shown(value)} holds no port from 1 to 65535, {form}")
    return value


def read_advertised(value: object) -> str:
    """An address that clients use: an IP, or a DNS name in lower case."""
    if not isinstance(value, str):
        raise ValueError(f"must be an IP address or a DNS name, not {kind_of(value)}")
    if re.fullmatch(r"[0-9.]+|.*:.*", value):
        ip = read_ip(value)
        if ip in ("0.0.0.0", "::"):
            raise ValueError(f"{ip} is no address that clients could use, write one that is")
        return ip
    if len(value) > 253 or not re.fullmatch(rf"{_DNS_LABEL}(\.{_DNS_LABEL})*", value):
        raise ValueError(f"{shown(value)} is neither an IP address nor a DNS name in lower case")
    return value


def read_port_or_range(value: object) -> str:
    """A port or a range of ports of the edge, as text: `443`, `8000-8999`."""
    form = "write it as 443 or 8000-8999"
    if isinstance(value, bool) or not isinstance(value, (int, str)):
        raise ValueError(f"must be a port or a range of ports, not {kind_of(value)}, {form}")
    try:
        ports = parse_port_range(str(value))
    except InvalidPortRange as error:
        what = f"{shown(str(value))} is no port and no range of ports"
        raise ValueError(f"{what} ({error}), {form}") from None
    if not ports.size or ports.base < 1:
        raise ValueError(f"{shown(str(value))} holds no port from 1 to 65535, {form}")
    return str(value)


def _read_cidr(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError(f'must be a CIDR such as "10.0.0.0/8", not {kind_of(value)}')
    try:
        return str(ip_network(value))
    except ValueError:
        pass
    try:
        exact = ip_network(value, strict=False)
    except ValueError:
        raise ValueError(f'{shown(value)} is not a CIDR such as "10.0.0.0/8"') from None
    raise ValueError(f"{shown(value)} has bits behind its prefix, write {exact}")


def _read_workers(value: object) -> int | None:
    if value == "auto":
        return None
    if isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= MAX_WORKERS:
        return value
    raise ValueError(f"must be auto or a number from 1 to {MAX_WORKERS}, not {kind_of(value)}")


def _read_admin_listen(value: object) -> Address | None:
    if value == "off":
        return None
    if isinstance(value, (bool, int)):
        raise ValueError(
            f'must be an address such as "127.0.0.1:9090", or off, not {kind_of(value)}'
        )
    return read_address(value, any_port=True)


def as_list(value: object) -> object:
    """A list as it is, anything else as a list of one."""
    return value if isinstance(value, list) else [value]


def off_or_list(value: object) -> object:
    """Nothing for `off`, a list as it is, anything else as a list of one."""
    if value == "off":
        return ()
    if value == []:
        raise ValueError("is an empty list, write off or remove the key")
    return as_list(value)


def only_list(value: object) -> object:
    """A list; anything else is refused."""
    if not isinstance(value, list):
        raise ValueError(f"must be a list, not {kind_of(value)}, write it as [...]")
    return value


def some_distinct(values: Sequence[H]) -> Sequence[H]:
    """A list that names something, and nothing twice."""
    if not values:
        raise ValueError("is an empty list, name at least one or remove the key")
    return distinct(values)


def distinct(values: Sequence[H]) -> Sequence[H]:
    """A list that names nothing twice."""
    for index, value in enumerate(values):
        if value in values[:index]:
            raise ValueError(f"names {value} twice, remove one")
    return values


def whole(low: int, high: int) -> Callable[[object], int]:
    """A reader of whole numbers between two bounds, both included."""

    def read(value: object) -> int:
        if isinstance(value, int) and not isinstance(value, bool) and low <= value <= high:
            return value
        raise ValueError(f"must be a whole number from {low} to {high}, not {kind_of(value)}")

    return read


def share(high: float) -> Callable[[object], float]:
    """A reader of shares from 0 to a bound."""

    def read(value: object) -> float:
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if number and math.isfinite(value) and 0 <= value <= high:  # type: ignore[arg-type,operator]
            return float(value)  # type: ignore[arg-type]
        raise ValueError(f"must be a number from 0 to {high:g}, not {kind_of(value)}")

    return read


def off_or_duration(low: float, high: float, *, whole: bool = False) -> Callable[[object], float]:
    """A reader of durations between two bounds, or of `off`, which is 0. `whole`: only whole
    seconds."""

    def read(value: object) -> float:
        if value == "off":
            return 0.0
        seconds = read_duration(value)
        if not low <= seconds <= high:
            bounds = f"off, or from {show_duration(low)} to {show_duration(high)}"
            raise ValueError(f"must be {bounds}, not {show_duration(seconds)}")
        if whole and not seconds.is_integer():
            raise ValueError(f"must be whole seconds, not {show_duration(seconds)}")
        return seconds

    return read


def off_or_whole(low: int, high: int) -> Callable[[object], int]:
    """A reader of whole numbers between two bounds, or of `off`, which is 0."""

    def read(value: object) -> int:
        if value == "off":
            return 0
        if isinstance(value, int) and not isinstance(value, bool) and low <= value <= high:
            return value
        raise ValueError(f"must be off, or from {low} to {high:,}, not {kind_of(value)}")

    return read


def off_or_number(high: float) -> Callable[[object], float]:
    """A reader of numbers above 0 up to a bound, or of `off`, which is 0."""

    def read(value: object) -> float:
        if value == "off":
            return 0.0
        if isinstance(value, (int, float)) and not isinstance(value, bool) and 0 < value <= high:
            return float(value)
        raise ValueError(f"must be off, or above 0 up to {high:,}, not {kind_of(value)}")

    return read


def within(low: float, high: float) -> AfterValidator:
    """Bounds of a duration in seconds, both included."""

    def check(seconds: float) -> float:
        if not low <= seconds <= high:
            bounds = f"from {show_duration(low)} to {show_duration(high)}"
            raise ValueError(f"must be {bounds}, not {show_duration(seconds)}")
        return seconds

    return AfterValidator(check)


def one_of(members: Iterable[E]) -> Callable[[object], E]:
    """A reader of a closed set's words."""
    known = {str(member): member for member in members}

    def read(value: object) -> E:
        words = list(known)
        if isinstance(value, str):
            if value in known:
                return known[value]
            guess = did_you_mean(value, words)
            hint = f', did you mean "{guess}"?' if guess else ""
            raise ValueError(f"must be {listed(words)}, not {shown(value)}{hint}")
        raise ValueError(f"must be {listed(words)}, not {kind_of(value)}")

    return read


def words_schema(members: Iterable[StrEnum]) -> WithJsonSchema:
    """The schema of a closed set's words."""
    return WithJsonSchema({"type": "string", "enum": [str(member) for member in members]})


def one_or_many(item: Mapping[str, Any], *, off: bool = False) -> WithJsonSchema:
    """The schema of one value or a list of them, nothing twice; `off` where that is none."""
    many = {"type": "array", "items": dict(item), "minItems": 1, "uniqueItems": True}
    nothing = [{"const": "off"}] if off else []
    return WithJsonSchema({"anyOf": [*nothing, dict(item), many]})


def whole_schema(low: int, high: int) -> WithJsonSchema:
    """The schema of whole numbers between two bounds."""
    return WithJsonSchema({"type": "integer", "minimum": low, "maximum": high})


def share_schema(high: float) -> WithJsonSchema:
    """The schema of shares from 0 to a bound."""
    return WithJsonSchema({"type": "number", "minimum": 0, "maximum": high})


def off_or_duration_schema() -> WithJsonSchema:
    """The schema of durations, or `off`."""
    return WithJsonSchema({"anyOf": [{"const": "off"}, _DURATION]})


def off_or_whole_schema(low: int, high: int) -> WithJsonSchema:
    """The schema of whole numbers between two bounds, or `off`."""
    number = {"type": "integer", "minimum": low, "maximum": high}
    return WithJsonSchema({"anyOf": [{"const": "off"}, number]})


def off_or_number_schema(high: float) -> WithJsonSchema:
    """The schema of numbers above 0 up to a bound, or `off`."""
    number = {"type": "number", "exclusiveMinimum": 0, "maximum": high}
    return WithJsonSchema({"anyOf": [{"const": "off"}, number]})


def many_schema(item: Mapping[str, Any]) -> WithJsonSchema:
    """The schema of a list that names something, and nothing twice."""
    return WithJsonSchema(
        {"type": "array", "items": dict(item), "minItems": 1, "uniqueItems": True}
    )


_DURATION = {
    "type": "string",
    "pattern": DURATION_PATTERN,
    "examples": ["200ms", "5s", "1m30s", "1h"],
}
_CIDR = {"type": "string", "examples": ["10.0.0.0/8", "2001:db8::/32"]}
_TEXT = {"type": "string", "minLength": 1}
_IP = {"type": "string", "examples": ["0.0.0.0", "::", "192.0.2.1", "%eth0"]}
_ADDRESS = {"type": "string", "examples": ["0.0.0.0:443", "[::]:443", "%eth0:443"]}
_NAME = {"type": "string", "pattern": "^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$"}

Text = Annotated[str, PlainValidator(_read_text), WithJsonSchema(_TEXT)]
PathText = Annotated[str, PlainValidator(_read_path), WithJsonSchema(_TEXT)]
Bool = Annotated[bool, PlainValidator(_read_bool), WithJsonSchema({"type": "boolean"})]
Name = Annotated[str, PlainValidator(read_label), WithJsonSchema(_NAME)]
Duration = Annotated[float, PlainValidator(read_duration), WithJsonSchema(_DURATION)]
LabelSelector = Annotated[
    str,
    PlainValidator(_read_selector),
    WithJsonSchema({"type": "string", "examples": ["tier=edge", "zone in (a, b),!old"]}),
]
PortRangeText = Annotated[
    str,
    PlainValidator(_read_port_range),
    WithJsonSchema({"type": "string", "examples": ["30000-32767"]}),
]
ServiceName = Annotated[
    tuple[str | None, str, str | None],
    PlainValidator(read_service),
    WithJsonSchema(
        {"type": "string", "examples": ["shop/web", "shop/web:https", "prod/shop/web:443"]}
    ),
]
Workers = Annotated[
    int | None,
    PlainValidator(_read_workers),
    WithJsonSchema(
        {"anyOf": [{"const": "auto"}, {"type": "integer", "minimum": 1, "maximum": MAX_WORKERS}]}
    ),
]
AdminListen = Annotated[
    Address | None,
    PlainValidator(_read_admin_listen),
    WithJsonSchema({"type": "string", "examples": ["127.0.0.1:9090", "[::1]:9090", "off"]}),
]

_Ip = Annotated[str, PlainValidator(read_ip)]
_Cidr = Annotated[str, PlainValidator(_read_cidr)]
_ListenIp = Annotated[str, PlainValidator(read_listen_ip)]
_FrontendAddress = Annotated[Address, PlainValidator(read_listen_address)]

Names = Annotated[
    Sequence[Name], BeforeValidator(only_list), AfterValidator(some_distinct), many_schema(_NAME)
]
PathTexts = Annotated[
    Sequence[PathText], BeforeValidator(as_list), AfterValidator(some_distinct), one_or_many(_TEXT)
]
Ips = Annotated[
    Sequence[_ListenIp], BeforeValidator(as_list), AfterValidator(some_distinct), one_or_many(_IP)
]
Cidrs = Annotated[
    Sequence[_Cidr],
    BeforeValidator(off_or_list),
    AfterValidator(distinct),
    one_or_many(_CIDR, off=True),
]
SourceIps = Annotated[
    Sequence[_Ip],
    BeforeValidator(off_or_list),
    AfterValidator(distinct),
    one_or_many(_IP, off=True),
]
Addresses = Annotated[
    Sequence[_FrontendAddress],
    BeforeValidator(as_list),
    AfterValidator(some_distinct),
    one_or_many(_ADDRESS),
]
