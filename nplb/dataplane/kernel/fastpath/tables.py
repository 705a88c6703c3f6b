"""From a plan's frontends to what the program's maps should hold: pure.

Seats are in layouts. A layout's number is a hash of who sits where, so one is never changed: new
seats are a new layout, to which a frontend is switched by one write, and frontends with the same
backends share one. What a thousand changes have led to is what a fresh start writes.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from nplb.dataplane.kernel.draws import Layout
from nplb.dataplane.kernel.fastpath import layout
from nplb.dataplane.kernel.render import Rendered
from nplb.dataplane.kernel.serving import canonical, family_of
from nplb.model.reasons import Balance
from nplb.policy.hashing import text_hash

# Tables of source hash and Maglev are large; frontends that find no room stay with the table.
MAX_SEATS = 1 << 21

_DRAW = {
    Balance.ROUND_ROBIN: layout.IN_TURN,
    Balance.RANDOM: layout.AT_RANDOM,
    Balance.SOURCE_HASH: layout.BY_CLIENT,
    Balance.MAGLEV: layout.BY_CLIENT,
}


@dataclass(frozen=True, slots=True)
class Tables:
    """Entries of `frontends`, and the seats of each layout as entries of `seats`."""

    frontends: Mapping[bytes, bytes] = field(default_factory=dict)
    layouts: Mapping[int, Mapping[bytes, bytes]] = field(default_factory=dict)


class Tabulator:
    """Makes tables, and keeps what it has worked out for layouts that stay."""

    def __init__(self) -> None:
        self._known: dict[int, tuple[Layout, Mapping[str, str], int, Mapping[bytes, bytes]]] = {}

    def tables(self, rendered: Iterable[Rendered], sources: Mapping[str, str]) -> Tables:
        """The tables for these frontends. `sources` has the edge's own address toward each node;
        a node without one gets nobody by this way."""
        before, self._known = self._known, {}
        entries: dict[bytes, bytes] = {}
        layouts: dict[int, Mapping[bytes, bytes]] = {}
        room = MAX_SEATS
        for each in rendered:
            frontend = each.frontend
            for draw, found in zip(each.piece.draws, each.layouts, strict=True):
                if not found.seats:
                    continue
                known = self._known.get(id(found)) or before.get(id(found))
                if known is None or known[1] is not sources:
                    known = (found, sources, *_seated(found, sources))
                self._known[id(found)] = known
                _, _, name, seats = known
                if name not in layouts:
                    if len(seats) > room:
                        continue
                    room -= len(seats)
                    layouts[name] = seats
                value = layout.frontend(
                    layout=name,
                    seats=len(found.seats),
                    node_port=frontend.node_port,
                    draw=_DRAW[frontend.balance],
                )
                for address in frontend.listen:
                    if family_of(address.ip) == draw.family:
                        entries[layout.endpoint(canonical(address.ip), address.port)] = value
        return Tables(entries, layouts)


def _seated(found: Layout, sources: Mapping[str, str]) -> tuple[int, Mapping[bytes, bytes]]:
    """A layout's number and its seats. Seats of nodes that can't be reached stay free."""
    seated = [(int(place), ip) for place, ip in found.seats.items()]
    name = text_hash(" ".join(f"{place}:{ip}:{sources.get(ip, '')}" for place, ip in seated))
    return name, {
        layout.seat_key(name, place): layout.seat(ip, sources[ip])
        for place, ip in seated
        if ip in sources
    }
