"""What has been moved to and from each node's port: pure.

A connection counts in its own two entries of the flow table, so that no packet costs a second
look-up. Whoever takes an entry out adds it to the map `counters`: the program when a connection
closes, nplb for those that it forgets, each under keys of its own, since neither sees what the
other is about to write.
"""

from collections.abc import Mapping

from nplb.dataplane.kernel.fastpath.layout import FROM_NODE, Counts, Flow


class Tally:
    """Sums by a node's end (an `endpoint`)."""

    def __init__(self) -> None:
        self._sums: dict[bytes, list[int]] = {}

    @property
    def counts(self) -> dict[bytes, Counts]:
        """All sums."""
        return {node: Counts(*sums) for node, sums in self._sums.items()}

    def add(self, node: bytes, more: Counts) -> None:
        """Count more of a node's port."""
        sums = self._of(node)
        for at, each in enumerate(more):
            sums[at] += each

    def add_flow(self, flow: Flow) -> None:
        """Count one way of a connection. As quick as it can be: there may be very many."""
        sums = self._of(flow.node)
        if flow.flags & FROM_NODE:
            sums[2] += flow.moved
        else:
            sums[0] += 1
            sums[1] += flow.moved

    def raise_to(self, others: Mapping[bytes, Counts]) -> None:
        """Let no sum be less than these. A sum of parts that are read one after another misses what
        goes from one to the other meanwhile, and counters never go back."""
        for node, other in others.items():
            self._sums[node] = list(map(max, self._of(node), other))

    def _of(self, node: bytes) -> list[int]:
        sums = self._sums.get(node)
        if sums is None:
            sums = self._sums[node] = [0] * len(Counts._fields)
        return sums
