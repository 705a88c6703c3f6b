"""Counters of the kernel as `Traffic`: sums that never go backwards.

The packet path counts in the table's sets, one element for each backend that was ever used.
A table that was flushed starts again at zero; what was counted before is added here.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from nplb.dataplane.kernel.fastpath.layout import ROOM, Counts
from nplb.dataplane.kernel.guards import REFUSALS
from nplb.dataplane.kernel.names import refusal_counter
from nplb.dataplane.kernel.readback import element_text
from nplb.dataplane.kernel.serving import FAMILIES, canonical, family_of
from nplb.dataplane.kernel.skeleton import ANSWERED, OPENED, SENT, TRAFFIC_SETS
from nplb.model.applied import BackendCounters, FastPathCounters, FrontendCounters, Traffic
from nplb.model.keys import FrontendKey
from nplb.model.plan import Backend, Frontend
from nplb.model.reasons import EndReason, FastPathEvent

SETS = tuple(f"{name}{number}" for name in TRAFFIC_SETS for number in FAMILIES)
# The fast path's counters, beside the table's.
FAST = "fast-"


@dataclass(slots=True)
class Meter:
    """One counter: what the kernel said last, and what it had said before it began anew."""

    base: int = 0
    last: int = 0

    def take(self, value: int) -> None:
        """A new reading."""
        if value < self.last:
            self.base += self.last
        self.last = value

    def settle(self) -> None:
        """The counter is gone: another one begins at zero."""
        self.base, self.last = self.total, 0

    @property
    def total(self) -> int:
        """All that was ever counted."""
        return self.base + self.last


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What the kernel said at one moment. `sets` maps a set's name and an element's text to
    packets and bytes; `refused` a counter's name to packets."""

    sets: Mapping[str, Mapping[str, tuple[int, int]]] = field(default_factory=dict)
    refused: Mapping[str, int] = field(default_factory=dict)


def reading(things: Iterable[dict[str, Any]]) -> Reading:
    """A reading of what `nft -j list` says of sets and counters."""
    sets: dict[str, dict[str, tuple[int, int]]] = {}
    refused: dict[str, int] = {}
    for thing in things:
        if "set" in thing:
            each = thing["set"]
            counts = sets.setdefault(each["name"], {})
            for entry in each.get("elem", ()):
                counter = entry.get("elem", {}).get("counter") if "elem" in entry else None
                if counter is not None:
                    counts[element_text(entry)] = (counter["packets"], counter["bytes"])
        elif "counter" in thing:
            refused[thing["counter"]["name"]] = thing["counter"]["packets"]
    return Reading(sets=sets, refused=refused)


def fast_reading(counts: Mapping[tuple[str, int], Counts]) -> Reading:
    """A reading of what the fast path has counted of nodes' ports."""
    sets: dict[str, dict[str, tuple[int, int]]] = {}
    for (ip, port), each in counts.items():
        key, number = f"{ip} . tcp . {port}", family_of(ip)
        for name, count in (
            (OPENED, (each.opened, 0)),
            (SENT, (0, each.sent)),
            (ANSWERED, (0, each.answered)),
        ):
            sets.setdefault(f"{FAST}{name}{number}", {})[key] = count
    return Reading(sets=sets)


