"""From a plan to a ruleset: pure, and the same plan always gives the same ruleset.

README.md in this package shows the packet's way through what is rendered here.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from nplb.dataplane.kernel.crowds import Listen
from nplb.dataplane.kernel.draws import Draw, Layout, chains_of, draw, layout_of
from nplb.dataplane.kernel.guards import Guard, render_guard
from nplb.dataplane.kernel.names import Names, identity
from nplb.dataplane.kernel.ruleset import Chain, ElementSet, Ruleset
from nplb.dataplane.kernel.serving import (
    FAMILY,
    Rows,
    canonical,
    changed_places,
    family_of,
    rows_after,
    rows_joined,
    rows_of,
)
from nplb.dataplane.kernel.skeleton import CLIENT_ENTRIES, LISTEN_MAPS, skeleton
from nplb.model.keys import Address, FrontendKey
from nplb.model.plan import Frontend


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """What one frontend contributes, whoever of its backends serves: its own sets and chains, and
    elements of shared maps."""

    sets: tuple[ElementSet, ...]
    chains: tuple[Chain, ...]
    draws: tuple[Draw, ...]
    counters: tuple[str, ...]
    elements: tuple[tuple[str, str, str], ...]  # the shared map, key, data


@dataclass(frozen=True, slots=True)
class Rendered:
    """A frontend, and what was made of it: `layouts` are in the order of the piece's draws."""

    frontend: Frontend
    rows: Rows
    layouts: tuple[Layout, ...]
    piece: Piece


def render(frontends: Iterable[Frontend], ports: tuple[int, int] | None = None) -> Ruleset:
    """The whole table for these frontends. `ports` is the range that masquerading takes the
    source ports of TCP from, where others are the fast path's."""
    return assemble([render_frontend(frontend, None) for frontend in frontends], ports)


def assemble(rendered: Iterable[Rendered], ports: tuple[int, int] | None = None) -> Ruleset:
    """One table of what was made of all frontends."""
    sets: dict[str, ElementSet] = {}
    chains: dict[str, Chain] = {}
    counters: set[str] = set()
    shared: dict[str, dict[str, str]] = {}
    nodes: dict[int, frozenset[str]] = {}
    draws: list[tuple[Draw, Layout]] = []
    for each in rendered:
        piece = each.piece
        draws += zip(piece.draws, each.layouts, strict=True)
        for own in piece.sets:
            sets[own.name] = own
        for chain in piece.chains:
            chains[chain.name] = chain
        counters.update(piece.counters)
        for name, key, data in piece.elements:
            shared.setdefault(name, {})[key] = data
        for layout in each.layouts:
            nodes[id(layout.nodes)] = layout.nodes
    for ip in sorted(frozenset().union(*nodes.values())):
        shared.setdefault(f"nodes{family_of(ip)}", {})[ip] = ""
    for chain in chains_of(draws, sets):
        chains[chain.name] = chain
    base = skeleton(shared, ports)
    return Ruleset(sets=base.sets | sets, chains=base.chains | chains, counters=frozenset(counters))


class Renderer:
    """Renders plans one after the other, and only what has changed since the last one."""

    def __init__(self) -> None:
        self._rendered: dict[FrontendKey, Rendered] = {}

    @property
    def rendered(self) -> Iterable[Rendered]:
        """What was made of each frontend of the last plan."""
        return self._rendered.values()

    def render(
        self, frontends: Iterable[Frontend], ports: tuple[int, int] | None = None
    ) -> Ruleset:
        """The whole table for these frontends, as `render` gives it."""
        before = self._rendered
        self._rendered = {f.key: render_frontend(f, before.get(f.key)) for f in frontends}
        return assemble(self._rendered.values(), ports)


def render_frontend(frontend: Frontend, before: Rendered | None) -> Rendered:
    """One frontend's part of the table. `before` is what was made of it last."""
    if before is not None and before.frontend is frontend:
        return before
    places = None
    if before is None:
        rows = rows_of(frontend)
    else:
        now, old = frontend.backends, before.frontend.backends
        places = changed_places(now, old)
        if places is None:
            rows = rows_joined(before.rows, now, old)
        else:
            rows = rows_after(before.rows, now, places)
    layouts = tuple([layout_of(frontend, rows, number) for number in families_of(frontend)])
    served = [bool(layout.seats) for layout in layouts]
    if (
        before is not None
        and (places is not None or not _names_backends(frontend))
        and _settings(frontend) == _settings(before.frontend)
        and served == [bool(layout.seats) for layout in before.layouts]
    ):
        piece = before.piece
    else:
        piece = _piece(frontend, served)
    return Rendered(frontend, rows, layouts, piece)


def _names_backends(frontend: Frontend) -> bool:
    """Whether a piece has elements for each backend."""
    return bool(frontend.relay.affinity_seconds) or not frontend.kernel.masquerade


def families_of(frontend: Frontend) -> list[int]:
    """The address families that clients use."""
    return sorted({family_of(address.ip) for address in frontend.listen})


def _settings(frontend: Frontend) -> tuple[object, ...]:
    """All of a frontend that its piece is made of, but its backends."""
    f = frontend
    return f.listen, f.node_port, f.balance, f.relay, f.kernel


def _piece(frontend: Frontend, served: Iterable[bool]) -> Piece:
    """What a frontend contributes. `served` says for each family whether any backend serves."""
    sets: list[ElementSet] = []
    chains: list[Chain] = []
    counters: set[str] = set()
    elements: list[tuple[str, str, str]] = []
    draws: list[Draw] = []
    protocol = frontend.key.protocol.lower()
    for number, serves in zip(families_of(frontend), served, strict=True):
        names = Names(identity(frontend.key), number)
        guard = render_guard(frontend, names, serves)
        if guard is not None:
            _add_guard(guard, sets, chains, counters)
        first = names.chain if guard is None else names.guard
        mine = [address for address in frontend.listen if family_of(address.ip) == number]
        listens = [_listen(address, protocol, number, frontend.node_port) for address in mine]
        elements += [(f"{each.kind}{number}", each.key, f"goto {first}") for each in listens]
        if frontend.relay.affinity_seconds:
            affinity_map, remember = _affinity(frontend, names)
            sets.append(affinity_map)
            chains.append(remember)
        draws.append(draw(frontend, names, serves, tuple(listens)))
        elements += _backend_elements(frontend, names)
    return Piece(
        sets=tuple(sets),
        chains=tuple(chains),
        draws=tuple(draws),
        counters=tuple(sorted(counters)),
        elements=tuple(elements),
    )


def _add_guard(
    guard: Guard, sets: list[ElementSet], chains: list[Chain], counters: set[str]
) -> None:
    chains.append(guard.chain)
    sets += [each for each in guard.sets if each.name not in {s.name for s in sets}]
    counters.update(guard.counters)


def _listen(address: Address, protocol: str, number: int, node_port: int) -> Listen:
    exact, wildcard = LISTEN_MAPS
    ip = canonical(address.ip)
    if ip == FAMILY[number].any:
        return Listen(wildcard, f"{protocol} . {address.port}", node_port)
    return Listen(exact, f"{ip} . {protocol} . {address.port}", node_port)


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


def _backend_elements(frontend: Frontend, names: Names) -> list[tuple[str, str, str]]:
    """What the shared maps say of this frontend's backends."""
    protocol = frontend.key.protocol.lower()
    elements = [("node-ports", f"{protocol} . {frontend.node_port}", "")]
    affinity, kept = bool(frontend.relay.affinity_seconds), not frontend.kernel.masquerade
    if _names_backends(frontend):
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
