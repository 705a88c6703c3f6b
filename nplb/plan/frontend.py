"""One frontend: its backends, each with its state and the reason."""

from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import replace
from typing import NamedTuple

from nplb.model.cluster import Node, Service, TrafficPolicy
from nplb.model.health import BlastRadius, HealthSettings, KubeProxyUse
from nplb.model.kernel import PlaneKind
from nplb.model.keys import Address, BackendKey, Protocol
from nplb.model.plan import Backend, Frontend, LeftOut
from nplb.model.reasons import BackendReason, BackendState, Balance
from nplb.model.relay import SendProxy
from nplb.model.settings import FrontendSettings, Settings
from nplb.model.verdict import Verdict
from nplb.plan.candidates import Candidate
from nplb.plan.judge import Asked, judge
from nplb.plan.leaving import GONE, SIGNALS, Leaver, who_leaves
from nplb.plan.overrides import service_options
from nplb.plan.panic import is_panic, open_up
from nplb.plan.view import NO_POD_TIER, UNWELL_TIER, ClusterView, Row
from nplb.policy.evidence import MIN_SERVICES, NOTHING_KNOWN, NodeEvidence
from nplb.policy.nodes import Exclusion, service_exclusion

KUBE_PROXY_PORT = 10256
SERVICE_UNAVAILABLE = 503
_NOTHING_THERE = frozenset({BackendReason.NO_LOCAL_ENDPOINT})
_LEAVING = frozenset(SIGNALS)


class Probed(NamedTuple):
    """What to probe for one frontend: how (`health`), its NodePorts, the health check node ports
    of its nodes and their kube-proxies, and whether its Service is empty."""

    health: HealthSettings
    proxy: SendProxy
    empty: bool
    node_ports: list[Address]
    health_checks: list[Address]
    kube_proxies: list[Address]


def make_frontend(
    settings: Settings,
    candidate: Candidate,
    view: ClusterView,
    verdicts: Mapping[Address, Verdict],
    previous: Frontend | None,
    now: float,
    *,
    evidence: NodeEvidence = NOTHING_KNOWN,
    most_nodes: int = 0,
) -> tuple[Frontend, Probed]:
    """One frontend, and what to probe for it. The loop runs once for every node of every
    Service, so it builds nothing that the plan before already has. It has `most_nodes` backends
    (0 for any number), unless it matters which node a client comes to."""
    service, override = candidate.service, candidate.override
    health = override.health or settings.health
    options = service_options(override.relay or settings.relay, service)
    endpoints = view.endpoints(service)
    local = service.external_traffic_policy is TrafficPolicy.LOCAL
    near_pods = _near_pods(settings, candidate, view)
    # A connect proves nothing of a UDP port: who lets a node in there is the API, and what the
    # node's other services say of it.
    probed = health.enabled and candidate.port.protocol is Protocol.TCP
    probes = Probed(health, options.send_proxy, endpoints.empty, [], [], [])
    check_port = service.health_check_node_port if _asks_check_port(service, health) else 0
    kube_proxy = health.kube_proxy if health.enabled else KubeProxyUse.OFF
    if not health.enabled:
        evidence = NOTHING_KNOWN  # then nothing counts but what the API says
    asked = Asked(probed, health.initial, endpoints.empty, local, evidence)
    earlier = {b.key.node: b for b in previous.backends} if previous is not None else {}
    port = candidate.port.node_port
    backends: list[Backend | None] = []
    leavers: list[Leaver] = []
    left_out: list[LeftOut] = []
    met = 0
    all_rows = view.rows(service.ip_families)
    rows = rows_for(settings, candidate, view, most_nodes)
    for node, ip, node_out, weight, tier, note in rows:
        name = node.name
        before = earlier.get(name)
        if before is not None:
            met += 1
        if ip is None:
            left = _no_address(node, candidate)
            if before is not None and _works(before, asked, verdicts):
                gone = Exclusion(reason=left.reason, detail=left.detail)
                leavers.append(Leaver(before, -1, gone))
            else:
                left_out.append(_with_since(left, previous))
            continue
        if before is not None and before.key.address.ip == ip and before.key.address.port == port:
            key = before.key
        else:
            before, key = None, BackendKey(candidate.key, name, Address(ip, port))
        out = node_out
        if out is None and local:
            out, held = service_exclusion(service, node, endpoints)
            if check_port:
                said = Address(ip, check_port)
                probes.health_checks.append(said)
                out, held = _as_the_node_says(verdicts.get(said), out, held)
            weight *= held
        if near_pods and name not in near_pods:
            tier += NO_POD_TIER
        left_at = 0.0
        if out is None:
            if probed:
                probes.node_ports.append(key.address)
            state, reason, detail = judge(asked, ip, verdicts.get(key.address))
            if note and not detail:
                detail = note
            if kube_proxy is not KubeProxyUse.OFF:
                proxy = Address(ip, KUBE_PROXY_PORT)
                probes.kube_proxies.append(proxy)
                verdict = verdicts.get(proxy)
                if verdict is not None and verdict.healthy is False:
                    if kube_proxy is KubeProxyUse.PREFER:
                        tier += UNWELL_TIER
                        detail = detail or f"its kube-proxy is not well: {verdict.detail}"
                    elif state is BackendState.ACTIVE:
                        state, reason = BackendState.DRAINING, BackendReason.KUBE_PROXY_UNWELL
                        detail = verdict.detail
        else:
            state = BackendState.DOWN if out.reason in _NOTHING_THERE else BackendState.DRAINING
            reason, detail = out.reason, out.detail
            if before is not None:
                left_at = before.left_at
                # One that was in until now, and works, leaves only if not too many do.
                if reason in _LEAVING and _works(before, asked, verdicts):
                    leavers.append(Leaver(before, len(backends), out))
                    backends.append(None)
                    continue
        if before is not None and (state is before.state and reason is before.reason):
            if (detail, weight, tier, left_at) == (
                before.detail,
                before.weight,
                before.tier,
                before.left_at,
            ):
                backends.append(before)
            else:
                backends.append(
                    replace(before, detail=detail, weight=weight, tier=tier, left_at=left_at)
                )
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
                left_at=left_at,
            )
        )
    if previous is not None and met < len(earlier):
        names = {row.node.name for row in all_rows}
        for name in sorted(earlier.keys() - names):
            _note_gone(earlier[name], asked, verdicts, leavers, left_out)
    if previous is not None and previous.left_out:
        left_out += _still_counted(previous, all_rows, settings.blast_radius, now)
    if leavers:
        kept = _settle(leavers, backends, left_out, settings.blast_radius, now, not all_rows)
        if probed:
            probes.node_ports.extend(kept)
    whole = [backend for backend in backends if backend is not None]
    whole = _empty_everywhere(whole, earlier, now, known=endpoints.known)
    panic = is_panic(health, whole)
    if panic and health.fail_open:
        whole = open_up(whole, earlier, now)
    frontend = Frontend(
        key=previous.key if previous is not None else candidate.key,
        port_name=candidate.port.name,
        node_port=port,
        listen=candidate.listen,
        balance=_balance(settings, override),
        timeouts=override.timeouts or settings.timeouts,
        connect_attempts=override.connect_attempts or settings.connect_attempts,
        relay=options,
        plane=override.plane or settings.plane,
        kernel=override.kernel or settings.kernel,
        backends=tuple(whole),
        left_out=tuple(sorted(left_out, key=lambda left: left.node)),
        panic=panic,
    )
    if previous == frontend:
        return previous, probes
    return frontend, probes


