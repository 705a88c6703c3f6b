"""Status values built by hand, small and large, for tests of what reads them."""

from dataclasses import replace

from nplb.model.applied import (
    Applied,
    BackendCounters,
    FrontendCounters,
    ListenError,
    Traffic,
    WorkerCounters,
)
from nplb.model.cluster import SourceState, SourceStatus
from nplb.model.decision import Decision, DecisionKind
from nplb.model.finding import Finding, FindingKind, Severity
from nplb.model.keys import Address, BackendKey, FrontendKey, Protocol, ServiceKey
from nplb.model.plan import Backend, Frontend, Plan, Skipped
from nplb.model.reasons import (
    BackendReason,
    BackendState,
    Balance,
    Cause,
    EndReason,
    SkipReason,
)
from nplb.model.status import ReadyPart, ReloadStatus, Status
from nplb.model.verdict import ProbeTarget, Probing, Verdict

NOW = 1_790_000_000.0

_STATES = {
    "manual_drain": (BackendState.DRAINING, BackendReason.MANUAL_DRAIN),
    "passing": (BackendState.ACTIVE, BackendReason.PASSING),
    "refused": (BackendState.DOWN, BackendReason.REFUSED),
    "timeout": (BackendState.DOWN, BackendReason.TIMEOUT),
    "deleting": (BackendState.DRAINING, BackendReason.NODE_DELETING),
}
_CAUSES = {
    BackendReason.REFUSED: Cause.REFUSED,
    BackendReason.TIMEOUT: Cause.TIMEOUT,
}


def _node_ip(n: int) -> str:
    return f"10.0.{n // 250}.{n % 250 + 1}"


def frontend(
    name: str = "web",
    *,
    namespace: str = "shop",
    cluster: str = "prod",
    port: int = 80,
    node_port: int = 30080,
    states: tuple[str, ...] = ("passing", "passing", "passing"),
) -> Frontend:
    """A frontend with one backend per state: `passing`, `refused`, `timeout`, `deleting`."""
    key = FrontendKey(ServiceKey(cluster, namespace, name), port, Protocol.TCP)
    return Frontend(
        key=key,
        port_name="http",
        node_port=node_port,
        listen=(Address("0.0.0.0", node_port),),
        balance=Balance.LEAST_CONNECTIONS,
        backends=tuple(
            Backend(
                key=BackendKey(
                    key, f"node-{n}", Address(f"10.0.{n // 250}.{n % 250 + 1}", node_port)
                ),
                state=_STATES[state][0],
                reason=_STATES[state][1],
                since=NOW - 60 * (n + 1),
            )
            for n, state in enumerate(states)
        ),
    )


def status(*frontends: Frontend, **changes: object) -> Status:
    """A status in which these frontends are served and everything else is well."""
    keys = sorted(frontends, key=lambda one: one.key)
    generation = 7 if frontends else 0
    base = Status(
        version="0.1.0",
        now=NOW,
        started_at=NOW - 3600,
        loop_at=NOW - 0.2,
        passes=42,
        config_path="/etc/nplb/nplb.yaml",
        reload=ReloadStatus(at=NOW - 3600),
        sources=(
            SourceStatus(
                cluster="prod",
                state=SourceState.LIVE,
                since=NOW - 3500,
                last_snapshot_at=NOW - 12,
            ),
        ),
        ready=(ReadyPart(name="sources", ok=True), ReadyPart(name="plan", ok=True)),
        plan=Plan(
            generation=generation,
            frontends=tuple(keys),
            probes=tuple(
                ProbeTarget(address=backend.key.address) for one in keys for backend in one.backends
            ),
        ),
        applied=Applied(generation=generation),
        verdicts={
            backend.key.address: Verdict(
                address=backend.key.address,
                healthy=backend.state is not BackendState.DOWN,
                cause=_CAUSES.get(backend.reason, Cause.CONNECTED),
                since=backend.since,
                probed_at=NOW - 1.5,
                latency_seconds=0.0012,
            )
            for one in keys
            for backend in one.backends
        },
        traffic=Traffic(
            frontends={
                one.key: FrontendCounters(
                    accepted=100,
                    active=3,
                    bytes_in=12_000,
                    bytes_out=340_000,
                    ends={EndReason.CLIENT_CLOSED: 90, EndReason.CONNECT_REFUSED: 2},
                )
                for one in keys
            },
            backends={
                backend.key: BackendCounters(
                    connections=30, active=1, connect_seconds=0.04, bytes_in=4000, bytes_out=100_000
                )
                for one in keys
                for backend in one.backends
            },
            workers=(
                WorkerCounters(
                    worker=0, pid=101, alive=True, generation=generation, restarts=0, loops=900
                ),
                WorkerCounters(
                    worker=1, pid=102, alive=True, generation=generation, restarts=1, loops=800
                ),
            ),
        ),
        probing=Probing(
            targets=sum(len(one.backends) for one in keys),
            ended={Cause.CONNECTED: 500, Cause.REFUSED: 3},
            latency_buckets=((0.001, 400), (0.01, 100), (float("inf"), 0)),
            latency_seconds=0.6,
        ),
    )
    return replace(base, **changes)  # type: ignore[arg-type]


