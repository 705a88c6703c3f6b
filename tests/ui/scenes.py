"""What the dashboard is looked at with: an edge of a shop in its hour of trouble, an empty one, a
large one. All of it is made up, and the same each time."""

import math
import random
from collections.abc import Iterator
from dataclasses import dataclass, replace

from nplb.model.applied import (
    Applied,
    BackendCounters,
    FrontendCounters,
    Traffic,
    WorkerCounters,
)
from nplb.model.cluster import SourceState, SourceStatus
from nplb.model.decision import Decision, DecisionKind
from nplb.model.drain import ManualDrain
from nplb.model.finding import Finding, FindingKind, Severity
from nplb.model.keys import Address, BackendKey, FrontendKey, Protocol, ServiceKey
from nplb.model.ledger import (
    Band,
    BandView,
    EdgeLedgerView,
    EdgePortView,
    EphemeralView,
    HeldPort,
    Holder,
    LedgerEntry,
    LedgerView,
    NamespaceView,
)
from nplb.model.plan import Backend, Frontend, Plan
from nplb.model.reasons import BackendReason, BackendState, Balance, Cause, EndReason
from nplb.model.status import ReadyPart, Status
from nplb.model.verdict import Detection, Probing, Verdict
from nplb.observe.history import STEP_SECONDS, History
from nplb.observe.journal import Journal
from tests.support.status import NOW, large, status

CLUSTER = "prod"
NODES = tuple(f"worker-{letter}{n}" for letter in "abc" for n in (1, 2, 3))
SILENT, DRAINED = "worker-b2", "worker-c3"
# namespace, name, port, port's name, NodePort, clients a second, bytes out for each
SERVICES = (
    ("auth", "login", 443, "https", 30443, 22.0, 9_000),
    ("billing", "invoices", 443, "https", 31870, 3.5, 21_000),
    ("edge", "mqtt", 8883, "mqtts", 30883, 7.0, 3_000),
    ("mail", "smtp", 25, "smtp", 30025, 1.8, 60_000),
    ("media", "images", 80, "http", 31204, 64.0, 180_000),
    ("media", "video", 80, "http", 32011, 6.0, 2_400_000),
    ("platform", "gitea", 22, "ssh", 30022, 0.7, 40_000),
    ("platform", "grafana", 80, "http", 30300, 1.2, 30_000),
    ("shop", "api", 443, "https", 30081, 88.0, 14_000),
    ("shop", "search", 80, "http", 31555, 31.0, 11_000),
    ("shop", "web", 80, "http", 30080, 120.0, 48_000),
    ("shop", "web", 443, "https", 30444, 310.0, 52_000),
)
SILENT_SINCE = NOW - 260
DRAINED_SINCE = NOW - 2900


@dataclass(slots=True, kw_only=True)
class Scene:
    """What a server shows. Each look at it is a second later, with traffic as before."""

    status: Status
    journal: Journal
    history: History
    looks: int = 0

    def look(self) -> Status:
        """The status now."""
        self.looks += 1
        rates = {_key(n): (SERVICES[n][5], SERVICES[n][6]) for n in range(len(SERVICES))}
        traffic = self.status.traffic
        moved = {}
        for key, one in traffic.frontends.items():
            rate, size = rates.get(key, (3.0, 9_000))
            more = int(rate * self.looks)
            moved[key] = replace(
                one,
                accepted=one.accepted + more,
                bytes_in=one.bytes_in + more * 900,
                bytes_out=one.bytes_out + more * size,
            )
        return replace(
            self.status,
            now=NOW + self.looks,
            loop_at=NOW + self.looks,
            traffic=replace(traffic, frontends=moved),
        )


def empty() -> Scene:
    """An edge whose cluster has no service yet."""
    return Scene(status=status(), journal=Journal(), history=History())


def crowd() -> Scene:
    """A thousand services on a hundred nodes, one of which is silent."""
    base = large(1000, 100)
    frontends = []
    for n, one in enumerate(base.plan.frontends):
        backends = [
            replace(b, state=BackendState.DOWN, reason=BackendReason.TIMEOUT, since=SILENT_SINCE)
            if b.key.node == "node-41" or (m * 31 + n * 17) % 997 == 0
            else replace(b, state=BackendState.ACTIVE, reason=BackendReason.PASSING)
            for m, b in enumerate(one.backends)
        ]
        frontends.append(replace(one, backends=tuple(backends)))
    shown = replace(base, plan=replace(base.plan, frontends=tuple(frontends)))
    return Scene(status=shown, journal=Journal(), history=History())


