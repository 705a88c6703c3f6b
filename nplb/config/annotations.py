"""Reads the annotations `nplb.io/…` of Services as entries of `frontends`.

An annotation is a key of such an entry, with `-` for `_`: `nplb.io/send-proxy: v2`,
`nplb.io/timeouts.idle: 5m`. Its value is read by the same reader, within the same bounds. A list
is written with commas. What says where this host listens (`listen`, `plane`, ...) is not for
Services to say; in its place `nplb.io/edge-port` asks for a port among those that the file sets
aside. The file decides which names are honoured.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from pydantic import ValidationError

from nplb.alloc.portrange import parse_port_range
from nplb.config.annotationkeys import EDGE_PORT, NAMES, PATHS
from nplb.config.build import build_frontend
from nplb.config.connections import FrontendSection
from nplb.config.keys import message_of
from nplb.config.scalars import TOO_LONG, resolve
from nplb.config.words import did_you_mean, listed, shown
from nplb.model.annotations import Wish
from nplb.model.cluster import Service, ServicePort
from nplb.model.kernel import PlaneKind
from nplb.model.keys import FrontendKey
from nplb.model.refusal import PREFIX
from nplb.model.settings import FrontendSettings, Settings
from nplb.policy.kernel import unsupported_balance, unsupported_options

# Whom the file admits in general, no Service admits otherwise.
_CLIENTS: Final = frozenset({"source-ranges", "denied-ranges"})
# What a Node may be annotated with, which is no business of a Service.
_OF_NODES: Final = frozenset({"weight"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What some annotations of one Service mean; `refused` says of each that is not honoured
    why, `forbidden` names those of them that the file does not allow, whatever their value."""

    wish: Wish
    refused: Mapping[str, str] = field(default_factory=dict)
    forbidden: frozenset[str] = frozenset()


def annotated(service: Service) -> dict[str, str]:
    """A Service's annotations for nplb, by their names without the prefix."""
    return {
        name.removeprefix(PREFIX): text
        for name, text in service.annotations.items()
        if name.startswith(PREFIX)
    }


