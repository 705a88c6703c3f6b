"""How many of a large cluster's nodes one Service uses, and which.

With `externalTrafficPolicy: Cluster` any node leads to every pod, so a few dozen do for one
Service; thousands of Services times a thousand nodes would be millions of backends to plan, probe
and hold in every worker. Beyond a budget each Service uses a part of the nodes, as subsetting in
other balancers does: all nodes stand on a ring by the hash of their names, and a Service takes
those that follow its own hash. So the nodes are used evenly, and a node that comes or goes moves
one place of the Services near it.
"""

from bisect import bisect_left
from collections.abc import Sequence

from nplb.model.keys import ServiceKey
from nplb.policy.hashing import text_hash

BUDGET = 200_000
"""So many backends of one cluster are no burden."""
FEWEST = 16


def nodes_limit(setting: int | None, ports: int, nodes: int) -> int:
    """The most nodes that one port of a Service uses, 0 for all. `setting` None chooses by the
    budget: a power of two, so that it stays the same while Services come and go."""
    if setting is not None:
        return setting
    if ports * nodes <= BUDGET:
        return 0
    limit = FEWEST
    while limit * 2 * ports <= BUDGET:
        limit *= 2
    return limit


class Ring:
    """Nodes by the hash of their names. Built once for a set of nodes."""

    def __init__(self, names: Sequence[str]) -> None:
        ordered = sorted((text_hash(name), index) for index, name in enumerate(names))
        self._hashes = [number for number, _ in ordered]
        self._indexes = [index for _, index in ordered]

    def choose(self, service: ServiceKey, count: int) -> list[int]:
        """Indexes of so many names for a Service, sorted; all of them if there are no more."""
        if count >= len(self._indexes):
            return sorted(self._indexes)
        start = bisect_left(self._hashes, text_hash(str(service)))
        chosen = self._indexes[start : start + count]
        chosen += self._indexes[: count - len(chosen)]
        return sorted(chosen)
