"""From a plan to a ruleset: pure, and the same plan always gives the same ruleset.

README.md in this package shows the packet's way through what is rendered here.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache

from nplb.dataplane.kernel.guards import Guard, render_guard
from nplb.dataplane.kernel.names import Names, identity
from nplb.dataplane.kernel.ruleset import Chain, ElementSet, Ruleset
from nplb.dataplane.kernel.seats import HASHED, seats_by_client, seats_in_turn
from nplb.dataplane.kernel.serving import FAMILY, Row, canonical, family_of, rows_of, serve
from nplb.dataplane.kernel.skeleton import CLIENT_ENTRIES, LISTEN_MAPS, skeleton
from nplb.model.keys import FrontendKey
from nplb.model.plan import Frontend
from nplb.model.reasons import Balance
from nplb.model.relay import NoBackend
from nplb.policy.hashing import text_hash

# Any constant will do, so long as every edge has the same: "nplb".
JHASH_SEED = 0x6E706C62


@dataclass(frozen=True, slots=True)
class _Layout:
    """One family's backends: the elements of their table, and all their addresses. `digest` is
    the table's content as a short text."""

    seats: Mapping[str, str]
    nodes: frozenset[str]
    digest: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Draw:
    """A frontend's chain for one family, but for the name of the map that it draws from.
    `own` is the map's name if no other frontend has the same backends; `rule` has {map} for
    it, and is empty without a backend."""

    chain: str
    own: str
    family: int
    layout: _Layout
    shareable: bool
    first: tuple[str, ...]
    rule: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """What one frontend contributes: its own sets and chains, and elements of shared maps."""

    sets: tuple[ElementSet, ...]
    chains: tuple[Chain, ...]
    draws: tuple["Draw", ...]
    counters: tuple[str, ...]
    elements: tuple[tuple[str, str, str], ...]  # the shared map, key, data
    nodes: tuple[frozenset[str], ...]


def render(frontends: Iterable[Frontend]) -> Ruleset:
    """The whole table for these frontends."""
    return assemble(render_frontend(frontend) for frontend in frontends)


def assemble(pieces: Iterable[Piece]) -> Ruleset:
    """One table of the pieces of all frontends."""
    sets: dict[str, ElementSet] = {}
    chains: dict[str, Chain] = {}
    counters: set[str] = set()
    shared: dict[str, dict[str, str]] = {}
    nodes: dict[int, frozenset[str]] = {}
    draws: list[Draw] = []
    for piece in pieces:
        draws += piece.draws
        for each in piece.sets:
            sets[each.name] = each
        for chain in piece.chains:
            chains[chain.name] = chain
        counters.update(piece.counters)
        for name, key, data in piece.elements:
            shared.setdefault(name, {})[key] = data
        for group in piece.nodes:
            nodes[id(group)] = group
    for ip in sorted(frozenset().union(*nodes.values())):
        shared.setdefault(f"nodes{family_of(ip)}", {})[ip] = ""
    _add_draws(draws, sets, chains)
    base = skeleton(shared)
    return Ruleset(sets=base.sets | sets, chains=base.chains | chains, counters=frozenset(counters))


def _add_draws(draws: list[Draw], sets: dict[str, ElementSet], chains: dict[str, Chain]) -> None:
    """The frontends' chains, and the maps that they draw from.

    Frontends with the same backends draw from one map, each with a counter of its own: a node
    that goes down for all of them is one small map. A frontend that is alone with its backends
    has a map of its own, of which single elements change.
    """
    users = Counter((d.family, d.layout.digest) for d in draws if d.shareable)
    for draw in draws:
        rules = draw.first
        if draw.rule:
            alone = not draw.shareable or users[draw.family, draw.layout.digest] == 1
            name = draw.own if alone else f"s{draw.family}-{draw.layout.digest}"
            if name not in sets:
                sets[name] = ElementSet(
                    name=name,
                    # A number, whichever way it is drawn: nft 1.0.6 crashes when it lists a
                    # map whose key is said to be a jhash.
                    key="numgen inc mod 2",
                    data=f"{FAMILY[draw.family].ip} daddr",
                    typeof=True,
                    elements=draw.layout.seats,
                )
            rules = (*rules, draw.rule.replace("{map}", name))
        chains[draw.chain] = Chain(name=draw.chain, rules=rules)


class Renderer:
    """Renders plans one after the other, and only what has changed since the last one."""

    def __init__(self) -> None:
        self._pieces: dict[FrontendKey, tuple[Frontend, Piece]] = {}

    def render(self, frontends: Iterable[Frontend]) -> Ruleset:
        """The whole table for these frontends, as `render` gives it."""
        before, self._pieces = self._pieces, {}
        for frontend in frontends:
            known = before.get(frontend.key)
            if known is None or (known[0] is not frontend and known[0] != frontend):
                known = (frontend, render_frontend(frontend))
            self._pieces[frontend.key] = known
        return assemble(piece for _, piece in self._pieces.values())


