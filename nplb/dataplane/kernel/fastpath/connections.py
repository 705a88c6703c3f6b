"""`Connections`: those that the maps hold are counted, forgotten in their time, and ended."""

import contextlib
import time
from collections.abc import Callable, Collection, Mapping, Sequence

from nplb.dataplane.kernel.fastpath import bpf, census, layout
from nplb.dataplane.kernel.fastpath.tally import Tally
from nplb.model.errors import HostError

# Above this share of a flow table, connections that never opened are forgotten sooner.
HURRY_ABOVE = 0.75
# How many connections are taken out before what they have moved is added up.
FORGET_AT_ONCE = 256


class Connections:
    """What was found at the last look: `entries` by family, `live` connections and `counts` by a
    node's end (an `endpoint`). A count never goes back while the maps are the same."""

    def __init__(self) -> None:
        self.entries = dict.fromkeys(layout.FLOWS, 0)
        self.live: Mapping[bytes, int] = {}
        self.counts: Mapping[bytes, layout.Counts] = {}

    def look(self, maps: Mapping[str, bpf.BpfMap]) -> None:
        """Count all of them, and forget those that have had their time."""
        # What closes meanwhile is in neither part, never in both.
        ended = tuple(maps["counters"].entries())
        found = self._forget(maps, census.patience(), lambda node: False, hurry=True)
        for key, values in ended:
            found.moved.add(layout.counted(key), layout.counts(values))
        found.moved.raise_to(self.counts)
        self.live, self.counts = found.live, found.moved.counts

    def end(self, maps: Mapping[str, bpf.BpfMap], nodes: Collection[bytes]) -> int:
        """Forget those to these nodes' ends. Returns how many."""
        return len(self._forget(maps, census.FOREVER, nodes.__contains__).over)

    def _forget(
        self,
        maps: Mapping[str, bpf.BpfMap],
        patience: census.Patience,
        ended: Callable[[bytes], bool],
        *,
        hurry: bool = False,
    ) -> census.Census:
        """Forget what has had its time, `hurry` sooner where room is short, and what is `ended`."""
        now = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1_000_000
        found = census.Census()
        for family, name in layout.FLOWS.items():
            flows, before = maps[name], len(found.over)
            full = self.entries[family] > HURRY_ABOVE * flows.spec.entries
            patient = patience.hurried() if hurry and full else patience
            seen = found.take(flows.entries(), flows.get, now, patient, ended)
            self.entries[family] = seen - _take_out(flows, found.over[before:], maps["counters"])
        return found


def _take_out(flows: bpf.BpfMap, pairs: Sequence[tuple[bytes, bytes]], counters: bpf.BpfMap) -> int:
    """Remove connections and keep what they have moved, some at a time: less is lost with one who
    is killed between. Returns how many entries there were."""
    taken = 0
    for start in range(0, len(pairs), FORGET_AT_ONCE):
        tally = Tally()
        try:
            for pair in pairs[start : start + FORGET_AT_ONCE]:
                for key, back in (pair, pair[::-1]):
                    value = flows.get(key)
                    way = None if value is None else layout.flow(key, value)
                    # Since it was found, another connection may have come by its key.
                    if way is not None and way.back == back and flows.delete(key):
                        tally.add_flow(way)
                        taken += 1
        finally:
            _count(counters, tally)
    return taken


def _count(counters: bpf.BpfMap, tally: Tally) -> None:
    """Add to what was forgotten before, as the program does for those it forgets."""
    for node in tally.counts:
        if before := counters.get(layout.forgotten(node)):
            tally.add(node, layout.counts(before))
    # With a million of nodes' ports there is no room, as for those that the program counts.
    with contextlib.suppress(HostError):
        for node, counts in tally.counts.items():
            counters.put(layout.forgotten(node), layout.packed_counts(counts))
