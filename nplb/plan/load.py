"""How much is to be probed, by counts that grow and shrink with the frontends. Pure.

Sums are exact (`fsum`), so that the same frontends give the same numbers in whatever order they
have come.
"""

from collections import Counter
from collections.abc import Mapping
from math import fsum
from operator import itemgetter
from typing import NamedTuple, TypeVar

from nplb.model.health import HealthSettings, ProbeSharing, SharingSettings
from nplb.model.keys import Address
from nplb.model.verdict import Detection
from nplb.plan.frontend import Probed

K = TypeVar("K")
_IP = itemgetter(0)


class _Pace(NamedTuple):
    """How often a frontend is probed, and how soon that finds a fault: of one service, and of a
    node. Seconds."""

    every: float
    bound: float
    node_bound: float


class ProbeLoad:
    """The counts of a set of frontends. Invariant: they are those of the frontends that were
    added and not removed since, and of no other; no count is 0."""

    def __init__(self) -> None:
        self._node_ports: Counter[_Pace] = Counter()
        self._health_checks: Counter[float] = Counter()
        self._of_node: dict[float, Counter[str]] = {}  # by interval: NodePorts of an IP address

    def add(self, probed: Probed) -> None:
        """One more frontend."""
        pace = _pace(probed)
        if probed.node_ports:
            self._node_ports[pace] += len(probed.node_ports)
            here = self._of_node.setdefault(pace.every, Counter())
            here.update(map(_IP, probed.node_ports))
        if probed.health_checks:
            self._health_checks[pace.every] += len(probed.health_checks)

    def remove(self, probed: Probed) -> None:
        """One less."""
        pace = _pace(probed)
        if probed.node_ports:
            _less(self._node_ports, pace, len(probed.node_ports))
            here = self._of_node[pace.every]
            for ip, _ in probed.node_ports:
                _less(here, ip, 1)
            if not here:
                del self._of_node[pace.every]
        if probed.health_checks:
            _less(self._health_checks, pace.every, len(probed.health_checks))

    def share(
        self, sharing: SharingSettings, proxies: Mapping[Address, HealthSettings]
    ) -> tuple[Detection, Mapping[str, float]]:
        """How soon faults are found, and for each node's IP address how often one of its services
        is probed; empty where each is probed on its own. `proxies` are the kube-proxies asked."""
        alone = fsum(count / pace.every for pace, count in self._node_ports.items())
        fixed = fsum(
            (
                *(count / every for every, count in self._health_checks.items()),
                *(1.0 / health.interval_seconds for health in proxies.values()),
            )
        )
        bound = max((pace.bound for pace in self._node_ports), default=0.0)
        shared = sharing.mode is ProbeSharing.NODE or (
            sharing.mode is ProbeSharing.AUTO and alone + fixed > sharing.budget
        )
        if not shared or not bound:
            rate = round(alone + fixed, 3)
            return Detection(
                rate=rate, budget=sharing.budget, node_seconds=bound, service_seconds=bound
            ), {}
        counts: Counter[str] = Counter()
        intervals: dict[str, float] = {}
        for every in sorted(self._of_node, reverse=True):  # so that the shortest counts
            counts.update(self._of_node[every])
            intervals.update(dict.fromkeys(self._of_node[every], every))
        once = fsum(1.0 / every for every in intervals.values())
        more = power_of_two((sharing.budget - fixed) / once)
        # As often as on their own is enough.
        each = {ip: min(more, power_of_two(counts[ip])) for ip in intervals}
        turns = {ip: every / each[ip] for ip, every in intervals.items()}
        slowest = max(counts[ip] * turn for ip, turn in turns.items())
        return Detection(
            shared=True,
            rate=round(fsum((fixed, *(1.0 / turn for turn in turns.values()))), 3),
            budget=sharing.budget,
            node_seconds=max(pace.node_bound for pace in self._node_ports),
            service_seconds=slowest + bound,
        ), turns


def _pace(probed: Probed) -> _Pace:
    health = probed.health
    bound = health.bound_seconds
    # One failed turn does not speak for a node, however low `fall` is: it takes two.
    return _Pace(health.interval_seconds, bound, bound * (2 if health.fall == 1 else 1))


def _less(counts: Counter[K], what: K, by: int) -> None:
    left = counts[what] - by
    if left:
        counts[what] = left
    else:
        del counts[what]


def power_of_two(number: float) -> int:
    """The largest power of two that is not above the number, 1 at least: so that the plan stays
    the same while services come and go."""
    power = 1
    while power * 2 <= number:
        power *= 2
    return power
