"""Pools: Services of several clusters behind one frontend, each with its share of the clients.

A member is planned as any Service of its cluster is, with that cluster's nodes, endpoints,
verdicts and cap. The pool's frontend then has the backends of all of them: whatever happens to
one cluster changes its own backends alone. A member's weight is spread over its nodes, so that
shares do not depend on how many nodes a cluster has; a cluster of which nodes are down gets less.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import gcd

from nplb.model.cluster import Service, ServicePort
from nplb.model.kernel import PlaneKind
from nplb.model.keys import POOL, Address, BackendKey, FrontendKey, Protocol, ServiceKey
from nplb.model.plan import Backend, Frontend, LeftOut, Skipped
from nplb.model.reasons import BackendState, SkipReason
from nplb.model.settings import (
    ClusterSettings,
    ManifestsSource,
    PoolMember,
    PoolSettings,
    Settings,
)
from nplb.plan.candidates import Candidate
from nplb.plan.overrides import overrides_for

# How finely a member's weight is spread over its nodes.
_FINENESS = 1000
_NOWHERE = ClusterSettings(name=POOL, source=ManifestsSource(paths=()))


@dataclass(frozen=True, slots=True, kw_only=True)
class Pools:
    """The candidates without those that belong to pools, but with the pools themselves; the
    members of each pool with their weights; and the members that can't be one."""

    candidates: list[Candidate]
    members: Mapping[FrontendKey, list[tuple[Candidate, int]]]
    skipped: list[Skipped]


def gather_pools(settings: Settings, candidates: list[Candidate]) -> Pools:
    """Which candidates are members of which pool."""
    if not settings.pools:
        return Pools(candidates=candidates, members={}, skipped=[])
    members: dict[FrontendKey, list[tuple[Candidate, int]]] = {}
    skipped: list[Skipped] = []
    taken: set[FrontendKey] = set()
    pools: list[Candidate] = []
    for pool in settings.pools:
        own = _pool_candidate(settings, pool)
        pools.append(own)
        mine = members[own.key] = []
        limits = (own.override.relay or settings.relay).limits_sources
        for candidate in candidates:
            weight = _weight_of(pool, candidate)
            if weight is None or candidate.key in taken:
                continue
            taken.add(candidate.key)
            why = _unfit(candidate, limits=limits)
            if why is None:
                mine.append((candidate, weight))
            else:
                skipped.append(Skipped(key=candidate.key, reason=why[0], detail=why[1]))
        mine.sort(key=lambda member: member[0].key)
    return Pools(
        candidates=[*(c for c in candidates if c.key not in taken), *pools],
        members=members,
        skipped=skipped,
    )


def pool_key(pool: PoolSettings) -> FrontendKey:
    """The key of a pool's frontend: `pool/namespace/name` and the port that it listens on."""
    namespace, _, name = pool.name.partition("/")
    return FrontendKey(ServiceKey(POOL, namespace, name), pool.listen[0].port)


def names_member(member: PoolMember, service: Service, port: ServicePort) -> bool:
    """Whether a member of a pool means this port of this Service."""
    if member.service != service.key.short or member.cluster not in (None, service.key.cluster):
        return False
    if member.port is None:
        return port == service.ports[0]
    return member.port in (port.name, str(port.port))


def _weight_of(pool: PoolSettings, candidate: Candidate) -> int | None:
    for member in pool.members:
        if names_member(member, candidate.service, candidate.port):
            return member.weight
    return None


def _unfit(candidate: Candidate, *, limits: bool) -> tuple[SkipReason, str] | None:
    if candidate.key.protocol is not Protocol.TCP:
        return SkipReason.PROTOCOL, f"pools carry TCP, this port is {candidate.key.protocol}"
    if candidate.service.source_ranges and not limits:
        # Rather nobody than everybody: the pool's clients are not told apart by cluster.
        detail = "its loadBalancerSourceRanges can't hold in a pool, write source_ranges for that"
        return SkipReason.SOURCE_RANGES, detail
    return None


def _pool_candidate(settings: Settings, pool: PoolSettings) -> Candidate:
    key = pool_key(pool)
    port = ServicePort(port=key.port)
    service = Service(key=key.service, ports=(port,))
    return Candidate(
        key=key,
        cluster=_NOWHERE,
        service=service,
        port=port,
        listen=pool.listen,
        pinned=True,
        override=overrides_for(settings.frontends, service, port),
    )


def make_pool(
    settings: Settings,
    candidate: Candidate,
    members: Sequence[tuple[Frontend, int]],
    previous: Frontend | None,
) -> Frontend:
    """A pool's frontend, of those of its members with their weights. It is the relay's: the
    kernel plane sends all clients of a frontend to one port of every node."""
    override = candidate.override
    earlier = {(b.key.node, b.key.address): b for b in previous.backends} if previous else {}
    backends: list[Backend] = []
    left_out: list[LeftOut] = []
    for member, weights in zip(members, _weights(members), strict=True):
        cluster = member[0].key.service.cluster
        for backend, weight in zip(member[0].backends, weights, strict=True):
            backends.append(_backend(candidate.key, cluster, backend, weight, earlier))
        left_out += [replace(left, node=f"{cluster}/{left.node}") for left in member[0].left_out]
    frontend = Frontend(
        key=previous.key if previous is not None else candidate.key,
        node_port=members[0][0].node_port if members else 0,
        listen=candidate.listen,
        balance=override.balance or settings.balance,
        timeouts=override.timeouts or settings.timeouts,
        connect_attempts=override.connect_attempts or settings.connect_attempts,
        relay=override.relay or settings.relay,
        plane=PlaneKind.RELAY,
        kernel=override.kernel or settings.kernel,
        backends=tuple(backends),
        left_out=tuple(left_out),
        panic=any(member.panic for member, _ in members),
    )
    return previous if previous == frontend and previous is not None else frontend


def _backend(
    key: FrontendKey,
    cluster: str,
    backend: Backend,
    weight: int,
    earlier: Mapping[tuple[str, Address], Backend],
) -> Backend:
    """A member's backend as the pool's, named by its cluster too; that of before if it holds."""
    node = f"{cluster}/{backend.key.node}"
    before = earlier.get((node, backend.key.address))
    own = before.key if before is not None else BackendKey(key, node, backend.key.address)
    new = replace(backend, key=own, weight=weight)
    return before if before is not None and before == new else new


def _weights(members: Sequence[tuple[Frontend, int]]) -> list[list[int]]:
    """The weights of each member's backends. Only nodes that may serve by the API's word share
    a member's weight; probes do not change weights."""
    found: list[list[int]] = []
    for frontend, share in members:
        total = sum(b.weight for b in frontend.backends if b.state is not BackendState.DRAINING)
        found.append(
            [
                max(1, round(_FINENESS * share * backend.weight / max(total, 1)))
                for backend in frontend.backends
            ]
        )
    common = gcd(*(weight for weights in found for weight in weights)) or 1
    return [[weight // common for weight in weights] for weights in found]
