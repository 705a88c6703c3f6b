"""One frontend: its backends, each with its state and the reason."""

from collections.abc import Mapping
from dataclasses import replace

from nplb.model.cluster import Node, TrafficPolicy
from nplb.model.kernel import PlaneKind
from nplb.model.keys import Address, BackendKey, Protocol
from nplb.model.plan import Backend, Frontend, LeftOut
from nplb.model.reasons import BackendReason, BackendState, Balance, Cause
from nplb.model.settings import FrontendSettings, InitialState, Settings
from nplb.model.verdict import Verdict
from nplb.plan.candidates import Candidate
from nplb.plan.overrides import service_options
from nplb.plan.view import ClusterView
from nplb.policy.nodes import count_endpoints, service_exclusion

# Which reason a probe's cause gives to a backend that is down.
_DOWN_REASONS = {
    Cause.CONNECTED: BackendReason.PROBING,  # on its way up, after `rise` probes
    Cause.REFUSED: BackendReason.REFUSED,
    Cause.TIMEOUT: BackendReason.TIMEOUT,
    Cause.UNREACHABLE: BackendReason.UNREACHABLE,
    Cause.RESET: BackendReason.RESET,
    Cause.UNEXPECTED_ANSWER: BackendReason.PROBE_FAILED,
}


def make_frontend(
    settings: Settings,
    candidate: Candidate,
    view: ClusterView,
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
        key=previous.key if previous is not None else candidate.key,
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
