"""The edge's own ports: who listens on which address, and who must give way.

One rule, so that the outcome never depends on chance or on the order of a listing. Claims are
served in rank order:

1. pinned in the configuration file before those that only follow their Service, and these
   before those that a Service's annotation asks for;
2. of the last kind, who has the address already;
3. the Service that was created earlier (one without a creation time comes last);
4. the key, in its sort order.

A claim that overlaps one already served gets nothing, also none of its other addresses: half a
frontend would be noticed later than a missing one. Addresses overlap when their protocols and
ports are equal and their IPs are, or one of them is the wildcard of the other's family.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from nplb.model.finding import Finding, FindingKind, Severity
from nplb.model.keys import Address, FrontendKey

_WILDCARDS = ("0.0.0.0", "::")


@dataclass(frozen=True, slots=True, kw_only=True)
class EdgeClaim:
    """One frontend's wish for addresses on the edge. `pinned` when the configuration file names
    them, `asked` when an annotation does; `held` when it has them already. `created` is the
    Service's creation time, epoch seconds."""

    key: FrontendKey
    addresses: tuple[Address, ...]
    pinned: bool = False
    asked: bool = False
    held: bool = False
    created: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class EdgeConflict:
    """Two frontends want one address. `why` is the part of the rule that decided."""

    winner: FrontendKey
    winner_address: Address
    loser: FrontendKey
    loser_address: Address
    why: str

    @property
    def text(self) -> str:
        """One line that names both."""
        if self.winner_address == self.loser_address:
            what = f"{self.loser_address} is taken by {self.winner}"
        else:
            what = f"{self.loser_address} overlaps {self.winner_address} of {self.winner}"
        return f"{what}, which goes before {self.loser}: {self.why}"

    def finding(self, now: float) -> Finding:
        """The finding, about the frontend that is not served."""
        return Finding(
            kind=FindingKind.EDGE_PORT_CONFLICT,
            severity=Severity.ERROR,
            cluster=self.loser.service.cluster,
            subject=str(self.loser),
            text=self.text,
            remedy="give one of them an address or a port of its own under `frontends` in the "
            "configuration",
            since=now,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class EdgeLedger:
    """Who has which address of the edge. `lost` says of each frontend that gets nothing why;
    `conflicts` has the same with both sides as keys, sorted by the loser."""

    holders: Mapping[Address, FrontendKey] = field(default_factory=dict)
    lost: Mapping[FrontendKey, str] = field(default_factory=dict)
    conflicts: tuple[EdgeConflict, ...] = ()

    def findings(self, now: float) -> tuple[Finding, ...]:
        """One finding for each frontend that is not served."""
        return tuple(conflict.finding(now) for conflict in self.conflicts)


def resolve_edge_ports(claims: Sequence[EdgeClaim]) -> EdgeLedger:
    """Serve the claims by the rule above. The order of `claims` does not matter."""
    holders: dict[Address, FrontendKey] = {}
    by_port: dict[int, list[_Held]] = {}
    lost: dict[FrontendKey, EdgeConflict] = {}
    for claim in sorted(claims, key=_rank):
        conflict = _conflict(claim, by_port)
        if conflict is not None:
            lost[claim.key] = conflict
            continue
        for address in claim.addresses:
            holders.setdefault(address, claim.key)
            by_port.setdefault(address.port, []).append(_Held(address, claim))
    return EdgeLedger(
        holders=holders,
        lost={key: lost[key].text for key in sorted(lost)},
        conflicts=tuple(lost[key] for key in sorted(lost)),
    )


class _Held(NamedTuple):
    address: Address
    claim: EdgeClaim


def _rank(claim: EdgeClaim) -> tuple[bool, bool, bool, bool, float, FrontendKey]:
    newcomer = claim.asked and not claim.held
    created = claim.created
    return (not claim.pinned, claim.asked, newcomer, created is None, created or 0.0, claim.key)


def _conflict(claim: EdgeClaim, by_port: Mapping[int, list[_Held]]) -> EdgeConflict | None:
    for address in claim.addresses:
        for held in by_port.get(address.port, ()):
            rival = held.claim.key
            if rival == claim.key or rival.protocol is not claim.key.protocol:
                continue
            if overlap(address.ip, held.address.ip):
                return EdgeConflict(
                    winner=held.claim.key,
                    winner_address=held.address,
                    loser=claim.key,
                    loser_address=address,
                    why=_why(held.claim, claim),
                )
    return None


def overlap(one: str, other: str) -> bool:
    """Whether two IPs can't both be listened on at one port: equal, or one is the wildcard of
    the other's family."""
    if one == other:
        return True
    if (":" in one) != (":" in other):
        return False
    return one in _WILDCARDS or other in _WILDCARDS


def _why(winner: EdgeClaim, loser: EdgeClaim) -> str:
    if winner.pinned and not loser.pinned:
        return "it is pinned in the configuration"
    if loser.asked and not winner.asked:
        return "no annotation takes another Service's port"
    if loser.asked and winner.held and not loser.held:
        return "it has it already"
    if winner.created != loser.created:
        if loser.created is None:
            return "its Service has a creation time and the other's has none"
        return "its Service was created earlier"
    return "its name sorts first"
