"""Which NodePorts the Services of manifests were given, kept over restarts.

A Service in a file that names no nodePort gets one as the API server would give it, and the same
one after a restart. One book for each cluster read from manifests. What is asked of it is a level,
not an event: `assign` is given all Services, and whoever is not among them has no number any more.

Numbers are given by one rule, never by chance or by the order of files alone:

1. a Service keeps what it has, as far as it still wants it;
2. then numbers that are asked for, in the order of the Services;
3. then draws, which leave alone what anybody asks for.
"""

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from nplb.alloc.allocator import PortAllocator
from nplb.alloc.bitmap import Dice
from nplb.alloc.errors import RangeFull, Refused
from nplb.alloc.portrange import PortRange
from nplb.alloc.services import begin_create, begin_update, carry_over
from nplb.model.cluster import Service, TrafficPolicy
from nplb.model.errors import HostError
from nplb.model.keys import ServiceKey
from nplb.sources.portfile import BookedService, read_book, write_book

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """A Service that can't have the numbers it asks for. `text` is what the API server would
    say to it."""

    service: ServiceKey
    refused: Refused

    @property
    def text(self) -> str:
        """The API server's message."""
        return self.refused.api_message("Service", self.service.name)


@dataclass(frozen=True, slots=True, kw_only=True)
class Assignment:
    """All Services with their numbers, in the order given. A refused one keeps the numbers that
    it had and still wants, and has none (0) elsewhere."""

    services: tuple[Service, ...]
    refused: tuple[Refusal, ...] = ()


class PortBook:
    """The numbers of one cluster's Services.

    `path` None keeps the book in memory only. Reading raises HostError when the file is there
    and can't be read, or is of a newer nplb; a damaged file is set aside and told in the log.
    `problem` says why the book could not be written last, and is empty while it could: the
    numbers hold all the same, and the next `assign` tries again.
    """

    def __init__(self, path: Path | None, port_range: PortRange, rng: Dice) -> None:
        self.path = path
        self.port_range = port_range
        self.problem = ""
        self._rng = rng
        self._booked: dict[tuple[str, str], BookedService] = {}
        self._unwritten = False
        if path is not None:
            self._booked = {(b.namespace, b.name): b for b in read_book(path)}

    @property
    def booked(self) -> tuple[BookedService, ...]:
        """What the book holds, sorted by namespace and name."""
        return tuple(self._booked[key] for key in sorted(self._booked))

    def assign(self, services: Sequence[Service]) -> Assignment:
        """Give every Service its numbers, forget those that are gone, and write the book if it
        changed."""
        refused: list[Refusal] = []
        given: dict[ServiceKey, Service] = {}
        allocator = _Sparing(self.port_range, self._rng, _asked_for(services))
        kept = {s.key: _keep(allocator, self._before(s), s) for s in services}
        for service in sorted(services, key=_turn):
            old = kept[service.key]
            try:
                if old is None:
                    change = begin_create(allocator, service)
                else:
                    change = begin_update(allocator, old, service)
            except Refused as error:
                refused.append(Refusal(service=service.key, refused=error))
                given[service.key] = _without_new_numbers(service, old)
            else:
                change.commit()
                given[service.key] = change.service
        self._write([given[s.key] for s in services])
        return Assignment(
            services=tuple(given[s.key] for s in services),
            refused=tuple(sorted(refused, key=lambda r: r.service)),
        )

    def _before(self, service: Service) -> Service | None:
        """The Service as the book has it: the old half of an update."""
        booked = self._booked.get((service.key.namespace, service.key.name))
        return booked.as_service(service.key) if booked is not None else None

    def _write(self, services: Iterable[Service]) -> None:
        booked = {
            (s.key.namespace, s.key.name): BookedService.of(s)
            for s in services
            if s.uses_node_ports
            and (s.health_check_node_port or any(port.node_port for port in s.ports))
        }
        if self.path is None or (booked == self._booked and not self._unwritten):
            self._booked = booked
            return
        self._booked = booked
        try:
            write_book(self.path, self.booked)
        except HostError as error:
            self._unwritten = True
            if str(error) != self.problem:
                log.error("%s", error)
            self.problem = str(error)
        else:
            self._unwritten = False
            self.problem = ""


class _Sparing(PortAllocator):
    """Draws leave alone the numbers that somebody asks for, as long as there are others."""

    __slots__ = ("_asked",)

    def __init__(self, port_range: PortRange, rng: Dice, asked: set[int]) -> None:
        super().__init__(port_range, rng)
        self._asked = asked

    def allocate_next(self) -> int:
        """Draw until the number is nobody's wish; fall back to one that is."""
        spared: list[int] = []
        try:
            while (number := super().allocate_next()) in self._asked:
                spared.append(number)
        except RangeFull:
            if not spared:
                raise
            number = spared.pop(0)
        finally:
            for other in spared:
                self.release(other)
        return number


def _asked_for(services: Iterable[Service]) -> set[int]:
    asked = {port.node_port for s in services for port in s.ports}
    asked.update(s.health_check_node_port for s in services)
    return asked - {0}


def _turn(service: Service) -> bool:
    """False sorts first: Services that ask for numbers come before those that only draw."""
    return not service.health_check_node_port and not any(p.node_port for p in service.ports)


def _keep(allocator: PortAllocator, old: Service | None, new: Service) -> Service | None:
    """Take what a known Service has and still wants. Returns it with those numbers only, as the
    old half of an update; None if nothing is left of it."""
    if old is None or not new.uses_node_ports:
        return None
    wanted = carry_over(old, new)
    still = {port.node_port for port in wanted.ports}
    taken = {
        number
        for number in {port.node_port for port in old.ports} - {0}
        if number in still and _free(allocator, number)
    }
    for number in taken:
        allocator.allocate(number)
    health_check = old.health_check_node_port
    if health_check and wanted.health_check_node_port == health_check:
        if _free(allocator, health_check):
            allocator.allocate(health_check)
        else:
            health_check = 0
    else:
        health_check = 0
    if not taken and not health_check:
        return None
    return replace(
        old,
        ports=tuple(p if p.node_port in taken else replace(p, node_port=0) for p in old.ports),
        health_check_node_port=health_check,
        # Without its number it needs none, so that the update takes one on the way in.
        external_traffic_policy=TrafficPolicy.LOCAL if health_check else TrafficPolicy.CLUSTER,
    )


def _free(allocator: PortAllocator, number: int) -> bool:
    return number in allocator.port_range and not allocator.has(number)


def _without_new_numbers(service: Service, kept: Service | None) -> Service:
    """A refused Service: what it keeps, and nothing else."""
    had = {port.node_port for port in kept.ports} if kept is not None else set()
    checked = kept.health_check_node_port if kept is not None else 0
    bare = replace(
        service,
        ports=tuple(
            port if port.node_port in had else replace(port, node_port=0) for port in service.ports
        ),
        health_check_node_port=checked,
    )
    return carry_over(kept, bare) if kept is not None else bare
