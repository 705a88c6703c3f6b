"""The ledgers of the clusters and of the edge, kept with every pass, and what they find."""

import asyncio
from collections.abc import Callable, Collection, Iterator, Mapping
from itertools import chain
from operator import attrgetter, is_, itemgetter

from nplb.alloc.host import ephemeral_finding, in_use_findings, strangers
from nplb.alloc.ledger import Ledger
from nplb.alloc.portrange import PortRange, parse_port_range
from nplb.control.alarms import Alarming, plan_findings
from nplb.model.applied import Applied
from nplb.model.cluster import Snapshot, SourceStatus
from nplb.model.difference import difference
from nplb.model.finding import Finding, FindingKind, Severity
from nplb.model.keys import POOL, Address, FrontendKey
from nplb.model.ledger import EdgeLedgerView, EdgePortView, HostPortView, LedgerView
from nplb.model.plan import Frontend, Plan
from nplb.model.reasons import SkipReason
from nplb.model.refusal import PREFIX, Refusal
from nplb.model.settings import ClusterSettings, EdgePort, Settings
from nplb.observe.hostports import ephemeral_ports, host_listeners
from nplb.plan.overrides import unused_overrides
from nplb.plan.pools import names_member
from nplb.policy.nodes import WEIGHT_ANNOTATION, node_weight

# Looking through every process for a port's owner is dear where there are many.
LOOK_SECONDS = 5.0


class Books:
    """`ledgers` has one view of each cluster with a snapshot, `edge` the edge's own.

    `own_pids` gives the processes whose listeners are nplb's own, `not_written` what could not be
    written to disk: by what it is, why.
    """

    def __init__(
        self,
        own_pids: Callable[[], Collection[int]],
        not_written: Callable[[], Mapping[str, str]] = dict,
    ) -> None:
        self._own_pids = own_pids
        self._not_written = not_written
        self.ledgers: tuple[LedgerView, ...] = ()
        self.edge = EdgeLedgerView()
        self._ledgers: dict[str, Ledger] = {}
        self._alarming = Alarming()
        self._frontends: tuple[Frontend, ...] = ()
        self._edge_ports_shown: tuple[EdgePortView, ...] = ()
        self._busy: frozenset[Address] = frozenset()
        self._others: tuple[HostPortView, ...] = ()
        self._looked_at = float("-inf")

    async def observe(
        self,
        settings: Settings,
        snapshots: Mapping[str, Snapshot],
        plan: Plan,
        applied: Applied,
        now: float,
        sources: Mapping[str, SourceStatus],
    ) -> tuple[Finding, ...]:
        """Take in the result of a pass. Returns every finding that there is now."""
        self.ledgers = tuple(self._clusters(settings, snapshots, now))
        found = [finding for view in self.ledgers for finding in view.findings]
        found += [f for _, status in sorted(sources.items()) for f in _objects(status, now)]
        found += [f for snapshot in snapshots.values() for f in _weights(snapshot, now)]
        found += [_refused(refusal, now) for refusal in plan.refusals]
        found += plan_findings(plan, now, self._alarming)
        found += named_in_vain(settings, snapshots, now)
        found += [_unwritten(what, why, now) for what, why in self._not_written().items() if why]
        own = (*self._conflicts(plan, now), *await self._in_use(plan, applied, now))
        ephemeral = ephemeral_ports()
        overlap = ephemeral_finding(ephemeral, _listened(settings), now)
        own = (*own, *((overlap,) if overlap is not None else ()))
        self.edge = EdgeLedgerView(
            ports=self._edge_ports(plan),
            others=self._others,
            ephemeral=ephemeral,
            findings=own,
        )
        return (*found, *own)

    def _edge_ports(self, plan: Plan) -> tuple[EdgePortView, ...]:
        """Who has which address of the edge; what was shown last if that is the same."""
        before, self._frontends = self._frontends, plan.frontends
        gone, come = difference(before, plan.frontends, attrgetter("key"), is_)
        if [(f.key, f.listen) for f in gone] != [(f.key, f.listen) for f in come]:
            self._edge_ports_shown = tuple(
                EdgePortView(address=address.ip, port=address.port, holder=str(key))
                for address, key in sorted(_wanted(plan).items(), key=itemgetter(0))
            )
        return self._edge_ports_shown

    def _clusters(
        self, settings: Settings, snapshots: Mapping[str, Snapshot], now: float
    ) -> list[LedgerView]:
        views = []
        ledgers: dict[str, Ledger] = {}
        for cluster in settings.clusters:
            ledger = self._ledgers.get(cluster.name)
            port_range = parse_port_range(cluster.port_range)
            if ledger is None or ledger.port_range != port_range:
                ledger = Ledger(cluster.name, port_range)
            ledgers[cluster.name] = ledger
            snapshot = snapshots.get(cluster.name)
            if snapshot is not None:
                views.append(ledger.observe(snapshot, now, limited_to=_limits(cluster)))
        self._ledgers = ledgers
        return views

    def _conflicts(self, plan: Plan, now: float) -> list[Finding]:
        return [
            Finding(
                kind=FindingKind.EDGE_PORT_CONFLICT,
                severity=Severity.ERROR,
                cluster=skipped.key.service.cluster,
                subject=str(skipped.key),
                text=skipped.detail,
                remedy="give one of them an address or a port of its own under `frontends` in "
                "the configuration",
                since=now,
            )
            for skipped in plan.skipped
            if skipped.reason is SkipReason.EDGE_PORT_TAKEN
        ]

    async def _in_use(self, plan: Plan, applied: Applied, now: float) -> tuple[Finding, ...]:
        """Who listens where a frontend would, for the listeners that were refused."""
        errors = {e.address: e for es in applied.listen_errors.values() for e in es if e.in_use}
        busy = frozenset(errors)
        if not busy:
            self._busy, self._others = busy, ()
            return ()
        if busy != self._busy or not 0 <= now - self._looked_at < LOOK_SECONDS:
            ports = {address.port for address in busy}
            self._others = await asyncio.to_thread(host_listeners, ports)
            self._busy, self._looked_at = busy, now
        wanted = {a: key for a, key in _wanted(plan).items() if a in busy}
        found = dict(strangers(wanted, self._others, self._own_pids()))
        unknown = {a: HostPortView(address=a.ip, port=a.port) for a in wanted if a not in found}
        return in_use_findings(wanted, sorted({**found, **unknown}.items()), now)