def rows_for(
    settings: Settings, candidate: Candidate, view: ClusterView, most_nodes: int
) -> list[Row]:
    """The nodes that a frontend has as its backends. Of the cluster's nodes nothing else counts
    for it, unless it had others before, or one of these can't be a backend."""
    service = candidate.service
    if service.external_traffic_policy is TrafficPolicy.LOCAL or _near_pods(
        settings, candidate, view
    ):
        return view.rows(service.ip_families)
    return view.chosen(service, most_nodes)


def _near_pods(settings: Settings, candidate: Candidate, view: ClusterView) -> AbstractSet[str]:
    """The nodes with a ready pod, if those are preferred."""
    service, own = candidate.service, candidate.override.prefer_pods
    prefer = settings.prefer_pods if own is None else own
    if not prefer or service.external_traffic_policy is TrafficPolicy.LOCAL:
        return frozenset()
    return view.endpoints(service).ready_nodes


def _asks_check_port(service: Service, health: HealthSettings) -> bool:
    """Whether the Service has a health check node port that nplb is to ask."""
    wanted = health.enabled and health.health_check_port
    return wanted and service.needs_health_check_node_port and bool(service.health_check_node_port)


def _as_the_node_says(
    verdict: Verdict | None, out: Exclusion | None, held: int
) -> tuple[Exclusion | None, int]:
    """What the node's own health check says goes before EndpointSlices, which may be late. 503
    is no more than "no ready endpoint": kube-proxy still forwards to terminating ones, so the
    node drains. Where it does not answer (a firewall, say) the slices count."""
    if verdict is None or verdict.healthy is None:
        return out, held
    if verdict.healthy:
        return None, verdict.weight or max(held, 1)
    if verdict.answer == SERVICE_UNAVAILABLE and out is None:
        return Exclusion(reason=BackendReason.HEALTH_CHECK_PORT, detail=verdict.detail), held
    return out, held


def _works(before: Backend, asked: Asked, verdicts: Mapping[Address, Verdict]) -> bool:
    """Whether a backend that the API would take out was in until now, and passes its probes."""
    address = before.key.address
    return (
        before.state is BackendState.ACTIVE
        and judge(asked, address.ip, verdicts.get(address))[0] is BackendState.ACTIVE
    )


