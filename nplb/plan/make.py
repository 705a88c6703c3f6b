"""`make_plan`: all frontends and backends as they should be, each with its reason."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from nplb.alloc.edge import EdgeClaim, resolve_edge_ports
from nplb.model.cluster import (
    EndpointSlice,
    Node,
    Service,
    ServicePort,
    ServiceType,
    Snapshot,
    TrafficPolicy,
)
from nplb.model.drain import ManualDrain
from nplb.model.kernel import PlaneKind
from nplb.model.keys import Address, BackendKey, FrontendKey, Protocol
from nplb.model.plan import Backend, Frontend, LeftOut, Plan, Skipped
from nplb.model.reasons import BackendReason, BackendState, Balance, Cause, SkipReason
from nplb.model.settings import (
    ClusterSettings,
    EdgePort,
    FrontendSettings,
    HealthSettings,
    InitialState,
    Settings,
)
from nplb.model.verdict import ProbeTarget, Verdict
from nplb.plan.overrides import overrides_for, service_options
from nplb.policy.nodes import (
    Exclusion,
    count_endpoints,
    drain_exclusion,
    node_exclusion,
    node_ip,
    node_weight,
    service_exclusion,
)
from nplb.policy.ranges import Ranges
from nplb.policy.selectors import parse_selector

# Which protocols a plane carries.
_CARRIES = {
    PlaneKind.RELAY: (Protocol.TCP,),
    PlaneKind.KERNEL: (Protocol.TCP, Protocol.UDP),
}

# Which reason a probe's cause gives to a backend that is down.
_DOWN_REASONS = {
    Cause.CONNECTED: BackendReason.PROBING,  # on its way up, after `rise` probes
    Cause.REFUSED: BackendReason.REFUSED,
    Cause.TIMEOUT: BackendReason.TIMEOUT,
    Cause.UNREACHABLE: BackendReason.UNREACHABLE,
    Cause.RESET: BackendReason.RESET,
    Cause.UNEXPECTED_ANSWER: BackendReason.PROBE_FAILED,
}


def make_plan(
    settings: Settings,
    snapshots: Mapping[str, Snapshot],
    verdicts: Mapping[Address, Verdict],
    previous: Plan,
    now: float,
    *,
    drains: Sequence[ManualDrain] = (),
) -> Plan:
    """The plan that these inputs give.

    `snapshots` is keyed by cluster name; a configured cluster without one contributes
    nothing yet. `previous` gives what must outlive a pass: since when a backend is as it is,
    and the generation, which grows only when the content changes. `now` is epoch seconds.
    `drains` are nodes taken out by hand.
    """
    before = {frontend.key: frontend for frontend in previous.frontends}
    candidates: list[_Candidate] = []
    skipped: list[Skipped] = []
    for cluster in sorted(settings.clusters, key=lambda c: c.name):
        snapshot = snapshots.get(cluster.name)
        if snapshot is not None:
            found, left = _candidates(settings, cluster, snapshot)
            candidates += found
            skipped += left

    edge = resolve_edge_ports(
        [
            EdgeClaim(key=c.key, addresses=c.listen, pinned=c.pinned, created=c.service.created)
            for c in candidates
        ]
    )
    frontends: list[Frontend] = []
    targets: dict[Address, bool] = {}
    views: dict[str, _ClusterView] = {}
    for candidate in sorted(candidates, key=lambda c: c.key):
        lost = edge.lost.get(candidate.key)
        if lost is not None:
            skipped.append(
                Skipped(key=candidate.key, reason=SkipReason.EDGE_PORT_TAKEN, detail=lost)
            )
            continue
        cluster = candidate.cluster
        view = views.get(cluster.name)
        if view is None:
            view = views[cluster.name] = _ClusterView.of(
                cluster, snapshots[cluster.name], settings.zone, drains
            )
        frontend, probed, empty = _frontend(
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
    )
    if plan == previous:
        return previous
    return replace(plan, generation=previous.generation + 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Candidate:
    """A Service's port that wants a frontend."""

    key: FrontendKey
    cluster: ClusterSettings
    service: Service
    port: ServicePort
    listen: tuple[Address, ...]
    pinned: bool
    override: FrontendSettings


