"""Which nodes may serve a Service, by what the API says of them.

The rules are those of Kubernetes' own service controller (cloud-provider
`controllers/service/controller.go`, `stableNodeSetPredicates`, KEP-3458): a node is in
unless it is being deleted, excluded by label, or about to be removed by the autoscaler.
Ready and `unschedulable` do not count: a NotReady node may well forward, a cordoned one
always does, and probes tell.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import ip_address

from nplb.model.cluster import EndpointSlice, Node, Service, TrafficPolicy
from nplb.model.drain import ManualDrain
from nplb.model.reasons import BackendReason
from nplb.policy.ranges import Ranges
from nplb.policy.selectors import Selector

EXCLUDE_LABEL = "node.kubernetes.io/exclude-from-external-load-balancers"
AUTOSCALER_TAINT = "ToBeDeletedByClusterAutoscaler"
WEIGHT_ANNOTATION = "nplb.io/weight"
MAX_WEIGHT = 256

# strconv.ParseBool, which the service controller reads the label with.
_FALSE_WORDS = frozenset({"0", "f", "F", "false", "FALSE", "False"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Exclusion:
    """Why a node gets no new connection."""

    reason: BackendReason
    detail: str


def node_exclusion(node: Node, selector: Selector) -> Exclusion | None:
    """Why no Service may use this node, or None if each may."""
    if node.deleting:
        return Exclusion(
            reason=BackendReason.NODE_DELETING, detail="the Node is being deleted from the cluster"
        )
    for taint in node.taints:
        if taint.key == AUTOSCALER_TAINT:
            return Exclusion(
                reason=BackendReason.AUTOSCALER_TAINT,
                detail=f"the Node has the taint {AUTOSCALER_TAINT}",
            )
    label = node.labels.get(EXCLUDE_LABEL)
    if label is not None and label not in _FALSE_WORDS:
        return Exclusion(
            reason=BackendReason.EXCLUDE_LABEL,
            detail=f'the Node has the label {EXCLUDE_LABEL}="{label}"',
        )
    if not selector.matches(node.labels):
        return Exclusion(
            reason=BackendReason.NODE_NOT_SELECTED, detail=f"node_selector {selector} leaves it out"
        )
    return None


def drain_exclusion(drain: ManualDrain) -> Exclusion:
    """A node that was taken out by hand."""
    return Exclusion(reason=BackendReason.MANUAL_DRAIN, detail=drain.text)


def counts_as_not_ready(node: Node) -> bool:
    """Whether the API says that the node is not ready. A Node without a Ready condition, as in
    a manifest, says nothing."""
    return node.ready is False or (node.ready is None and bool(node.ready_reason))


def node_ip(
    node: Node, types: Sequence[str], families: Sequence[str], networks: tuple[str, ...] = ()
) -> str | None:
    """The node's address for a Service: the first of the first wanted type that has one.

    `families` are the Service's `ipFamilies` ("IPv4", "IPv6"), most wanted first; empty takes
    any. kube-proxy serves a NodePort only on addresses of the Service's families. An address is
    the node's own word: one that nobody can connect to is none, nor is one outside `networks`
    (CIDRs; empty is all).
    """
    for family in families or ("",):
        for kind in types:
            for address in node.addresses:
                if address.type == kind and _is_usable(address.address, networks):
                    is_v6 = ":" in address.address
                    if not family or is_v6 == (family == "IPv6"):
                        return address.address
    return None


@lru_cache(maxsize=16384)
def _is_usable(text: str, networks: tuple[str, ...]) -> bool:
    try:
        address = ip_address(text)
    except ValueError:
        return False
    if "%" in text or address.is_unspecified or address.is_multicast:
        return False
    return not networks or text in _ranges(networks)


@lru_cache(maxsize=64)
def _ranges(networks: tuple[str, ...]) -> Ranges:
    return Ranges(networks)


def node_weight(node: Node) -> int:
    """The node's weight by its annotation, 1 without one. Raises ValueError, saying what is
    wrong, for one that is no whole number from 1 to 256."""
    text = node.annotations.get(WEIGHT_ANNOTATION)
    if text is None:
        return 1
    if not (text.isascii() and text.isdigit() and 1 <= int(text) <= MAX_WEIGHT):
        raise ValueError(f"{WEIGHT_ANNOTATION} is {text!r}, not a whole number from 1 to 256")
    return int(text)


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalEndpoints:
    """How many distinct endpoint addresses of a Service a node holds, by condition."""

    ready: int = 0
    terminating: int = 0  # still serving, but on their way out


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointCounts:
    """A Service's endpoints. `known` is false when there is no EndpointSlice for it at all,
    as with manifests that hold none: then nothing can be concluded from their absence.
    `empty` says that no endpoint can take a connection, so that kube-proxy refuses on every
    node (it falls back to terminating ones that still serve)."""

    known: bool
    empty: bool
    by_node: Mapping[str, LocalEndpoints]

    @property
    def ready_nodes(self) -> frozenset[str]:
        """The names of nodes that hold a ready endpoint."""
        return frozenset(name for name, here in self.by_node.items() if here.ready)


def count_endpoints(slices: Sequence[EndpointSlice]) -> EndpointCounts:
    """Count one Service's endpoints by node, as kube-proxy's health check server does
    (`endpointschangetracker.go`: distinct addresses of ready endpoints)."""
    ready: dict[str, set[str]] = {}
    leaving: dict[str, set[str]] = {}
    for piece in slices:
        for endpoint in piece.endpoints:
            if endpoint.ready:
                ready.setdefault(endpoint.node_name, set()).update(endpoint.addresses)
            elif endpoint.serving and endpoint.terminating:
                leaving.setdefault(endpoint.node_name, set()).update(endpoint.addresses)
    by_node = {
        name: LocalEndpoints(ready=len(ready.get(name, ())), terminating=len(leaving.get(name, ())))
        for name in sorted(ready.keys() | leaving.keys())
    }
    return EndpointCounts(known=bool(slices), empty=bool(slices) and not by_node, by_node=by_node)


NO_SLICES = count_endpoints(())
_NONE_HERE = LocalEndpoints()


def service_exclusion(
    service: Service, node: Node, endpoints: EndpointCounts
) -> tuple[Exclusion | None, int]:
    """Why this Service may not use this node (or None), and the node's weight for it.

    With `externalTrafficPolicy: Local` a node without local endpoints drops what it gets, so
    it is down; the others weigh as many as they hold. A node whose last endpoints are
    terminating still forwards to them, and drains.
    """
    if service.external_traffic_policy is not TrafficPolicy.LOCAL or not endpoints.known:
        return None, 1
    here = endpoints.by_node.get(node.name, _NONE_HERE)
    if here.ready:
        return None, here.ready
    if here.terminating:
        detail = "externalTrafficPolicy is Local, and its last endpoints are terminating"
        return Exclusion(reason=BackendReason.LOCAL_TERMINATING, detail=detail), 1
    detail = "externalTrafficPolicy is Local, and the node holds no ready endpoint"
    return Exclusion(reason=BackendReason.NO_LOCAL_ENDPOINT, detail=detail), 1
