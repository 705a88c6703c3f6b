"""The edge's own ports: which service gets an address that several want, by a stated rule.

Services of one or several clusters may want the same address and port of the edge. The rule,
first difference decides:

1. an address fixed in the configuration file goes before one that follows from the Service;
2. the Service created earlier (one without a creation time counts as the latest);
3. the order of cluster, namespace, name, port, protocol.

Nothing else counts: not who was seen first, not who is served now. A wildcard address and any
other of its family on the same port are the same, as they are to the kernel.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from nplb.model.keys import Address, FrontendKey


@dataclass(frozen=True, slots=True, kw_only=True)
class EdgeClaim:
    """One frontend and the addresses it wants. `created` is epoch seconds, None if unknown."""

    key: FrontendKey
    addresses: tuple[Address, ...]
    pinned: bool = False
    created: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class EdgeLedger:
    """Who holds which address of the edge, and who lost one, with a sentence that names both."""

    holders: Mapping[Address, FrontendKey]
    lost: Mapping[FrontendKey, str]


def resolve_edge_ports(claims: Sequence[EdgeClaim]) -> EdgeLedger:
    """Give every address to one claim. A claim that loses one of its addresses gets none:
    a frontend that listens on half of its addresses would hide the conflict."""
    holders: dict[Address, FrontendKey] = {}
    by_port: dict[int, list[Address]] = {}
    lost: dict[FrontendKey, str] = {}
    for claim in sorted(claims, key=_rank):
        clash = _clash(claim.addresses, by_port)
        if clash is not None:
            wanted, held = clash
            lost[claim.key] = f"{wanted} on the edge is held by {holders[held]}"
            continue
        for address in claim.addresses:
            holders[address] = claim.key
            by_port.setdefault(address.port, []).append(address)
    return EdgeLedger(holders=holders, lost=lost)


def _rank(claim: EdgeClaim) -> tuple[bool, float, FrontendKey]:
    created = claim.created if claim.created is not None else float("inf")
    return (not claim.pinned, created, claim.key)


def _clash(
    wanted: Iterable[Address], by_port: Mapping[int, Sequence[Address]]
) -> tuple[Address, Address] | None:
    for address in wanted:
        for held in by_port.get(address.port, ()):
            if overlap(address.ip, held.ip):
                return address, held
    return None


def overlap(one: str, other: str) -> bool:
    """Whether two listen addresses claim the same packets on a port. `::` takes IPv4 too, as a
    dual-stack listener does."""
    if one == other or "::" in (one, other):
        return True
    if (":" in one) != (":" in other):
        return False
    return "0.0.0.0" in (one, other)