class _Row(NamedTuple):
    """A node as every Service sees it. `ip` None: no address is usable; `out`: why no Service
    may use it."""

    node: Node
    ip: str | None
    out: Exclusion | None
    weight: int
    tier: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _ClusterView:
    """What every Service of one cluster needs to know of it, computed once a pass."""

    cluster: ClusterSettings
    zone: str
    nodes: tuple[tuple[Node, Exclusion | None], ...]
    slices: Mapping[tuple[str, str], Sequence[EndpointSlice]]
    _rows: dict[tuple[str, ...], list[_Row]] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        cluster: ClusterSettings,
        snapshot: Snapshot,
        zone: str,
        drains: Sequence[ManualDrain],
    ) -> "_ClusterView":
        drained = {d.node: drain_exclusion(d) for d in drains if d.cluster == cluster.name}
        selector = parse_selector(cluster.node_selector)
        slices: dict[tuple[str, str], list[EndpointSlice]] = {}
        for piece in snapshot.slices:
            slices.setdefault((piece.namespace, piece.service), []).append(piece)
        ordered = sorted(snapshot.nodes, key=lambda node: node.name)
        nodes = tuple(
            (node, drained.get(node.name) or node_exclusion(node, selector)) for node in ordered
        )
        return cls(cluster=cluster, zone=zone, nodes=nodes, slices=slices)

    def rows(self, families: tuple[str, ...]) -> list[_Row]:
        """Every node with its address for Services of these families, and why it is out."""
        rows = self._rows.get(families)
        if rows is None:
            types = self.cluster.node_address
            rows = [
                _Row(
                    node,
                    node_ip(node, types, families),
                    out,
                    _weight(node),
                    0 if self.zone in ("", node.zone) else 1,
                )
                for node, out in self.nodes
            ]
            self._rows[families] = rows
        return rows


def _candidates(
    settings: Settings, cluster: ClusterSettings, snapshot: Snapshot
) -> tuple[list[_Candidate], list[Skipped]]:
    selector = parse_selector(cluster.service_selector)
    found: list[_Candidate] = []
    skipped: list[Skipped] = []
    for service in snapshot.services:
        if not service.uses_node_ports or not selector.matches(service.labels):
            continue
        if cluster.namespaces and service.key.namespace not in cluster.namespaces:
            continue
        for port in service.ports:
            key = FrontendKey(service.key, port.port, port.protocol)
            override = overrides_for(settings.frontends, service, port)
            plane = override.plane or settings.plane
            skip = _skip(cluster, service, port, plane)
            if skip is not None:
                skipped.append(Skipped(key=key, reason=skip[0], detail=skip[1]))
                continue
            listen = override.listen or _listen(settings, port)
            found.append(
                _Candidate(
                    key=key,
                    cluster=cluster,
                    service=service,
                    port=port,
                    listen=listen,
                    pinned=override.listen is not None,
                    override=override,
                )
            )
    return found, skipped


def _skip(
    cluster: ClusterSettings, service: Service, port: ServicePort, plane: PlaneKind
) -> tuple[SkipReason, str] | None:
    if service.deleting:
        return SkipReason.SERVICE_DELETING, "the Service is being deleted"
    if (
        service.type is ServiceType.LOAD_BALANCER
        and service.load_balancer_class is not None
        and service.load_balancer_class != cluster.load_balancer_class
    ):
        wanted = cluster.load_balancer_class
        detail = f"loadBalancerClass is {service.load_balancer_class}, not {wanted}"
        return SkipReason.OTHER_CLASS, detail
    try:
        Ranges(service.source_ranges)
    except ValueError as error:
        # Rather nobody than everybody.
        return SkipReason.SOURCE_RANGES, f"loadBalancerSourceRanges: {error}"
    if port.protocol not in _CARRIES[plane]:
        carried = " and ".join(_CARRIES[plane])
        detail = f"the {plane} plane carries {carried}, this port is {port.protocol}"
        return SkipReason.PROTOCOL, detail
    if not port.node_port:
        return SkipReason.NO_NODE_PORT, "the port has no nodePort to send clients to"
    return None


def _listen(settings: Settings, port: ServicePort) -> tuple[Address, ...]:
    number = port.node_port if settings.listen.port is EdgePort.MIRROR else port.port
    return tuple(Address(ip, number) for ip in settings.listen.addresses)


