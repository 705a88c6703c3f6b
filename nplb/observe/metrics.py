"""A status as Prometheus metrics.

The collector turns one `Status` into samples when somebody scrapes; nothing is counted here.
Families with one series per backend stop at `max_backends`: a plan of 200,000 backends would
make a page of hundreds of megabytes. Then their sums by frontend, node, state and reason
remain, and `nplb_backend_series_omitted` says how many are left out.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import Any

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
)
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector
from prometheus_client.samples import Sample

from nplb.model.applied import BackendCounters, FrontendCounters
from nplb.model.cluster import SourceState
from nplb.model.decision import DecisionKind
from nplb.model.kernel import PlaneKind
from nplb.model.keys import FrontendKey
from nplb.model.plan import Frontend
from nplb.model.reasons import BackendReason, BackendState, EndReason, FrontendState
from nplb.model.status import Status
from nplb.observe import families as f
from nplb.observe.exposition import content_type, encode
from nplb.observe.families import Family, Kind
from nplb.observe.ledger_metrics import LedgerCollector

MAX_BACKENDS = 5_000

_NO_FRONTEND = FrontendCounters()
_NO_BACKEND = BackendCounters()
# The ends that say that a client was not served: what the alerts ask for.
_NO_FAILURE = dict.fromkeys(
    (
        EndReason.CONNECT_REFUSED,
        EndReason.CONNECT_TIMEOUT,
        EndReason.CONNECT_UNREACHABLE,
        EndReason.NO_BACKEND,
        EndReason.QUEUE_FULL,
        EndReason.QUEUE_TIMEOUT,
        EndReason.NO_DESCRIPTORS,
        EndReason.INTERNAL,
    ),
    0,
)


class MetricsPage:
    """Renders /metrics. `render` may run in a thread: it only reads one `Status`."""

    def __init__(
        self,
        *,
        decisions: Callable[[], Mapping[DecisionKind, int]] | None = None,
        max_backends: int = MAX_BACKENDS,
    ) -> None:
        self._decisions = decisions
        self._max_backends = max_backends

    def render(self, status: Status, accept: str = "") -> tuple[bytes, str]:
        """The page and its content type: OpenMetrics if `accept` asks for it, else text."""
        registry = CollectorRegistry(auto_describe=False)
        counts = dict(self._decisions()) if self._decisions is not None else {}
        registry.register(StatusCollector(status, counts, self._max_backends))
        registry.register(LedgerCollector(status.ledgers, status.edge))
        ProcessCollector(registry=registry)
        form = content_type(accept)
        return encode(registry.collect(), form), form


class StatusCollector(Collector):
    """One status, as metric families in the order of `observe.families`."""

    def __init__(
        self,
        status: Status,
        decisions: Mapping[DecisionKind, int] | None = None,
        max_backends: int = MAX_BACKENDS,
    ) -> None:
        self._status = status
        self._decisions = decisions or {}
        self._max_backends = max_backends

    def collect(self) -> Iterator[Metric]:
        """All families, also those without a sample."""
        self._built: dict[str, Metric] = {family.name: _empty(family) for family in f.FAMILIES}
        self._control()
        self._sources()
        self._frontends()
        self._workers()
        self._fast_path()
        self._probes()
        self._rest()
        yield from self._built.values()

    def _add(self, family: Family, value: float, *labels: str) -> None:
        """One sample. Written out, since `add_metric` costs three times as much."""
        self._built[family.name].samples.append(
            Sample(family.name, dict(zip(family.labels, labels, strict=True)), value)
        )

    def _control(self) -> None:
        status, add = self._status, self._add
        add(f.BUILD, 1, status.version)
        add(f.START_TIME, status.started_at)
        add(f.READY, status.is_ready and not status.stopping)
        for part in status.ready:
            add(f.READY_PART, part.ok, part.name)
        add(f.STOPPING, status.stopping)
        add(f.PASSES, status.passes)
        add(f.LOOP_AT, status.loop_at)
        add(f.PASS_FAILING, bool(status.last_error))
        add(f.GENERATION, status.plan.generation)
        if status.applied is not None:
            add(f.APPLIED_GENERATION, status.applied.generation)
        add(f.RELOADS, status.reload.count - status.reload.refused, "taken")
        add(f.RELOADS, status.reload.refused, "refused")
        add(f.UPGRADES_FAILED, status.reload.upgrades_failed)
        add(f.RELOAD_OK, not status.reload.errors)
        add(f.RELOAD_AT, status.reload.at)

    def _sources(self) -> None:
        for source in self._status.sources:
            for state in SourceState:
                self._add(f.SOURCE_STATE, state is source.state, source.cluster, state)
            if source.last_snapshot_at is not None:
                # A live source's snapshot is current, however long ago anything changed.
                age = self._status.now - source.last_snapshot_at
                live = source.state is SourceState.LIVE
                self._add(f.SNAPSHOT_AT, source.last_snapshot_at, source.cluster)
                self._add(f.SNAPSHOT_AGE, 0.0 if live else max(age, 0.0), source.cluster)
            self._add(f.SOURCE_ATTEMPTS, source.attempts, source.cluster)
        for writer in self._status.writers:
            self._add(f.LEASE_HELD, writer.holds, writer.cluster)
            self._add(f.ADDRESSES_WRITTEN, writer.addresses_written, writer.cluster)
            self._add(f.EVENTS_SENT, writer.events_sent, writer.cluster)

    def _frontends(self) -> None:
        status = self._status
        states: Counter[tuple[str, FrontendState]] = Counter()
        backends: Counter[tuple[str, str, str]] = Counter()
        nodes: Counter[tuple[str, str, BackendState]] = Counter()
        skipped: Counter[tuple[str, str]] = Counter()
        kept: dict[str, set[str]] = {source.cluster: set() for source in status.sources}
        total = sum(len(frontend.backends) for frontend in status.plan.frontends)
        in_full = total <= self._max_backends
        for frontend in status.plan.frontends:
            cluster = frontend.key.service.cluster
            state = status.frontend_state(frontend)
            states[cluster, state] += 1
            for backend in frontend.backends:
                backends[cluster, backend.state, backend.reason] += 1
                if backend.reason is BackendReason.KEPT:
                    kept.setdefault(cluster, set()).add(backend.key.node)
                nodes[cluster, backend.key.node, backend.state] += 1
            self._frontend(frontend, state)
            if in_full:
                self._backends(frontend)
        # What has left the plan may still carry connections.
        planned = {frontend.key for frontend in status.plan.frontends}
        for key, counters in status.traffic.frontends.items():
            if key not in planned:
                self._traffic(_labels(key), counters)
        for skip in status.plan.skipped:
            skipped[skip.key.service.cluster, skip.reason] += 1
        for source in status.sources:
            for each in FrontendState:
                states.setdefault((source.cluster, each), 0)
        _counted(partial(self._add, f.FRONTENDS), states)
        _counted(partial(self._add, f.BACKENDS), backends)
        _counted(partial(self._add, f.NODE_BACKENDS), nodes)
        _counted(partial(self._add, f.SKIPPED), skipped)
        for name, held in sorted(kept.items()):
            self._add(f.KEPT_NODES, len(held), name)
            self._add(f.READY_IGNORED, name in status.plan.ready_ignored, name)
        self._add(f.BACKEND_OMITTED, 0 if in_full else total)

    def _frontend(self, frontend: Frontend, state: FrontendState) -> None:
        labels = _labels(frontend.key)
        self._add(f.FRONTEND_SERVING, state is FrontendState.SERVING, *labels)
        self._add(f.FRONTEND_PANIC, frontend.panic, *labels)
        counts = Counter(backend.state for backend in frontend.backends)
        for each in BackendState:
            self._add(f.FRONTEND_BACKENDS, counts[each], *labels, each)
        counters = self._status.traffic.frontends.get(frontend.key, _NO_FRONTEND)
        self._traffic(labels, counters)
        self._source_ports(frontend, labels, counters)

    def _source_ports(
        self,
        frontend: Frontend,
        labels: tuple[str, str, str, str, str],
        counters: FrontendCounters,
    ) -> None:
        """A source port is used once for each source address and node address and port."""
        ephemeral = self._status.edge.ephemeral
        if ephemeral is None or frontend.plane is not PlaneKind.RELAY:
            return
        busiest = 0
        if counters.active:
            backends = self._status.traffic.backends
            busiest = max(
                (backends.get(b.key, _NO_BACKEND).active for b in frontend.backends), default=0
            )
        pool = frontend.relay.source_addresses
        six = sum(":" in ip for ip in pool)
        sources = max(min(six, len(pool) - six) or len(pool), 1)
        ports = (ephemeral.high - ephemeral.low + 1) * sources
        self._add(f.SOURCE_PORTS_LEFT, max(ports - busiest, 0), *labels)

    def _traffic(self, labels: tuple[str, str, str, str, str], counters: FrontendCounters) -> None:
        self._add(f.ACCEPTED, counters.accepted, *labels)
        self._add(f.FRONTEND_ACTIVE, counters.active, *labels)
        self._add(f.RECEIVED, counters.bytes_in, *labels)
        self._add(f.SENT, counters.bytes_out, *labels)
        # A series that begins with its first failure hides that one from rate().
        ends = {**_NO_FAILURE, **counters.ends}
        for reason, count in sorted(ends.items()):
            if count or reason in _NO_FAILURE:
                self._add(f.ENDED, count, *labels, reason)

    def _backends(self, frontend: Frontend) -> None:
        add = self._add
        prefix = _labels(frontend.key)
        counters = self._status.traffic.backends
        seen: set[str] = set()
        for backend in frontend.backends:
            # One series per node: an address that is on its way out shares the node's labels.
            if backend.key.node in seen:
                continue
            seen.add(backend.key.node)
            labels = (*prefix, backend.key.node)
            mine = counters.get(backend.key, _NO_BACKEND)
            add(f.BACKEND_STATE, 1, *labels, backend.state, backend.reason)
            add(f.BACKEND_WEIGHT, backend.weight, *labels)
            add(f.BACKEND_CONNECTIONS, mine.connections, *labels)
            add(f.BACKEND_ACTIVE, mine.active, *labels)
            add(f.BACKEND_FAILURES, mine.connect_failures, *labels)
            add(f.BACKEND_CONNECT_SECONDS, mine.connect_seconds, *labels)
            add(f.BACKEND_RECEIVED, mine.bytes_in, *labels)
            add(f.BACKEND_SENT, mine.bytes_out, *labels)

    def _workers(self) -> None:
        for worker in self._status.traffic.workers:
            name = str(worker.worker)
            self._add(f.WORKER_UP, worker.alive, name)
            self._add(f.WORKER_RESTARTS, worker.restarts, name)
            self._add(f.WORKER_PAUSES, worker.accept_pauses, name)
            self._add(f.WORKER_LINES_DROPPED, worker.access_lines_dropped, name)
            self._add(f.WORKER_CONNECTIONS, worker.open_connections, name)
            self._add(f.WORKER_LOOPS, worker.loops, name)
            self._add(f.WORKER_GENERATION, worker.generation, name)
        told = f.CONNECT_SECONDS
        histogram = HistogramMetricFamily(told.name, told.help, labels=told.labels)
        for worker in self._status.traffic.workers:
            if worker.connect_buckets:
                buckets = _cumulative(worker.connect_buckets)
                histogram.add_metric([str(worker.worker)], buckets, worker.connect_seconds)
        if histogram.samples:
            self._built[told.name] = histogram

    def _fast_path(self) -> None:
        counters = self._status.traffic.fast_path
        if counters is None:
            return
        for family, connections in counters.connections.items():
            self._add(f.FAST_PATH_CONNECTIONS, connections, f"ipv{family}")
            self._add(f.FAST_PATH_ROOM, counters.room, f"ipv{family}")
        for event, count in counters.events.items():
            self._add(f.FAST_PATH_EVENTS, count, event)

    def _probes(self) -> None:
        probing = self._status.probing
        detection = self._status.plan.detection
        self._add(f.PROBES_PLANNED, detection.rate)
        self._add(f.PROBES_SHARED, probing.sharing)
        self._add(f.DETECTION, detection.node_seconds, "node")
        self._add(f.DETECTION, detection.service_seconds, "service")
        self._add(f.PROBE_TARGETS, probing.targets)
        self._add(f.PROBES_IN_FLIGHT, probing.in_flight)
        self._add(f.PROBES_REPEATED, probing.repeated)
        for cause, count in sorted(probing.ended.items()):
            self._add(f.PROBES, count, cause)
        if probing.latency_buckets:
            histogram = HistogramMetricFamily(f.PROBE_SECONDS.name, f.PROBE_SECONDS.help)
            buckets = _cumulative(probing.latency_buckets)
            histogram.add_metric([], buckets, probing.latency_seconds)
            self._built[f.PROBE_SECONDS.name] = histogram

    def _rest(self) -> None:
        findings = Counter(
            (finding.cluster, finding.kind, finding.severity) for finding in self._status.findings
        )
        _counted(partial(self._add, f.FINDINGS), findings)
        for kind, count in sorted(self._decisions.items()):
            self._add(f.DECISIONS, count, kind)


def _labels(key: FrontendKey) -> tuple[str, str, str, str, str]:
    """A frontend's labels."""
    service = key.service
    return service.cluster, service.namespace, service.name, str(key.port), key.protocol


def _cumulative(counts: Iterable[tuple[float, int]]) -> list[tuple[str, float]]:
    """Buckets as Prometheus has them: each with those below it."""
    total = 0
    buckets: list[tuple[str, float]] = []
    for bound, count in counts:
        total += count
        buckets.append(("+Inf" if bound == float("inf") else repr(bound), total))
    return buckets


def _counted(add: Callable[..., None], counts: Mapping[Any, int]) -> None:
    """One sample for each key, a tuple of label values."""
    for labels, count in sorted(counts.items()):
        add(count, *labels)


def _empty(family: Family) -> Metric:
    if family.kind is Kind.COUNTER:
        return CounterMetricFamily(family.name, family.help)
    if family.kind is Kind.HISTOGRAM:
        return HistogramMetricFamily(family.name, family.help)
    return GaugeMetricFamily(family.name, family.help)
