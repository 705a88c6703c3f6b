"""Which Services' ports want a frontend, where it would listen, and why others get none."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from operator import attrgetter
from typing import NamedTuple

from nplb.model.annotations import Wish
from nplb.model.cluster import Service, ServicePort, ServiceType
from nplb.model.difference import difference
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


class _OfService(NamedTuple):
    """What was found of one Service."""

    service: Service
    candidates: Sequence[Candidate]
    skipped: Sequence[Skipped]


_NOTHING = Wish()
_KEY = attrgetter("key")


class Finder:
    """Finds the candidates of one cluster again and again, with the same settings, at the cost of
    the Services that have changed.

    Invariant: `_found` has what was made of each of `_services` that uses NodePorts and of its
    wish in `_wishes`, and nothing else.
    """

    def __init__(self, settings: Settings, cluster: ClusterSettings) -> None:
        self._settings = settings
        self._cluster = cluster
        self._selector = parse_selector(cluster.service_selector)
        self._entries: dict[str, list[FrontendSettings]] = {}
        for entry in settings.frontends:
            self._entries.setdefault(entry.service, []).append(entry)
        self._services: tuple[Service, ...] = ()
        self._wishes: Mapping[ServiceKey, Wish] = {}
        self._found: dict[ServiceKey, _OfService] = {}

    def find(
        self, services: tuple[Service, ...], wishes: Mapping[ServiceKey, Wish]
    ) -> tuple[list[Candidate], list[Skipped]]:
        """The ports that want a frontend, and those that get none, with why. `wishes` is what the
        Services ask for; a wish that is another one is another object."""
        found = self._found
        gone, come = difference(self._services, services, _KEY)
        again = {service.key: service for service in come if service.uses_node_ports}
        for service in gone:
            if service.key not in again:
                found.pop(service.key, None)
        for key in _changed(self._wishes, wishes):
            if key in found:
                again[key] = found[key].service
        for key, service in again.items():
            found[key] = self._look_at(service, wishes.get(key, _NOTHING))
        self._services, self._wishes = services, wishes
        return (
            list(chain.from_iterable(one.candidates for one in found.values())),
            list(chain.from_iterable(one.skipped for one in found.values())),
        )

    def _look_at(self, service: Service, wish: Wish) -> _OfService:
        if not is_chosen(self._cluster, self._selector, service):
            return _OfService(service, (), ())
        own = self._entries.get(service.key.short, ())
        return _OfService(service, *_of_service(self._settings, self._cluster, service, own, wish))


def _changed(
    before: Mapping[ServiceKey, Wish], after: Mapping[ServiceKey, Wish]
) -> list[ServiceKey]:
    """The Services whose wish is another one."""
    if before is after:
        return []
    return [key for key in before.keys() | after.keys() if before.get(key) is not after.get(key)]


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
