"""The port book's file: written whole and safely, checked when it is read.

One JSON object: a version, a checksum, and the Services with their numbers. It is written to a
temporary file beside it, synced, renamed over the old one, and the directory is synced, so that a
crash at any moment leaves the old book or the new one. What is damaged all the same (a disk, a
hand) is renamed to `NAME.damaged`, told in the log, and a new book is begun.
"""

import contextlib
import hashlib
import json
import logging
import os
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from nplb.model.cluster import Service, ServicePort, ServiceType, TrafficPolicy
from nplb.model.errors import HostError, HostPermissionError
from nplb.model.keys import Protocol, ServiceKey

log = logging.getLogger(__name__)

VERSION = 1
STALE_SECONDS = 3600.0
"""A temporary file that is older than this was left behind by a crash."""


class DamagedBook(Exception):
    """What is in the file is not a port book that nplb has written; the text says why."""


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


def read_book(path: Path) -> list[BookedService]:
    """The book at `path`; empty if there is none, or if it was damaged and set aside.

    Raises HostError when the file is there and can't be read, or was written by a newer nplb:
    going on would give other numbers to Services that are in use.
    """
    _remove_leftovers(path)
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return []
    except PermissionError as error:
        raise HostPermissionError(
            f"{path}: may not be read ({error.strerror}); give the user that runs nplb access to "
            "it and its directory"
        ) from error
    except OSError as error:
        raise HostError(
            f"{path}: can't be read: {error.strerror}; it must be a file that nplb has written"
        ) from error
    try:
        return _decode(data, path)
    except DamagedBook as damage:
        aside = path.with_name(path.name + ".damaged")
        try:
            path.replace(aside)
        except OSError as error:
            raise HostError(
                f"{path}: is damaged ({damage}) and can't be set aside: {error.strerror}; move it "
                "away by hand"
            ) from error
        log.error(
            "%s: is damaged (%s); it is now %s, and Services without nodePort get new ones",
            path, damage, aside.name,
        )  # fmt: skip
        return []


def write_book(path: Path, services: Sequence[BookedService]) -> None:
    """Replace the book. Raises HostError, and then the old one is still there."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
        temporary = Path(name)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(encode(services))
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
    except OSError as error:
        raise HostError(
            f"{path}: can't be written: {error.strerror}; the numbers hold until nplb ends, then "
            "Services without nodePort may get others: make room, or give it a writable "
            "directory (`state_dir`)"
        ) from error


def encode(services: Sequence[BookedService]) -> bytes:
    """The file's content."""
    book = [asdict(service) for service in services]
    text = json.dumps(
        {"nplb_port_book": VERSION, "sha256": _checksum(book), "services": book}, indent=1
    )
    return text.encode() + b"\n"


def _decode(data: bytes, path: Path) -> list[BookedService]:
    try:
        content = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise DamagedBook(f"it is not JSON: {error}") from error
    version = content.get("nplb_port_book") if isinstance(content, dict) else None
    if isinstance(version, int) and version > VERSION:
        raise HostError(
            f"{path}: was written by a newer nplb (version {version} of the format, this one "
            f"knows {VERSION}); upgrade nplb, or move the file away to begin a new book"
        )
    if version != VERSION or not isinstance(content.get("services"), list):
        raise DamagedBook("it is not a port book")
    if content.get("sha256") != _checksum(content["services"]):
        raise DamagedBook("its checksum is wrong")
    try:
        return [_service(raw) for raw in content["services"]]
    except (KeyError, TypeError, ValueError) as error:
        raise DamagedBook(f"an entry makes no sense: {error!r}") from error


def _service(raw: dict[str, Any]) -> BookedService:
    ports = tuple(BookedPort(**port) for port in raw["ports"])
    service = BookedService(**{**raw, "ports": ports})
    for port in ports:
        Protocol(port.protocol)
    return service


def _checksum(book: list[dict[str, Any]]) -> str:
    canonical = json.dumps(book, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()


def _remove_leftovers(path: Path) -> None:
    """Temporary files of writers that were killed; a young one may be somebody's work."""
    with contextlib.suppress(OSError):
        for leftover in path.parent.glob(f".{path.name}.*.tmp"):
            if time.time() - leftover.stat().st_mtime > STALE_SECONDS:
                leftover.unlink()
