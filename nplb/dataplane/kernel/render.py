"""From a plan to a ruleset: pure, and the same plan always gives the same ruleset.

README.md in this package shows the packet's way through what is rendered here.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache

from nplb.dataplane.kernel.guards import Guard, render_guard
from nplb.dataplane.kernel.names import Names, identity
from nplb.dataplane.kernel.ruleset import Chain, ElementSet, Ruleset
from nplb.dataplane.kernel.seats import HASHED, seats_by_client, seats_in_turn
from nplb.dataplane.kernel.serving import FAMILIES, FAMILY, canonical, family_of, serving
from nplb.dataplane.kernel.skeleton import CLIENT_ENTRIES, LISTEN_MAPS, skeleton
from nplb.model.keys import FrontendKey, Protocol
from nplb.model.plan import Backend, Frontend, Plan
from nplb.model.reasons import Balance

# Any constant will do, so long as every edge has the same: "nplb".
JHASH_SEED = 0x6E706C62


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """What one frontend contributes: its own sets and chains, and elements of shared maps."""

    sets: tuple[ElementSet, ...]
    chains: tuple[Chain, ...]
    counters: tuple[str, ...]
    elements: tuple[tuple[str, str, str], ...]  # the shared map, key, data
    nodes: tuple[frozenset[str], ...]


def render(frontends: Iterable[Frontend]) -> Ruleset:
    """The whole table for these frontends."""
    return assemble(render_frontend(frontend) for frontend in frontends)


def kernel_frontends(plan: Plan) -> tuple[Frontend, ...]:
    """A plan's frontends whose protocol the kernel plane carries."""
    return tuple(f for f in plan.frontends if f.key.protocol in (Protocol.TCP, Protocol.UDP))