class AnnotationReader:
    """Reads annotations under one configuration. Pure: the same texts mean the same."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._allowed = frozenset(
            name
            for name in NAMES
            for word in settings.annotations.allow
            if name == word or name.startswith(f"{word}.")
        )
        self._ranges = [parse_port_range(text) for text in settings.annotations.ports]

    def read(self, service: Service, texts: Mapping[str, str]) -> Reading:
        """What these annotations mean for a Service; each is judged by itself first, and then
        together with the others."""
        refused: dict[str, str] = {}
        forbidden: set[str] = set()
        given: dict[str, Any] = {}
        names: list[str] = []
        ports: Mapping[FrontendKey, int] = {}
        for name in sorted(texts):
            why = self._forbids(name)
            if why is not None:
                refused[name] = why
                forbidden.add(name)
                continue
            try:
                if name == EDGE_PORT:
                    ports = self._ports(service, texts[name])
                    continue
                path = PATHS[name]
                value = _value(texts[name])
                _check(path, value)
            except ValueError as error:
                refused[name] = str(error)
                continue
            _put(given, path, value)
            names.append(name)
        options = self._options(service, given) if given else None
        while options is not None:
            misfits = self._misfits(service, options, names)
            if not misfits:
                break
            refused |= misfits
            names = [name for name in names if name not in misfits]
            given = {}
            for name in names:
                _put(given, PATHS[name], _value(texts[name]))
            options = self._options(service, given) if given else None
        return Reading(
            wish=Wish(options=options, ports=ports),
            refused=refused,
            forbidden=frozenset(forbidden),
        )

    def _forbids(self, name: str) -> str | None:
        """Why an annotation of this name is not honoured whatever it says."""
        if name in self._allowed:
            if name in _CLIENTS and self._settings.relay.limits_sources:
                return "the edge's configuration says which clients are admitted, in general"
            return None
        if name in NAMES:
            allowed = ", ".join(self._settings.annotations.allow) or "nothing"
            return f"the edge's configuration (annotations.allow) allows {allowed}"
        if name in _OF_NODES:
            return "this is an annotation for Nodes"
        guess = did_you_mean(name, NAMES)
        return "there is no such annotation" + (f", did you mean {PREFIX}{guess}?" if guess else "")

    def _options(self, service: Service, given: Mapping[str, Any]) -> FrontendSettings:
        section = FrontendSection.model_validate({"service": service.key.short, **given})
        general = self._settings
        return build_frontend(
            section, {}, general.timeouts, general.relay, general.kernel, general.health
        )

    # -- ports on the edge --------------------------------------------------------------------

    def _ports(self, service: Service, text: str) -> Mapping[FrontendKey, int]:
        """The port for each port of the Service that the text names: `443` for an only one,
        `http=80,https=443` (by name or number) for several. Errors: ValueError."""
        found: dict[FrontendKey, int] = {}
        for part in (part.strip() for part in text.split(",")):
            name, equals, number = part.rpartition("=")
            port = _named(service, name.strip()) if equals else _only(service)
            key = FrontendKey(service.key, port.port, port.protocol)
            if key in found:
                raise ValueError(f"it names the port {name or number} twice")
            found[key] = self._number(number.strip())
        taken = [key.protocol for key in found if list(found.values()).count(found[key]) > 1]
        if len(taken) > len(set(taken)):
            raise ValueError("it gives two ports of the Service the same one")
        return found

    def _number(self, text: str) -> int:
        if not (text.isascii() and text.isdigit() and len(text) <= 5 and 1 <= int(text) <= 65535):
            raise ValueError(f"{shown(text)} is not a port, which is a number from 1 to 65535")
        number = int(text)
        if not any(number in span for span in self._ranges):
            aside = ", ".join(self._settings.annotations.ports) or "none"
            raise ValueError(f"the edge's ports for annotations (annotations.ports) are: {aside}")
        return number

    # -- what does not fit together -----------------------------------------------------------

    def _misfits(
        self, service: Service, options: FrontendSettings, names: list[str]
    ) -> dict[str, str]:
        """Annotations that are right by themselves and can't be honoured."""
        if not self._is_on_kernel(service):
            return {}
        faults = list(unsupported_options(options.relay)) if options.relay is not None else []
        if options.balance is not None:
            faults += unsupported_balance(options.balance)
        found = {fault.key.replace("_", "-"): fault.why for fault in faults}
        return {name: why for name, why in found.items() if name in names}

    def _is_on_kernel(self, service: Service) -> bool:
        """Whether the file has the kernel plane serve the Service, or one port of it."""
        planes = [
            entry.plane
            for entry in self._settings.frontends
            if entry.plane is not None
            and entry.service == service.key.short
            and entry.cluster in (None, service.key.cluster)
        ]
        return PlaneKind.KERNEL in (planes or [self._settings.plane])


def _only(service: Service) -> ServicePort:
    if len(service.ports) == 1:
        return service.ports[0]
    example = ",".join(f"{port.name or port.port}=NUMBER" for port in service.ports)
    raise ValueError(f"the Service has {len(service.ports)} ports, write {example}")


def _named(service: Service, name: str) -> ServicePort:
    for port in service.ports:
        if name in (port.name, str(port.port)):
            return port
    known = listed([shown(port.name or str(port.port)) for port in service.ports])
    raise ValueError(f"the Service has no port {shown(name)}, it has {known}")


def _value(text: str) -> Any:
    """A value as the file would have it: a number, true or false, a text, or a list of them."""
    if "," in text:
        return [_value(part) for part in text.split(",") if part.strip()]
    value = resolve(text.strip())
    return text if value is TOO_LONG else value


def _check(path: tuple[str, ...], value: Any) -> None:
    """Errors: ValueError with what is wrong with the value and what to do."""
    given: dict[str, Any] = {"service": "a/b"}
    _put(given, path, value)
    try:
        FrontendSection.model_validate(given)
    except ValidationError as error:
        details = error.errors(include_url=False, include_input=False)
        raise ValueError(message_of(details[0])) from None


def _put(given: dict[str, Any], path: tuple[str, ...], value: Any) -> None:
    for name in path[:-1]:
        given = given.setdefault(name, {})
    given[path[-1]] = value
