"""What nplb writes into a cluster, and how that stands."""

from dataclasses import dataclass

from nplb.model.cluster import Ingress
from nplb.model.keys import ServiceKey


@dataclass(frozen=True, slots=True, kw_only=True)
class IngressWrite:
    """One Service's `status.loadBalancer.ingress` as it should be. `uid` says which Service of
    this name is meant; `seen` is what stands there by the last snapshot."""

    service: ServiceKey
    uid: str
    ingress: tuple[Ingress, ...]
    seen: tuple[Ingress, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """Something that a Service's owner should know, as long as it holds: an Event. `reason` is a
    word in CamelCase, as Events have; two with the same Service, reason and text are the same."""

    service: ServiceKey
    uid: str
    reason: str
    text: str
    warning: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Outbound:
    """All that should be written into one cluster now. `ingress` has every Service of the edge's
    own, also those whose status is right already."""

    cluster: str
    ingress: tuple[IngressWrite, ...] = ()
    notices: tuple[Notice, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class WriterStatus:
    """How writing into one cluster stands. `holder` is the edge that holds the Lease, by its
    identity, empty if none is known; `holds` says that it is this one. `missing` are rights that
    the API server refuses, `error` is what else fails; both empty when all is well."""

    cluster: str
    holds: bool = False
    holder: str = ""
    missing: tuple[str, ...] = ()
    error: str = ""
    addresses_written: int = 0
    events_sent: int = 0
