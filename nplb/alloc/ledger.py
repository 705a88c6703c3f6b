"""The twin of one live cluster: every number with its holders, kept up from snapshots.

What the API server's own allocator has stored can't be read from outside, so the ledger rebuilds
it as the repair loop does, from all Services in list order. Where the stored range is known (a
lab, a port book, a copy from etcd), `observe` takes it and finds leaks as the repair loop does.
"""

from collections.abc import Iterable, Mapping, Sequence
from operator import attrgetter
from typing import NamedTuple

from nplb.alloc.allocator import RangeSnapshot
from nplb.alloc.findings import LedgerState, ledger_findings
from nplb.alloc.forecast import History, full_at
from nplb.alloc.portrange import PortRange
from nplb.alloc.repair import INTERVAL_SECONDS, Problem, Repair, RepairReport
from nplb.model.cluster import Service, Snapshot
from nplb.model.difference import difference
from nplb.model.finding import Finding
from nplb.model.keys import ServiceKey
from nplb.model.ledger import (
    Band,
    BandView,
    HeldPort,
    Holder,
    LedgerEntry,
    LedgerView,
    NamespaceView,
)

REST_SECONDS = 5.0
"""How long a view stands while no Service changes: only rates and forecasts grow older."""


class _Known(NamedTuple):
    """A Service as it was last seen, and the numbers it holds."""

    service: Service
    holdings: tuple[tuple[int, Holder], ...]


class Ledger:
    """One cluster's ledger. `view` is what it showed last; `taken` is what the cluster's allocator
    must have taken now.

    Services that did not change between two snapshots cost nothing, and while all hold the same
    numbers the view stands for a few seconds.
    """

    __slots__ = (
        "_checked_at",
        "_entries",
        "_history",
        "_known",
        "_repair",
        "_report",
        "_services",
        "cluster",
        "port_range",
        "taken",
        "view",
    )

    def __init__(self, cluster: str, port_range: PortRange) -> None:
        self.cluster = cluster
        self.port_range = port_range
        self.view: LedgerView | None = None
        self._services: tuple[Service, ...] = ()
        self._known: dict[ServiceKey, _Known] = {}
        self._entries: dict[int, LedgerEntry] = {}
        self._history = History()
        self.taken = RangeSnapshot(range=str(port_range))
        self._repair = Repair(port_range)
        self._report: RepairReport | None = None
        self._checked_at: float | None = None

    def observe(
        self,
        snapshot: Snapshot,
        now: float,
        *,
        stored: RangeSnapshot | None = None,
        limited_to: str = "",
    ) -> LedgerView:
        """Take in a snapshot. `stored` is what the cluster's allocator has stored, if known;
        `limited_to` what part of the cluster the snapshot has, if not all of it.

        Raises RepairError if `stored` can't be read; then the ledger is as before.
        """
        rests = (
            self.view is not None
            and stored is None
            and self._report is None
            and limited_to == self.view.limited_to
            and 0 <= now - self.view.observed_at < REST_SECONDS
        )
        self._check(stored, snapshot.services, now)
        same = self._look_at(snapshot.services, now)
        if self.view is not None and rests and same:
            return self.view
        entries = self._enter(self._known.values(), now)
        used = _count(entries.values())
        self._history.note(now, used)
        bands = tuple(self._bands(used, now))
        before = self.view.findings if self.view is not None else ()
        self.view = LedgerView(
            cluster=self.cluster,
            port_range=str(self.port_range),
            base=self.port_range.base,
            size=self.port_range.size,
            observed_at=now,
            entries=tuple(entries[number] for number in sorted(entries)),
            bands=bands,
            namespaces=tuple(self._namespaces(used, now)),
            findings=self._find(entries, bands, before, now),
            watched_since=self._history.since or now,
            limited_to=limited_to,
        )
        return self.view

    def holders(self, number: int) -> tuple[Holder, ...]:
        """Who has a number, the one that keeps it first."""
        entry = self._entries.get(number)
        return entry.holders if entry is not None else ()

    @property
    def services(self) -> Mapping[ServiceKey, Service]:
        """The Services of the last snapshot, by key."""
        return {key: seen.service for key, seen in self._known.items()}

    def service(self, key: ServiceKey) -> Service | None:
        """One Service of the last snapshot."""
        seen = self._known.get(key)
        return seen.service if seen is not None else None

    def _look_at(self, services: tuple[Service, ...], now: float) -> bool:
        """Take in what has changed. Returns whether the same Services hold the same numbers."""
        gone, come = difference(self._services, services, attrgetter("key"))
        first_look = self.view is None
        known = self._known
        same = len(gone) == len(come)
        for service in come:
            before = known.get(service.key)
            began = service.created if first_look and service.created is not None else now
            holdings = _holdings(service, before, began)
            if before is not None and before.holdings == holdings:
                holdings = before.holdings
            else:
                same = False
            known[service.key] = _Known(service, holdings)
        if not same:  # who is listed first keeps a number
            self._known = {service.key: known[service.key] for service in services}
        self._services = services
        return same

    def _check(self, stored: RangeSnapshot | None, services: Sequence[Service], now: float) -> None:
        """Run the repair check over what is stored, as often as the API server does."""
        if stored is None:
            self._report = None
            self._checked_at = None
        elif self._checked_at is None or not 0 <= now - self._checked_at < INTERVAL_SECONDS:
            self._report = self._repair.check(stored, services)
            self._checked_at = now

    def _enter(self, known: Iterable[_Known], now: float) -> dict[int, LedgerEntry]:
        """The entries, and the allocator that they make."""
        holders: dict[int, list[Holder]] = {}
        for seen in known:
            for number, holder in seen.holdings:
                holders.setdefault(number, []).append(holder)
        for number in self._report.suspects if self._report is not None else ():
            if number in self.port_range:
                holders.setdefault(number, [])
        entries: dict[int, LedgerEntry] = {}
        for number, who in holders.items():
            band = band_of(self.port_range, number)
            before = self._entries.get(number)
            if before is not None and before.band is band and before.holders == tuple(who):
                entries[number] = before
                continue
            since = min((h.since for h in who), default=before.since if before else now)
            entries[number] = LedgerEntry(number=number, band=band, holders=tuple(who), since=since)
        self._entries = entries
        self.taken = RangeSnapshot.of(self.port_range, entries)
        return entries

    def _bands(self, used: Mapping[str, int], now: float) -> Iterable[BandView]:
        for band, span in (
            (Band.STATIC, self.port_range.static),
            (Band.DYNAMIC, self.port_range.dynamic),
        ):
            if span.size:
                taken = used.get(band, 0)
                rate = self._history.per_hour(band, taken, now)
                yield BandView(
                    band=band,
                    first=span.base,
                    last=span.last,
                    used=taken,
                    per_hour=rate,
                    full_at=full_at(span.size - taken, rate, now),
                )

    def _namespaces(self, used: Mapping[str, int], now: float) -> Iterable[NamespaceView]:
        for name in sorted(used):
            if name.startswith(_NAMESPACE):
                yield NamespaceView(
                    namespace=name.removeprefix(_NAMESPACE),
                    used=used[name],
                    per_hour=self._history.per_hour(name, used[name], now),
                )

    def _find(
        self,
        entries: Mapping[int, LedgerEntry],
        bands: Sequence[BandView],
        before: Sequence[Finding],
        now: float,
    ) -> tuple[Finding, ...]:
        events = self._report.events if self._report is not None else ()
        return ledger_findings(
            LedgerState(
                cluster=self.cluster,
                port_range=self.port_range,
                entries=entries,
                bands=bands,
                not_allocated=tuple(
                    (event.port, event.service)
                    for event in events
                    if event.problem is Problem.REPAIR
                ),
                suspects=tuple(n for n, entry in entries.items() if not entry.holders),
            ),
            before,
            now,
        )


