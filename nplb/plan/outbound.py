"""What should be written into a cluster: the edge's addresses, and what owners should know.

A Service of the edge's own class belongs to the edge whole: what stands in its status and is not
wanted goes. Of other Services the edge takes out what it advertises itself and no longer serves,
and touches nothing else.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from nplb.model.applied import Applied
from nplb.model.cluster import Ingress, IngressPort, Service, ServiceType, Snapshot
from nplb.model.keys import FrontendKey
from nplb.model.outbound import IngressWrite
from nplb.model.plan import Frontend, Plan, Skipped
from nplb.model.settings import ClusterSettings
from nplb.plan.candidates import is_chosen, is_ours
from nplb.policy.selectors import parse_selector

PROXY = "Proxy"
"""The `ipMode` of every address: kube-proxy then does not short-circuit the cluster's own traffic
past the edge, so that the PROXY protocol and source ranges hold for it too."""

_WILDCARDS = ("0.0.0.0", "::")


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """What a pass has made of each port: its frontend with where that really listens, or why it
    has none. Built once a pass, for every cluster."""

    frontends: Mapping[FrontendKey, Frontend]
    skipped: Mapping[FrontendKey, Skipped]
    applied: Applied

    @classmethod
    def of(cls, plan: Plan, applied: Applied) -> "Served":
        """Of one plan and what became of it."""
        frontends = {frontend.key: frontend for frontend in plan.frontends}
        for part in plan.pooled:
            if part.pool in frontends:
                frontends[part.frontend.key] = frontends[part.pool]
        return cls(
            frontends=frontends,
            skipped={skipped.key: skipped for skipped in plan.skipped},
            applied=applied,
        )

    def listens(self, frontend: Frontend) -> bool:
        """Whether a frontend listens on at least one of its addresses."""
        errors = self.applied.listen_errors.get(frontend.key, ())
        return not errors or len(errors) < len(frontend.listen)


def ingress_writes(
    cluster: ClusterSettings, snapshot: Snapshot, served: Served, *, withdraw: bool = False
) -> tuple[IngressWrite, ...]:
    """Every Service of a cluster whose status is the edge's to write, and what should stand
    there. `withdraw`: the edge ends, and nothing should."""
    selector = parse_selector(cluster.service_selector)
    found: list[IngressWrite] = []
    for service in snapshot.services:
        if service.type is not ServiceType.LOAD_BALANCER:
            continue
        own = is_ours(cluster, service) and is_chosen(cluster, selector, service)
        if own:
            gone = withdraw or service.deleting
            wanted = () if gone else _wanted(cluster, service, served)
        else:
            wanted = tuple(one for one in service.ingress if not _advertised(cluster, one))
            if wanted == service.ingress:
                continue
        found.append(
            IngressWrite(service=service.key, uid=service.uid, ingress=wanted, seen=service.ingress)
        )
    return tuple(found)


def _wanted(cluster: ClusterSettings, service: Service, served: Served) -> tuple[Ingress, ...]:
    ports = tuple(_ports(service, served))
    if not any(not port.error or port.error.startswith(_ELSEWHERE) for port in ports):
        return ()
    return tuple(
        Ingress(hostname=text, ports=ports)
        if _is_name(text)
        else Ingress(ip=text, ip_mode=PROXY, ports=ports)
        for text in cluster.writes.advertise or _listened(service, served)
    )


_ELSEWHERE = "nplb.io/edge-port-"


def _ports(service: Service, served: Served) -> Iterator[IngressPort]:
    """Each port of the Service, with why clients do not find it there."""
    for port in service.ports:
        key = FrontendKey(service.key, port.port, port.protocol)
        frontend = served.frontends.get(key)
        if frontend is None:
            skipped = served.skipped.get(key)
            error = f"nplb.io/{skipped.reason}" if skipped is not None else "nplb.io/pending"
        elif not served.listens(frontend):
            errors = served.applied.listen_errors[frontend.key]
            error = "nplb.io/conflict" if any(e.in_use for e in errors) else "nplb.io/failed"
        elif all(address.port == port.port for address in frontend.listen):
            error = ""
        else:
            error = f"{_ELSEWHERE}{frontend.listen[0].port}"
        yield IngressPort(port=port.port, protocol=port.protocol, error=error)


def _listened(service: Service, served: Served) -> Sequence[str]:
    """The addresses that the Service's frontends listen on, in their order."""
    found: dict[str, None] = {}
    for port in service.ports:
        frontend = served.frontends.get(FrontendKey(service.key, port.port, port.protocol))
        if frontend is not None and served.listens(frontend):
            ips = (a.ip for a in frontend.listen if a.ip not in _WILDCARDS)
            found.update(dict.fromkeys(ip for ip in ips if not ip.startswith("%")))
    return tuple(found)


def _advertised(cluster: ClusterSettings, entry: Ingress) -> bool:
    """Whether an entry is one that an edge with this configuration writes."""
    if entry.hostname:
        return entry.hostname in cluster.writes.advertise
    return entry.ip_mode == PROXY and entry.ip in cluster.writes.advertise


def _is_name(text: str) -> bool:
    return ":" not in text and not text.replace(".", "").isdigit()
