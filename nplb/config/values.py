"""Values as operators write them: durations, sizes, addresses, names. Each reader raises
ValueError with what is wrong and what to do."""

import ipaddress
import re
from typing import Final

from nplb.config.words import shown
from nplb.model.keys import Address

_UNITS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_DURATION_PART = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|s|m|h|d)", re.ASCII)
DURATION_PATTERN: Final = r"^([0-9]+(\.[0-9]+)?(ms|s|m|h|d))+$"

# As the kernel takes it, but for what would look like something else.
_INTERFACE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.@-]{0,14}", re.ASCII)
_LABEL = re.compile(r"[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?", re.ASCII)
_PORT_NAME = re.compile(r"[a-z0-9](?:[-a-z0-9]*[a-z0-9])?", re.ASCII)


def read_duration(value: object) -> float:
    """Seconds, of `200ms`, `5s`, `1m30s`, `1h`, `1d`."""
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        raise ValueError(f"must be a duration such as 5s or 200ms, not {kind_of(value)}")
    if not isinstance(value, str) or re.fullmatch(r"[0-9]+(\.[0-9]+)?", value, re.ASCII):
        raise ValueError(f"{value} has no unit, write {value}s or {value}ms")
    parts = _DURATION_PART.findall(value)
    if not parts or "".join(number + unit for number, unit in parts) != value:
        raise ValueError(f"{shown(value)} is not a duration, write it as 5s, 200ms, 1m30s or 1h")
    units = [unit for _, unit in parts]
    if units != sorted(set(units), key=lambda unit: -_UNITS[unit]):
        raise ValueError(f"{shown(value)} names its units out of order, write it as 1h30m")
    return sum(float(number) * _UNITS[unit] for number, unit in parts)


def show_duration(seconds: float) -> str:
    """Seconds, to the millisecond, as `read_duration` takes them."""
    left = round(seconds * 1000)
    text = ""
    for unit, size in (("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)):
        count, left = divmod(left, size)
        text += f"{count}{unit}" if count else ""
    return text or "0s"


def read_ip(value: object, *, interfaces: bool = False) -> str:
    """An IP address in its shortest form; `interfaces` admits `%eth0`, the addresses of an
    interface."""
    if not isinstance(value, str):
        raise ValueError(f"must be an IP address, not {kind_of(value)}")
    if interfaces and value.startswith("%"):
        if not _INTERFACE.fullmatch(value[1:]):
            raise ValueError(f'{shown(value)} is no interface, which is written "%eth0"')
        return value
    text = value[1:-1] if value.startswith("[") and value.endswith("]") else value
    if text == "*":
        raise ValueError('"*" is not an IP address, write "0.0.0.0", "::", or both')
    if "%" in text:
        raise ValueError(f"{shown(value)} names a zone (%...), which is not supported")
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        if re.fullmatch(r"[0-9.]+:[0-9]+|\[.*\]:[0-9]+", value):
            raise ValueError(f"{shown(value)} has a port, write the address alone") from None
        hint = "write an address of this host, or 0.0.0.0 or :: for all"
        raise ValueError(f"{shown(value)} is not an IP address, {hint}") from None


def read_listen_ip(value: object) -> str:
    """An IP address to listen on, or `%eth0` for those of an interface."""
    return read_ip(value, interfaces=True)


def read_listen_address(value: object) -> Address:
    """The same with a port: `192.0.2.1:443`, `[2001:db8::1]:443` or `%eth0:443`."""
    return read_address(value, interfaces=True)


def read_address(value: object, *, any_port: bool = False, interfaces: bool = False) -> Address:
    """An IP address and a port, of `192.0.2.1:443` or `[2001:db8::1]:443`. `any_port` admits
    port 0, which lets the system choose one; `interfaces` admits `%eth0:443`."""
    if isinstance(value, int) and not isinstance(value, bool):
        raise ValueError(f'{value} has no address, write "0.0.0.0:{value}" for all addresses')
    if not isinstance(value, str):
        raise ValueError(f'must be an address such as "0.0.0.0:443", not {kind_of(value)}')
    host, colon, port = value.rpartition(":")
    if not colon or (":" in host and not host.startswith("[")) or host == "[" or value[-1] == "]":
        if value.count(":") > 1:
            raise ValueError(f'{shown(value)} is not address:port, write IPv6 as "[::1]:443"')
        raise ValueError(f'{shown(value)} has no port, write it as "{value}:443"')
    if not host or host == "*":
        raise ValueError(
            f'{shown(value)} has no address, write "0.0.0.0:{port}" or "[::]:{port}" for all'
        )
    if ":" not in host and host.startswith("["):
        raise ValueError(f"{shown(value)} is not address:port, brackets are for IPv6 alone")
    return Address(read_ip(host, interfaces=interfaces), _read_port(port, any_port=any_port))


def _read_port(text: str, *, any_port: bool) -> int:
    if not re.fullmatch(r"[0-9]{1,5}", text, re.ASCII) or int(text) > 65535:
        raise ValueError(f"{shown(text)} is not a port, which is a number from 1 to 65535")
    if not int(text) and not any_port:
        raise ValueError("port 0 is no port that clients could know, write one from 1 to 65535")
    return int(text)


def read_label(value: object) -> str:
    """A DNS label, as names of clusters and namespaces are (RFC 1123)."""
    if not isinstance(value, str):
        raise ValueError(f"must be a name, not {kind_of(value)}")
    if not _LABEL.fullmatch(value):
        rule = "up to 63 of a-z, 0-9 and '-', not '-' at an end"
        raise ValueError(f"{shown(value)} is not a name here, which is {rule}")
    return value


def read_service(value: object) -> tuple[str | None, str, str | None]:
    """Cluster (or None), `namespace/name` and port (name, number, or None), of
    `[cluster/]namespace/name[:port]`."""
    form = "[cluster/]namespace/name[:port]"
    if not isinstance(value, str):
        raise ValueError(f"must be a service, written {form}, not {kind_of(value)}")
    names, colon, port = value.partition(":")
    parts = names.split("/")
    if len(parts) == 1:
        raise ValueError(f"{shown(value)} has no namespace, write it as default/{value}")
    if len(parts) > 3:
        raise ValueError(f"{shown(value)} has too many parts, write it as {form}")
    for part in parts:
        if not _LABEL.fullmatch(part):
            raise ValueError(f"{shown(part)} in {shown(value)} is not a name, write {form}")
    if colon and not _is_port(port):
        raise ValueError(f"{shown(port)} in {shown(value)} is not a port's name or number")
    cluster = parts[0] if len(parts) == 3 else None
    return cluster, "/".join(parts[-2:]), port if colon else None


def _is_port(text: str) -> bool:
    if text.isascii() and text.isdigit():
        return len(text) <= 5 and 1 <= int(text) <= 65535
    return len(text) <= 63 and _PORT_NAME.fullmatch(text) is not None


def kind_of(value: object) -> str:
    """What kind of YAML value this is, for a message."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return f"the number {value}"
    if isinstance(value, str):
        return f"the text {shown(value)}" if value else "an empty text"
    return "a list" if isinstance(value, list) else "a mapping"
