"""How frontends' chains give new connections a backend: a number is drawn, and a map says who has
that seat.

Frontends with the same backends draw from the same maps, each with counters of its own. Nodes
mostly go and come back one at a time, so such a chain has a rule for either number of seats: with
every node there the first map is full and the second is empty, with one node down it is the other
way round. So a node that goes down for all is two maps and no rule, however many frontends.

A frontend that is alone with its backends, or whose backends are not as most of the others see
them, draws from a map of its own, of which single elements change.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

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
# What frontends with the same backends have in common, and how one sees them.
Seen = tuple[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """One family's backends: the elements of their map, and all their addresses. `table` is a
    name for these elements, and `whole` for those with every backend active, which are `most`;
    both are empty where frontends can't share them."""

    seats: Mapping[str, str]
    nodes: frozenset[str]
    table: str = ""
    whole: str = ""
    most: int = 0

    @property
    def seen(self) -> Seen:
        """The same for all frontends that could draw from one map."""
        return self.whole, self.table

    @property
    def sizes(self) -> tuple[int, ...]:
        """For how many seats chains have rules where this is the usual one; empty where it can't
        be."""
        near = len(self.seats) in (self.most, self.most - 1)
        return tuple(n for n in (self.most, self.most - 1) if n > 0) if near else ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Draw:
    """A frontend's chain for one family, but for who has a seat. `own` is the name of the map that
    it has if it shares none; `first` are rules that go before. A draw is `number`, `mod` the
    seats, and `rest`."""

    chain: str
    own: str
    family: int
    first: tuple[str, ...]
    number: str
    rest: str
    port: int

    def rule(self, seats: int, name: str) -> str:
        """The rule that looks a number up in one map."""
        return f"{self.number} mod {seats}{self.rest} map @{name} : {self.port}"


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
        whole = seats_in_turn(tuple([(ip, weight, True) for ip, weight, _ in mine]))
        return Layout(
            seats=_places(seated),
            nodes=nodes,
            table=_table_name(number, seated),
            whole=_table_name(number, whole),
            most=len(whole),
        )
    served = [(ip, weight) for ip, weight, serves in mine if serves]
    if not served:
        return Layout(seats=NO_ELEMENTS, nodes=nodes)
    table = seats_by_client(balance, tuple((f"{ip}:{port}", weight) for ip, weight in served))
    return Layout(seats=_places(served[at][0] for at in table), nodes=nodes)


def _places(seated: Iterable[str]) -> dict[str, str]:
    return {str(place): ip for place, ip in enumerate(seated)}


def _table_name(family: int, seated: tuple[str, ...]) -> str:
    return f"s{family}-{text_hash(' '.join(seated)):016x}"


def draw(frontend: Frontend, names: Names, served: bool) -> Draw:
    """The chain of one frontend. `served` says whether any backend serves."""
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
        family=names.family,
        first=first,
        number=number,
        rest=rest,
        port=frontend.node_port,
    )


def chains_of(draws: Sequence[tuple[Draw, Layout]], sets: dict[str, ElementSet]) -> list[Chain]:
    """The chains of all frontends. The maps that they draw from are added to `sets`."""
    users = Counter([layout.seen for _, layout in draws])
    layouts = {id(layout): layout for _, layout in draws if users[layout.seen] > 1}
    usual = _usual(layouts.values(), users)
    shared = {at: _shared_maps(layout, usual) for at, layout in layouts.items()}
    chains = []
    for draw, layout in draws:
        taken = len(layout.seats)
        maps = shared.get(id(layout)) or ((taken, draw.own),)
        rules = draw.first
        if taken:
            for seats, name in maps:
                rules = (*rules, draw.rule(seats, name))
                if name not in sets:
                    elements = layout.seats if seats == taken else NO_ELEMENTS
                    sets[name] = _map(name, draw.family, elements)
        chains.append(Chain(name=draw.chain, rules=rules))
    return chains


def _usual(layouts: Iterable[Layout], users: Mapping[Seen, int]) -> dict[str, Seen]:
    """By `whole`, how most of those frontends see their backends that have the same."""
    usual: dict[str, Seen] = {}
    for layout in layouts:
        before = usual.get(layout.whole, layout.seen)
        if layout.sizes:
            usual[layout.whole] = max(before, layout.seen, key=lambda seen: (users[seen], seen))
    return usual


def _shared_maps(layout: Layout, usual: Mapping[str, Seen]) -> tuple[tuple[int, str], ...]:
    """The maps of frontends that share theirs: for how many seats each is, and its name."""
    if not layout.table:
        return ()
    if usual.get(layout.whole) == layout.seen:
        return tuple((n, f"{layout.whole}-{n}") for n in layout.sizes)
    return ((len(layout.seats), layout.table),)


def _map(name: str, family: int, seats: Mapping[str, str]) -> ElementSet:
    return ElementSet(
        name=name,
        # A number, whichever way it is drawn: nft 1.0.6 crashes when it lists a map whose key is
        # said to be a jhash.
        key="numgen inc mod 2",
        data=f"{FAMILY[family].ip} daddr",
        typeof=True,
        elements=seats,
    )
