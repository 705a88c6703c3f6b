"""The rules that plans give, against golden files: run with NPLB_WRITE_GOLDEN=1 to write them
anew, and read what has changed."""

import os
import random
from dataclasses import replace
from pathlib import Path

import pytest

from nplb.dataplane.kernel.changes import transaction
from nplb.dataplane.kernel.render import Renderer, render
from nplb.dataplane.kernel.ruleset import ruleset_text
from nplb.model.kernel import KernelOptions, Refusal
from nplb.model.keys import Protocol
from nplb.model.plan import Frontend
from nplb.model.reasons import BackendState, Balance
from nplb.model.relay import NoBackend, RelayOptions
from tests.support.kernelplans import a_frontend, with_state

GOLDEN = Path(__file__).parents[3] / "golden/kernel"
SIX = ("fd72:1::2", "fd72:2::2")

CASES: dict[str, tuple[Frontend, ...]] = {
    "nothing": (),
    "in-turn": (a_frontend(),),
    "random-weights": (a_frontend(balance=Balance.RANDOM, weights=(3, 1)),),
    "draining-and-down": (
        with_state(
            with_state(
                a_frontend(ips=("192.0.2.1", "192.0.2.2", "192.0.2.3")), 1, BackendState.DRAINING
            ),
            3,
            BackendState.DOWN,
        ),
    ),
    "wildcards-dual-stack": (
        a_frontend(ips=("192.0.2.1", *SIX), listen=("0.0.0.0", "::"), edge_port=30080),
    ),
    "udp-affinity-client-address": (
        a_frontend(
            "dns",
            protocol=Protocol.UDP,
            edge_port=53,
            relay=RelayOptions(affinity_seconds=10800),
            kernel=KernelOptions(masquerade=False),
        ),
    ),
    "no-backend": (
        a_frontend("reset", ips=(), edge_port=1),
        a_frontend("drop", ips=(), edge_port=2, kernel=KernelOptions(refusal=Refusal.DROP)),
        a_frontend("unbind", ips=(), edge_port=3, relay=RelayOptions(no_backend=NoBackend.UNBIND)),
        a_frontend("udp", ips=(), edge_port=4, protocol=Protocol.UDP, listen=("::",)),
    ),
    "limits-and-ranges": (
        a_frontend(
            relay=RelayOptions(
                source_ranges=("10.0.0.0/8", "10.1.0.0/16", " 192.0.2.7/32 ", "2001:db8::/32"),
                client_rate=2.5,
                max_connections_per_client=10,
                max_connections=1000,
            ),
            ips=("10.72.1.2", SIX[0]),
            listen=("10.71.0.1", "fd71::1"),
        ),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_golden(name: str) -> None:
    text = ruleset_text(render(CASES[name]))
    file = GOLDEN / f"{name}.nft"
    if os.environ.get("NPLB_WRITE_GOLDEN"):
        file.parent.mkdir(exist_ok=True)
        file.write_text(text)
    assert text == file.read_text()


def test_nobody_who_may_not_serve_gets_a_seat() -> None:
    (frontend,) = CASES["draining-and-down"]
    (seats,) = (s for s in render([frontend]).sets.values() if s.name.startswith("b4-"))
    assert set(seats.elements.values()) == {"192.0.2.2"}


def test_the_nearest_tier_serves_while_enough_of_it_is_active() -> None:
    frontend = a_frontend(ips=("192.0.2.1", "192.0.2.2", "192.0.2.3", "192.0.2.4"))
    near, far = frontend.backends[:2], frontend.backends[2:]
    frontend = replace(frontend, backends=(*near, *(replace(b, tier=1) for b in far)))

    def seated(frontend: Frontend) -> set[str]:
        (seats,) = (s for s in render([frontend]).sets.values() if s.name.startswith("b4-"))
        return {ip[-1] for ip in seats.elements.values()}

    assert seated(frontend) == {"1", "2"}
    assert seated(with_state(frontend, 1, BackendState.DOWN)) == {"2"}
    both = with_state(with_state(frontend, 1, BackendState.DOWN), 2, BackendState.DOWN)
    assert seated(both) == {"3", "4"}


def maps_of(*frontends: Frontend) -> list[tuple[str, int]]:
    """The maps that frontends draw from: the first letter of the name, and how many seats."""
    sets = render(frontends).sets.items()
    return sorted((name[0], len(s.elements)) for name, s in sets if name[:3] in ("s4-", "b4-"))


def test_frontends_with_the_same_backends_share_maps_and_nothing_else() -> None:
    one, two, other = (a_frontend(f"web-{n}", edge_port=n) for n in (1, 2, 3))
    differs = with_state(other, 1, BackendState.DOWN)
    assert maps_of(one, two, other) == [("s", 0), ("s", 2)]
    assert maps_of(one, two, differs) == [("b", 1), ("s", 0), ("s", 2)]
    assert maps_of(one, differs) == [("b", 1), ("b", 2)]


def test_two_who_see_their_backends_otherwise_than_most_share_one_map() -> None:
    frontends = [a_frontend(f"web-{n}", edge_port=n) for n in range(1, 6)]
    frontends[:2] = [with_state(f, 1, BackendState.DOWN) for f in frontends[:2]]
    assert maps_of(*frontends) == [("s", 0), ("s", 1), ("s", 2)]


def test_a_node_that_goes_down_for_all_writes_no_rule() -> None:
    frontends = [a_frontend(f"web-{n}", edge_port=n) for n in range(1, 4)]
    down = [with_state(frontend, 1, BackendState.DOWN) for frontend in frontends]
    for before, after in ((frontends, down), (down, frontends)):
        lines = transaction(render(before), render(after)).splitlines()
        assert [line.split()[:2] for line in lines] == [["delete", "element"], ["add", "element"]]


def test_names_never_clash() -> None:
    keys = ["a", "a-b", "a_b", "a.b", "A", "a" * 200, "a" * 199 + "b"]
    frontends = [a_frontend(name, edge_port=n) for n, name in enumerate(keys, 1)]
    table = render(frontends)
    assert len([c for c in table.chains if c.startswith("f4-")]) == len(keys)
    assert max(map(len, table.chains)) < 128


def test_rendering_again_is_the_same_as_rendering_anew() -> None:
    rng = random.Random(7)
    renderer = Renderer()
    frontends = [a_frontend(f"web-{n}", edge_port=n) for n in range(1, 6)]
    for _ in range(50):
        place = rng.randrange(len(frontends))
        node, state = rng.choice((1, 2)), rng.choice(list(BackendState))
        frontends[place] = with_state(frontends[place], node, state)
        assert renderer.render(frontends) == render(frontends)