def _note_gone(
    before: Backend,
    asked: Asked,
    verdicts: Mapping[Address, Verdict],
    leavers: list[Leaver],
    left_out: list[LeftOut],
) -> None:
    """A backend whose Node is no more: one that worked is to leave, one that drained has left."""
    if _works(before, asked, verdicts):
        leavers.append(Leaver(before, -1, GONE))
    elif before.state is BackendState.DRAINING and before.left_at:
        left_out.append(
            LeftOut(
                node=before.key.node, reason=GONE.reason, detail=GONE.detail, since=before.left_at
            )
        )


def _still_counted(
    previous: Frontend, rows: Sequence[Row], cap: BlastRadius, now: float
) -> Iterator[LeftOut]:
    """Nodes that are gone, but left so lately that the cap counts them."""
    begin = now - cap.window_seconds
    late = [o for o in previous.left_out if o.reason is GONE.reason and o.since > begin]
    if late:
        names = {row.node.name for row in rows}
        yield from (left for left in late if left.node not in names)


def _with_since(left: LeftOut, previous: Frontend | None) -> LeftOut:
    """A node without an address, with since when, if it left because of that."""
    for before in previous.left_out if previous is not None else ():
        if before.node == left.node and before.reason is left.reason:
            return replace(left, since=before.since)
    return left


def _settle(
    leavers: list[Leaver],
    backends: list[Backend | None],
    left_out: list[LeftOut],
    cap: BlastRadius,
    now: float,
    list_is_empty: bool,
) -> list[Address]:
    """Let those leave that may, and keep the others, whose addresses are returned; fills their
    places in `backends`."""
    kept: list[Address] = []
    leave, why = who_leaves(leavers, backends, left_out, cap, now, list_is_empty=list_is_empty)
    for leaver in leavers:
        before, out = leaver.before, leaver.out
        name = before.key.node
        if name not in leave:
            kept.append(before.key.address)
            detail = f"{out.detail}; {why}"
            stays = _changed(before, BackendState.ACTIVE, BackendReason.KEPT, detail, now)
            if leaver.place >= 0:
                backends[leaver.place] = stays
            else:
                backends.append(stays)
        elif leaver.place >= 0:
            gone = _changed(before, BackendState.DRAINING, out.reason, out.detail, now)
            backends[leaver.place] = replace(gone, left_at=now)
        else:
            left_out.append(LeftOut(node=name, reason=out.reason, detail=out.detail, since=now))
    backends.sort(key=lambda backend: backend.key.node if backend is not None else "")
    return kept


def _changed(
    before: Backend, state: BackendState, reason: BackendReason, detail: str, now: float
) -> Backend:
    if before.state is state and before.reason is reason:
        return before if before.detail == detail else replace(before, detail=detail)
    return replace(before, state=state, reason=reason, detail=detail, since=now)


def _empty_everywhere(
    backends: list[Backend], earlier: Mapping[str, Backend], now: float, *, known: bool
) -> list[Backend]:
    """A Service that every node refuses is empty, and no node is to blame: either no slice tells
    (`known` false), or those that do are late."""
    refused = [b for b in backends if b.reason is BackendReason.REFUSED]
    if len(refused) < MIN_SERVICES or any(
        b.state is not BackendState.DRAINING and b.reason is not BackendReason.REFUSED
        for b in backends
    ):
        return backends
    detail = "every node refuses, as they do for a Service without endpoints"
    if known:
        detail += "; the EndpointSlices still list some"
    empty = []
    for backend in backends:
        if backend.state is BackendState.DOWN:
            before = earlier.get(backend.key.node)
            was = before if before is not None and before.key == backend.key else backend
            empty.append(_changed(was, BackendState.DOWN, BackendReason.SERVICE_EMPTY, detail, now))
        else:
            empty.append(backend)
    return empty


def _balance(settings: Settings, override: FrontendSettings) -> Balance:
    """The kernel can't choose by connections: there the general default means in turn."""
    if override.balance is not None:
        return override.balance
    kernel = (override.plane or settings.plane) is PlaneKind.KERNEL
    if kernel and settings.balance is Balance.LEAST_CONNECTIONS:
        return Balance.ROUND_ROBIN
    return settings.balance


def _no_address(node: Node, candidate: Candidate) -> LeftOut:
    wanted = " or ".join(candidate.cluster.node_address)
    families = "/".join(candidate.service.ip_families)
    detail = f"the Node has no {wanted} address" + (f" of family {families}" if families else "")
    if candidate.cluster.node_networks:
        detail += f" within node_networks ({', '.join(candidate.cluster.node_networks)})"
    claimed = [a.address for a in node.addresses if a.type in candidate.cluster.node_address]
    if claimed:
        detail += f"; it says {', '.join(claimed)[:100]}"
    return LeftOut(node=node.name, reason=BackendReason.NO_ADDRESS, detail=detail)
