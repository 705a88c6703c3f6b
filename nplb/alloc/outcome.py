"""How each port of a Service came by its number, told from before and after allocation."""

from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum

from nplb.alloc.scratch import FIRST_TOKEN, DrawSet, Scratch
from nplb.model.cluster import Service
from nplb.model.keys import Protocol


class Origin(StrEnum):
    """How a port comes by its number."""

    CHOSEN = "chosen"  # the Service asks for it
    DRAWN = "drawn"  # one of a set, which only the draw will tell
    SHARED = "shared"  # another port of the Service draws or asks for it
    KEPT = "kept"  # the Service has it already
    NONE = "none"  # it gets none


@dataclass(frozen=True, slots=True, kw_only=True)
class PortOutcome:
    """What one port, or the health check (`port` 0), would get.

    `node_port` is 0 when it is not known; then `drawn_from` is the set it would be drawn from.
    `drawn_from` is given as well when the set has one number only. `chance_taken` is about how
    likely it is that an earlier draw of the same batch has the number first.
    """

    name: str
    port: int
    protocol: Protocol
    origin: Origin
    node_port: int = 0
    drawn_from: DrawSet | None = None
    chance_taken: float = 0.0


def port_outcomes(
    asked: Service, old: Service | None, given: Service, scratch: Scratch
) -> tuple[PortOutcome, ...]:
    """One for each port of `given`. `asked` is the Service as it was sent, `old` the one it
    updates; `scratch` is what the numbers were taken from."""
    had = {p.node_port for p in old.ports} if old is not None else set()
    seen: set[int] = set()
    found: list[PortOutcome] = []
    for before, after in zip(asked.ports, given.ports, strict=True):
        number = after.node_port
        drawn = number in scratch.draws and number not in seen
        origin = _origin(before.node_port, number, had, drawn=drawn)
        seen.add(number)
        found.append(_outcome(after.name, after.port, after.protocol, origin, number, scratch))
    return tuple(found)


def health_check_outcome(
    asked: Service, old: Service | None, given: Service, scratch: Scratch
) -> PortOutcome | None:
    """The same for the health check's number; None if it has none."""
    number = given.health_check_node_port
    if not number:
        return None
    had = (old.health_check_node_port,) if old is not None else ()
    origin = _origin(asked.health_check_node_port, number, had, drawn=True)
    return _outcome("health check", 0, Protocol.TCP, origin, number, scratch)


def _origin(asked: int, number: int, had: Collection[int], *, drawn: bool) -> Origin:
    if not number:
        return Origin.NONE
    if number in had:
        return Origin.KEPT
    if asked:
        return Origin.CHOSEN
    return Origin.DRAWN if drawn else Origin.SHARED


def _outcome(
    name: str, port: int, protocol: Protocol, origin: Origin, number: int, scratch: Scratch
) -> PortOutcome:
    return PortOutcome(
        name=name,
        port=port,
        protocol=protocol,
        origin=origin,
        node_port=number if number < FIRST_TOKEN else 0,
        drawn_from=scratch.draws.get(number),
        chance_taken=scratch.chances.get(number, 0.0) if origin is Origin.CHOSEN else 0.0,
    )
