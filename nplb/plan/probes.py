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

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import chain
from operator import attrgetter

from nplb.model.health import TCP_CHECK, Check, HealthSettings, ProbeKind, SharingSettings
from nplb.model.keys import Address
from nplb.model.relay import SendProxy
from nplb.model.verdict import Detection, ProbeRole, ProbeTarget
from nplb.plan.frontend import Probed
from nplb.plan.load import ProbeLoad

HEALTH_CHECK = Check(kind=ProbeKind.HTTP, path="/healthz", status=((200, 200),))
"""What kube-proxy answers, on its own port and on health check node ports."""

_ADDRESS = attrgetter("address")
_NOWHERE = Address("", 0)
_NO_TURNS: Mapping[str, float] = {}


class ProbePlan:
    """Plans targets again and again, at the cost of what changed.

    Invariant: `_targets` are those of exactly the frontends in `_known` (by identity), and
    `_load` and `_wanters` count the same ones. An address that several frontends want goes to one
    of them by their order, so where such a one is touched, as where anything else is unusual, all
    is planned anew.
    """

    def __init__(self) -> None:
        self._forget()

    def _forget(self) -> None:
        self._targets: tuple[ProbeTarget, ...] | None = None
        self._known: dict[int, Probed] = {}
        self._load = ProbeLoad()
        self._wanters: Counter[Address] = Counter()
        self._proxies: dict[Address, HealthSettings] = {}
        self._turns = _NO_TURNS

    def plan(
        self,
        frontends: Sequence[Probed],
        sharing: SharingSettings,
        previous: tuple[ProbeTarget, ...],
    ) -> tuple[tuple[ProbeTarget, ...], Detection]:
        """All targets, sorted by address, and what they are good for. Those of before are used
        again where they hold."""
        now = {id(probed): probed for probed in frontends}
        gone = [probed for which, probed in self._known.items() if which not in now]
        new = [probed for which, probed in now.items() if which not in self._known]
        proxies = _proxies(frontends)
        known = self._targets
        self._targets = None  # until everything below has been brought up to date
        if (
            known is not previous
            or len(now) != len(frontends)
            or proxies != self._proxies
            or not self._exchange(gone, new)
        ):
            self._forget()
            self._exchange((), frontends)
            detection, turns = self._load.share(sharing, proxies)
            targets = _all_targets(frontends, proxies, turns, previous)
        else:
            detection, turns = self._load.share(sharing, proxies)
            targets = _changed_targets(previous, gone, new, self._turns, turns)
        self._known, self._proxies, self._turns = now, proxies, turns
        self._targets = targets
        return targets, detection

    def _exchange(self, gone: Iterable[Probed], new: Iterable[Probed]) -> bool:
        """Count those that went and came. Returns whether each of their addresses was and is
        wanted by no other frontend."""
        wanters, alone = self._wanters, True
        for probed in gone:
            self._load.remove(probed)
            for address in chain(probed.node_ports, probed.health_checks):
                left = wanters[address] - 1
                alone = alone and not left and address not in self._proxies
                if left:
                    wanters[address] = left
                else:
                    del wanters[address]
        for probed in new:
            self._load.add(probed)
            for address in chain(probed.node_ports, probed.health_checks):
                wanters[address] += 1
                alone = alone and wanters[address] == 1 and address not in self._proxies
        return alone


def plan_probes(
    frontends: Sequence[Probed], sharing: SharingSettings, previous: tuple[ProbeTarget, ...]
) -> tuple[tuple[ProbeTarget, ...], Detection]:
    """`ProbePlan.plan`, once."""
    return ProbePlan().plan(frontends, sharing, previous)


def _proxies(frontends: Sequence[Probed]) -> dict[Address, HealthSettings]:
    """The kube-proxies to ask, each as the first frontend that wants it has it."""
    proxies: dict[Address, HealthSettings] = {}
    for probed in frontends:
        for address in probed.kube_proxies:
            proxies.setdefault(address, probed.health)
    return proxies


