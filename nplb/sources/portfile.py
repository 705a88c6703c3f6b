"""The port book's file: the Services of one cluster's manifests, with their numbers."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from nplb.disk.statefile import StateFile
from nplb.model.cluster import Service, ServicePort, ServiceType, TrafficPolicy
from nplb.model.keys import Protocol, ServiceKey

VERSION = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class BookedPort:
    """One port of a Service and its number."""

    name: str
    port: int
    protocol: str
    node_port: int


@dataclass(frozen=True, slots=True, kw_only=True)
class BookedService:
    """One Service and its numbers."""

    namespace: str
    name: str
    ports: tuple[BookedPort, ...]
    health_check_node_port: int = 0

    @classmethod
    def of(cls, service: Service) -> "BookedService":
        """What the book keeps of a Service."""
        return cls(
            namespace=service.key.namespace,
            name=service.key.name,
            ports=tuple(
                BookedPort(
                    name=p.name, port=p.port, protocol=p.protocol.value, node_port=p.node_port
                )
                for p in service.ports
            ),
            health_check_node_port=service.health_check_node_port,
        )

    def as_service(self, key: ServiceKey) -> Service:
        """The Service that the book remembers, as far as numbers go."""
        local = bool(self.health_check_node_port)
        return Service(
            key=key,
            type=ServiceType.LOAD_BALANCER if local else ServiceType.NODE_PORT,
            external_traffic_policy=TrafficPolicy.LOCAL if local else TrafficPolicy.CLUSTER,
            ports=tuple(
                ServicePort(
                    name=p.name, port=p.port, protocol=Protocol(p.protocol), node_port=p.node_port
                )
                for p in self.ports
            ),
            health_check_node_port=self.health_check_node_port,
        )


def _file(path: Path) -> StateFile:
    return StateFile(
        path=path,
        kind="port book",
        version=VERSION,
        loss="Services without nodePort get new ones",
    )


def read_book(path: Path) -> list[BookedService]:
    """The book at `path`; empty if there is none, or if it was damaged and set aside.

    Raises HostError when the file is there and can't be read, or was written by a newer nplb:
    going on would give other numbers to Services that are in use.
    """
    return _file(path).read(lambda content: [_service(raw) for raw in content]) or []


def write_book(path: Path, services: Sequence[BookedService]) -> None:
    """Replace the book. Raises HostError, and then the old one is still there."""
    _file(path).write([asdict(service) for service in services])


def encode(services: Sequence[BookedService]) -> bytes:
    """The file's content."""
    return _file(Path()).encode([asdict(service) for service in services])


def _service(raw: dict[str, Any]) -> BookedService:
    ports = tuple(BookedPort(**port) for port in raw["ports"])
    service = BookedService(**{**raw, "ports": ports})
    for port in ports:
        Protocol(port.protocol)
    return service
