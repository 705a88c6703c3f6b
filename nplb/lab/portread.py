"""Reads one cluster now, for what its API server would answer: its ledger and its raw Services."""

import asyncio
import random
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from nplb.alloc.ledger import Ledger
from nplb.alloc.portrange import parse_port_range
from nplb.alloc.services import carry_over
from nplb.lab.portfiles import RawService, read_raw_services
from nplb.model.cluster import Service, Snapshot
from nplb.model.errors import ClusterError
from nplb.model.settings import ClusterSettings, KubernetesSource, ManifestsSource
from nplb.sources.kubernetes.services import ClusterServices, read_services, sort_out
from nplb.sources.manifests.source import open_book


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadCluster:
    """One cluster, read now: its ledger and its Services as the API has them."""

    ledger: Ledger
    found: ClusterServices
    notes: tuple[str, ...] = field(default_factory=tuple)


async def read_cluster(
    settings: ClusterSettings,
    state_dir: Path | None,
    *,
    known: Iterable[Service] = (),
    timeout_seconds: float = 30.0,
) -> ReadCluster:
    """Read a cluster whole: also what the configuration leaves out is a Service that holds
    numbers. `known` are Services whose numbers are known already, for manifests without any.

    Raises ClusterError, also when it takes too long.
    """
    try:
        async with asyncio.timeout(timeout_seconds):
            return await _read(settings, state_dir, known)
    except TimeoutError:
        raise ClusterError(
            f"cluster {settings.name}: was not read within {timeout_seconds:g} s"
        ) from None


async def _read(
    settings: ClusterSettings, state_dir: Path | None, known: Iterable[Service]
) -> ReadCluster:
    notes: tuple[str, ...] = ()
    if isinstance(settings.source, KubernetesSource):
        found = await read_services(settings.source, cluster=settings.name)
    else:
        found, notes = await asyncio.to_thread(_from_files, settings, state_dir, tuple(known))
    ledger = Ledger(settings.name, parse_port_range(settings.port_range))
    now = time.time()
    ledger.observe(Snapshot(cluster=settings.name, taken_at=now, services=found.services), now)
    return ReadCluster(ledger=ledger, found=found, notes=(*notes, *found.warnings))


def _from_files(
    settings: ClusterSettings, state_dir: Path | None, known: tuple[Service, ...]
) -> tuple[ClusterServices, tuple[str, ...]]:
    """A cluster out of manifests. A Service without nodePort has the number that the port book
    in `state_dir` gave it, or the one that is known, and else one that is not known yet."""
    assert isinstance(settings.source, ManifestsSource)
    files = read_raw_services(settings.source.paths)
    booked = {
        (b.namespace, b.name): b for b in open_book(settings, state_dir, random.Random()).booked
    }
    numbered = {one.key: one for one in known}
    found = sort_out([_placed(one) for one in files.services], cluster=settings.name)
    services: list[Service] = []
    raws: list[Mapping[str, Any]] = []
    unknown = 0
    for service, raw in zip(found.services, found.raws, strict=True):
        entry = booked.get((service.key.namespace, service.key.name))
        had = numbered.get(service.key) or (entry.as_service(service.key) if entry else None)
        if had is not None:
            service = carry_over(had, service)
            raw = _numbered(raw, service)
        unknown += service.uses_node_ports and not all(p.node_port for p in service.ports)
        services.append(service)
        raws.append(raw)
    notes = []
    if unknown:
        counted = f"{unknown:,} Service{'' if unknown == 1 else 's'}"
        notes.append(
            f"{counted} of the manifests without nodePort: the numbers drawn for them are not "
            "known, and show as free"
        )
    return replace(found, services=tuple(services), raws=tuple(raws)), tuple(notes)


def _placed(one: RawService) -> dict[str, Any]:
    """The object, in the namespace `default` unless it says another, as kubectl puts it."""
    metadata = one.value.get("metadata")
    if not isinstance(metadata, dict):
        return one.value
    return {**one.value, "metadata": {**metadata, "namespace": one.namespace or "default"}}


def _numbered(raw: Mapping[str, Any], service: Service) -> dict[str, Any]:
    """A raw Service with the numbers that it has."""
    if len(raw["spec"]["ports"]) != len(service.ports):
        return dict(raw)  # a port that can't be decoded was left out
    ports = zip(raw["spec"]["ports"], service.ports, strict=True)
    spec = {**raw["spec"], "ports": [{**sent, "nodePort": p.node_port} for sent, p in ports]}
    if service.health_check_node_port:
        spec["healthCheckNodePort"] = service.health_check_node_port
    return {**raw, "spec": spec}
