"""What the frontends of a cluster share where most have the same backends, and they are many.

A rule that draws from as many numbers as there are seats is written anew when these change, and so
are those of thousands of frontends. A rule that draws from `SLOTS` numbers stays. Its map has whole
rounds: every seat in turn, as often as all of them go into `SLOTS`. A number beyond the last round
is in no map: one chain for all gives those a seat at random, so that all seats have the same share
whatever their number. With 100 that is one client in 21, and with up to eight it is none.

So whatever becomes of a node is a few maps and one rule, however many frontends. The map of rounds
is short, because the kernel looks at every rule that names a map for each element that is added.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

from nplb.dataplane.kernel.names import of_cluster
from nplb.dataplane.kernel.ruleset import Chain, ElementSet
from nplb.dataplane.kernel.serving import FAMILY
from nplb.dataplane.kernel.skeleton import listen_kinds

# What 1 to 8, 10, 12, 14, 15, 20, 21, 24, 28, 30, 35, 40, 42, 56 and 60 divide. With more seats
# than that there would be no round.
SLOTS = 840
# So many frontends are a crowd. The rules of fewer are written sooner than the map of rounds.
CROWD = 128


@dataclass(frozen=True, slots=True)
class Listen:
    """Where a frontend listens: the `kind` of the shared map that it is in (`listen_kinds`), and
    its key there."""

    kind: str
    key: str
    node_port: int


class Crowd(NamedTuple):
    """The names of what many frontends of one cluster and family share."""

    cluster: str
    family: int

    @property
    def rounds(self) -> str:
        """The map that each of them draws from, one of `SLOTS` numbers."""
        return self._name("rounds")

    @property
    def again(self) -> str:
        """The chain for those whose number is in no round."""
        return self._name("again")

    @property
    def seats(self) -> str:
        """The map of all seats, which that chain draws from."""
        return self._name("seats")

    def ports(self, kind: str) -> str:
        """The map from where a client came to the NodePort."""
        return self._name(f"{kind}-ports")

    def _name(self, what: str) -> str:
        return of_cluster(f"{what}{self.family}", self.cluster)


def crowd_sets(
    crowd: Crowd, seats: Mapping[str, str], listens: Iterable[Listen]
) -> Iterator[ElementSet]:
    """The maps of a crowd. `seats` are at most `SLOTS`, `listens` those of all its frontends."""
    yield seat_map(crowd.rounds, crowd.family, _rounds(tuple(seats.values())))
    yield seat_map(crowd.seats, crowd.family, seats)
    ports: dict[str, dict[str, str]] = {kind: {} for kind in listen_kinds(crowd.family)}
    for each in listens:
        ports[each.kind][each.key] = str(each.node_port)
    for kind, (key, _) in listen_kinds(crowd.family).items():
        yield ElementSet(name=crowd.ports(kind), key=key, data="inet_service", elements=ports[kind])


def crowd_chain(crowd: Crowd, seats: int) -> Chain:
    """The chain that gives a client one of so many seats at random, whichever frontend it asked."""
    dnat = f"meta l4proto {{ tcp, udp }} dnat {FAMILY[crowd.family].ip} to"
    drawn = f"numgen random mod {seats} map @{crowd.seats}"
    return Chain(
        name=crowd.again,
        rules=tuple(
            f"{dnat} {drawn} : {asked} map @{crowd.ports(kind)}"
            for kind, (_, asked) in listen_kinds(crowd.family).items()
        ),
    )


def seat_map(name: str, family: int, seats: Mapping[str, str]) -> ElementSet:
    """The map from a number that is drawn to the address of who has that seat."""
    return ElementSet(
        name=name,
        # A number, whichever way it is drawn: nft 1.0.6 crashes when it lists a map whose key is
        # said to be a jhash.
        key="numgen inc mod 2",
        data=f"{FAMILY[family].ip} daddr",
        typeof=True,
        elements=seats,
    )


@lru_cache(maxsize=64)
def _rounds(seats: tuple[str, ...]) -> Mapping[str, str]:
    count = len(seats)
    return {str(number): seats[number % count] for number in range(SLOTS - SLOTS % count)}