def _frontend(
    settings: Settings,
    candidate: _Candidate,
    view: _ClusterView,
    verdicts: Mapping[Address, Verdict],
    previous: Frontend | None,
    now: float,
) -> tuple[Frontend, list[Address], bool]:
    """One frontend, the addresses to probe for it, and whether its Service is empty. The loop
    runs once for every node of every Service, so it builds nothing that the plan before
    already has."""
    service, override, health = candidate.service, candidate.override, settings.health
    slices = view.slices.get((service.key.namespace, service.key.name), ())
    endpoints = count_endpoints(slices)
    local = service.external_traffic_policy is TrafficPolicy.LOCAL
    # A connect proves nothing of a UDP port: who lets a node in there is the API alone.
    probed = health.enabled and candidate.port.protocol is Protocol.TCP
    earlier = {b.key.node: b for b in previous.backends} if previous is not None else {}
    port = candidate.port.node_port
    backends: list[Backend] = []
    left_out: list[LeftOut] = []
    targets: list[Address] = []
    for node, ip, node_out, weight, tier in view.rows(service.ip_families):
        if ip is None:
            left_out.append(_no_address(node, candidate))
            continue
        before = earlier.get(node.name)
        if before is not None and before.key.address.ip == ip and before.key.address.port == port:
            key = before.key
        else:
            before, key = None, BackendKey(candidate.key, node.name, Address(ip, port))
        out = node_out
        if out is None and local:
            out, held = service_exclusion(service, node, endpoints)
            weight *= held
        if out is not None:
            nothing_there = out.reason is BackendReason.NO_LOCAL_ENDPOINT
            state = BackendState.DOWN if nothing_there else BackendState.DRAINING
            reason, detail = out.reason, out.detail
        else:
            if probed:
                targets.append(key.address)
            state, reason, detail = _judge(
                probed, health.initial, verdicts.get(key.address), endpoints.empty
            )
        if before is not None and (state is before.state and reason is before.reason):
            if (detail, weight, tier) == (before.detail, before.weight, before.tier):
                backends.append(before)
            else:
                backends.append(replace(before, detail=detail, weight=weight, tier=tier))
            continue
        backends.append(
            Backend(
                key=key,
                state=state,
                reason=reason,
                detail=detail,
                weight=weight,
                tier=tier,
                since=now,
            )
        )
    frontend = Frontend(
        key=candidate.key,
        port_name=candidate.port.name,
        node_port=port,
        listen=candidate.listen,
        balance=_balance(settings, override),
        timeouts=override.timeouts or settings.timeouts,
        connect_attempts=override.connect_attempts or settings.connect_attempts,
        relay=service_options(override.relay or settings.relay, service),
        plane=override.plane or settings.plane,
        kernel=override.kernel or settings.kernel,
        backends=tuple(backends),
        left_out=tuple(left_out),
    )
    if previous == frontend:
        return previous, targets, endpoints.empty
    return frontend, targets, endpoints.empty


def _weight(node: Node) -> int:
    """A wrong annotation is a finding (control.books), and counts as none."""
    try:
        return node_weight(node)
    except ValueError:
        return 1


def _balance(settings: Settings, override: FrontendSettings) -> Balance:
    """The kernel can't choose by connections: there the general default means in turn."""
    if override.balance is not None:
        return override.balance
    kernel = (override.plane or settings.plane) is PlaneKind.KERNEL
    if kernel and settings.balance is Balance.LEAST_CONNECTIONS:
        return Balance.ROUND_ROBIN
    return settings.balance


def _no_address(node: Node, candidate: _Candidate) -> LeftOut:
    wanted = " or ".join(candidate.cluster.node_address)
    families = "/".join(candidate.service.ip_families)
    detail = f"the Node has no {wanted} address" + (f" of family {families}" if families else "")
    return LeftOut(node=node.name, reason=BackendReason.NO_ADDRESS, detail=detail)


def _judge(
    probed: bool, initial: InitialState, verdict: Verdict | None, empty: bool
) -> tuple[BackendState, BackendReason, str]:
    """A backend that the API lets in: what probing says of it."""
    if not probed:
        return BackendState.ACTIVE, BackendReason.PROBES_OFF, ""
    if verdict is None or verdict.healthy is None:
        if initial is InitialState.UP:
            return BackendState.ACTIVE, BackendReason.UNPROBED, ""
        return BackendState.DOWN, BackendReason.PROBING, ""
    if verdict.healthy:
        return BackendState.ACTIVE, BackendReason.PASSING, ""
    cause = verdict.cause
    if cause is Cause.REFUSED and empty:
        # kube-proxy refuses where a Service has no endpoint at all: the node is not to blame.
        return (
            BackendState.DOWN,
            BackendReason.SERVICE_EMPTY,
            "the Service has no ready endpoint, so every node refuses",
        )
    reason = (
        _DOWN_REASONS.get(cause, BackendReason.PROBE_FAILED)
        if cause
        else (BackendReason.PROBE_FAILED)
    )
    return BackendState.DOWN, reason, verdict.detail


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
