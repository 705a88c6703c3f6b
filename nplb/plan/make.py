"""`make_plan`: all frontends and backends as they should be, each with its reason."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from operator import attrgetter

from nplb.model.annotations import Wishes
from nplb.model.cluster import Snapshot
from nplb.model.drain import ManualDrain
from nplb.model.keys import Address
from nplb.model.plan import Frontend, Plan, Pooled, Skipped
from nplb.model.reasons import SkipReason
from nplb.model.refusal import Refusal
from nplb.model.settings import Settings
from nplb.model.verdict import Verdict
from nplb.plan.candidates import Candidate
from nplb.plan.frontend import make_frontend
from nplb.plan.memo import Known, Made, Memo
from nplb.plan.pools import gather_pools, make_pool
from nplb.plan.ports import Ports, assign_ports
from nplb.plan.quota import within_quota

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
    before = memo.begin(settings, verdicts, previous)
    candidates, skipped, clusters = _find(settings, snapshots, drains, wishes, memo)
    pools = gather_pools(settings, candidates)
    served, over = within_quota(pools.candidates, settings.frontends_per_namespace, before)
    skipped += (*pools.skipped, *over)
    ports = memo.ports(served)
    if ports is None:
        ports = assign_ports(settings, served, before, wishes.held, snapshots)
        memo.keep_ports(served, ports)
    skipped += _lost(ports)
    pooled: list[Pooled] = []
    parts = {part.frontend.key: part.frontend for part in previous.pooled}
    frontends: list[Frontend] = []
    made: list[Made] = []

    def make(candidate: Candidate, earlier: Frontend | None) -> Frontend:
        known = clusters[candidate.cluster.name]
        new = memo.again(candidate, known, earlier)
        if new is None:
            new = memo.keep(
                candidate,
                known,
                *make_frontend(
                    settings,
                    candidate,
                    known.view,
                    verdicts,
                    earlier,
                    now,
                    evidence=known.evidence,
                    most_nodes=known.most_nodes,
                ),
            )
        made.append(new)
        return new.frontend

    held = memo.held()
    for candidate in sorted(ports.candidates, key=attrgetter("key")):
        if ports.lost and candidate.key in ports.lost:
            continue
        same = held.get(id(candidate))
        if same is not None:
            made.append(same)
            frontends.append(same.frontend)
            continue
        members = pools.members.get(candidate.key)
        if members is None:
            frontends.append(make(candidate, before.get(candidate.key)))
            continue
        own = [(make(member, parts.get(member.key)), weight) for member, weight in members]
        frontends.append(make_pool(settings, candidate, own, before.get(candidate.key)))
        pooled += [Pooled(frontend=frontend, pool=candidate.key) for frontend, _ in own]

    probed = [one.probes for one in made]
    targets, detection = memo.probes.plan(probed, settings.sharing, previous.probes)
    plan = Plan(
        generation=previous.generation,
        frontends=tuple(frontends),
        skipped=tuple(sorted(skipped, key=attrgetter("key"))),
        probes=targets,
        detection=detection,
        ready_ignored=tuple(n for n, known in clusters.items() if not known.view.ready_counts),
        pooled=tuple(sorted(pooled, key=lambda part: part.frontend.key)),
        refusals=_sorted((*wishes.refusals, *ports.refusals)),
    )
    plan = previous if plan == previous else replace(plan, generation=previous.generation + 1)
    memo.end(previous, plan, made)
    return plan


def _find(
    settings: Settings,
    snapshots: Mapping[str, Snapshot],
    drains: Sequence[ManualDrain],
    wishes: Wishes,
    memo: Memo,
) -> tuple[list[Candidate], list[Skipped], dict[str, Known]]:
    """The ports that want a frontend, those that get none, and what is known of the clusters that
    have any of the former, in order of their names."""
    candidates: list[Candidate] = []
    skipped: list[Skipped] = []
    clusters: dict[str, Known] = {}
    for cluster in sorted(settings.clusters, key=attrgetter("name")):
        snapshot = snapshots.get(cluster.name)
        if snapshot is not None:
            finder = memo.finder(settings, cluster)
            found, left = finder.find(snapshot.services, wishes.by_service)
            candidates += found
            skipped += left
            if found:
                known = memo.know(settings, cluster, snapshot, drains, found)
                clusters[cluster.name] = known
    return candidates, skipped, clusters


def _lost(ports: Ports) -> Iterator[Skipped]:
    for candidate in ports.candidates if ports.lost else ():
        if candidate.key in ports.lost:
            detail = ports.lost[candidate.key]
            yield Skipped(key=candidate.key, reason=SkipReason.EDGE_PORT_TAKEN, detail=detail)


def _sorted(refusals: Iterable[Refusal]) -> tuple[Refusal, ...]:
    return tuple(sorted(refusals, key=lambda refusal: (refusal.service, refusal.name)))
