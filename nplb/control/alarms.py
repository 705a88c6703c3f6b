"""What a plan says that an operator must hear of: findings about nodes and their probes."""

from collections import Counter
from collections.abc import Iterator

from nplb.model.finding import Finding, FindingKind, Severity
from nplb.model.keys import FrontendKey
from nplb.model.plan import Frontend, Plan
from nplb.model.reasons import BackendReason

_SHOWN = 5


class KeptFrontends:
    """Which frontends keep backends that the API would take out. Each is looked through once:
    what is known of one holds as long as it is the same object."""

    def __init__(self) -> None:
        self._known: dict[FrontendKey, tuple[Frontend, bool]] = {}

    def of(self, plan: Plan) -> list[Frontend]:
        """Those of this plan."""
        before, self._known = self._known, {}
        found = []
        for frontend in plan.frontends:
            known = before.get(frontend.key)
            if known is None or known[0] is not frontend:
                kept = any(b.reason is BackendReason.KEPT for b in frontend.backends)
                known = frontend, kept
            self._known[frontend.key] = known
            if known[1]:
                found.append(frontend)
        return found


def plan_findings(
    plan: Plan, now: float, keeping: KeptFrontends | None = None
) -> Iterator[Finding]:
    """Every alarm that this plan gives. `keeping` makes it quicker, from one plan to the next."""
    kept: dict[str, list[Frontend]] = {}
    panics: dict[str, list[Frontend]] = {}
    for frontend in (keeping or KeptFrontends()).of(plan):
        kept.setdefault(frontend.key.service.cluster, []).append(frontend)
    for frontend in plan.frontends:
        if frontend.panic:
            panics.setdefault(frontend.key.service.cluster, []).append(frontend)
    for cluster, frontends in sorted(kept.items()):
        yield _kept(cluster, frontends, now)
    for cluster, frontends in sorted(panics.items()):
        yield _panic(cluster, frontends, now)
    for cluster in plan.ready_ignored:
        yield Finding(
            kind=FindingKind.MASS_NOT_READY,
            severity=Severity.WARNING,
            cluster=cluster,
            subject=cluster,
            text=f"so many nodes of {cluster} are NotReady that Ready counts for nothing: all "
            "nodes that pass their probes are used alike",
            remedy="look at the control plane of the cluster: kubectl get nodes, and whether "
            "kubelets reach the API server",
            since=now,
        )
    detection = plan.detection
    if detection.over_budget:
        yield Finding(
            kind=FindingKind.PROBE_BUDGET,
            severity=Severity.WARNING,
            cluster="",
            subject="probes",
            text=f"{detection.rate:g} probes a second are made, more than health.budget "
            f"({detection.budget:g}): one a node and interval is the least that finds a silent "
            f"node within {detection.node_seconds:g} s",
            remedy="raise health.budget, or lengthen health.interval",
            since=now,
        )


def _kept(cluster: str, frontends: list[Frontend], now: float) -> Finding:
    details: Counter[str] = Counter()
    nodes: dict[str, None] = {}
    for frontend in frontends:
        for backend in frontend.backends:
            if backend.reason is BackendReason.KEPT and backend.key.node not in nodes:
                nodes[backend.key.node] = None
                details[backend.detail.partition(";")[0]] += 1
    why = "; ".join(f"{text}: {count}" for text, count in details.most_common(3))
    return Finding(
        kind=FindingKind.BLAST_RADIUS,
        severity=Severity.ERROR,
        cluster=cluster,
        subject=cluster,
        text=f"the API says that more nodes of {cluster} should leave than health.blast_radius "
        f"lets go at once; kept while their probes pass, for {_services(frontends)}: "
        f"{_listed(list(nodes))} ({why})",
        remedy="find out what changed the Nodes (kubectl get nodes --show-labels, kubectl describe "
        "node) and take it back; if it is meant, `nplb drain` them, or raise "
        "health.blast_radius.share",
        since=now,
    )


def _panic(cluster: str, frontends: list[Frontend], now: float) -> Finding:
    opened = sum(
        any(backend.reason is BackendReason.FAIL_OPEN for backend in frontend.backends)
        for frontend in frontends
    )
    what = "those that fail are used as well" if opened == len(frontends) else (
        "only those that pass are used"
        if not opened
        else f"for {opened} of them those that fail are used as well"
    )  # fmt: skip
    return Finding(
        kind=FindingKind.PANIC,
        severity=Severity.ERROR,
        cluster=cluster,
        subject=cluster,
        text=f"{_services(frontends)} of {cluster}: fewer nodes pass their probes than "
        f"health.panic_below asks for; {what}: "
        f"{_listed([frontend.key.service.short for frontend in frontends])}",
        remedy="`nplb explain SERVICE` has the cause of each node; see whether the probes or the "
        "nodes are wrong. health.fail_open decides what becomes of clients meanwhile",
        since=now,
    )


def _services(frontends: list[Frontend]) -> str:
    services = len({frontend.key.service for frontend in frontends})
    return "1 service" if services == 1 else f"{services} services"


def _listed(names: list[str]) -> str:
    distinct = list(dict.fromkeys(names))
    more = len(distinct) - _SHOWN
    return ", ".join(distinct[:_SHOWN]) + (f" and {more} more" if more > 0 else "")
