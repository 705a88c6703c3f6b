"""How a frontend treats its connections, beyond balancing and its basic deadlines."""

from dataclasses import dataclass
from enum import StrEnum

from nplb.model.prefixes import PrefixFile


class NoBackend(StrEnum):
    """What becomes of a client when no backend is active."""

    REFUSE = "refuse"  # reset at once
    UNBIND = "unbind"  # nobody listens, so that what is in front goes elsewhere
    FAIL_OPEN = "fail_open"  # try the backends that are down
    HOLD = "hold"  # wait for one to rise


class Leave(StrEnum):
    """What becomes of the connections of a backend that drains or leaves."""

    KEEP = "keep"  # they live on until they end
    DRAIN = "drain"  # they live on until the drain deadline
    CLOSE = "close"  # they end at once


class SendProxy(StrEnum):
    """Which PROXY header a backend gets before the client's bytes."""

    NONE = "none"
    V1 = "v1"
    V2 = "v2"


SOURCE_FIELDS = ("source_ranges", "denied_ranges", "source_ranges_file", "denied_ranges_file")
"""The options that together say which clients are admitted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RelayOptions:
    """One frontend's options. Times in seconds, 0 for never; limits in connections, 0 for any.

    A limit holds for the edge as a whole; it is shared out evenly among the workers.

    lifetime_seconds             the longest that a connection may live
    no_backend, hold_seconds     what becomes of a client when no backend is active
    max_connections              of the frontend
    max_connections_per_backend  and, once all are at it, `max_queue` clients may wait
                                 `queue_seconds` for a place
    max_connections_per_client   of one client address
    client_rate                  new connections a second of one client address; as many as a
                                 second's worth may come at once
    source_ranges                CIDRs of the clients that are admitted; empty is all
    denied_ranges                CIDRs of those that are not; the longer prefix decides
    source_ranges_file,          more of each, from files
    denied_ranges_file
    service_ranges               CIDRs that the Service itself admits, of those above
    send_proxy, proxy_tlvs       with TLVs, version 2 names the service
    accept_proxy_from            CIDRs of proxies in front, which begin with a PROXY header
    source_addresses             the edge's addresses toward nodes, one for each client by hash
    affinity_seconds             a client returns to the same backend within this time
    slow_start_seconds           a backend that comes back gets its share little by little
    spill_below                  backends of the lowest tiers alone serve while at least this
                                 share of them is active; below it, the next tier does too
    on_leave, drain_seconds      the connections of a backend that drains or leaves
    reset_on_down                reset the connections of a backend that goes down
    keepalive_seconds            silence before TCP keepalive asks, on both sides
    user_timeout_seconds         unacknowledged bytes toward a node that end the connection
    access_log                   one line for each connection that ends
    """

    lifetime_seconds: float = 0.0
    no_backend: NoBackend = NoBackend.REFUSE
    hold_seconds: float = 5.0
    max_connections: int = 0
    max_connections_per_backend: int = 0
    max_queue: int = 0
    queue_seconds: float = 5.0
    max_connections_per_client: int = 0
    client_rate: float = 0.0
    source_ranges: tuple[str, ...] = ()
    denied_ranges: tuple[str, ...] = ()
    source_ranges_file: PrefixFile | None = None
    denied_ranges_file: PrefixFile | None = None
    service_ranges: tuple[str, ...] = ()
    send_proxy: SendProxy = SendProxy.NONE
    proxy_tlvs: bool = False
    accept_proxy_from: tuple[str, ...] = ()
    source_addresses: tuple[str, ...] = ()
    affinity_seconds: int = 0
    slow_start_seconds: float = 0.0
    spill_below: float = 0.5
    on_leave: Leave = Leave.KEEP
    drain_seconds: float = 300.0
    reset_on_down: bool = False
    keepalive_seconds: int = 120
    user_timeout_seconds: float = 20.0
    access_log: bool = False

    @property
    def limits_sources(self) -> bool:
        """Whether the configuration, not the Service alone, says which clients are admitted."""
        return any(getattr(self, name) for name in SOURCE_FIELDS)
