"""Every reason in full sentences: what it means, which signal says so, what would change it.

The one place for these texts: the dashboard, `nplb explain` and the documentation show them
unchanged.
"""

from dataclasses import dataclass
from enum import StrEnum

from nplb.model.reasons import BackendReason, FrontendState, SkipReason


class Signal(StrEnum):
    """Where a reason comes from."""

    PROBE = "probe"  # nplb's own probing
    NODE = "node"  # the Node object
    ENDPOINTS = "endpoints"  # the Service's EndpointSlices
    CONFIGURATION = "configuration"  # nplb's own configuration
    OPERATOR = "operator"  # a command of an operator's


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """`meaning` and `change` (what would change it) are whole sentences."""

    meaning: str
    signal: Signal
    change: str


def _of(signal: Signal, meaning: str, change: str) -> Explanation:
    return Explanation(meaning=meaning, signal=signal, change=change)


_KEEPS = "Its open connections go on until they end or the drain deadline passes."

BACKEND_REASONS: dict[BackendReason, Explanation] = {
    BackendReason.PASSING: _of(
        Signal.PROBE,
        "Probes of its NodePort succeed, so it gets new connections.",
        "As many failed probes in a row as health.fall says take it out.",
    ),
    BackendReason.UNPROBED: _of(
        Signal.CONFIGURATION,
        "It is trusted before its first probe has ended, as health.initial: up says.",
        "Its first probes decide.",
    ),
    BackendReason.PROBES_OFF: _of(
        Signal.CONFIGURATION,
        "Probing is turned off, so it is used whatever its condition.",
        "Set health.enabled: true.",
    ),
    BackendReason.FAIL_OPEN: _of(
        Signal.PROBE,
        "Too few backends pass their probes, so all of them are tried.",
        "Enough backends that pass again.",
    ),
    BackendReason.KEPT: _of(
        Signal.NODE,
        "The API says that it should leave, but more of the Service's nodes would leave than "
        "health.blast_radius lets go because of the API alone. It is kept while its probes pass.",
        "Failed probes, the API taking back what it says, time (health.blast_radius.window), or "
        "`nplb drain`.",
    ),
    BackendReason.NODE_DELETING: _of(
        Signal.NODE,
        f"The Node has a deletion timestamp: it gets no new connection. {_KEEPS}",
        "Nothing: a deletion can't be taken back.",
    ),
    BackendReason.NODE_GONE: _of(
        Signal.NODE,
        f"The Node was deleted from the cluster. {_KEEPS}",
        "A Node with this address that joins again.",
    ),
    BackendReason.AUTOSCALER_TAINT: _of(
        Signal.NODE,
        "The cluster autoscaler is about to delete the Node (taint "
        f"ToBeDeletedByClusterAutoscaler). {_KEEPS}",
        "The autoscaler taking its taint back.",
    ),
    BackendReason.EXCLUDE_LABEL: _of(
        Signal.NODE,
        "The Node's label node.kubernetes.io/exclude-from-external-load-balancers leaves it "
        f"out. {_KEEPS}",
        'Remove the label from the Node, or set it to "false".',
    ),
    BackendReason.NODE_NOT_SELECTED: _of(
        Signal.CONFIGURATION,
        f"The cluster's node_selector does not choose this Node. {_KEEPS}",
        "Label the Node so that it is chosen, or change node_selector.",
    ),
    BackendReason.MANUAL_DRAIN: _of(
        Signal.OPERATOR,
        f"An operator drained the node. {_KEEPS}",
        "`nplb undrain` with the node's name.",
    ),
    BackendReason.LOCAL_TERMINATING: _of(
        Signal.ENDPOINTS,
        f"With externalTrafficPolicy: Local, its last pods on this node are terminating. {_KEEPS}",
        "A ready pod of the Service on this node.",
    ),
    BackendReason.HEALTH_CHECK_PORT: _of(
        Signal.PROBE,
        "The Service's health check node port answers 503 there: the node has no ready pod of it. "
        f"{_KEEPS}",
        "A ready pod of the Service on this node.",
    ),
    BackendReason.KUBE_PROXY_UNWELL: _of(
        Signal.PROBE,
        "The node's kube-proxy says on port 10256 that it is not well, or does not say anything, "
        f"and health.kube_proxy is require. {_KEEPS}",
        "A kube-proxy that is well. Look at its log, and whether the edge may reach port 10256.",
    ),
    BackendReason.NO_LOCAL_ENDPOINT: _of(
        Signal.ENDPOINTS,
        "With externalTrafficPolicy: Local, the Service has no pod on this node: the node "
        "would drop its connections.",
        "A ready pod of the Service on this node, or externalTrafficPolicy: Cluster.",
    ),
    BackendReason.NO_ADDRESS: _of(
        Signal.NODE,
        "The Node has no address of a type and family that is wanted.",
        "An address in the Node's status, or another order in node_address.",
    ),
    BackendReason.ADDRESS_CHANGED: _of(
        Signal.NODE,
        f"The node answers at another address now. {_KEEPS}",
        "Nothing: the new address is a backend of its own.",
    ),
    BackendReason.PROBING: _of(
        Signal.PROBE,
        "It has not yet answered as many probes as it takes to be used.",
        "Its next probes; they are under way.",
    ),
    BackendReason.REFUSED: _of(
        Signal.PROBE,
        "It refuses connections on the NodePort: kube-proxy does not serve this port there.",
        "As many successful probes in a row as health.rise says. Look at kube-proxy on the node.",
    ),
    BackendReason.TIMEOUT: _of(
        Signal.PROBE,
        "Nothing answers on the NodePort: the node or the network to it is down, or a firewall "
        "drops the connection.",
        "As many successful probes in a row as health.rise says. Try to reach the node from the "
        "edge.",
    ),
    BackendReason.UNREACHABLE: _of(
        Signal.PROBE,
        "The network says that the node can't be reached.",
        "As many successful probes in a row as health.rise says. Look at the route from the edge.",
    ),
    BackendReason.RESET: _of(
        Signal.PROBE,
        "It resets connections on the NodePort as they are made.",
        "As many successful probes in a row as health.rise says. Look at what listens there.",
    ),
    BackendReason.PROBE_FAILED: _of(
        Signal.PROBE,
        "It connects, but does not answer as the probe expects.",
        "As many successful probes in a row as health.rise says.",
    ),
    BackendReason.SERVICE_EMPTY: _of(
        Signal.ENDPOINTS,
        "The Service has no ready endpoint, so every node refuses. The nodes are not to blame.",
        "A ready pod of the Service.",
    ),
    BackendReason.NODE_SILENT: _of(
        Signal.PROBE,
        "No service of the node answers: the node is down, or the network to it.",
        "As many successful probes in a row as health.rise says. Try to reach the node from the "
        "edge.",
    ),
    BackendReason.KUBE_PROXY_DOWN: _of(
        Signal.PROBE,
        "The node is there, but every service on it refuses: its kube-proxy does not run, or has "
        "not written its rules yet.",
        "As many successful probes in a row as health.rise says. Look at kube-proxy on the node.",
    ),
    BackendReason.LOCAL_SILENT: _of(
        Signal.PROBE,
        "The node answers for other services, but drops connections for this one: with "
        "externalTrafficPolicy: Local, kube-proxy does so where the Service has no pod.",
        "A ready pod of the Service on this node, or externalTrafficPolicy: Cluster.",
    ),
}

FRONTEND_STATES: dict[FrontendState, str] = {
    FrontendState.SERVING: "It listens, and has at least one active backend.",
    FrontendState.NO_BACKEND: "It listens, but no backend is active: clients are refused.",
    FrontendState.CONFLICT: "Another process holds its port on the edge.",
    FrontendState.FAILED: "The system refused its listener.",
    FrontendState.PENDING: "It is planned and not applied yet.",
}

SKIP_REASONS: dict[SkipReason, str] = {
    SkipReason.NO_NODE_PORT: "The Service's port has no NodePort.",
    SkipReason.PROTOCOL: "Only TCP is carried.",
    SkipReason.EDGE_PORT_TAKEN: "Another frontend has that address and port on the edge.",
    SkipReason.OTHER_CLASS: "The Service's loadBalancerClass is another one's.",
    SkipReason.UNCLASSED: "The Service has no loadBalancerClass: the cluster's own load balancer "
    "serves it.",
    SkipReason.SERVICE_DELETING: "The Service is being deleted.",
    SkipReason.SOURCE_RANGES: "Its loadBalancerSourceRanges can't be read; nobody is let in.",
    SkipReason.NAMESPACE_LIMIT: "Its namespace has as many frontends as the edge allows.",
}