def render_frontend(frontend: Frontend) -> Piece:
    """One frontend's part of the table."""
    sets: list[ElementSet] = []
    chains: list[Chain] = []
    counters: set[str] = set()
    elements: list[tuple[str, str, str]] = []
    nodes: list[frozenset[str]] = []
    draws: list[Draw] = []
    protocol = frontend.key.protocol.lower()
    rows = rows_of(frontend)
    families = {family_of(address.ip) for address in frontend.listen}
    for number in sorted(families):
        names = Names(identity(frontend.key), number)
        layout = _layout_of(frontend, rows, number)
        guard = render_guard(frontend, names, bool(layout.seats))
        for address in frontend.listen:
            if family_of(address.ip) != number:
                continue
            where, key = _listen_key(address.ip, address.port, protocol, number)
            elements.append((f"{where}{number}", key, f"goto {names.chain}"))
            if guard is not None:
                elements.append((f"guard-{where}{number}", key, f"goto {names.guard}"))
        if guard is not None:
            _add_guard(guard, sets, chains, counters)
        if frontend.relay.affinity_seconds:
            affinity_map, remember = _affinity(frontend, names)
            sets.append(affinity_map)
            chains.append(remember)
        draws.append(_draw(frontend, names, layout))
        elements += _backend_elements(frontend, names)
        nodes.append(layout.nodes)
    return Piece(
        sets=tuple(sets),
        chains=tuple(chains),
        draws=tuple(draws),
        counters=tuple(sorted(counters)),
        elements=tuple(elements),
        nodes=tuple(nodes),
    )


def _add_guard(
    guard: Guard, sets: list[ElementSet], chains: list[Chain], counters: set[str]
) -> None:
    chains.append(guard.chain)
    sets += [each for each in guard.sets if each.name not in {s.name for s in sets}]
    counters.update(guard.counters)


def _layout_of(frontend: Frontend, rows: tuple[Row, ...], number: int) -> _Layout:
    options = frontend.relay
    hashed = frontend.balance in HASHED
    return _layout(
        rows,
        number,
        options.no_backend is NoBackend.FAIL_OPEN,
        options.spill_below,
        frontend.balance if hashed else Balance.ROUND_ROBIN,
        # The relay's tables are made of addresses with their ports.
        frontend.node_port if hashed else 0,
    )


@lru_cache(maxsize=1024)
def _layout(
    rows: tuple[Row, ...],
    number: int,
    fail_open: bool,
    spill_below: float,
    balance: Balance,
    port: int,
) -> _Layout:
    """The same object for the same backends, however many frontends have them."""
    chosen = serve(rows, fail_open=fail_open, spill_below=spill_below)
    mine = [
        (canonical(ip), weight, serves)
        for (ip, weight, _, _), serves in zip(rows, chosen, strict=True)
        if family_of(ip) == number
    ]
    nodes = frozenset(ip for ip, _, _ in mine)
    if balance not in HASHED:
        seated = seats_in_turn(tuple(mine))
        digest = f"{text_hash(' '.join(seated)):016x}"
        return _Layout({str(seat): ip for seat, ip in enumerate(seated)}, nodes, digest)
    served = [(ip, weight) for ip, weight, serves in mine if serves]
    if not served:
        return _Layout({}, nodes, "")
    table = seats_by_client(balance, tuple((f"{ip}:{port}", weight) for ip, weight in served))
    return _Layout({str(place): served[at][0] for place, at in enumerate(table)}, nodes, "")


def _listen_key(ip: str, port: int, protocol: str, number: int) -> tuple[str, str]:
    """Which of the shared maps an address is in, and its key there."""
    exact, wildcard = LISTEN_MAPS
    if canonical(ip) == FAMILY[number].any:
        return wildcard, f"{protocol} . {port}"
    return exact, f"{canonical(ip)} . {protocol} . {port}"


def _affinity(frontend: Frontend, names: Names) -> tuple[ElementSet, Chain]:
    """The map from clients to backends, and the chain that writes it."""
    family = FAMILY[names.family]
    remembered = ElementSet(
        name=names.affinity,
        key=family.type,
        data=family.type,
        dynamic=True,
        options=(f"size {CLIENT_ENTRIES}", "flags dynamic,timeout"),
    )
    rule = (
        f"update @{names.affinity} {{ {family.ip} saddr "
        f"timeout {frontend.relay.affinity_seconds}s : {family.ip} daddr }}"
    )
    return remembered, Chain(name=names.remember, rules=(rule,))


def _draw(frontend: Frontend, names: Names, layout: _Layout) -> Draw:
    family = FAMILY[names.family]
    seats, port = len(layout.seats), frontend.node_port
    dnat = f"meta l4proto {frontend.key.protocol.lower()} dnat {family.ip} to"
    first: tuple[str, ...] = ()
    rule = ""
    if seats:
        if frontend.relay.affinity_seconds:
            first = (f"{dnat} {family.ip} saddr map @{names.affinity} : {port}",)
        if frontend.balance in HASHED:
            number = f"jhash {family.ip} saddr mod {seats} seed 0x{JHASH_SEED:x}"
        elif frontend.balance is Balance.RANDOM:
            number = f"numgen random mod {seats}"
        else:
            number = f"numgen inc mod {seats}"
        rule = f"{dnat} {number} map @{{map}} : {port}"
    return Draw(
        chain=names.chain,
        own=names.backends,
        family=names.family,
        layout=layout,
        shareable=frontend.balance not in HASHED,
        first=first,
        rule=rule,
    )


def _backend_elements(frontend: Frontend, names: Names) -> list[tuple[str, str, str]]:
    """What the shared maps say of this frontend's backends."""
    protocol = frontend.key.protocol.lower()
    elements = [("node-ports", f"{protocol} . {frontend.node_port}", "")]
    affinity, kept = bool(frontend.relay.affinity_seconds), not frontend.kernel.masquerade
    if affinity or kept:
        for backend in frontend.backends:
            if family_of(backend.key.address.ip) != names.family:
                continue
            ip = canonical(backend.key.address.ip)
            key = f"{ip} . {protocol} . {backend.key.address.port}"
            if affinity:
                elements.append((f"affinity{names.family}", key, f"jump {names.remember}"))
            if kept:
                elements.append((f"kept{names.family}", key, ""))
                elements.append((f"hairpins{names.family}", f"{ip} . {ip}", ""))
    return elements
