"""The rules that plans give, against golden files: run with NPLB_WRITE_GOLDEN=1 to write them
anew, and read what has changed."""

import os
import random
from dataclasses import replace
from pathlib import Path

import pytest

from nplb.dataplane.kernel.changes import transaction
from nplb.dataplane.kernel.crowds import CROWD, SLOTS
from nplb.dataplane.kernel.render import Renderer, render
from nplb.dataplane.kernel.ruleset import ruleset_text
from nplb.dataplane.kernel.skeleton import LISTEN_MAPS
from nplb.model.kernel import KernelOptions, Refusal
from nplb.model.keys import Protocol
from nplb.model.plan import Frontend
from nplb.model.reasons import BackendState, Balance
from nplb.model.relay import NoBackend, RelayOptions
from tests.support.kernelplans import a_crowd, a_frontend, with_state, without

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
    """The maps that frontends draw from: what their names begin with, and how many seats."""
    sets = render(frontends).sets.items()
    drawn = [(name.split("-")[0], len(s.elements)) for name, s in sets if s.typeof]
    return sorted(drawn)


def test_frontends_with_the_same_backends_share_a_map_and_nothing_else() -> None:
    one, two, other = (a_frontend(f"web-{n}", edge_port=n) for n in (1, 2, 3))
    differs = with_state(other, 1, BackendState.DOWN)
    assert maps_of(one, two, other) == [("s4", 2)]
    assert maps_of(one, two, differs) == [("b4", 1), ("s4", 2)]
    assert maps_of(one, differs) == [("b4", 1), ("b4", 2)]


def test_most_of_a_cluster_share_rounds_and_others_do_not() -> None:
    crowd = a_crowd(a_frontend(ips=[f"192.0.2.{n}" for n in range(1, 12)]), CROWD + 2)
    assert maps_of(*crowd) == [("rounds4", 836), ("seats4", 11)]  # 76 rounds of 11
    few = [with_state(f, 1, BackendState.DOWN) for f in crowd[:2]]
    assert maps_of(*few, *crowd[2:]) == [("rounds4", 836), ("s4", 10), ("seats4", 11)]
    too_few = [with_state(f, 1, BackendState.DOWN) for f in crowd[:3]]
    assert maps_of(*too_few, *crowd[3:]) == [("s4", 10), ("s4", 11)]
    hashed = [replace(f, balance=Balance.SOURCE_HASH) for f in crowd[:2]]
    assert {name for name, _ in maps_of(*hashed)} == {"b4"}
    assert maps_of(*a_crowd(a_frontend(weights=(SLOTS, 1)))) == [("s4", SLOTS + 1)]


def test_whatever_becomes_of_a_node_for_most_is_one_rule() -> None:
    ips = [f"192.0.2.{n}" for n in range(1, 101)]
    whole = a_frontend(ips=ips)
    down = with_state(whole, 50, BackendState.DOWN)
    second = with_state(down, 1, BackendState.DRAINING)
    gone = without(whole, 50)
    for before, after in ((whole, down), (down, second), (whole, gone)):
        one, other = (render(a_crowd(frontend)) for frontend in (before, after))
        for lines in (transaction(one, other), transaction(other, one)):
            words = [line.split()[:2] for line in lines.splitlines()]
            rules = [kind for _, kind in words if kind not in ("element", "chain")]
            assert rules == ["rule"] * len(LISTEN_MAPS)  # of one chain, where nobody has a round
            assert len(words) <= 10


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
        backends = list(frontends[place].backends)
        if rng.random() < 0.3 and backends:  # one leaves, and may come back at its place
            backends.pop(rng.randrange(len(backends)))
        elif rng.random() < 0.3:
            backends = [b for b in a_frontend(f"web-{place + 1}").backends if rng.random() < 0.8]
        elif backends:
            node = rng.randrange(len(backends))
            backends[node] = replace(backends[node], state=rng.choice(list(BackendState)))
        frontends[place] = replace(frontends[place], backends=tuple(backends))
        assert renderer.render(frontends) == render(frontends)
