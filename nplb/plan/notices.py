"""What the owners of Services should know of how the edge serves them: Events on the Services.

Only what an owner can do something about, or will be asked about. A node that is out is no news
to them as long as others work.
"""

from collections.abc import Iterator

from nplb.model.cluster import Service, ServiceType, Snapshot
from nplb.model.keys import FrontendKey, ServiceKey
from nplb.model.outbound import Notice
from nplb.model.plan import Frontend, Plan
from nplb.model.reasons import BackendReason, SkipReason
from nplb.model.settings import ClusterSettings
from nplb.plan.candidates import is_chosen, is_ours
from nplb.plan.outbound import Served
from nplb.policy.selectors import parse_selector

# How long no node must have worked: a start or a restart of pods is no news.
WITHOUT_NODE_SECONDS = 10.0

# Why a port is not served, as the reason of an Event.
_SKIPPED = {
    SkipReason.EDGE_PORT_TAKEN: "EdgePortConflict",
    SkipReason.SOURCE_RANGES: "InvalidSourceRanges",
    SkipReason.NO_NODE_PORT: "NoNodePort",
    SkipReason.PROTOCOL: "ProtocolNotCarried",
}
# These two say that the Service is not for the edge at all, unless it asks for it by its class.
_FOR_LOAD_BALANCERS = (SkipReason.NO_NODE_PORT, SkipReason.PROTOCOL)


def notices(
    cluster: ClusterSettings, snapshot: Snapshot, plan: Plan, served: Served, now: float
) -> tuple[Notice, ...]:
    """What the owners of one cluster's Services should know now, sorted by Service."""
    selector = parse_selector(cluster.service_selector)
    refusals: dict[ServiceKey, list[str]] = {}
    for refusal in plan.refusals:
        refusals.setdefault(refusal.service, []).append(refusal.text)
    found: list[Notice] = []
    for service in snapshot.services:
        if not service.uses_node_ports or service.deleting:
            continue
        if not is_ours(cluster, service) or not is_chosen(cluster, selector, service):
            continue
        said = [("AnnotationRefused", text) for text in refusals.get(service.key, ())]
        said += _of_ports(service, served, now)
        found += [
            Notice(service=service.key, uid=service.uid, reason=reason, text=text)
            for reason, text in said
        ]
    return tuple(found)


def _of_ports(service: Service, served: Served, now: float) -> Iterator[tuple[str, str]]:
    for port in service.ports:
        key = FrontendKey(service.key, port.port, port.protocol)
        name = f"port {port.port}/{port.protocol}"
        frontend = served.frontends.get(key)
        if frontend is not None:
            for error in served.applied.listen_errors.get(frontend.key, ()):
                reason = "EdgePortInUse" if error.in_use else "ListenFailed"
                yield reason, f"{name} can't be served at {error.address}: {error.detail}"
            if _without_node(frontend, now):
                reasons = sorted({backend.reason for backend in frontend.backends})
                why = ", ".join(reasons) or "the cluster has none with a usable address"
                yield "NoUsableNode", f"{name} has no node that works: {why}"
            continue
        skipped = served.skipped.get(key)
        if skipped is None or skipped.reason not in _SKIPPED:
            continue
        if skipped.reason in _FOR_LOAD_BALANCERS and service.type is not ServiceType.LOAD_BALANCER:
            continue
        yield _SKIPPED[skipped.reason], f"{name} is not served: {skipped.detail}"


def _without_node(frontend: Frontend, now: float) -> bool:
    if frontend.active or any(b.reason is BackendReason.PROBING for b in frontend.backends):
        return False
    latest = max((backend.since for backend in frontend.backends), default=now)
    return not frontend.backends or now - latest >= WITHOUT_NODE_SECONDS
