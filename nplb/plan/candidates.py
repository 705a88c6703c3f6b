"""Which Services' ports want a frontend, where it would listen, and why others get none."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from nplb.model.annotations import Wish
from nplb.model.cluster import Service, ServicePort, ServiceType, Snapshot
from nplb.model.kernel import PlaneKind
from nplb.model.keys import Address, FrontendKey, Protocol, ServiceKey
from nplb.model.plan import Skipped
from nplb.model.reasons import SkipReason
from nplb.model.settings import (
    ClusterSettings,
    EdgePort,
    FrontendSettings,
    ListenSettings,
    Settings,
)
from nplb.plan.overrides import overrides_for
from nplb.policy.ranges import Ranges
from nplb.policy.selectors import Selector, parse_selector

# Which protocols a plane carries.
_CARRIES = {
    PlaneKind.RELAY: (Protocol.TCP,),
    PlaneKind.KERNEL: (Protocol.TCP, Protocol.UDP),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A Service's port that wants a frontend. `asked` is the port on the edge that its
    annotations ask for, 0 for none; the file's word (`pinned`) goes before it."""

    key: FrontendKey
    cluster: ClusterSettings
    service: Service
    port: ServicePort
    listen: tuple[Address, ...]
    pinned: bool
    override: FrontendSettings
    asked: int = 0


class OfService(NamedTuple):
    """What was found of one Service, and of what."""

    service: Service
    wish: Wish
    candidates: Sequence[Candidate]
    skipped: Sequence[Skipped]


_NOTHING = Wish()


def find_candidates(
    settings: Settings,
    cluster: ClusterSettings,
    snapshot: Snapshot,
    wishes: Mapping[ServiceKey, Wish],
    known: dict[ServiceKey, OfService] | None = None,
) -> tuple[list[Candidate], list[Skipped]]:
    """The ports of one cluster that want a frontend, and those that get none, with why. `known`
    is what was found with the same settings before, and is brought up to date."""
    selector = parse_selector(cluster.service_selector)
    entries: dict[str, list[FrontendSettings]] = {}
    for entry in settings.frontends:
        entries.setdefault(entry.service, []).append(entry)
    known = {} if known is None else known
    now: dict[ServiceKey, OfService] = {}
    found: list[Candidate] = []
    skipped: list[Skipped] = []
    for service in snapshot.services:
        if not service.uses_node_ports:
            continue
        wish = wishes.get(service.key, _NOTHING)
        of = known.get(service.key)
        if of is None or of.service is not service or of.wish is not wish:
            own = entries.get(service.key.short, ())
            chosen = is_chosen(cluster, selector, service)
            mine = _of_service(settings, cluster, service, own, wish) if chosen else ((), ())
            of = OfService(service, wish, *mine)
        now[service.key] = of
        found += of.candidates
        skipped += of.skipped
    known.clear()
    known.update(now)
    return found, skipped


def _of_service(
    settings: Settings,
    cluster: ClusterSettings,
    service: Service,
    entries: Sequence[FrontendSettings],
    wish: Wish,
) -> tuple[list[Candidate], list[Skipped]]:
    found: list[Candidate] = []
    skipped: list[Skipped] = []
    for port in service.ports:
        key = FrontendKey(service.key, port.port, port.protocol)
        override = overrides_for(entries, service, port, wish.options)
        plane = override.plane or settings.plane
        skip = _skip(cluster, service, port, plane)
        if skip is not None:
            skipped.append(Skipped(key=key, reason=skip[0], detail=skip[1]))
            continue
        listen = override.listen or _listen(settings.listen, service, port)
        found.append(
            Candidate(
                key=key,
                cluster=cluster,
                service=service,
                port=port,
                listen=listen,
                pinned=override.listen is not None,
                override=override,
                asked=wish.ports.get(key, 0) if override.listen is None else 0,
            )
        )
    return found, skipped


def _skip(
    cluster: ClusterSettings, service: Service, port: ServicePort, plane: PlaneKind
) -> tuple[SkipReason, str] | None:
    if service.deleting:
        return SkipReason.SERVICE_DELETING, "the Service is being deleted"
    if not is_ours(cluster, service):
        wanted = cluster.load_balancer_class
        if service.load_balancer_class is None:
            detail = f"it has no loadBalancerClass: set {wanted}, or load_balancer_unclassed: true"
            return SkipReason.UNCLASSED, detail
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


def is_ours(cluster: ClusterSettings, service: Service) -> bool:
    """Whether a Service is for nplb to serve, by its type and its class."""
    if service.type is not ServiceType.LOAD_BALANCER:
        return True
    if service.load_balancer_class is None:
        return cluster.load_balancer_unclassed
    return service.load_balancer_class == cluster.load_balancer_class


def is_chosen(cluster: ClusterSettings, selector: Selector, service: Service) -> bool:
    """Whether the configuration chooses a Service, by its namespace and its labels."""
    if cluster.namespaces and service.key.namespace not in cluster.namespaces:
        return False
    return selector.matches(service.labels)


def _listen(listen: ListenSettings, service: Service, port: ServicePort) -> tuple[Address, ...]:
    which = listen.port
    if service.type is ServiceType.LOAD_BALANCER and listen.load_balancer_port is not None:
        which = listen.load_balancer_port
    number = port.node_port if which is EdgePort.MIRROR else port.port
    return tuple(Address(ip, number) for ip in listen.addresses)
