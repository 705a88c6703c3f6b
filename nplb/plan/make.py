"""`make_plan`: all frontends and backends as they should be, each with its reason."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from nplb.model.annotations import Wishes
from nplb.model.cluster import Snapshot
from nplb.model.drain import ManualDrain
from nplb.model.keys import Address
from nplb.model.plan import Frontend, Plan, Skipped
from nplb.model.reasons import SkipReason
from nplb.model.refusal import Refusal
from nplb.model.settings import HealthSettings, Settings
from nplb.model.verdict import ProbeTarget, Verdict
from nplb.plan.candidates import Candidate, find_candidates
from nplb.plan.frontend import make_frontend
from nplb.plan.ports import assign_ports
from nplb.plan.view import ClusterView

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
) -> Plan:
    """The plan that these inputs give.

    `snapshots` is keyed by cluster name; a configured cluster without one contributes
    nothing yet. `previous` gives what must outlive a pass: since when a backend is as it is,
    and the generation, which grows only when the content changes. `now` is epoch seconds.
    `drains` are nodes taken out by hand, `wishes` what annotations of Services ask for.
    """
    before = {frontend.key: frontend for frontend in previous.frontends}
    candidates: list[Candidate] = []
    skipped: list[Skipped] = []
    for cluster in sorted(settings.clusters, key=lambda c: c.name):
        snapshot = snapshots.get(cluster.name)
        if snapshot is not None:
            found, left = find_candidates(settings, cluster, snapshot, wishes.by_service)
            candidates += found
            skipped += left

    ports = assign_ports(settings, candidates, before)
    frontends: list[Frontend] = []
    targets: dict[Address, bool] = {}
    views: dict[str, ClusterView] = {}
    for candidate in sorted(ports.candidates, key=lambda c: c.key):
        lost = ports.lost.get(candidate.key)
        if lost is not None:
            skipped.append(
                Skipped(key=candidate.key, reason=SkipReason.EDGE_PORT_TAKEN, detail=lost)
            )
            continue
        cluster = candidate.cluster
        view = views.get(cluster.name)
        if view is None:
            view = views[cluster.name] = ClusterView.of(
                cluster, snapshots[cluster.name], settings.zone, drains
            )
        frontend, probed, empty = make_frontend(
            settings, candidate, view, verdicts, before.get(candidate.key), now
        )
        frontends.append(frontend)
        if settings.health.enabled:
            targets.update(dict.fromkeys(probed, empty))

    plan = Plan(
        generation=previous.generation,
        frontends=tuple(frontends),
        skipped=tuple(sorted(skipped, key=lambda s: s.key)),
        probes=_probes(targets, settings.health, previous.probes),
        refusals=_sorted((*wishes.refusals, *ports.refusals)),
    )
    if plan == previous:
        return previous
    return replace(plan, generation=previous.generation + 1)


def _sorted(refusals: Iterable[Refusal]) -> tuple[Refusal, ...]:
    return tuple(sorted(refusals, key=lambda refusal: (refusal.service, refusal.name)))


def _probes(
    targets: Mapping[Address, bool], health: HealthSettings, previous: tuple[ProbeTarget, ...]
) -> tuple[ProbeTarget, ...]:
    """What to probe, sorted by address; `targets` says of each whether it is to refuse. The
    targets before are used again if they hold."""
    known: dict[Address, ProbeTarget] = {}
    if previous and _probe(previous[0].address, previous[0].expect_refusal, health) == previous[0]:
        known = {t.address: t for t in previous if targets.get(t.address) is t.expect_refusal}
        if len(known) == len(previous) == len(targets):
            return previous
    return tuple(known.get(a) or _probe(a, targets[a], health) for a in sorted(targets))


def _probe(address: Address, empty: bool, health: HealthSettings) -> ProbeTarget:
    return ProbeTarget(
        address=address,
        interval_seconds=health.interval_seconds,
        timeout_seconds=health.timeout_seconds,
        rise=health.rise,
        fall=health.fall,
        jitter=health.jitter,
        initial=health.initial,
        expect_refusal=empty,
    )