class Meters:
    """The sums of all readings, by frontend and backend."""

    def __init__(self) -> None:
        self._meters: dict[tuple[str, str], tuple[Meter, Meter]] = {}
        self._refused: dict[str, Meter] = {}
        self._events: dict[FastPathEvent, Meter] = {}
        self._left: dict[FrontendKey, FrontendCounters] = {}
        self._owners: dict[str, FrontendKey] = {}
        self._elements: dict[FrontendKey, dict[str, None]] = {}

    def take(self, read: Reading) -> None:
        """A new reading of the kernel."""
        for name, elements in read.sets.items():
            for key, (packets, size) in elements.items():
                pair = self._meters.setdefault((name, key), (Meter(), Meter()))
                pair[0].take(packets)
                pair[1].take(size)
        for name, packets in read.refused.items():
            self._refused.setdefault(name, Meter()).take(packets)

    def settle_fast_path(self) -> None:
        """The fast path is gone, and its counters with it."""
        for (name, _), pair in self._meters.items():
            if name.startswith(FAST):
                for meter in pair:
                    meter.settle()
        for meter in self._events.values():
            meter.settle()

    def fast_path(
        self, connections: Mapping[int, int], events: Mapping[FastPathEvent, int]
    ) -> FastPathCounters | None:
        """A new reading of the fast path's own condition, as sums; None where there never was
        a fast path."""
        for event, packets in events.items():
            self._events.setdefault(event, Meter()).take(packets)
        if not self._events:
            return None
        totals = {event: meter.total for event, meter in self._events.items()}
        return FastPathCounters(connections=connections, room=ROOM, events=totals)

    def traffic(self, frontends: Iterable[Frontend], active: Mapping[str, int]) -> Traffic:
        """All counters. `active` are open connections by element text."""
        fronts: dict[FrontendKey, FrontendCounters] = {}
        backs = {}
        for frontend in frontends:
            for backend in frontend.backends:
                key = element(backend)
                self._claim(key, frontend.key)
                backs[backend.key] = self._backend(key, active.get(key, 0))
            # Nodes that have left are still in the frontend's sums.
            sums = self._left.get(frontend.key, FrontendCounters())
            accepted, open_now = sums.accepted, 0
            sent, answered = sums.bytes_in, sums.bytes_out
            for key in self._elements.get(frontend.key, ()):
                counters = self._backend(key, active.get(key, 0))
                accepted += counters.connections
                open_now += counters.active
                sent += counters.bytes_in
                answered += counters.bytes_out
            ends: dict[EndReason, int] = {}
            for reason in REFUSALS:
                meter = self._refused.get(refusal_counter(reason, frontend.key))
                if meter is not None and meter.total:
                    ends[reason] = meter.total
            fronts[frontend.key] = FrontendCounters(
                accepted=accepted + sum(ends.values()),
                active=open_now,
                bytes_in=sent,
                bytes_out=answered,
                ends=ends,
            )
        return Traffic(frontends=fronts, backends=backs)

    def _claim(self, key: str, frontend: FrontendKey) -> None:
        """An address belongs to a frontend from now on. What another one had counted there (its
        NodePort was given away) stays that one's, and the new one begins at zero."""
        owner = self._owners.get(key)
        if owner == frontend:
            return
        self._owners[key] = frontend
        self._elements.setdefault(frontend, {})[key] = None
        if owner is None:
            return
        self._elements[owner].pop(key, None)
        counters = self._backend(key, 0)
        before = self._left.get(owner, FrontendCounters())
        self._left[owner] = FrontendCounters(
            accepted=before.accepted + counters.connections,
            bytes_in=before.bytes_in + counters.bytes_in,
            bytes_out=before.bytes_out + counters.bytes_out,
        )
        for name in SETS:
            for meter in (
                *self._meters.get((name, key), ()),
                *self._meters.get((FAST + name, key), ()),
            ):
                meter.base = -meter.last

    def _backend(self, key: str, active: int) -> BackendCounters:
        number = 6 if key.count(":") > 1 else 4
        return BackendCounters(
            connections=self._total(f"{OPENED}{number}", key, 0),
            active=active,
            bytes_in=self._total(f"{SENT}{number}", key, 1),
            bytes_out=self._total(f"{ANSWERED}{number}", key, 1),
        )

    def _total(self, name: str, key: str, which: int) -> int:
        """Of both ways: packets (0) or bytes (1)."""
        pairs = (self._meters.get((name, key)), self._meters.get((FAST + name, key)))
        return sum(pair[which].total for pair in pairs if pair is not None)


def element(backend: Backend) -> str:
    """A backend as an element of the table's sets: `192.0.2.1 . tcp . 30080`."""
    address = backend.key.address
    return f"{canonical(address.ip)} . {backend.key.frontend.protocol.lower()} . {address.port}"
