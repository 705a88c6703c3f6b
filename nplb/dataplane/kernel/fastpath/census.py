"""Which entries of the flow table are connections, and which have had their time: pure.

The program forgets a connection that has closed as TCP closes. This is for the others: those that
never opened, were reset, or whose ends are gone without a word. Their times are those of
connection tracking (nf_conntrack-sysctl.rst), so that both ways time out alike.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from math import inf
from pathlib import Path

from nplb.dataplane.kernel.fastpath.layout import FIN, FROM_NODE, OPEN, RESET, Flow, flow
from nplb.dataplane.kernel.fastpath.tally import Tally

# What is left of the time to open a connection where room is short.
HURRIED_SECONDS = 5.0
# Times are milliseconds, of which 32 bits are kept, 49 days: who is silent for longer is found
# later.
_CUT_OFF = 1 << 32
_HOUR = 3_600_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """Seconds without a packet after which a connection is forgotten, by how far it is: `reset`
    is for one that may have been reset."""

    opening: float = 120.0
    established: float = 432000.0
    closing: float = 120.0
    reset: float = 10.0

    def seconds(self, flags: int) -> float:
        """For a connection whose entry, or entries together, have these flags."""
        if flags & RESET:
            return self.reset
        if flags & FIN:
            return self.closing
        return self.established if flags & OPEN else self.opening

    def hurried(self) -> "Patience":
        """The same where room is short: connections that are not open yet make room first, of
        which a flood of SYNs makes nothing else."""
        return replace(self, opening=min(self.opening, HURRIED_SECONDS))


FOREVER = Patience(opening=inf, established=inf, closing=inf, reset=inf)


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


def silence(now_ms: int, way: Flow) -> int:
    """Milliseconds without a packet: less than none where one has come since `now`."""
    return (now_ms - way.seen_ms + _HOUR) % _CUT_OFF - _HOUR


@dataclass(slots=True)
class Census:
    """`live` has open connections by node's end (an `endpoint`), `moved` what all that were seen
    have moved; `over` the keys of both ways of those that are to be forgotten, by pairs."""

    live: dict[bytes, int] = field(default_factory=dict)
    moved: Tally = field(default_factory=Tally)
    over: list[tuple[bytes, bytes]] = field(default_factory=list)

    def take(
        self,
        entries: Iterable[tuple[bytes, bytes]],
        other: Callable[[bytes], bytes | None],
        now_ms: int,
        patience: Patience,
        ended: Callable[[bytes], bool],
    ) -> int:
        """Go through all entries of a map, once and without keeping them: there may be very many.
        Returns how many.

        `other(key)` is asked for the other way's entry where it makes a difference. `now_ms` is of
        CLOCK_MONOTONIC; `ended(node)` says whether the connections to a node's end are to end now.
        """
        seen = 0
        for key, value in entries:
            seen += 1
            there = flow(key, value)
            self.moved.add_flow(there)
            from_node = bool(there.flags & FROM_NODE)
            if not from_node and ended(there.node):
                self.over.append((key, there.back))
                continue
            # The other way may have seen a packet since, or known better: it is asked before
            # anything is forgotten. What only the client's way knows (OPEN) is asked there.
            flags = there.flags | OPEN if from_node else there.flags
            age = silence(now_ms, there)
            over = age > patience.seconds(flags) * 1e3
            if over and (back := other(there.back)) is not None:
                peer = flow(there.back, back)
                flags = there.flags | peer.flags
                age = min(age, silence(now_ms, peer))
                over = age > patience.seconds(flags) * 1e3
            if over:
                self.over.append((key, there.back))
            elif not from_node and not flags & RESET:
                self.live[there.node] = self.live.get(there.node, 0) + 1
        return seen
