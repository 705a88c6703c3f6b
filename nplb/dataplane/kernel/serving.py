"""What of a frontend the kernel is to do: which backends serve, and for which family."""

import socket
from dataclasses import dataclass
from functools import lru_cache

from nplb.model.keys import Protocol
from nplb.model.plan import Backend, Frontend
from nplb.model.reasons import BackendState
from nplb.model.relay import NoBackend

V4, V6 = 4, 6
FAMILIES = (V4, V6)


@dataclass(frozen=True, slots=True)
class Family:
    """The words of one address family in nftables."""

    number: int
    ip: str  # the protocol's name in expressions
    type: str  # the type of its addresses
    any: str  # the address that stands for all of the edge's own


FAMILY = {
    V4: Family(V4, "ip", "ipv4_addr", "0.0.0.0"),
    V6: Family(V6, "ip6", "ipv6_addr", "::"),
}


def family_of(ip: str) -> int:
    """4 or 6."""
    return V6 if ":" in ip else V4


@lru_cache(maxsize=65536)
def canonical(ip: str) -> str:
    """The address as nft prints it."""
    kind = socket.AF_INET6 if ":" in ip else socket.AF_INET
    return socket.inet_ntop(kind, socket.inet_pton(kind, ip))


def serving(frontend: Frontend) -> tuple[Backend, ...]:
    """The backends that get new connections, of both families.

    Tier 0 alone serves while enough of it is active. With `no_backend: fail_open` those that
    are down are tried where none is active.
    """
    active = frontend.active
    if not active:
        if frontend.relay.no_backend is NoBackend.FAIL_OPEN:
            return tuple(b for b in frontend.backends if b.state is BackendState.DOWN)
        return ()
    if any(backend.tier for backend in active):
        near = [b for b in frontend.backends if not b.tier]
        usable = tuple(b for b in active if not b.tier)
        if usable and len(usable) >= frontend.relay.spill_below * len(near):
            return usable
    return active


def carries(frontend: Frontend) -> bool:
    """Whether the kernel plane has a protocol's words for it at all."""
    return frontend.key.protocol in (Protocol.TCP, Protocol.UDP)