def troubled() -> Status:
    """Three services with about everything wrong that can be."""
    web = frontend(states=("passing", "refused", "timeout", "deleting"))
    taken = frontend("api", node_port=30081)
    empty = frontend("mail", port=25, node_port=30025, states=("refused", "refused"))
    base = status(web, taken, empty)
    udp = FrontendKey(ServiceKey("prod", "dns", "dns"), 53, Protocol.UDP)
    return replace(
        base,
        plan=replace(
            base.plan,
            skipped=(Skipped(key=udp, reason=SkipReason.PROTOCOL, detail="UDP is not carried"),),
        ),
        applied=Applied(
            generation=7,
            listen_errors={
                taken.key: (
                    ListenError(
                        address=taken.listen[0],
                        in_use=True,
                        detail="held by process 4711 (nginx); stop it or set another port",
                    ),
                )
            },
        ),
        sources=(
            SourceStatus(
                cluster="prod",
                state=SourceState.STALE,
                since=NOW - 300,
                last_snapshot_at=NOW - 300,
                error="https://10.0.0.9:6443: connection refused",
                attempts=9,
            ),
        ),
        ready=(
            ReadyPart(name="sources", ok=True),
            ReadyPart(name="listeners", ok=False, detail="prod/shop/api:80/TCP: port in use"),
        ),
        findings=(
            Finding(
                kind=FindingKind.EDGE_PORT_IN_USE,
                severity=Severity.ERROR,
                cluster="prod",
                subject="prod/shop/api:80/TCP",
                text="0.0.0.0:30081 is held by process 4711 (nginx)",
                remedy="stop that process, or give the frontend another port",
                since=NOW - 200,
            ),
            Finding(
                kind=FindingKind.PORT_RANGE_FILLING,
                severity=Severity.WARNING,
                cluster="prod",
                subject="30000-32767",
                text="91% of the NodePort range is used",
                remedy="widen the range with --service-node-port-range",
                since=NOW - 2000,
            ),
        ),
        decisions=(
            Decision(
                at=NOW - 60,
                kind=DecisionKind.BACKEND_DOWN,
                subject=str(web.backends[1].key),
                reason="refused",
                text="refuses connections",
                service=str(web.key.service),
                node="node-1",
                cluster="prod",
                sequence=1,
            ),
        ),
        reload=ReloadStatus(
            at=NOW - 100, count=3, refused=1, errors=("nplb.yaml:3:1: unknown key 'lisen'",)
        ),
    )


def large(services: int, nodes: int) -> Status:
    """Many services on many nodes, one backend in fifty down."""
    return status(
        *(
            frontend(
                f"service-{n:05d}",
                namespace=f"team-{n % 20}",
                node_port=20_000 + n,
                states=tuple(
                    "timeout" if (n * 7 + m) % 50 == 0 else "passing" for m in range(nodes)
                ),
            )
            for n in range(services)
        )
    )