_NAMESPACE = "namespace/"


def band_of(port_range: PortRange, number: int) -> Band:
    """Which band of the range a number is in."""
    offset = number - port_range.base
    if not 0 <= offset < port_range.size:
        return Band.OUTSIDE
    return Band.STATIC if offset < port_range.static_size else Band.DYNAMIC


def _count(entries: Iterable[LedgerEntry]) -> dict[str, int]:
    """Numbers used by band and by namespace (under a prefix). A duplicate counts for each of
    its namespaces and once for its band."""
    used: dict[str, int] = {}
    for entry in entries:
        if entry.band is Band.OUTSIDE:
            continue
        used[entry.band] = used.get(entry.band, 0) + 1
        for namespace in {holder.service.namespace for holder in entry.holders}:
            name = _NAMESPACE + namespace
            used[name] = used.get(name, 0) + 1
    return used


def _holdings(
    service: Service, before: _Known | None, began: float
) -> tuple[tuple[int, Holder], ...]:
    """Every number of a Service once, with what it is for, and since when."""
    same = before is not None and before.service.uid == service.uid
    held = {number: h.since for number, h in before.holdings} if before and same else {}
    ports: dict[int, list[HeldPort]] = {}
    for port in service.ports:
        if port.node_port:
            ports.setdefault(port.node_port, []).append(
                HeldPort(name=port.name, port=port.port, protocol=port.protocol)
            )
    health_check = service.health_check_node_port
    if health_check:
        ports.setdefault(health_check, [])
    return tuple(
        (
            number,
            Holder(
                service=service.key,
                ports=tuple(which),
                health_check=number == health_check,
                since=held.get(number, began),
            ),
        )
        for number, which in ports.items()
    )
