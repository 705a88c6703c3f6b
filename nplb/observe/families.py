"""Every metric's name, type, labels and meaning: one table, from which docs/metrics.md is made.

Names and units follow Prometheus' guides: base units, `_total` for counters, timestamps in
epoch seconds. Labels are bounded by the cluster's own size or by closed sets of words from
`model.reasons`; a client's address is never one. A family with one series per backend is
marked `per_backend`, and left out when there are too many (see `observe.metrics`).
"""

from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    """Prometheus' types."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """One metric. `help` says what it is and what to do with it. `name` is complete, with
    `_total` where it is a counter."""

    name: str
    kind: Kind
    help: str
    labels: tuple[str, ...] = ()
    per_backend: bool = False


_FRONTEND = ("cluster", "namespace", "service", "port", "protocol")
_BACKEND = (*_FRONTEND, "node")


def _gauge(name: str, help: str, *labels: str, per_backend: bool = False) -> Family:  # noqa: A002
    return Family(name=name, kind=Kind.GAUGE, help=help, labels=labels, per_backend=per_backend)


def _counter(name: str, help: str, *labels: str, per_backend: bool = False) -> Family:  # noqa: A002
    return Family(name=name, kind=Kind.COUNTER, help=help, labels=labels, per_backend=per_backend)


BUILD = _gauge("nplb_build_info", "Always 1; the label is the version that runs.", "version")
START_TIME = _gauge("nplb_start_time_seconds", "When nplb started. It changing means a restart.")
READY = _gauge(
    "nplb_ready", "1 while /readyz answers 200. Alert when it is 0 for longer than a start takes."
)
READY_PART = _gauge(
    "nplb_ready_part",
    "1 while this part of readiness is met; /readyz?verbose has the detail.",
    "part",
)
STOPPING = _gauge("nplb_stopping", "1 from SIGTERM on, while connections drain.")

PASSES = _counter(
    "nplb_reconcile_passes_total",
    "Passes of the reconcile loop. A rate far above the cluster's rate of change means flapping.",
)
LOOP_AT = _gauge(
    "nplb_reconcile_last_turn_timestamp_seconds",
    "When the reconcile loop last turned. Old by minutes: nplb hangs, restart it.",
)
PASS_FAILING = _gauge(
    "nplb_reconcile_failing",
    "1 while the last pass failed; the plan before stays in force. The log has the error.",
)
GENERATION = _gauge(
    "nplb_plan_generation", "The plan's number; it grows whenever the plan changes."
)
APPLIED_GENERATION = _gauge(
    "nplb_plan_applied_generation",
    "The plan that is in force. Behind nplb_plan_generation for long: it can't be applied.",
)
RELOADS = _counter(
    "nplb_config_reloads_total",
    "Reloads of the configuration by result: taken, or refused since the file is wrong.",
    "result",
)
RELOAD_OK = _gauge(
    "nplb_config_last_reload_successful",
    "0 while the file on disk is refused and the configuration before it runs: `nplb check`.",
)
UPGRADES_FAILED = _counter(
    "nplb_upgrades_failed_total",
    "Upgrades (SIGUSR2) whose new process did not take over; the old one went on.",
)
RELOAD_AT = _gauge("nplb_config_last_reload_timestamp_seconds", "When it was last (re)loaded.")

SOURCE_STATE = _gauge(
    "nplb_source_state",
    "1 for the state that a cluster's source is in: connecting, live or stale.",
    "cluster",
    "state",
)
SNAPSHOT_AT = _gauge(
    "nplb_source_snapshot_timestamp_seconds",
    "When the snapshot in force was taken; absent before the first one.",
    "cluster",
)
SNAPSHOT_AGE = _gauge(
    "nplb_source_snapshot_age_seconds",
    "How old the cluster's state is; 0 while its source is live. Grows while the API can't be "
    "read: clients are served, but new services and nodes are not seen.",
    "cluster",
)
SOURCE_ATTEMPTS = _gauge(
    "nplb_source_failed_attempts",
    "Attempts to read the cluster that failed in a row. The log and `nplb status` have the error.",
    "cluster",
)

LEASE_HELD = _gauge(
    "nplb_writer_lease_held",
    "1 while this edge is the one that writes addresses into the cluster. Of several edges of one "
    "class, exactly one should.",
    "cluster",
)
ADDRESSES_WRITTEN = _counter(
    "nplb_writer_addresses_total",
    "Statuses of Services that were written. A steady rate means that somebody else writes there.",
    "cluster",
)
EVENTS_SENT = _counter(
    "nplb_writer_events_total", "Events that were sent about Services.", "cluster"
)

FRONTENDS = _gauge(
    "nplb_frontends",
    "Frontends by state. Anything but serving needs a look: `nplb status`.",
    "cluster",
    "state",
)
SKIPPED = _gauge(
    "nplb_skipped_ports", "Service ports without a frontend, by reason.", "cluster", "reason"
)
BACKENDS = _gauge(
    "nplb_backends",
    "Backends by state and by why they are in it.",
    "cluster",
    "state",
    "reason",
)
NODE_BACKENDS = _gauge(
    "nplb_node_backends",
    "Backends of one node by state. All down: the node; some down: their services.",
    "cluster",
    "node",
    "state",
)
FRONTEND_SERVING = _gauge(
    "nplb_frontend_serving",
    "1 while the frontend listens and has an active backend. 0: its clients are refused.",
    *_FRONTEND,
)
FRONTEND_PANIC = _gauge(
    "nplb_frontend_panic",
    "1 while fewer of the frontend's nodes pass their probes than health.panic_below asks for. "
    "With health.fail_open those that fail are used then (reason fail_open in nplb_backends).",
    *_FRONTEND,
)
READY_IGNORED = _gauge(
    "nplb_ready_ignored",
    "1 while so many nodes of a cluster are NotReady that Ready counts for nothing.",
    "cluster",
)
KEPT_NODES = _gauge(
    "nplb_kept_nodes",
    "Nodes that the API says should leave, and that health.blast_radius keeps in while their "
    "probes pass. Above 0: find out who changed the Nodes.",
    "cluster",
)
FRONTEND_BACKENDS = _gauge(
    "nplb_frontend_backends", "A frontend's backends by state.", *_FRONTEND, "state"
)
ACCEPTED = _counter(
    "nplb_frontend_connections_accepted_total", "Clients taken from the listener.", *_FRONTEND
)
FRONTEND_ACTIVE = _gauge("nplb_frontend_connections_active", "Connections open now.", *_FRONTEND)
SOURCE_PORTS_LEFT = _gauge(
    "nplb_frontend_source_ports_left",
    "How many more connections the relay can open to the busiest node of this frontend, before "
    "no source port is left toward it. Near 0: give it `source_addresses`, or widen "
    "net.ipv4.ip_local_port_range.",
    *_FRONTEND,
)
RECEIVED = _counter(
    "nplb_frontend_received_bytes_total", "Bytes from clients to backends.", *_FRONTEND
)
SENT = _counter("nplb_frontend_sent_bytes_total", "Bytes from backends to clients.", *_FRONTEND)
ENDED = _counter(
    "nplb_frontend_connections_ended_total",
    "Connections by why they ended. client_closed and backend_closed are the good ends; "
    "connect_* and no_backend are clients that were not served.",
    *_FRONTEND,
    "reason",
)

BACKEND_STATE = _gauge(
    "nplb_backend_state",
    "Always 1; the labels are the state a backend is in and why. `nplb explain` says more.",
    *_BACKEND,
    "state",
    "reason",
    per_backend=True,
)
BACKEND_WEIGHT = _gauge(
    "nplb_backend_weight", "A backend's relative weight.", *_BACKEND, per_backend=True
)
BACKEND_CONNECTIONS = _counter(
    "nplb_backend_connections_total",
    "Connections established to a backend.",
    *_BACKEND,
    per_backend=True,
)
BACKEND_ACTIVE = _gauge(
    "nplb_backend_connections_active", "Connections open now.", *_BACKEND, per_backend=True
)
BACKEND_FAILURES = _counter(
    "nplb_backend_connect_failures_total",
    "Connects to a backend that failed; the client was tried on another where there was one.",
    *_BACKEND,
    per_backend=True,
)
BACKEND_CONNECT_SECONDS = _counter(
    "nplb_backend_connect_seconds_total",
    "Time that successful connects took; divide by nplb_backend_connections_total, as rates.",
    *_BACKEND,
    per_backend=True,
)
BACKEND_RECEIVED = _counter(
    "nplb_backend_received_bytes_total",
    "Bytes from clients to a backend.",
    *_BACKEND,
    per_backend=True,
)
BACKEND_SENT = _counter(
    "nplb_backend_sent_bytes_total",
    "Bytes from a backend to clients.",
    *_BACKEND,
    per_backend=True,
)
BACKEND_OMITTED = _gauge(
    "nplb_backend_series_omitted",
    "Backends whose own series are left out since there are too many; the sums are complete.",
)

WORKER_UP = _gauge("nplb_worker_up", "1 while this relay worker lives.", "worker")
WORKER_RESTARTS = _counter(
    "nplb_worker_restarts_total",
    "How often this worker was replaced. Each time its connections were lost: look at the log.",
    "worker",
)
WORKER_PAUSES = _counter(
    "nplb_worker_accept_pauses_total",
    "Times a worker stopped accepting for want of descriptors or memory: raise LimitNOFILE=.",
    "worker",
)
WORKER_LINES_DROPPED = _counter(
    "nplb_worker_access_lines_dropped_total",
    "Access log lines that found no place in the worker's pipe: what reads them is too slow.",
    "worker",
)
CONNECT_SECONDS = Family(
    name="nplb_connect_duration_seconds",
    kind=Kind.HISTOGRAM,
    help="How long connects to nodes took that clients were waiting for, by worker. Slower than "
    "probes: the nodes are busy, or this worker is.",
    labels=("worker",),
)
WORKER_CONNECTIONS = _gauge(
    "nplb_worker_connections_open", "Connections open in this worker.", "worker"
)
WORKER_LOOPS = _counter("nplb_worker_loops_total", "Turns of this worker's event loop.", "worker")
WORKER_GENERATION = _gauge(
    "nplb_worker_plan_generation", "The plan that this worker serves.", "worker"
)

FAST_PATH_CONNECTIONS = _gauge(
    "nplb_kernel_fast_path_connections",
    "Connections that the kernel plane's fast path holds, those included that have ended without a "
    "word and whose time is not over. Connection tracking does not know them.",
    "family",
)
FAST_PATH_ROOM = _gauge(
    "nplb_kernel_fast_path_room",
    "How many connections the fast path has room for. Those beyond go by nftables, and cost more.",
    "family",
)
FAST_PATH_EVENTS = _counter(
    "nplb_kernel_fast_path_events_total",
    "Packets that the fast path left to nftables for want of room, of a source port or of a route "
    "to the node (no_room, no_port, no_seat), and those dropped for want of a route or a hop count "
    "(no_route, expired).",
    "event",
)

PROBE_TARGETS = _gauge("nplb_probe_targets", "Addresses that are probed.")
PROBES_IN_FLIGHT = _gauge("nplb_probes_in_flight", "Probes that wait for an answer now.")
PROBES_PLANNED = _gauge(
    "nplb_probe_rate_planned",
    "Probes a second that are made while all is well, by health.interval, share and budget.",
)
PROBES_SHARED = _gauge(
    "nplb_probe_targets_shared",
    "Addresses that share the probes of their node, since there are so many. 0: each is probed on "
    "its own.",
)
DETECTION = _gauge(
    "nplb_detection_bound_seconds",
    "How long a fault may last before probes have found it: of a node that goes silent (node), and "
    "of one Service that fails on one node alone, where no client asks for it (service).",
    "fault",
)
PROBES = _counter(
    "nplb_probes_total",
    "Probes by what they saw. local_error: the edge itself could not probe, see the log.",
    "cause",
)
PROBES_REPEATED = _counter(
    "nplb_probes_repeated_total",
    "Probes made again since the edge itself was late. Growing: it lacks CPU.",
)
PROBE_SECONDS = Family(
    name="nplb_probe_duration_seconds",
    kind=Kind.HISTOGRAM,
    help="How long successful probes took to connect: the network between the edge and the nodes.",
)

FINDINGS = _gauge(
    "nplb_findings",
    "Open findings; `nplb status` has the text and what to do.",
    "cluster",
    "kind",
    "severity",
)
DECISIONS = _counter("nplb_decisions_total", "Entries written to the journal, by kind.", "kind")

FAMILIES: tuple[Family, ...] = tuple(
    value for value in list(globals().values()) if isinstance(value, Family)
)
"""All of them, in the order in which they are shown."""