def shop() -> Scene:
    """Twelve frontends on nine nodes: one node silent for four minutes, one drained by hand."""
    frontends = tuple(_frontend(n) for n in range(len(SERVICES)))
    history, samples = History(), list(_samples(frontends))
    for at, traffic in samples:
        history.observe(at, traffic)
    journal = Journal()
    journal.extend(_decisions(frontends))
    return Scene(status=_status(frontends, samples[-1][1]), journal=journal, history=history)


def _key(n: int) -> FrontendKey:
    namespace, name, port, *_ = SERVICES[n]
    return FrontendKey(ServiceKey(CLUSTER, namespace, name), port, Protocol.TCP)


def _frontend(n: int) -> Frontend:
    *_, port_name, node_port, _, _ = SERVICES[n]
    local = SERVICES[n][1] == "smtp"
    backends = []
    for m, node in enumerate(NODES):
        key = BackendKey(_key(n), node, Address(f"10.20.{m // 3}.{m % 3 + 11}", node_port))
        state, reason, since, detail = BackendState.ACTIVE, BackendReason.PASSING, NOW - 90_000, ""
        if node == DRAINED:
            state, reason, since = BackendState.DRAINING, BackendReason.MANUAL_DRAIN, DRAINED_SINCE
        elif local and m % 3:
            state, reason = BackendState.DOWN, BackendReason.NO_LOCAL_ENDPOINT
        elif node == SILENT:
            state, reason, since = BackendState.DOWN, BackendReason.TIMEOUT, SILENT_SINCE
            detail = "no answer within 500 ms"
        backends.append(Backend(key=key, state=state, reason=reason, since=since, detail=detail))
    return Frontend(
        key=_key(n),
        port_name=port_name,
        node_port=node_port,
        listen=(Address("192.0.2.10", node_port),),
        balance=Balance.LEAST_CONNECTIONS,
        backends=tuple(backends),
    )


def _samples(frontends: tuple[Frontend, ...]) -> Iterator[tuple[float, Traffic]]:
    """An hour of traffic that swings a little, and stumbles when the node goes silent."""
    rng = random.Random(7)
    accepted, failed = [0.0] * len(frontends), [0.0] * len(frontends)
    steps = 720
    for step in range(steps):
        at = NOW - (steps - 1 - step) * STEP_SECONDS
        counters = {}
        for n, frontend in enumerate(frontends):
            rate, size = SERVICES[n][5], SERVICES[n][6]
            swing = 1 + 0.22 * math.sin(step / 90 + n) + 0.09 * math.sin(step / 11 + 2 * n)
            more = max(rate * swing * rng.uniform(0.86, 1.14), 0) * STEP_SECONDS
            accepted[n] += more
            stumbles = SILENT_SINCE - 8 <= at <= SILENT_SINCE + 12 or (n == 10 and 210 < step < 218)
            failed[n] += more * (0.02 if stumbles else 0)
            taken = int(accepted[n])
            counters[frontend.key] = FrontendCounters(
                accepted=taken,
                active=int(rate * swing * rng.uniform(2.3, 2.6)) + 1,
                bytes_in=taken * 900,
                bytes_out=int(accepted[n] * size),
                ends={
                    EndReason.CLIENT_CLOSED: int(taken * 0.71),
                    EndReason.BACKEND_CLOSED: int(taken * 0.27),
                    EndReason.CLIENT_RESET: int(taken * 0.014),
                    EndReason.IDLE_TIMEOUT: int(taken * 0.003),
                    EndReason.CONNECT_TIMEOUT: int(failed[n]),
                },
            )
        yield at, Traffic(frontends=counters, workers=_workers(counters))


def _workers(counters: dict[FrontendKey, FrontendCounters]) -> tuple[WorkerCounters, ...]:
    active = sum(one.active for one in counters.values())
    return tuple(
        WorkerCounters(
            worker=n,
            pid=2211 + n,
            alive=True,
            generation=418,
            restarts=0,
            open_connections=active // 4 + (n * 7) % 5,
        )
        for n in range(4)
    )


