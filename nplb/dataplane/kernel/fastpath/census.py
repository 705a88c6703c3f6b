"""Which entries of the flow table are connections, and which have had their time: pure.

The program forgets a connection that has closed as TCP closes. This is for the others: those that
never opened, were reset, or whose ends are gone without a word. Their times are those of
connection tracking (nf_conntrack-sysctl.rst), so that both ways time out alike.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from math import inf
from pathlib import Path

from nplb.dataplane.kernel.fastpath.layout import (
    ANSWERED,
    FIN,
    FROM_NODE,
    PEER_FIN,
    RESET,
    Flow,
    flow,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """Seconds without a packet after which a connection is forgotten, by how far it is. `alone`
    is for an entry whose other way is missing, `reset` for one that may have been reset."""

    opening: float = 120.0
    established: float = 432000.0
    closing: float = 120.0
    reset: float = 10.0
    alone: float = 10.0


FOREVER = Patience(
    opening=inf, established=inf, closing=inf, reset=inf, alone=inf
)  # for who ends chosen connections alone


@dataclass(frozen=True, slots=True)
class Census:
    """`live` has open connections by node's end (an `endpoint`), `over` the keys of both ways of
    those that are to be forgotten."""

    live: dict[bytes, int] = field(default_factory=dict)
    over: list[bytes] = field(default_factory=list)


def patience(root: Path = Path("/proc/sys/net/netfilter")) -> Patience:
    """As connection tracking is set on this edge."""

    def seconds(name: str, otherwise: float) -> float:
        try:
            return float((root / f"nf_conntrack_tcp_timeout_{name}").read_text())
        except (OSError, ValueError):
            return otherwise

    usual = Patience()
    return Patience(
        opening=seconds("syn_sent", usual.opening),
        established=seconds("established", usual.established),
        closing=seconds("fin_wait", usual.closing),
    )


def take(
    entries: Iterable[tuple[bytes, bytes]],
    now_ns: int,
    patience: Patience,
    ended: Callable[[bytes], bool],
) -> Census:
    """Go through all entries. `now_ns` is of CLOCK_MONOTONIC; `ended(node)` says whether the
    connections to a node's end are to end now."""
    flows: Mapping[bytes, Flow] = {key: flow(key, value) for key, value in entries}
    found = Census()
    for key, there in flows.items():
        back = flows.get(there.back)
        if there.flags & FROM_NODE:
            if back is None and now_ns - there.seen_ns > patience.alone * 1e9:
                found.over.append(key)
            continue
        flags, seen = there.flags, there.seen_ns
        if back is not None:
            flags |= back.flags
            seen = max(seen, back.seen_ns)
        if ended(there.node) or now_ns - seen > _seconds(flags, back, patience) * 1e9:
            found.over.extend((key, there.back))
        elif not flags & RESET:
            found.live[there.node] = found.live.get(there.node, 0) + 1
    return found


def _seconds(flags: int, back: Flow | None, patience: Patience) -> float:
    if back is None:
        return patience.alone
    if flags & RESET:
        return patience.reset
    if not flags & ANSWERED:
        return patience.opening
    if flags & (FIN | PEER_FIN):
        return patience.closing
    return patience.established
