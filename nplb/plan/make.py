"""`make_plan`: all frontends and backends as they should be, each with its reason."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from nplb.model.annotations import Wishes
from nplb.model.cluster import Snapshot
from nplb.model.drain import ManualDrain
from nplb.model.keys import Address
from nplb.model.plan import Frontend, Plan, Pooled, Skipped
from nplb.model.reasons import SkipReason
from nplb.model.refusal import Refusal
from nplb.model.settings import Settings
from nplb.model.verdict import Verdict
from nplb.plan.candidates import Candidate, find_candidates
from nplb.plan.frontend import Probed, make_frontend
from nplb.plan.memo import Memo
from nplb.plan.pools import gather_pools, make_pool
from nplb.plan.ports import assign_ports
from nplb.plan.quota import within_quota
from nplb.plan.spread import nodes_limit
from nplb.plan.view import ClusterView
from nplb.policy.evidence import NodeEvidence

NO_WISHES = Wishes()


def make_plan(
    settings: Settings,
    snapshots: Mapping[str, Snapshot],
    verdicts: Mapping[Address, Verdict],
    previous: Plan,
    now: float,
    *,
    drains: Sequence[ManualDrain] = (),
    wishes: Wishes = NO_WISHES,
    memo: Memo | None = None,
) -> Plan:
    """The plan that these inputs give.

    `snapshots` is keyed by cluster name; a configured cluster without one contributes
    nothing yet. `previous` gives what must outlive a pass: since when a backend is as it is,
    and the generation, which grows only when the content changes. `now` is epoch seconds.
    `drains` are nodes taken out by hand, `wishes` what annotations of Services ask for.
    `memo` makes it quicker and changes nothing of it.
    """
    memo = Memo() if memo is None else memo
    memo.begin(settings, drains, verdicts, previous)
    before = {frontend.key: frontend for frontend in previous.frontends}
    candidates: list[Candidate] = []
    skipped: list[Skipped] = []
    for cluster in sorted(settings.clusters, key=lambda c: c.name):
        snapshot = snapshots.get(cluster.name)
        if snapshot is not None:
            found, left = find_candidates(
                settings, cluster, snapshot, wishes.by_service, memo.services(cluster.name)
            )
            candidates += found
            skipped += left

    pools = gather_pools(settings, candidates)
    served, over = within_quota(pools.candidates, settings.frontends_per_namespace, before)
    skipped += (*pools.skipped, *over)
    ports = memo.ports(served)
    if ports is None:
        ports = assign_ports(settings, served, before, wishes.held, snapshots)
        memo.keep_ports(served, ports)
    pooled: list[Pooled] = []
    parts = {part.frontend.key: part.frontend for part in previous.pooled}
    frontends: list[Frontend] = []
    probed: list[Probed] = []
    views: dict[str, ClusterView] = {}
    known: dict[str, tuple[NodeEvidence, int]] = {}

    def make(candidate: Candidate, earlier: Frontend | None) -> Frontend:
        cluster = candidate.cluster
        view = views.get(cluster.name)
        if view is None:
            view = memo.view(settings, cluster, snapshots[cluster.name], drains)
            views[cluster.name] = view
            empty = _empty_ports(view, candidates)
            ports_here = sum(1 for one in candidates if one.cluster.name == cluster.name)
            known[cluster.name] = (
                memo.evidence(cluster.name, verdicts, empty),
                nodes_limit(settings.nodes_per_service, ports_here, len(view.nodes)),
            )
        evidence, most = known[cluster.name]
        made = memo.frontend(candidate, view, most, earlier)
        if made is None:
            frontend, probes = make_frontend(
                settings,
                candidate,
                view,
                verdicts,
                earlier,
                now,
                evidence=evidence,
                most_nodes=most,
            )
            probes = memo.keep_frontend(candidate, view, most, frontend, probes)
            made = frontend, probes
        probed.append(made[1])
        return made[0]

    for candidate in sorted(ports.candidates, key=lambda c: c.key):
        lost = ports.lost.get(candidate.key)
        if lost is not None:
            skipped.append(
                Skipped(key=candidate.key, reason=SkipReason.EDGE_PORT_TAKEN, detail=lost)
            )
            continue
        members = pools.members.get(candidate.key)
        if members is None:
            frontends.append(make(candidate, before.get(candidate.key)))
            continue
        own = [(make(member, parts.get(member.key)), weight) for member, weight in members]
        frontends.append(make_pool(settings, candidate, own, before.get(candidate.key)))
        pooled += [Pooled(frontend=frontend, pool=candidate.key) for frontend, _ in own]

    targets, detection = memo.probes.plan(probed, settings.sharing, previous.probes)
    plan = Plan(
        generation=previous.generation,
        frontends=tuple(frontends),
        skipped=tuple(sorted(skipped, key=lambda s: s.key)),
        probes=targets,
        detection=detection,
        ready_ignored=tuple(name for name in sorted(views) if not views[name].ready_counts),
        pooled=tuple(sorted(pooled, key=lambda part: part.frontend.key)),
        refusals=_sorted((*wishes.refusals, *ports.refusals)),
    )
    plan = previous if plan == previous else replace(plan, generation=previous.generation + 1)
    memo.end(plan)
    return plan


def _sorted(refusals: Iterable[Refusal]) -> tuple[Refusal, ...]:
    return tuple(sorted(refusals, key=lambda refusal: (refusal.service, refusal.name)))


def _empty_ports(view: ClusterView, candidates: Iterable[Candidate]) -> frozenset[int]:
    """The NodePorts of one cluster's Services that have no endpoint."""
    return frozenset(
        candidate.port.node_port
        for candidate in candidates
        if candidate.cluster.name == view.cluster.name and view.endpoints(candidate.service).empty
    )
