"""A whole range filled by a real kube-apiserver, replayed: same bands, same moment of fallback,
same error."""

import json
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from nplb.alloc.allocator import PortAllocator
from nplb.alloc.errors import Refused
from nplb.alloc.portrange import parse_port_range
from nplb.alloc.services import begin_create
from nplb.model.cluster import Service, ServicePort
from nplb.model.keys import ServiceKey

GOLDEN = Path(__file__).parents[2] / "golden" / "kube-apiserver-1.36" / "08-fill-the-range.json"
ONE_PORT = Service(
    key=ServiceKey("c", "default", "fill"), ports=(ServicePort(port=80, node_port=0),)
)


class AimedAt:
    """Dice that land on a wanted number, if the band that is drawn from has it."""

    def __init__(self) -> None:
        self.want = 0
        self.stops: list[int] = []

    def randrange(self, stop: int, /) -> int:
        self.stops.append(stop)
        base = 30086 if stop == 2682 else 30000
        return self.want - base if 0 <= self.want - base < stop else 0


def test_a_real_servers_order_is_one_that_our_allocator_can_take(
    record_property: Callable[[str, object], None],
) -> None:
    golden = json.loads(GOLDEN.read_text())
    dice = AimedAt()
    ports = PortAllocator(parse_port_range("30000-32767"), dice)
    for port in golden["taken_before"]:
        ports.allocate(port)
    fallbacks: list[int] = []
    for index, port in enumerate(golden["allocated_in_order"]):
        dice.want = port
        dice.stops.clear()
        change = begin_create(ports, ONE_PORT)
        change.commit()
        assert change.service.ports[0].node_port == port
        if dice.stops == [2682, 86]:
            fallbacks.append(index)
        else:
            assert dice.stops == [2682]
    assert fallbacks == list(range(2668, 2749)), "the same moment of fallback"

    with pytest.raises(Refused) as refused:
        begin_create(ports, ONE_PORT)
    assert refused.value.code == golden["then"]["status"]
    assert refused.value.reason == golden["then"]["body"]["reason"]
    assert refused.value.api_message("Service", "fill") == golden["then"]["body"]["message"]
    assert (
        refused.value.cause_message == (golden["then"]["body"]["details"]["causes"][0]["message"])
    )
    count = len(golden["allocated_in_order"])
    record_property("told", f"08-fill-the-range.json: {count} of {count} allocations match")


@pytest.mark.parametrize("seed", range(3))
def test_our_own_dice_fill_the_same_bands_in_the_same_order(seed: int) -> None:
    golden = json.loads(GOLDEN.read_text())
    ports = PortAllocator(parse_port_range("30000-32767"), random.Random(seed))
    for port in golden["taken_before"]:
        ports.allocate(port)
    order = [ports.allocate_next() for _ in golden["allocated_in_order"]]
    assert sorted(order) == sorted(golden["allocated_in_order"])
    assert all(port >= 30086 for port in order[:2668])
    assert all(port < 30086 for port in order[2668:])
    assert ports.free == 0
