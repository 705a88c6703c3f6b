"""The ledgers as Prometheus metrics: one more collector for the page that `observe.metrics` makes.

Where a number means the same as one of the API server's own
(`pkg/registry/core/service/portallocator/metrics.go`), it has its name, with the cluster as label:
dashboards and alerts made for the API server work on it. Everything else is `nplb_`.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from nplb.alloc.allocator import AllocatorCounts
from nplb.alloc.repair import Problem
from nplb.model.ledger import Band, EdgeLedgerView, LedgerView
from nplb.observe.families import Family, Kind

_UPSTREAM = "kube_apiserver_nodeport_allocator"


def _gauge(name: str, help: str, *labels: str) -> Family:  # noqa: A002 - as in observe.families
    return Family(name=name, kind=Kind.GAUGE, help=help, labels=labels)


ALLOCATED = _gauge(
    f"{_UPSTREAM}_allocated_ports", "NodePorts of the range that are taken.", "cluster"
)
AVAILABLE = _gauge(
    f"{_UPSTREAM}_available_ports",
    "NodePorts of the range that are left. At 0 no Service that needs one can be created.",
    "cluster",
)
BAND_SIZE = _gauge("nplb_nodeport_band_ports", "Numbers in a band of the range.", "cluster", "band")
BAND_USED = _gauge(
    "nplb_nodeport_band_used_ports",
    "Numbers of a band that are taken. The dynamic band full: automatic allocation draws from "
    "the static one.",
    "cluster",
    "band",
)
BAND_RATE = _gauge(
    "nplb_nodeport_band_used_ports_per_hour",
    "How fast a band fills, over up to a day; negative when it empties. Absent for the first ten "
    "minutes.",
    "cluster",
    "band",
)
BAND_FULL_AT = _gauge(
    "nplb_nodeport_band_full_timestamp_seconds",
    "When a band is full at this rate. Absent while it is not filling.",
    "cluster",
    "band",
)
NAMESPACE_USED = _gauge(
    "nplb_nodeport_namespace_used_ports",
    "Numbers that a namespace's Services hold: who fills the range.",
    "cluster",
    "namespace",
)
OUTSIDE = _gauge(
    "nplb_nodeport_outside_ports",
    "Numbers that Services hold outside of the range, where nothing protects them.",
    "cluster",
)
DUPLICATE = _gauge(
    "nplb_nodeport_duplicate_ports",
    "Numbers that more than one Service holds. Not 0: clients may reach the wrong one; `nplb "
    "ports` names them.",
    "cluster",
)
LEAKED = _gauge(
    "nplb_nodeport_leaked_ports", "Numbers that are taken and that no Service holds.", "cluster"
)
WATCHED = _gauge(
    "nplb_nodeport_watched_since_timestamp_seconds",
    "Since when a cluster's ledger has been watched, at most a day back: what rates are made of.",
    "cluster",
)
EDGE_PORTS = _gauge("nplb_edge_ports", "Addresses of the edge that frontends hold.")
EDGE_STRANGERS = _gauge(
    "nplb_edge_ports_taken_by_others",
    "Sockets of other processes on addresses that frontends hold; `nplb ports` names them.",
)

LEDGER_FAMILIES: tuple[Family, ...] = (
    ALLOCATED,
    AVAILABLE,
    BAND_SIZE,
    BAND_USED,
    BAND_RATE,
    BAND_FULL_AT,
    NAMESPACE_USED,
    OUTSIDE,
    DUPLICATE,
    LEAKED,
    WATCHED,
    EDGE_PORTS,
    EDGE_STRANGERS,
)
"""Every family of the ledgers, in the order in which they are shown."""


class LedgerCollector(Collector):
    """The ledgers of one status, and the edge's own, as metric families."""

    def __init__(self, ledgers: Sequence[LedgerView], edge: EdgeLedgerView | None = None) -> None:
        self._ledgers = ledgers
        self._edge = edge if edge is not None else EdgeLedgerView()

    def collect(self) -> Iterator[Metric]:
        """All families, also those without a sample."""
        built = {
            family.name: GaugeMetricFamily(family.name, family.help, labels=family.labels)
            for family in LEDGER_FAMILIES
        }

        def add(family: Family, value: float, *labels: str) -> None:
            built[family.name].add_metric(labels, value)

        for view in self._ledgers:
            name = view.cluster
            add(ALLOCATED, view.used, name)
            add(AVAILABLE, view.free, name)
            for band in view.bands:
                add(BAND_SIZE, band.size, name, band.band)
                add(BAND_USED, band.used, name, band.band)
                if band.per_hour is not None:
                    add(BAND_RATE, band.per_hour, name, band.band)
                if band.full_at is not None:
                    add(BAND_FULL_AT, band.full_at, name, band.band)
            for namespace in view.namespaces:
                add(NAMESPACE_USED, namespace.used, name, namespace.namespace)
            odd = Counter(
                "outside" if e.band is Band.OUTSIDE else "leaked" if not e.holders else "held"
                for e in view.entries
            )
            add(OUTSIDE, odd["outside"], name)
            add(LEAKED, odd["leaked"], name)
            add(DUPLICATE, sum(len(e.holders) > 1 for e in view.entries), name)
            add(WATCHED, view.watched_since, name)
        add(EDGE_PORTS, len(self._edge.ports))
        add(EDGE_STRANGERS, len(self._edge.others))
        yield from built.values()


class AllocatorCollector(Collector):
    """What an allocator of ours counts, under the API server's names: for the lab's API."""

    def __init__(self, counts: AllocatorCounts) -> None:
        self._counts = counts

    def collect(self) -> Iterator[Metric]:
        """The four families of `portallocator/metrics.go`."""
        counts = self._counts
        yield GaugeMetricFamily(
            f"{_UPSTREAM}_allocated_ports",
            "Gauge measuring the number of allocated NodePorts for Services",
            value=counts.allocated,
        )
        yield GaugeMetricFamily(
            f"{_UPSTREAM}_available_ports",
            "Gauge measuring the number of available NodePorts for Services",
            value=counts.available,
        )
        for name, text, static, dynamic in (
            (
                "allocation",
                "Number of NodePorts allocation",
                counts.static_allocations,
                counts.dynamic_allocations,
            ),
            (
                "allocation_errors",
                "Number of NodePort allocation errors",
                counts.static_errors,
                counts.dynamic_errors,
            ),
        ):
            family = CounterMetricFamily(f"{_UPSTREAM}_{name}", text, labels=["scope"])
            family.add_metric(["static"], static)
            family.add_metric(["dynamic"], dynamic)
            yield family


class RepairCollector(Collector):
    """What a repair loop of ours has found, under the API server's names: for the lab's API."""

    def __init__(self, problems: Mapping[Problem, int], failures: int) -> None:
        self._problems = problems
        self._failures = failures

    def collect(self) -> Iterator[Metric]:
        """The two families of `portallocator/controller/metrics.go`."""
        found = CounterMetricFamily(
            "apiserver_nodeport_repair_port_errors",
            "Number of errors detected on ports by the repair loop broken down by type of error: "
            "leak, repair, full, outOfRange, duplicate, unknown",
            labels=["type"],
        )
        for problem in Problem:
            found.add_metric([problem.value], self._problems.get(problem, 0))
        yield found
        yield CounterMetricFamily(
            "apiserver_nodeport_repair_reconcile_errors",
            "Number of reconciliation failures on the nodeport repair reconcile loop",
            value=self._failures,
        )
