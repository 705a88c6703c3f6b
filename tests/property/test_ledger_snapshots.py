"""A ledger that follows a cluster through any snapshots shows what a fresh one would show, and
never disagrees with a plain count."""

from collections import Counter
from dataclasses import replace

import hypothesis.strategies as st
from hypothesis import given, settings

from nplb.alloc.allocator import PortAllocator
from nplb.alloc.bitmap import NoDice
from nplb.alloc.ledger import Ledger, band_of
from nplb.alloc.portrange import parse_port_range
from nplb.alloc.services import collect_node_ports
from nplb.model.cluster import Service, ServicePort, ServiceType, Snapshot, TrafficPolicy
from nplb.model.finding import FindingKind
from nplb.model.keys import Protocol, ServiceKey
from nplb.model.ledger import Band, LedgerView

RANGE = parse_port_range("30000-30039")
numbers = st.sampled_from([0, 29999, 30000, 30001, 30002, 30020, 30021, 30022, 30040])


@st.composite
def services(draw: st.DrawFn) -> Service:
    return Service(
        key=ServiceKey("c", draw(st.sampled_from("ab")), draw(st.sampled_from("xyz"))),
        uid=draw(st.sampled_from(["1", "2"])),
        type=ServiceType.LOAD_BALANCER,
        external_traffic_policy=TrafficPolicy.LOCAL,
        ports=tuple(
            ServicePort(
                name=f"p{i}",
                port=80 + i,
                protocol=draw(st.sampled_from([Protocol.TCP, Protocol.UDP])),
                node_port=draw(numbers),
            )
            for i in range(draw(st.integers(1, 3)))
        ),
        health_check_node_port=draw(numbers),
    )


@st.composite
def histories(draw: st.DrawFn) -> list[Snapshot]:
    """Snapshots in which most Services stay the same object, as sources keep them."""
    known: dict[ServiceKey, Service] = {}
    snapshots = []
    at = 0.0
    for _ in range(draw(st.integers(1, 6))):
        at += draw(st.sampled_from((1.0, 60.0)))
        for changed in draw(st.lists(services(), max_size=3)):
            known[changed.key] = changed
        for gone in draw(st.lists(st.sampled_from(sorted(known)), max_size=2)) if known else ():
            known.pop(gone, None)
        ordered = tuple(known[key] for key in sorted(known))
        snapshots.append(Snapshot(cluster="c", taken_at=at, services=ordered))
    return snapshots


def timeless(view: LedgerView) -> LedgerView:
    """A view without what only the past can tell."""
    return replace(
        view,
        observed_at=0.0,
        entries=tuple(
            replace(e, since=0.0, holders=tuple(replace(h, since=0.0) for h in e.holders))
            for e in view.entries
        ),
        findings=tuple(replace(f, since=0.0) for f in view.findings),
        watched_since=0.0,
    )


@settings(max_examples=60, deadline=None)
@given(histories())
def test_following_is_the_same_as_looking_once(history: list[Snapshot]) -> None:
    ledger = Ledger("c", RANGE)
    since: dict[tuple[int, ServiceKey], float] = {}
    for snapshot in history:
        now = snapshot.taken_at
        view = ledger.observe(snapshot, now)
        fresh = Ledger("c", RANGE).observe(snapshot, now)
        calm = [f for f in timeless(view).findings if f.kind is not FindingKind.PORT_RANGE_FILLING]
        assert replace(timeless(view), findings=tuple(calm)) == replace(
            timeless(fresh),
            findings=tuple(
                f for f in timeless(fresh).findings if f.kind is not FindingKind.PORT_RANGE_FILLING
            ),
        )
        check_counts(ledger, view, snapshot)
        held = {(e.number, h.service): h.since for e in view.entries for h in e.holders}
        for key, start in held.items():
            assert start <= now
            assert key not in since or start in (since[key], now)
        since = held


def check_counts(ledger: Ledger, view: LedgerView, snapshot: Snapshot) -> None:
    """Against a plain count of the snapshot."""
    claims: Counter[int] = Counter()
    for service in snapshot.services:
        claims.update(collect_node_ports(service))
    held = {
        number
        for service in snapshot.services
        for number in [*(p.node_port for p in service.ports), service.health_check_node_port]
        if number
    }
    assert {entry.number for entry in view.entries} == held
    inside = {number for number in held if number in RANGE}
    assert view.used == len(inside)
    assert view.used + view.free == RANGE.size
    for band in view.bands:
        assert band.used == sum(band_of(RANGE, number) is band.band for number in inside)
    duplicates = {int(f.subject) for f in view.findings if f.kind is FindingKind.PORT_DUPLICATE}
    assert duplicates == {number for number, count in claims.items() if count > 1}
    outside = {int(f.subject) for f in view.findings if f.kind is FindingKind.PORT_OUT_OF_RANGE}
    assert outside == held - inside
    assert {e.number for e in view.entries if e.band is Band.OUTSIDE} == outside
    assert set(PortAllocator.from_snapshot(ledger.taken, NoDice()).ports()) == inside