def _all_targets(
    frontends: Sequence[Probed],
    proxies: Mapping[Address, HealthSettings],
    turns: Mapping[str, float],
    previous: tuple[ProbeTarget, ...],
) -> tuple[ProbeTarget, ...]:
    wanted: dict[Address, ProbeTarget] = {}
    for probed in frontends:
        _add(wanted, probed)
    for address, health in proxies.items():
        asked = ProbeTarget(
            address=_NOWHERE, health=health, check=HEALTH_CHECK, role=ProbeRole.KUBE_PROXY
        )
        wanted.setdefault(address, asked)
    if len(previous) == len(wanted) and _all_hold(previous, wanted, turns):
        return previous
    known = {target.address: target for target in previous}
    targets = []
    for address in sorted(wanted):
        want, before = wanted[address], known.get(address)
        turn = _turn(want, address, turns)
        if before is None or not _same(before, want, turn):
            before = _placed(want, address, turn)
        targets.append(before)
    return tuple(targets)


def _changed_targets(
    previous: tuple[ProbeTarget, ...],
    gone: Iterable[Probed],
    new: Iterable[Probed],
    turns_before: Mapping[str, float],
    turns: Mapping[str, float],
) -> tuple[ProbeTarget, ...]:
    """The targets of before, with the addresses of some frontends in place of those of others; the
    same kube-proxies are asked. What lies between two changes is copied as a whole."""
    wanted: dict[Address, ProbeTarget] = {}
    for probed in new:
        _add(wanted, probed)
    touched: dict[Address, ProbeTarget | None] = {}
    for ip in turns_before.keys() | turns.keys():
        if turns_before.get(ip) != turns.get(ip):
            touched.update((target.address, target) for target in _of_ip(previous, ip))
    for probed in gone:
        touched.update(dict.fromkeys(chain(probed.node_ports, probed.health_checks)))
    touched.update(wanted)
    pieces: list[tuple[ProbeTarget, ...]] = []
    begin = place = 0
    for address in sorted(touched):
        want = touched[address]
        place = bisect_left(previous, address, place, key=_ADDRESS)
        before = previous[place] if place < len(previous) else None
        if before is not None and before.address != address:
            before = None
        if want is not None:
            turn = _turn(want, address, turns)
            if before is not None and _same(before, want, turn):
                continue
            want = _placed(want, address, turn)
        elif before is None:
            continue
        pieces.append(previous[begin:place])
        if want is not None:
            pieces.append((want,))
        begin = place + (before is not None)
    if not pieces:
        return previous
    pieces.append(previous[begin:])
    return tuple(chain.from_iterable(pieces))


def _of_ip(targets: tuple[ProbeTarget, ...], ip: str) -> tuple[ProbeTarget, ...]:
    first = bisect_left(targets, Address(ip, 0), key=_ADDRESS)
    return targets[first : bisect_left(targets, Address(ip, 1 << 16), first, key=_ADDRESS)]


def _turn(want: ProbeTarget, address: Address, turns: Mapping[str, float]) -> float:
    return turns.get(address.ip, 0.0) if want.role is ProbeRole.NODE_PORT else 0.0


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
    """The targets that one frontend has alone. They are made of few templates, which hold no
    address yet."""
    health = probed.health
    check = health.check
    if check.kind is ProbeKind.TCP:
        check = TCP_CHECK  # nothing is sent, so no header goes before it either
    elif probed.proxy is not SendProxy.NONE:
        check = replace(check, proxy=probed.proxy)
    node_port = ProbeTarget(
        address=_NOWHERE, health=health, check=check, expect_refusal=probed.empty
    )
    wanted.update(dict.fromkeys(probed.node_ports, node_port))
    if probed.health_checks:
        said = ProbeTarget(
            address=_NOWHERE, health=health, check=HEALTH_CHECK, role=ProbeRole.HEALTH_CHECK
        )
        for address in probed.health_checks:
            wanted.setdefault(address, said)


def _placed(want: ProbeTarget, address: Address, turn: float) -> ProbeTarget:
    """What is wanted, at an address. There are many, and `dataclasses.replace` is slow."""
    return ProbeTarget(
        address=address,
        health=want.health,
        check=want.check,
        role=want.role,
        expect_refusal=want.expect_refusal,
        turn_seconds=turn,
    )


def _same(before: ProbeTarget, want: ProbeTarget, turn: float) -> bool:
    return (
        before.expect_refusal is want.expect_refusal
        and before.turn_seconds == turn
        and before.role is want.role
        and (before.health is want.health or before.health == want.health)
        and (before.check is want.check or before.check == want.check)
    )
