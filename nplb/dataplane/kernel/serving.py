"""What of a frontend the kernel is to do: which backends serve, and for which family."""

import socket
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from itertools import compress, count
from operator import is_not

from nplb.model.plan import Backend, Frontend
from nplb.model.reasons import BackendState
from nplb.model.relay import NoBackend

V4, V6 = 4, 6
FAMILIES = (V4, V6)


@dataclass(frozen=True, slots=True)
class Family:
    """The words of one address family in nftables."""

    number: int
    ip: str  # the protocol's name in expressions
    type: str  # the type of its addresses
    any: str  # the address that stands for all of the edge's own


FAMILY = {
    V4: Family(V4, "ip", "ipv4_addr", "0.0.0.0"),
    V6: Family(V6, "ip6", "ipv6_addr", "::"),
}


def family_of(ip: str) -> int:
    """4 or 6."""
    return V6 if ":" in ip else V4


@lru_cache(maxsize=65536)
def canonical(ip: str) -> str:
    """The address as nft prints it."""
    kind = socket.AF_INET6 if ":" in ip else socket.AF_INET
    return socket.inet_ntop(kind, socket.inet_pton(kind, ip))


# What matters of a backend here: its address, weight, state and tier.
Row = tuple[str, int, BackendState, int]


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """A frontend's backends as rows, in their order. Frontends with the same nodes have the very
    same object, so that what follows from it is worked out once, and found by identity."""

    all: tuple[Row, ...]


def rows_of(frontend: Frontend) -> Rows:
    """The rows of a frontend's backends."""
    rows = [(b.key.address.ip, b.weight, b.state, b.tier) for b in frontend.backends]
    return _the_same(tuple(rows))


def changed_places(now: tuple[Backend, ...], before: tuple[Backend, ...]) -> list[int] | None:
    """Where backends are other objects than before; None if others have come, gone or moved."""
    if len(now) != len(before):
        return None
    places = list(compress(count(), map(is_not, now, before)))
    same = [now[n].key is before[n].key or now[n].key == before[n].key for n in places]
    return places if all(same) else None


def stretch(now: tuple[Backend, ...], before: tuple[Backend, ...]) -> tuple[slice, slice]:
    """Where the two differ, in each: what goes before and after are the same objects."""
    shorter = min(len(now), len(before))
    start = next(compress(count(), map(is_not, now, before)), shorter)
    ends = map(is_not, reversed(now), reversed(before))
    same = min(next(compress(count(), ends), shorter), shorter - start)
    return slice(start, len(now) - same), slice(start, len(before) - same)


def rows_joined(before: Rows, now: tuple[Backend, ...], old: tuple[Backend, ...]) -> Rows:
    """The rows of backends of which some have come or gone. `before` are those of `old`."""
    here, there = stretch(now, old)
    rows = [(b.key.address.ip, b.weight, b.state, b.tier) for b in now[here]]
    return _joined(before, there.start, there.stop, tuple(rows))


def rows_after(before: Rows, now: tuple[Backend, ...], places: Iterable[int]) -> Rows:
    """The rows of backends that have changed in these places alone."""
    changed = [(n, now[n]) for n in places]
    rows = [(n, (b.key.address.ip, b.weight, b.state, b.tier)) for n, b in changed]
    return _changed(before, tuple(rows))


@lru_cache(maxsize=1024)
def _the_same(rows: tuple[Row, ...]) -> Rows:
    return Rows(rows)


@lru_cache(maxsize=1024)
def _changed(rows: Rows, changes: tuple[tuple[int, Row], ...]) -> Rows:
    changed = list(rows.all)
    for place, row in changes:
        changed[place] = row
    return _the_same(tuple(changed))


@lru_cache(maxsize=1024)
def _joined(rows: Rows, start: int, stop: int, instead: tuple[Row, ...]) -> Rows:
    return _the_same((*rows.all[:start], *instead, *rows.all[stop:]))


def serve(rows: tuple[Row, ...], *, fail_open: bool, spill_below: float) -> tuple[bool, ...]:
    """Which rows get new connections.

    The lowest tiers alone serve while enough of them is active. With `fail_open` those that are
    down are tried where none is active.
    """
    active = [state is BackendState.ACTIVE for _, _, state, _ in rows]
    if not any(active):
        return tuple(fail_open and state is BackendState.DOWN for _, _, state, _ in rows)
    tiers = [tier for _, _, _, tier in rows]
    for most in sorted({tier for tier, one in zip(tiers, active, strict=True) if one})[:-1]:
        near = [tier <= most for tier in tiers]
        usable = [one and other for one, other in zip(active, near, strict=True)]
        if sum(usable) >= spill_below * sum(near):
            return tuple(usable)
    return tuple(active)


def serving(frontend: Frontend) -> tuple[Backend, ...]:
    """The backends that get new connections, of both families."""
    options = frontend.relay
    chosen = serve(
        rows_of(frontend).all,
        fail_open=options.no_backend is NoBackend.FAIL_OPEN,
        spill_below=options.spill_below,
    )
    return tuple(b for b, serves in zip(frontend.backends, chosen, strict=True) if serves)
