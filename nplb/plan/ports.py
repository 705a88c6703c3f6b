"""Who gets which address of the edge, where annotations ask for some.

A port that an annotation asks for is had only if nobody else has it: otherwise the frontend
stays where it was, or goes where it would be without the annotation, and the annotation is
refused.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from nplb.alloc.edge import EdgeClaim, EdgeConflict, resolve_edge_ports
from nplb.alloc.portrange import parse_port_range
from nplb.model.keys import Address, FrontendKey
from nplb.model.plan import Frontend
from nplb.model.refusal import Refusal
from nplb.model.settings import ListenSettings, Settings
from nplb.plan.candidates import Candidate


@dataclass(frozen=True, slots=True, kw_only=True)
class Ports:
    """The candidates with the addresses that they get, why some get none (`lost`), and the
    annotations that ask for another's port."""

    candidates: tuple[Candidate, ...]
    lost: Mapping[FrontendKey, str]
    refusals: tuple[Refusal, ...]


def assign_ports(
    settings: Settings,
    candidates: Sequence[Candidate],
    before: Mapping[FrontendKey, Frontend],
    held: Mapping[FrontendKey, int],
    clusters: Collection[str],
) -> Ports:
    """Give the edge's addresses to candidates. `before` are the frontends of the plan before:
    who has a port by its annotation keeps it. Whom that plan does not know has what it had by
    `held`, and as long as its cluster is none of `clusters`, nobody else gets that."""
    placed = {
        c.key: replace(c, listen=_asked(settings.listen, c.asked)) if c.asked else c
        for c in candidates
    }
    own = {c.key: c for c in candidates if c.asked}
    listened = {key: _asked(settings.listen, port) for key, port in held.items() if key in own}
    listened |= {key: before[key].listen for key in own if key in before}
    kept_free = [
        EdgeClaim(key=key, addresses=_asked(settings.listen, port), asked=True, held=True)
        for key, port in held.items()
        if key.service.cluster not in clusters
    ]
    beaten_by: dict[FrontendKey, EdgeConflict] = {}
    while True:
        claims = [_claim(c, listened.get(c.key, ())) for c in placed.values()]
        edge = resolve_edge_ports([*claims, *kept_free])
        beaten = [c for c in edge.conflicts if c.loser in own and placed[c.loser].asked]
        if not beaten:
            break
        # Each turn moves at least one candidate on to what it can have, so this ends.
        for conflict in beaten:
            key = conflict.loser
            earlier = _earlier(settings, listened.get(key, ()), own[key].listen)
            if key in beaten_by or earlier in (None, placed[key].asked):
                placed[key] = replace(own[key], asked=0)
            else:
                listen = _asked(settings.listen, earlier)
                placed[key] = replace(own[key], asked=earlier, listen=listen)
            beaten_by.setdefault(key, conflict)
    return Ports(
        candidates=tuple(placed.values()),
        lost=edge.lost,
        refusals=tuple(
            _refusal(own[key], placed[key], conflict) for key, conflict in beaten_by.items()
        ),
    )


def _asked(listen: ListenSettings, port: int) -> tuple[Address, ...]:
    return tuple(Address(ip, port) for ip in listen.addresses)


def _claim(candidate: Candidate, before: tuple[Address, ...]) -> EdgeClaim:
    return EdgeClaim(
        key=candidate.key,
        addresses=candidate.listen,
        pinned=candidate.pinned,
        asked=bool(candidate.asked),
        held=bool(candidate.asked) and before == candidate.listen,
        created=candidate.service.created,
    )


def _earlier(
    settings: Settings, before: tuple[Address, ...], default: tuple[Address, ...]
) -> int | None:
    """The port that a frontend has by what its annotation said before, or None."""
    if not before or before == default:
        return None
    port = before[0].port
    ranges = [parse_port_range(text) for text in settings.annotations.ports]
    return port if any(port in span for span in ranges) else None


def _refusal(wanted: Candidate, placed: Candidate, conflict: EdgeConflict) -> Refusal:
    port = wanted.port
    several = len(wanted.service.ports) > 1
    value = f"{port.name or port.port}={wanted.asked}" if several else str(wanted.asked)
    where = ", ".join(map(str, placed.listen))
    return Refusal(
        service=wanted.key.service,
        name="edge-port",
        value=value,
        why=conflict.text,
        instead=f"it is served at {where}",
    )
