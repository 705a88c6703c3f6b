"""What a plan says that an operator must hear of: findings about nodes and their probes."""

from collections import Counter
from collections.abc import Iterator
from operator import attrgetter, is_

from nplb.model.difference import difference
from nplb.model.finding import Finding, FindingKind, Severity
from nplb.model.keys import FrontendKey
from nplb.model.plan import Frontend, Plan
from nplb.model.reasons import BackendReason

_SHOWN = 5
_KEY = attrgetter("key")


class Alarming:
    """Which frontends keep backends that the API would take out, and which are in panic. Each is
    looked through once: what is known of one holds as long as it is the same."""

    def __init__(self) -> None:
        self._frontends: tuple[Frontend, ...] = ()
        self._kept: dict[FrontendKey, Frontend] = {}
        self._panic: dict[FrontendKey, Frontend] = {}

    def of(self, plan: Plan) -> tuple[list[Frontend], list[Frontend]]:
        """Those of this plan, in its order."""
        gone, come = difference(self._frontends, plan.frontends, _KEY, is_)
        self._frontends = plan.frontends
        for frontend in gone:
            self._kept.pop(frontend.key, None)
            self._panic.pop(frontend.key, None)
        for frontend in come:
            if any(backend.reason is BackendReason.KEPT for backend in frontend.backends):
                self._kept[frontend.key] = frontend
            if frontend.panic:
                self._panic[frontend.key] = frontend
        return sorted(self._kept.values(), key=_KEY), sorted(self._panic.values(), key=_KEY)


def plan_findings(plan: Plan, now: float, alarming: Alarming | None = None) -> Iterator[Finding]:
    """Every alarm that this plan gives. `alarming` makes it quicker, from one plan to the next."""
    kept: dict[str, list[Frontend]] = {}
    panics: dict[str, list[Frontend]] = {}
    for found, frontends in zip((kept, panics), (alarming or Alarming()).of(plan), strict=True):
        for frontend in frontends:
            found.setdefault(frontend.key.service.cluster, []).append(frontend)
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