def _objects(status: SourceStatus, now: float) -> Iterator[Finding]:
    """Objects that the source left out, whole or in part. Texts begin with the object's name or
    its place in a file, which is the subject; two of one object are one finding."""
    texts: dict[str, list[str]] = {}
    for warning in status.warnings:
        subject = warning.partition(": ")[0] if ": " in warning else status.cluster
        texts.setdefault(subject, []).append(warning)
    for subject, several in texts.items():
        yield Finding(
            kind=FindingKind.OBJECT_REFUSED,
            severity=Severity.WARNING,
            cluster=status.cluster,
            subject=subject,
            text="; ".join(several),
            remedy="",
            since=now,
        )
    if status.passed_over:
        yield Finding(
            kind=FindingKind.OBJECTS_PASSED_OVER,
            severity=Severity.INFO,
            cluster=status.cluster,
            subject=status.cluster,
            text=status.passed_over,
            remedy="nplb reads Services, Nodes and EndpointSlices",
            since=now,
        )


def _unwritten(what: str, why: str, now: float) -> Finding:
    return Finding(
        kind=FindingKind.NOT_WRITTEN,
        severity=Severity.WARNING,
        cluster="",
        subject=what,
        text=why,
        remedy="make room on that disk, or correct the rights of that directory; it is tried again "
        "by itself",
        since=now,
    )