def _status(frontends: tuple[Frontend, ...], traffic: Traffic) -> Status:
    rng = random.Random(3)
    base = status()
    verdicts, backends = {}, {}
    for frontend in frontends:
        of = traffic.frontends[frontend.key]
        active = max(len(frontend.active), 1)
        for backend in frontend.backends:
            silent = backend.reason is BackendReason.TIMEOUT
            works = backend.state is BackendState.ACTIVE
            verdicts[backend.key.address] = Verdict(
                address=backend.key.address,
                healthy=not silent,
                cause=Cause.TIMEOUT if silent else Cause.CONNECTED,
                since=backend.since,
                probed_at=NOW - rng.uniform(0.1, 1.9),
                latency_seconds=None if silent else rng.uniform(0.0004, 0.0019),
            )
            backends[backend.key] = BackendCounters(
                connections=int(of.accepted / active * rng.uniform(0.95, 1.05)),
                active=int(of.active / active * rng.uniform(0.8, 1.2)) if works else 0,
                connect_failures=rng.randrange(14, 40) if silent else 0,
            )
    return replace(
        base,
        started_at=NOW - 11 * 86400 - 7200,
        passes=91_204,
        plan=Plan(
            generation=418,
            frontends=tuple(sorted(frontends, key=lambda one: one.key)),
            detection=Detection(rate=54.0, budget=1000.0, node_seconds=2.6, service_seconds=2.6),
        ),
        applied=Applied(generation=418),
        sources=(
            SourceStatus(
                cluster=CLUSTER,
                state=SourceState.LIVE,
                since=NOW - 80_000,
                last_snapshot_at=NOW - 3,
            ),
        ),
        ready=(ReadyPart(name="plan", ok=True),),
        verdicts=verdicts,
        traffic=replace(traffic, backends=backends),
        probing=Probing(
            targets=108,
            ended={Cause.CONNECTED: 4_812_220, Cause.TIMEOUT: 1_604, Cause.REFUSED: 311},
        ),
        drains=(
            ManualDrain(
                cluster=CLUSTER, node=DRAINED, at=DRAINED_SINCE, why="a new disk", who="ada"
            ),
        ),
        findings=(
            Finding(
                kind=FindingKind.PORT_RANGE_FILLING,
                severity=Severity.WARNING,
                cluster=CLUSTER,
                subject="static",
                text="the static band 30000-30085 has 9 of 86 numbers left",
                remedy="let Services take automatic numbers, or widen --service-node-port-range",
                since=NOW - 33_000,
            ),
        ),
        ledgers=(_ledger(),),
        edge=EdgeLedgerView(
            ports=tuple(
                EdgePortView(address=str(one.listen[0].ip), port=one.node_port, holder=str(one.key))
                for one in frontends
            ),
            ephemeral=EphemeralView(low=32768, high=60999),
        ),
    )


