"""Every Service of a cluster, read once, for commands that ask about ports and end.

Unlike a source this needs no right but to list Services. What else would make an answer better
(namespaces, service CIDRs) is asked for too, and done without when it is refused.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from nplb.model.cluster import Service
from nplb.model.errors import ClusterError
from nplb.model.settings import KubernetesSource
from nplb.sources.book import Kind
from nplb.sources.decode import DecodeError, decode_service
from nplb.sources.kubernetes.faults import ApiFault
from nplb.sources.kubernetes.kubeconfig import find_access
from nplb.sources.kubernetes.pacing import Pacing
from nplb.sources.kubernetes.resources import SERVICES, Resource, Scope
from nplb.sources.kubernetes.session import Session, open_session

Raw = Mapping[str, Any]

# Nothing is decoded of these two, so their kind does not matter.
_NAMESPACES = Resource(kind=Kind.SERVICE, plural="namespaces", namespaced=False)
_SERVICE_CIDRS = Resource(
    kind=Kind.SERVICE, plural="servicecidrs", group="networking.k8s.io", namespaced=False
)
_GONE = 410


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterServices:
    """The Services of a cluster in the order of a list, decoded and raw.

    `namespaces` and `service_cidrs` are None where the API server did not tell; `warnings` are
    about Services that make no sense and are left out.
    """

    services: tuple[Service, ...]
    raws: tuple[Raw, ...] = field(default=(), repr=False)
    namespaces: frozenset[str] | None = None
    service_cidrs: tuple[str, ...] | None = None
    warnings: tuple[str, ...] = ()


async def read_services(
    source: KubernetesSource, *, cluster: str, pacing: Pacing | None = None
) -> ClusterServices:
    """The cluster's Services as they are now.

    Errors: as `source.list_cluster`.
    """
    pacing = pacing or Pacing()
    access = await asyncio.to_thread(find_access, source)
    session = await open_session(access, pacing)
    try:
        raws = await _list(session, Scope(resource=SERVICES), pacing.page_size)
        namespaces = await _try_list(session, Scope(resource=_NAMESPACES), pacing.page_size)
        cidrs = await _try_list(session, Scope(resource=_SERVICE_CIDRS), pacing.page_size)
    finally:
        await session.close()
    return sort_out(
        raws,
        cluster=cluster,
        namespaces=None if namespaces is None else frozenset(_names(namespaces)),
        service_cidrs=None if cidrs is None else tuple(_cidrs(cidrs)),
    )


def sort_out(
    raws: Sequence[Raw],
    *,
    cluster: str,
    namespaces: frozenset[str] | None = None,
    service_cidrs: tuple[str, ...] | None = None,
) -> ClusterServices:
    """Raw Services as `ClusterServices`: decoded, those that make no sense left out."""
    services: list[Service] = []
    kept: list[Raw] = []
    warnings: list[str] = []
    for raw in raws:
        try:
            services.append(decode_service(raw, cluster=cluster, warn=warnings.append))
        except DecodeError as error:
            warnings.append(f"left out: {error}")
        else:
            kept.append(raw)
    return ClusterServices(
        services=tuple(services),
        raws=tuple(kept),
        namespaces=namespaces,
        service_cidrs=service_cidrs,
        warnings=tuple(warnings),
    )


async def _list(session: Session, scope: Scope, page_size: int) -> list[Raw]:
    """Every object, in pages; in one piece when the pages grow too old meanwhile."""
    try:
        return await _pages(session, scope, {"limit": page_size})
    except ApiFault as fault:
        if fault.status != _GONE:
            raise
        return await _pages(session, scope, {})


async def _pages(session: Session, scope: Scope, query: dict[str, str | int]) -> list[Raw]:
    found: list[Raw] = []
    while True:
        page = await session.list_page(scope, query)
        found += page["items"]
        metadata = page["metadata"]
        token = metadata.get("continue") if isinstance(metadata, Mapping) else None
        if not token:
            return found
        query = {**query, "continue": token}


async def _try_list(session: Session, scope: Scope, page_size: int) -> list[Raw] | None:
    try:
        return await _list(session, scope, page_size)
    except ClusterError:
        return None


def _names(objects: Sequence[Raw]) -> list[str]:
    return [str(one["metadata"]["name"]) for one in objects if one.get("metadata", {}).get("name")]


def _cidrs(objects: Sequence[Raw]) -> list[str]:
    return [str(cidr) for one in objects for cidr in (one.get("spec") or {}).get("cidrs") or ()]