def assemble(pieces: Iterable[Piece]) -> Ruleset:
    """One table of the pieces of all frontends."""
    sets: dict[str, ElementSet] = {}
    chains: dict[str, Chain] = {}
    counters: set[str] = set()
    shared: dict[str, dict[str, str]] = {}
    nodes: dict[int, frozenset[str]] = {}
    for piece in pieces:
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
    base = skeleton(shared)
    return Ruleset(sets=base.sets | sets, chains=base.chains | chains, counters=frozenset(counters))


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
    protocol = frontend.key.protocol.lower()
    usable = serving(frontend)
    for number in FAMILIES:
        listen = [a for a in frontend.listen if family_of(a.ip) == number]
        if not listen:
            continue
        names = Names(identity(frontend.key), number)
        everyone = _of_family(frontend.backends, number)
        chosen = _of_family(usable, number)
        guard = render_guard(frontend, names, bool(chosen))
        for address in listen:
            where, key = _listen_key(address.ip, address.port, protocol, number)
            elements.append((f"{where}{number}", key, f"goto {names.chain}"))
            if guard is not None:
                elements.append((f"guard-{where}{number}", key, f"goto {names.guard}"))
        if guard is not None:
            _add_guard(guard, sets, chains, counters)
        sets += _maps(frontend, names, everyone, chosen)
        chains += _chains(frontend, names, chosen)
        elements += _backend_elements(frontend, names, everyone)
        nodes.append(_addresses(tuple(b.key.address.ip for b in everyone)))
    return Piece(
        sets=tuple(sets),
        chains=tuple(chains),
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


def _of_family(backends: tuple[Backend, ...], number: int) -> tuple[Backend, ...]:
    six = number == 6
    return tuple(b for b in backends if (":" in b.key.address.ip) is six)


@lru_cache(maxsize=1024)
def _addresses(ips: tuple[str, ...]) -> frozenset[str]:
    return frozenset(canonical(ip) for ip in ips)


def _listen_key(ip: str, port: int, protocol: str, number: int) -> tuple[str, str]:
    """Which of the shared maps an address is in, and its key there."""
    exact, wildcard = LISTEN_MAPS
    if canonical(ip) == FAMILY[number].any:
        return wildcard, f"{protocol} . {port}"
    return exact, f"{canonical(ip)} . {protocol} . {port}"


def _maps(
    frontend: Frontend,
    names: Names,
    everyone: tuple[Backend, ...],
    chosen: tuple[Backend, ...],
) -> list[ElementSet]:
    family = FAMILY[names.family]
    maps = [
        ElementSet(
            name=names.backends,
            # A number, whichever way it is drawn: nft 1.0.6 crashes when it lists a map
            # whose key is said to be a jhash.
            key="numgen inc mod 2",
            data=f"{family.ip} daddr",
            typeof=True,
            elements=_seat_elements(frontend, everyone, chosen),
        )
    ]
    if frontend.relay.affinity_seconds:
        maps.append(
            ElementSet(
                name=names.affinity,
                key=family.type,
                data=family.type,
                dynamic=True,
                options=(f"size {CLIENT_ENTRIES}", "flags dynamic,timeout"),
            )
        )
    return maps


def _seat_elements(
    frontend: Frontend, everyone: tuple[Backend, ...], chosen: tuple[Backend, ...]
) -> Mapping[str, str]:
    if frontend.balance in HASHED:
        named = tuple((f"{b.key.address.ip}:{b.key.address.port}", b.weight) for b in chosen)
        return _hashed_elements(frontend.balance, named, tuple(b.key.address.ip for b in chosen))
    active = {b.key.node for b in chosen}
    return _drawn_elements(
        tuple((b.key.address.ip, b.weight, b.key.node in active) for b in everyone)
    )


@lru_cache(maxsize=1024)
def _drawn_elements(backends: tuple[tuple[str, int, bool], ...]) -> Mapping[str, str]:
    """The same object for the same backends, however many frontends have them."""
    return {str(seat): canonical(ip) for seat, ip in enumerate(seats_in_turn(backends))}


@lru_cache(maxsize=256)
def _hashed_elements(
    balance: Balance, named: tuple[tuple[str, int], ...], ips: tuple[str, ...]
) -> Mapping[str, str]:
    if not named:
        return {}
    texts = [canonical(ip) for ip in ips]
    return {str(place): texts[index] for place, index in enumerate(seats_by_client(balance, named))}


def _chains(frontend: Frontend, names: Names, chosen: tuple[Backend, ...]) -> list[Chain]:
    family = FAMILY[names.family]
    protocol = frontend.key.protocol.lower()
    rules: list[str] = []
    chains: list[Chain] = []
    port = frontend.node_port
    seats = len(_seat_elements(frontend, _of_family(frontend.backends, names.family), chosen))
    dnat = f"meta l4proto {protocol} dnat {family.ip} to"
    affinity = frontend.relay.affinity_seconds
    if affinity:
        if seats:
            rules.append(f"{dnat} {family.ip} saddr map @{names.affinity} : {port}")
        remember = (
            f"update @{names.affinity} {{ {family.ip} saddr timeout {affinity}s "
            f": {family.ip} daddr }}"
        )
        chains.append(Chain(name=names.remember, rules=(remember,)))
    if seats:
        if frontend.balance in HASHED:
            draw = f"jhash {family.ip} saddr mod {seats} seed 0x{JHASH_SEED:x}"
        elif frontend.balance is Balance.RANDOM:
            draw = f"numgen random mod {seats}"
        else:
            draw = f"numgen inc mod {seats}"
        rules.append(f"{dnat} {draw} map @{names.backends} : {port}")
    return [Chain(name=names.chain, rules=tuple(rules)), *chains]


def _backend_elements(
    frontend: Frontend, names: Names, everyone: tuple[Backend, ...]
) -> list[tuple[str, str, str]]:
    """What the shared maps say of this frontend's backends."""
    protocol = frontend.key.protocol.lower()
    elements = [("node-ports", f"{protocol} . {frontend.node_port}", "")]
    affinity, kept = bool(frontend.relay.affinity_seconds), not frontend.kernel.masquerade
    if affinity or kept:
        for backend in everyone:
            ip = canonical(backend.key.address.ip)
            key = f"{ip} . {protocol} . {backend.key.address.port}"
            if affinity:
                elements.append((f"affinity{names.family}", key, f"jump {names.remember}"))
            if kept:
                elements.append((f"kept{names.family}", key, ""))
                elements.append((f"hairpins{names.family}", f"{ip} . {ip}", ""))
    return elements
