"""What an operator should know of a ledger: duplicates, numbers outside, leaks, exhaustion.

Texts that the API server has are its own (see `alloc.repair`), so that they can be searched for.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from nplb.alloc.portrange import PortRange
from nplb.alloc.repair import INTERVAL_SECONDS, ROUNDS_BEFORE_CLEANUP, Problem, event_text
from nplb.model.finding import Finding, FindingKind, Severity
from nplb.model.keys import Protocol, ServiceKey
from nplb.model.ledger import Band, BandView, Holder, LedgerEntry

FILLING_SHARE = 0.9
"""A band that is this full is a finding."""

CALM_SHARE = 0.85
"""It stays one until it is less full than this, so that it does not flap."""

FILLING_SECONDS = 24 * 3600.0
"""A band that will be full within this time, at its rate, is a finding too."""

FORECAST_SHARE = 0.5
"""But only if at least this much of it is used: a burst into an empty band is no news."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerState:
    """What findings are made of. `not_allocated` are numbers that Services have and the stored
    range has not; `suspects` those it has and no Service has."""

    cluster: str
    port_range: PortRange
    entries: Mapping[int, LedgerEntry]
    bands: Sequence[BandView]
    not_allocated: Sequence[tuple[int, ServiceKey]] = ()
    suspects: Sequence[int] = ()


def ledger_findings(
    state: LedgerState, before: Iterable[Finding], now: float
) -> tuple[Finding, ...]:
    """All findings of a ledger, sorted by kind and subject. One that was there before keeps its
    `since`."""
    known = {(f.kind, f.subject): f for f in before}
    found = [
        *_duplicates(state, now),
        *_outside(state, now),
        *_not_allocated(state, now),
        *_leaks(state, now),
        *_exhaustion(state, known, now),
    ]
    kept = (
        replace(f, since=known[f.kind, f.subject].since) if (f.kind, f.subject) in known else f
        for f in found
    )
    return tuple(sorted(kept, key=lambda f: (f.kind, f.subject)))


def holder_text(holder: Holder) -> str:
    """A holder as a person reads it: `shop/web (http 80/TCP, health check)`."""
    uses = [f"{p.name} {p.port}/{p.protocol}".strip() for p in holder.ports]
    if holder.health_check:
        uses.append("health check")
    return f"{holder.service.short} ({', '.join(uses)})"


def _duplicates(state: LedgerState, now: float) -> Iterator[Finding]:
    for number, entry in state.entries.items():
        claims = [claim for holder in entry.holders for claim in [holder] * _claims(holder)]
        if len(claims) < 2:
            continue
        keeper, *others = dict.fromkeys(holder_text(holder) for holder in claims)
        _, words = event_text(Problem.DUPLICATE, number, state.port_range)
        who = f"{keeper} keeps it, {' and '.join(others)} has it too" if others else f"{keeper}"
        yield Finding(
            kind=FindingKind.PORT_DUPLICATE,
            severity=Severity.ERROR,
            cluster=state.cluster,
            subject=str(number),
            text=f"{words}: {who}",
            remedy="recreate the latter with another nodePort; Kubernetes reassigns nothing",
            since=now,
        )


def _claims(holder: Holder) -> int:
    """How often a Service claims one number: once for all its protocols, again for a protocol
    listed twice, and again for a health check beside TCP (`collectServiceNodePorts`)."""
    protocols = [port.protocol for port in holder.ports]
    repeats = len(protocols) - len(set(protocols))
    if holder.health_check and (not protocols or Protocol.TCP in protocols):
        repeats += 1
    return repeats + (1 if protocols else 0)


def _outside(state: LedgerState, now: float) -> Iterator[Finding]:
    for number, entry in state.entries.items():
        if entry.band is not Band.OUTSIDE:
            continue
        _, words = event_text(Problem.OUT_OF_RANGE, number, state.port_range)
        yield Finding(
            kind=FindingKind.PORT_OUT_OF_RANGE,
            severity=Severity.WARNING,
            cluster=state.cluster,
            subject=str(number),
            text=f"{words}: {' and '.join(holder_text(h) for h in entry.holders)}",
            remedy="recreate it with a number in the range, or, if the range given to nplb is "
            "not that of the cluster, set the cluster's `port_range`; until then the number "
            "goes on working, and nothing protects it",
            since=now,
        )


def _not_allocated(state: LedgerState, now: float) -> Iterator[Finding]:
    for number, service in state.not_allocated:
        _, words = event_text(Problem.REPAIR, number, state.port_range)
        yield Finding(
            kind=FindingKind.PORT_NOT_ALLOCATED,
            severity=Severity.WARNING,
            cluster=state.cluster,
            subject=str(number),
            text=f"{words}: {service.short} has it, and it could be given to another Service",
            remedy=f"wait for the API server's next repair, every {INTERVAL_SECONDS // 60} "
            "minutes; if it comes back, look for a backup that was restored",
            since=now,
        )


def _leaks(state: LedgerState, now: float) -> Iterator[Finding]:
    rounds = ROUNDS_BEFORE_CLEANUP * INTERVAL_SECONDS // 60
    for number in state.suspects:
        yield Finding(
            kind=FindingKind.PORT_LEAK,
            severity=Severity.INFO,
            cluster=state.cluster,
            subject=str(number),
            text=f"the node port {number} may have leaked: it is allocated, and no Service has it",
            remedy=f"none: the API server frees it within about {rounds} minutes",
            since=now,
        )


def _exhaustion(
    state: LedgerState, known: Mapping[tuple[FindingKind, str], Finding], now: float
) -> Iterator[Finding]:
    if state.port_range.size and all(band.free <= 0 for band in state.bands):
        _, words = event_text(Problem.FULL, 0, state.port_range)
        yield Finding(
            kind=FindingKind.PORT_RANGE_FULL,
            severity=Severity.ERROR,
            cluster=state.cluster,
            subject=str(state.port_range),
            text=words,
            remedy="delete Services, set allocateLoadBalancerNodePorts: false where a load "
            "balancer needs no nodePort, or widen --service-node-port-range",
            since=now,
        )
        return
    for band in state.bands:
        subject = f"{band.band} band"
        was = (FindingKind.PORT_RANGE_FILLING, subject) in known
        reason = _filling(band, was, now)
        if reason:
            yield Finding(
                kind=FindingKind.PORT_RANGE_FILLING,
                severity=Severity.WARNING,
                cluster=state.cluster,
                subject=subject,
                text=f"the {band.band} band {band.first}-{band.last} {reason}",
                remedy=_ROOM[band.band],
                since=now,
            )


_ROOM = {
    Band.DYNAMIC: "when it is full, automatic allocation draws from the static band, where "
    "numbers chosen by hand live; delete Services, or widen --service-node-port-range",
    Band.STATIC: "choose numbers in the dynamic band knowing that automatic allocation may be "
    "first, or widen --service-node-port-range",
}


def _filling(band: BandView, was: bool, now: float) -> str:
    share = band.used / band.size
    if share >= (CALM_SHARE if was else FILLING_SHARE):
        return f"is {share:.0%} full, {band.free} left"
    soon = band.full_at is not None and band.full_at - now <= FILLING_SECONDS
    if soon and band.full_at is not None and share >= FORECAST_SHARE:
        hours = (band.full_at - now) / 3600
        return f"will be full in about {hours:.1f} h at {band.per_hour:.1f} an hour"
    return ""
