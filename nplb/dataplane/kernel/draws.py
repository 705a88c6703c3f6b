"""How frontends' chains give new connections a backend: a number is drawn, and a map says who has
that seat.

Frontends with the same backends draw from the same map, each with a counter of its own. Most
frontends of a cluster that has many do it in a way that no change of nodes writes a rule of theirs
(`crowds.py`).

A frontend that is alone with its backends draws from a map of its own, of which single elements
change.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from nplb.dataplane.kernel.crowds import (
    CROWD,
    SLOTS,
    Crowd,
    Listen,
    crowd_chain,
    crowd_sets,
    seat_map,
)
from nplb.dataplane.kernel.names import Names
from nplb.dataplane.kernel.ruleset import NO_ELEMENTS, Chain, ElementSet
from nplb.dataplane.kernel.seats import HASHED, seats_by_client, seats_in_turn
from nplb.dataplane.kernel.serving import FAMILY, Rows, canonical, family_of, serve
from nplb.model.plan import Frontend
from nplb.model.reasons import Balance
from nplb.model.relay import NoBackend
from nplb.policy.hashing import text_hash

# Any constant will do, so long as every edge has the same: "nplb".
JHASH_SEED = 0x6E706C62


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """One family's backends: the elements of their map, and all their addresses. `table` is a
    name for these elements, empty where frontends can't share them."""

    seats: Mapping[str, str]
    nodes: frozenset[str]
    table: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Draw:
    """A frontend's chain for one family, but for who has a seat. `own` is the name of the map that
    it has if it shares none, `crowd` whom it may share with, and `listens` where it listens;
    `first` are rules that go before. A draw is `number`, `mod` the seats, and `rest`."""

    chain: str
    own: str
    crowd: Crowd
    listens: tuple[Listen, ...]
    first: tuple[str, ...]
    number: str
    rest: str
    port: int

    @property
    def family(self) -> int:
        """4 or 6."""
        return self.crowd.family

    def drawing(self, numbers: int, name: str, *last: str) -> Chain:
        """The chain that draws one of so many numbers and looks it up in a map. `last` are rules
        for a number that is not there."""
        rule = f"{self.number} mod {numbers}{self.rest} map @{name} : {self.port}"
        return Chain(name=self.chain, rules=(*self.first, rule, *last))


def layout_of(frontend: Frontend, rows: Rows, family: int) -> Layout:
    """A frontend's backends of one family; `rows` are all of its backends'."""
    options = frontend.relay
    hashed = frontend.balance in HASHED
    return _layout(
        rows,
        family,
        options.no_backend is NoBackend.FAIL_OPEN,
        options.spill_below,
        frontend.balance if hashed else Balance.ROUND_ROBIN,
        # The relay's tables are made of addresses with their ports.
        frontend.node_port if hashed else 0,
    )


@lru_cache(maxsize=1024)
def _layout(
    rows: Rows, number: int, fail_open: bool, spill_below: float, balance: Balance, port: int
) -> Layout:
    """The same object for the same backends, however many frontends have them."""
    chosen = serve(rows.all, fail_open=fail_open, spill_below=spill_below)
    mine = [
        (canonical(ip), weight, serves)
        for (ip, weight, _, _), serves in zip(rows.all, chosen, strict=True)
        if family_of(ip) == number
    ]
    nodes = frozenset(ip for ip, _, _ in mine)
    if balance not in HASHED:
        seated = seats_in_turn(tuple(mine))
        table = _table_name(number, seated) if seated else ""
        return Layout(seats=_places(seated), nodes=nodes, table=table)
    served = [(ip, weight) for ip, weight, serves in mine if serves]
    if not served:
        return Layout(seats=NO_ELEMENTS, nodes=nodes)
    looked_up = seats_by_client(balance, tuple((f"{ip}:{port}", weight) for ip, weight in served))
    return Layout(seats=_places(served[at][0] for at in looked_up), nodes=nodes)


def _places(seated: Iterable[str]) -> dict[str, str]:
    return {str(place): ip for place, ip in enumerate(seated)}


def _table_name(family: int, seated: tuple[str, ...]) -> str:
    return f"s{family}-{text_hash(' '.join(seated)):016x}"


def draw(frontend: Frontend, names: Names, served: bool, listens: tuple[Listen, ...]) -> Draw:
    """The chain of one frontend, which listens there. `served` says whether any backend serves."""
    ip = FAMILY[names.family].ip
    dnat = f"meta l4proto {frontend.key.protocol.lower()} dnat {ip} to"
    first: tuple[str, ...] = ()
    if served and frontend.relay.affinity_seconds:
        first = (f"{dnat} {ip} saddr map @{names.affinity} : {frontend.node_port}",)
    number, rest = f"{dnat} numgen inc", ""
    if frontend.balance in HASHED:
        number, rest = f"{dnat} jhash {ip} saddr", f" seed 0x{JHASH_SEED:x}"
    elif frontend.balance is Balance.RANDOM:
        number = f"{dnat} numgen random"
    return Draw(
        chain=names.chain,
        own=names.backends,
        crowd=Crowd(frontend.key.service.cluster, names.family),
        listens=listens,
        first=first,
        number=number,
        rest=rest,
        port=frontend.node_port,
    )


def chains_of(draws: Sequence[tuple[Draw, Layout]], sets: dict[str, ElementSet]) -> list[Chain]:
    """The chains of all frontends. The maps that they draw from are added to `sets`."""
    users = Counter([layout.table for _, layout in draws])
    crowds = _crowds(draws)
    members: dict[Crowd, list[Draw]] = {crowd: [] for crowd in crowds}
    chains = []
    for draw, layout in draws:
        if not layout.seats:
            chains.append(Chain(name=draw.chain, rules=draw.first))
        elif draw.crowd in crowds and layout.table == crowds[draw.crowd].table:
            members[draw.crowd].append(draw)
        else:
            name = layout.table if users[layout.table] > 1 and layout.table else draw.own
            chains.append(draw.drawing(len(layout.seats), name))
            if name not in sets:
                sets[name] = seat_map(name, draw.family, layout.seats)
    for crowd, those in members.items():
        seats, rounds, last = crowds[crowd].seats, crowd.rounds, f"goto {crowd.again}"
        listens = (listen for draw in those for listen in draw.listens)
        sets.update((each.name, each) for each in crowd_sets(crowd, seats, listens))
        chains += [draw.drawing(SLOTS, rounds, last) for draw in those]
        chains.append(crowd_chain(crowd, len(seats)))
    return chains


def _crowds(draws: Iterable[tuple[Draw, Layout]]) -> dict[Crowd, Layout]:
    """The layout that most frontends of each crowd have, where they are enough. Of two that as many
    have it is the first frontend's: what becomes of nodes does not change which one it is."""
    may = [(d.crowd, each) for d, each in draws if each.table and len(each.seats) <= SLOTS]
    users = Counter([(crowd, layout.table) for crowd, layout in may])
    layouts = {layout.table: layout for _, layout in may}
    crowds: dict[Crowd, Layout] = {}
    for (crowd, table), count in users.most_common():
        if count >= CROWD:
            crowds.setdefault(crowd, layouts[table])
    return crowds
