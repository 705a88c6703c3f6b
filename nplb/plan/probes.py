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

from collections.abc import Iterable, Mapping
from dataclasses import replace

from nplb.model.health import TCP_CHECK, Check, ProbeKind, ProbeSharing, SharingSettings
from nplb.model.keys import Address
from nplb.model.relay import SendProxy
from nplb.model.verdict import Detection, ProbeRole, ProbeTarget
from nplb.plan.frontend import Probed

HEALTH_CHECK = Check(kind=ProbeKind.HTTP, path="/healthz", status=((200, 200),))
"""What kube-proxy answers, on its own port and on health check node ports."""


def plan_probes(
    frontends: Iterable[Probed], sharing: SharingSettings, previous: tuple[ProbeTarget, ...]
) -> tuple[tuple[ProbeTarget, ...], Detection]:
    """All targets, sorted by address, and what they are good for. Those of before are used
    again where they hold."""
    wanted: dict[Address, ProbeTarget] = {}
    for probed in frontends:
        _add(wanted, probed)
    detection, turns = _share(wanted, sharing)
    known = {target.address: target for target in previous}
    targets = []
    same = len(known) == len(wanted)
    for address in sorted(wanted):
        want, before = wanted[address], known.get(address)
        turn = turns.get(address.ip, 0.0) if want.role is ProbeRole.NODE_PORT else 0.0
        if before is not None and _same(before, want, turn):
            targets.append(before)
            continue
        same = False
        targets.append(replace(want, address=address, turn_seconds=turn))
    return (previous if same else tuple(targets)), detection


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
    if probed.health_checks:
        role = ProbeRole.HEALTH_CHECK
        said = ProbeTarget(address=nowhere, health=health, check=HEALTH_CHECK, role=role)
        for address in probed.health_checks:
            wanted.setdefault(address, said)
    if probed.kube_proxies:
        role = ProbeRole.KUBE_PROXY
        said = ProbeTarget(address=nowhere, health=health, check=HEALTH_CHECK, role=role)
        for address in probed.kube_proxies:
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
    wanted: Mapping[Address, ProbeTarget], sharing: SharingSettings
) -> tuple[Detection, Mapping[str, float]]:
    """How soon faults are found, and for each node's IP address how often one of its services
    is probed; empty where each is probed on its own."""
    rates: dict[float, int] = {}
    fixed = 0.0
    bound = 0.0
    nodes: dict[str, list[float]] = {}  # of each: the shortest interval, how many targets
    for address, target in wanted.items():
        interval = target.health.interval_seconds
        rates[interval] = rates.get(interval, 0) + 1
        if target.role is not ProbeRole.NODE_PORT:
            fixed += 1.0 / interval
            continue
        bound = max(bound, target.health.bound_seconds)
        node = nodes.get(address.ip)
        if node is None:
            nodes[address.ip] = [interval, 1]
        else:
            node[0] = min(node[0], interval)
            node[1] += 1
    alone = sum(count / interval for interval, count in rates.items())
    shared = sharing.mode is ProbeSharing.NODE or (
        sharing.mode is ProbeSharing.AUTO and alone > sharing.budget
    )
    if not shared or not nodes:
        return Detection(
            rate=round(alone, 3),
            budget=sharing.budget,
            node_seconds=bound,
            service_seconds=bound,
        ), {}
    once = sum(1.0 / interval for interval, _ in nodes.values())
    more = _power_of_two((sharing.budget - fixed) / once)
    turns: dict[str, float] = {}
    rate, slowest = fixed, 0.0
    for ip, (interval, count) in nodes.items():
        each = min(more, _power_of_two(count))  # as often as on their own is enough
        turns[ip] = interval / each
        rate += each / interval
        slowest = max(slowest, count * interval / each)
    # One failed probe does not speak for a node, however low `fall` is: it takes a second one.
    node_bound = max(
        (t.health.bound_seconds if t.health.fall > 1 else t.health.bound_seconds * 2)
        for t in {id(t.health): t for t in wanted.values()}.values()
    )
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