def _ledger() -> LedgerView:
    rng = random.Random(11)
    taken = {SERVICES[n][4]: SERVICES[n][:4] for n in range(len(SERVICES))}
    namespaces = ("shop", "media", "platform", "auth", "ci", "data", "billing", "mail")
    for number in rng.sample(range(30000, 30086), 74):
        taken.setdefault(number, (rng.choice(namespaces), f"svc-{number}", 80, "http"))
    for number in rng.sample(range(30086, 32768), 611):
        taken.setdefault(number, (rng.choice(namespaces), f"svc-{number}", 80, "http"))
    entries = []
    for number, (namespace, name, port, port_name) in sorted(taken.items()):
        held = HeldPort(name=port_name, port=port, protocol=Protocol.TCP)
        holders: tuple[Holder, ...] = (
            Holder(
                service=ServiceKey(CLUSTER, namespace, name),
                ports=(held,) if number % 41 else (),
                health_check=number % 41 == 0,
                since=NOW - 9e5,
            ),
        )
        if number in (31412, max(taken) - 3):
            holders = ()
        band = Band.STATIC if number < 30086 else Band.DYNAMIC
        entries.append(LedgerEntry(number=number, band=band, holders=holders, since=NOW - 9e5))
    first, second = entries[300], entries[301]
    entries[300] = replace(first, holders=first.holders + second.holders)
    used = [sum(one.band is band for one in entries) for band in (Band.STATIC, Band.DYNAMIC)]
    counts = dict.fromkeys(namespaces, 0)
    for entry in entries:
        for holder in entry.holders[:1]:
            counts[holder.service.namespace] = counts.get(holder.service.namespace, 0) + 1
    return LedgerView(
        cluster=CLUSTER,
        port_range="30000-32767",
        base=30000,
        size=2768,
        observed_at=NOW,
        entries=tuple(entries),
        bands=(
            BandView(
                band=Band.STATIC,
                first=30000,
                last=30085,
                used=used[0],
                per_hour=0.12,
                full_at=NOW + 3.1 * 86400,
            ),
            BandView(band=Band.DYNAMIC, first=30086, last=32767, used=used[1], per_hour=0.4),
        ),
        namespaces=tuple(NamespaceView(namespace=n, used=c) for n, c in sorted(counts.items())),
        findings=(
            Finding(
                kind=FindingKind.PORT_DUPLICATE,
                severity=Severity.ERROR,
                cluster=CLUSTER,
                subject=str(entries[300].number),
                text=f"{entries[300].number} is held by two Services",
                remedy="give the one that took it later another number",
                since=NOW - 5000,
            ),
        ),
        watched_since=NOW - 9e5,
    )


def _decisions(frontends: tuple[Frontend, ...]) -> Iterator[Decision]:
    def of(
        at: float, kind: DecisionKind, one: Frontend, node: str, reason: str, text: str
    ) -> Decision:
        address = next(b.key.address for b in one.backends if b.key.node == node)
        return Decision(
            at=at,
            kind=kind,
            subject=f"{one.key} via {node} ({address})",
            reason=reason,
            text=text,
            service=str(one.key.service),
            node=node,
            cluster=CLUSTER,
        )

    def plain(at: float, kind: DecisionKind, subject: str, text: str, reason: str = "") -> Decision:
        return Decision(at=at, kind=kind, subject=subject, text=text, reason=reason)

    yield plain(NOW - 11 * 3600, DecisionKind.RELOADED, "nplb", "the configuration was read again")
    yield plain(
        NOW - 33_000,
        DecisionKind.FINDING_OPENED,
        "port_range_filling: static",
        "the static band 30000-30085 has 9 of 86 numbers left",
        "port_range_filling",
    )
    web = frontends[10]
    for at in (NOW - 9 * 3600, NOW - 9 * 3600 + 20):
        down = at == NOW - 9 * 3600
        kind = DecisionKind.BACKEND_DOWN if down else DecisionKind.BACKEND_JOINED
        reason = "refused" if down else "passing"
        yield of(
            at,
            kind,
            web,
            "worker-a1",
            reason,
            f"worker-a1 is {'down' if down else 'active'}: {reason}",
        )
    yield Decision(
        at=NOW - 7000,
        kind=DecisionKind.FRONTEND_ADDED,
        subject=str(frontends[5].key),
        text="to be served at 192.0.2.10:32011",
        service=str(frontends[5].key.service),
        cluster=CLUSTER,
    )
    for node in NODES[:7]:
        yield of(
            NOW - 6998,
            DecisionKind.BACKEND_JOINED,
            frontends[5],
            node,
            "passing",
            f"{node} is active: passing; it was down: probing",
        )
    yield Decision(
        at=DRAINED_SINCE,
        kind=DecisionKind.DRAINED,
        subject=DRAINED,
        reason="manual_drain",
        text="drained by ada: a new disk",
        node=DRAINED,
        cluster=CLUSTER,
    )
    for one in frontends:
        yield of(
            DRAINED_SINCE,
            DecisionKind.BACKEND_DRAINING,
            one,
            DRAINED,
            "manual_drain",
            f"{DRAINED} drains: manual_drain",
        )
    yield plain(
        NOW - 1500, DecisionKind.RELOADED, "nplb", "the configuration was read again: timeouts.idle"
    )
    for one in frontends:
        if one.key.service.name != "smtp":
            yield of(
                SILENT_SINCE,
                DecisionKind.BACKEND_DOWN,
                one,
                SILENT,
                "timeout",
                f"{SILENT} is down: timeout (no answer within 500 ms)",
            )