def _weights(snapshot: Snapshot, now: float) -> Iterator[Finding]:
    """Weight annotations that can't be read."""
    for node in snapshot.nodes:
        try:
            node_weight(node)
        except ValueError as error:
            yield Finding(
                kind=FindingKind.ANNOTATION_REFUSED,
                severity=Severity.WARNING,
                cluster=snapshot.cluster,
                subject=f"node/{node.name}",
                text=f"Node {node.name}: {error}; its weight is 1",
                remedy="kubectl annotate --overwrite node "
                f"{node.name} {WEIGHT_ANNOTATION}=NUMBER, or {WEIGHT_ANNOTATION}- to remove it",
                since=now,
            )


def _refused(refusal: Refusal, now: float) -> Finding:
    """An annotation of a Service that is not honoured."""
    service, name = refusal.service, f"{PREFIX}{refusal.name}"
    return Finding(
        kind=FindingKind.ANNOTATION_REFUSED,
        severity=Severity.WARNING,
        cluster=service.cluster,
        subject=f"{service.short} {name}",
        text=refusal.text,
        remedy=f"kubectl annotate --overwrite -n {service.namespace} service {service.name} "
        f"{name}=VALUE, or {name}- to remove it; or allow it in the edge's configuration",
        since=now,
    )


def named_in_vain(
    settings: Settings, snapshots: Mapping[str, Snapshot], now: float
) -> Iterator[Finding]:
    """What the configuration names and no Service answers to, once every cluster is known."""
    if all(cluster.name in snapshots for cluster in settings.clusters):
        yield from _unused(settings, snapshots, now)
        yield from _missing_members(settings, snapshots, now)


def _unused(settings: Settings, snapshots: Mapping[str, Snapshot], now: float) -> Iterator[Finding]:
    """Entries of `frontends` that no Service answers to."""
    services = chain.from_iterable(snapshot.services for snapshot in snapshots.values())
    pools = {pool.name for pool in settings.pools}
    for override in unused_overrides(settings.frontends, services):
        if override.cluster == POOL and override.service in pools:
            continue
        cluster = f"{override.cluster}/" if override.cluster else ""
        port = f":{override.port}" if override.port else ""
        name = f"{cluster}{override.service}{port}"
        yield Finding(
            kind=FindingKind.OVERRIDE_UNUSED,
            severity=Severity.WARNING,
            cluster=override.cluster or "",
            subject=name,
            text=f"frontends: {name} names no port of a NodePort or LoadBalancer Service",
            remedy="check the spelling, or remove the entry; it holds as soon as there is such "
            "a Service",
            since=now,
        )


def _missing_members(
    settings: Settings, snapshots: Mapping[str, Snapshot], now: float
) -> Iterator[Finding]:
    """Members of pools that no Service answers to."""
    for pool in settings.pools:
        wanted = {member.service for member in pool.members}
        known = [
            service
            for snapshot in snapshots.values()
            for service in snapshot.services
            if service.uses_node_ports and service.key.short in wanted
        ]
        for member in pool.members:
            if any(names_member(member, s, port) for s in known for port in s.ports):
                continue
            cluster = f"{member.cluster}/" if member.cluster else ""
            name = f"{cluster}{member.service}{f':{member.port}' if member.port else ''}"
            yield Finding(
                kind=FindingKind.POOL_MEMBER_MISSING,
                severity=Severity.WARNING,
                cluster=member.cluster or "",
                subject=f"{pool.name} {name}",
                text=f"pool {pool.name}: {name} is no port of a NodePort or LoadBalancer Service",
                remedy="check the spelling, or create the Service; the other members serve",
                since=now,
            )


def _wanted(plan: Plan) -> dict[Address, FrontendKey]:
    return {address: frontend.key for frontend in plan.frontends for address in frontend.listen}


def _limits(cluster: ClusterSettings) -> str:
    """Which part of the cluster is read, if not all of it."""
    parts = []
    if cluster.namespaces:
        parts.append(f"namespaces {', '.join(cluster.namespaces)}")
    if cluster.service_selector:
        parts.append(f"Services selected by {cluster.service_selector}")
    return "; ".join(parts)


def _listened(settings: Settings) -> list[PortRange]:
    """The ranges of ports that discovered frontends listen on."""
    if settings.listen.port is EdgePort.SERVICE:
        return []
    return sorted({parse_port_range(cluster.port_range) for cluster in settings.clusters})
