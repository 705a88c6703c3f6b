"""What kube-proxy does with a port of a Service on one node: a pure function of objects.

Mirrors `CategorizeEndpoints` (pkg/proxy/topology.go) and what pkg/proxy/iptables/proxier.go
makes of its result: no usable endpoint in the whole cluster, REJECT; some, but none here under
`externalTrafficPolicy: Local`, DROP; otherwise one of them at random.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from nplb.model.cluster import EndpointSlice, Service, ServicePort, TrafficPolicy


class Action(StrEnum):
    """What happens to a new connection."""

    FORWARD = "forward"
    REFUSE = "refuse"  # answered with a reset
    DROP = "drop"  # not answered


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Target:
    """One endpoint for one port of a Service: a pod's address as the API has it."""

    ip: str
    port: int
    node: str = ""
    ready: bool = True
    serving: bool = True
    terminating: bool = False

    @property
    def draining(self) -> bool:
        """Terminating, yet still serving: used when nothing is ready."""
        return self.serving and self.terminating


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """What to do with new connections to one port. `affinity_seconds` None: no affinity.

    `preserve_source` is true where the pod is to see the client's own address.
    """

    action: Action
    targets: tuple[Target, ...] = ()
    affinity_seconds: int | None = None
    preserve_source: bool = False


def targets_of(port: ServicePort, slices: Iterable[EndpointSlice]) -> tuple[Target, ...]:
    """Every endpoint of a Service's port, each address once, sorted."""
    found: dict[tuple[str, int], Target] = {}
    for slice_ in slices:
        number = slice_.ports.get(port.name)
        if slice_.address_type != "IPv4" or not number:
            continue
        for endpoint in slice_.endpoints:
            if not endpoint.addresses:
                continue
            target = Target(
                ip=endpoint.addresses[0],
                port=number,
                node=endpoint.node_name,
                ready=endpoint.ready,
                serving=endpoint.serving,
                terminating=endpoint.terminating,
            )
            known = found.get((target.ip, number))
            # While an endpoint moves between slices it is in both: the ready one counts.
            if known is None or (target.ready and not known.ready):
                found[target.ip, number] = target
    return tuple(sorted(found.values()))


def usable(targets: Iterable[Target]) -> tuple[Target, ...]:
    """The ready ones; if there are none, those that still serve while they terminate."""
    every = tuple(targets)
    ready = tuple(target for target in every if target.ready)
    return ready or tuple(target for target in every if target.draining)


def node_port_rule(
    service: Service, port: ServicePort, slices: Iterable[EndpointSlice], node: str
) -> Rule:
    """What `node` does with new connections to its NodePort."""
    targets = targets_of(port, slices)
    if not usable(targets):
        return Rule(action=Action.REFUSE)
    local = service.external_traffic_policy is TrafficPolicy.LOCAL
    chosen = usable(t for t in targets if t.node == node) if local else usable(targets)
    if not chosen:
        return Rule(action=Action.DROP)
    return Rule(
        action=Action.FORWARD,
        targets=chosen,
        affinity_seconds=service.affinity_seconds,
        preserve_source=local,
    )


def cluster_ip_rule(service: Service, port: ServicePort, slices: Iterable[EndpointSlice]) -> Rule:
    """What happens to new connections to a port of the ClusterIP."""
    chosen = usable(targets_of(port, slices))
    if not chosen:
        return Rule(action=Action.REFUSE)
    return Rule(
        action=Action.FORWARD,
        targets=chosen,
        affinity_seconds=service.affinity_seconds,
        preserve_source=True,
    )


def local_ready_endpoints(service: Service, slices: Iterable[EndpointSlice], node: str) -> int:
    """How many distinct ready pods of a Service a node has: what its health check port tells.

    Mirrors `LocalReadyEndpoints` (pkg/proxy/endpointschangetracker.go): addresses are counted
    over all ports, and terminating ones do not count.
    """
    slices = tuple(slices)
    return len(
        {
            target.ip
            for port in service.ports
            for target in targets_of(port, slices)
            if target.ready and target.node == node
        }
    )
