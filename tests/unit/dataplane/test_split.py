"""What becomes of a plan for two planes, one of which fails."""

from dataclasses import replace

import pytest

from nplb.dataplane.split import SplitPlane
from nplb.model.applied import Applied, Traffic
from nplb.model.errors import HostError
from nplb.model.kernel import PlaneKind
from nplb.model.keys import Address, FrontendKey
from nplb.model.plan import Frontend, Plan
from tests.support.plans import make_frontend, make_plan


class SmallPlane:
    """Has the frontends of the last plan, unless it is `broken`."""

    def __init__(self) -> None:
        self.frontends: tuple[Frontend, ...] = ()
        self.broken = False
        self.stopped = False

    def inherited_frontends(self) -> frozenset[FrontendKey]:
        return frozenset()

    async def start(self, *, fast_path: bool = False) -> None:
        pass

    async def stop(self) -> None:
        self.stopped = True

    async def apply(self, plan: Plan) -> Applied:
        if self.broken:
            raise HostError("nft refuses everything")
        self.frontends = plan.frontends
        return Applied(generation=plan.generation)

    def traffic(self) -> Traffic:
        return Traffic()


async def nothing_left() -> bool:
    return False


async def rules_left() -> bool:
    return True


def on(kind: PlaneKind, name: str) -> Frontend:
    frontend = make_frontend(Address("192.0.2.1", 443), [], name=name)
    return replace(frontend, plane=kind)


async def test_who_came_to_the_relay_in_a_pass_that_failed_moves_without_a_gap_too() -> None:
    relay, kernel = SmallPlane(), SmallPlane()
    plane = SplitPlane(relay, lambda: kernel, nothing_left)
    other = on(PlaneKind.KERNEL, "other")
    await plane.apply(make_plan(1, other))
    kernel.broken = True
    with pytest.raises(HostError):
        await plane.apply(make_plan(2, on(PlaneKind.RELAY, "web"), other))
    kernel.broken = False
    moved = on(PlaneKind.KERNEL, "web")
    await plane.apply(make_plan(3, moved, other))
    assert relay.frontends == (moved,), "until the kernel has had time to take new clients"
    assert len(kernel.frontends) == 2


async def test_what_could_not_empty_old_rules_is_given_back() -> None:
    kernel = SmallPlane()
    kernel.broken = True
    plane = SplitPlane(SmallPlane(), lambda: kernel, rules_left)
    with pytest.raises(HostError):
        await plane.apply(make_plan(1))
    assert kernel.stopped
