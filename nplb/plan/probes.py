"""What the prober is to probe and how often, and how soon that finds a fault. Pure.

Probing every NodePort of every node on its own costs services times nodes: 100 services on
1,000 nodes, every 5 s, would be 20,000 connects a second. Nearly all of them would say the same:
that the node is there. So beyond a budget
the services of a node share its probes, as servers of HAProxy's `track` share a check: each
interval as many probes go to a node as the budget allows, one at least, to one service after
another; and whatever is in doubt, because of such a probe or of a client's connection that
failed, is probed on its own.

    a node goes silent      found after interval x fall + timeout, as without sharing
    one service of a node   found by the first client, or else when its turn comes; both bounds
    fails there alone       are in `Detection`

The bound goes before the budget: where one probe a node and interval is more than the budget, it
is passed, and `Detection.over_budget` says so.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import inf
from operator import itemgetter

from nplb.model.health import TCP_CHECK, Check, ProbeKind, ProbeSharing, SharingSettings
from nplb.model.keys import Address
from nplb.model.relay import SendProxy
from nplb.model.verdict import Detection, ProbeRole, ProbeTarget
from nplb.plan.frontend import Probed

HEALTH_CHECK = Check(kind=ProbeKind.HTTP, path="/healthz", status=((200, 200),))
"""What kube-proxy answers, on its own port and on health check node ports."""

_IP = itemgetter(0)


def plan_probes(
    frontends: Sequence[Probed], sharing: SharingSettings, previous: tuple[ProbeTarget, ...]
) -> tuple[tuple[ProbeTarget, ...], Detection]:
    """All targets, sorted by address, and what they are good for. Those of before are used
    again where they hold."""
    wanted: dict[Address, ProbeTarget] = {}
    for probed in frontends:
        _add(wanted, probed)
    detection, turns = _share(frontends, sharing)
    if len(previous) == len(wanted) and _all_hold(previous, wanted, turns):
        return previous, detection
    known = {target.address: target for target in previous}
    targets = []
    for address in sorted(wanted):
        want, before = wanted[address], known.get(address)
        turn = turns.get(address.ip, 0.0) if want.role is ProbeRole.NODE_PORT else 0.0
        if before is None or not _same(before, want, turn):
            before = replace(want, address=address, turn_seconds=turn)
        targets.append(before)
    return tuple(targets), detection


def _all_hold(
    previous: tuple[ProbeTarget, ...],
    wanted: Mapping[Address, ProbeTarget],
    turns: Mapping[str, float],
) -> bool:
    for before in previous:
        want = wanted.get(before.address)
        if want is None:
            return False
        turn = 0.0
        if turns and want.role is ProbeRole.NODE_PORT:
            turn = turns.get(before.address.ip, 0.0)
        if not _same(before, want, turn):
            return False
    return True


def _add(wanted: dict[Address, ProbeTarget], probed: Probed) -> None:
    """One frontend's targets. They are made of few templates, which hold no address yet."""
    health = probed.health
    check = health.check
    if check.kind is ProbeKind.TCP:
        check = TCP_CHECK  # nothing is sent, so no header goes before it either
    elif probed.proxy is not SendProxy.NONE:
        check = replace(check, proxy=probed.proxy)
    nowhere = Address("", 0)
    node_port = ProbeTarget(
        address=nowhere, health=health, check=check, expect_refusal=probed.empty
    )
    wanted.update(dict.fromkeys(probed.node_ports, node_port))
    for role, addresses in (
        (ProbeRole.HEALTH_CHECK, probed.health_checks),
        (ProbeRole.KUBE_PROXY, probed.kube_proxies),
    ):
        if addresses:
            said = ProbeTarget(address=nowhere, health=health, check=HEALTH_CHECK, role=role)
            for address in addresses:
                wanted.setdefault(address, said)


def _same(before: ProbeTarget, want: ProbeTarget, turn: float) -> bool:
    return (
        before.expect_refusal is want.expect_refusal
        and before.turn_seconds == turn
        and before.role is want.role
        and (before.health is want.health or before.health == want.health)
        and (before.check is want.check or before.check == want.check)
    )


def _share(
    frontends: Sequence[Probed], sharing: SharingSettings
) -> tuple[Detection, Mapping[str, float]]:
    """How soon faults are found, and for each node's IP address how often one of its services
    is probed; empty where each is probed on its own."""
    alone = fixed = bound = node_bound = 0.0
    proxies: dict[Address, float] = {}
    for probed in frontends:
        health = probed.health
        every = health.interval_seconds
        alone += len(probed.node_ports) / every
        fixed += len(probed.health_checks) / every
        for address in probed.kube_proxies:
            proxies.setdefault(address, every)
        if probed.node_ports:
            bound = max(bound, health.bound_seconds)
            # One failed turn does not speak for a node, however low `fall` is: it takes two.
            node_bound = max(node_bound, health.bound_seconds * (2 if health.fall == 1 else 1))
    fixed += sum(1.0 / every for every in proxies.values())
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
    for probed in frontends:
        ips = list(map(_IP, probed.node_ports))
        counts.update(ips)
        every = probed.health.interval_seconds
        for ip in ips:
            if every < intervals.get(ip, inf):
                intervals[ip] = every
    once = sum(1.0 / every for every in intervals.values())
    more = _power_of_two((sharing.budget - fixed) / once)
    turns: dict[str, float] = {}
    rate, slowest = fixed, 0.0
    for ip, every in intervals.items():
        each = min(more, _power_of_two(counts[ip]))  # as often as on their own is enough
        turns[ip] = every / each
        rate += each / every
        slowest = max(slowest, counts[ip] * every / each)
    return Detection(
        shared=True,
        rate=round(rate, 3),
        budget=sharing.budget,
        node_seconds=node_bound,
        service_seconds=slowest + bound,
    ), turns


def _power_of_two(number: float) -> int:
    """The largest power of two that is not above the number, 1 at least: so that the plan stays
    the same while services come and go."""
    power = 1
    while power * 2 <= number:
        power *= 2
    return power
