"""Packets through the rules of the golden cases: where each goes, and what is made of it."""

from collections import Counter
from dataclasses import replace

import pytest

from nplb.dataplane.kernel.changes import replacement
from nplb.dataplane.kernel.crowds import CROWD, SLOTS
from nplb.dataplane.kernel.render import render
from nplb.model.kernel import KernelOptions
from nplb.model.plan import Frontend
from nplb.model.reasons import BackendState, Balance
from nplb.model.relay import RelayOptions
from tests.support.fakenft import FakeNft
from tests.support.kernelplans import a_crowd, a_frontend, with_state
from tests.support.nfttrace import Edge, Packet
from tests.unit.dataplane.kernel.test_render import CASES

OWN = ("10.71.0.1", "10.72.1.1", "fd71::1", "127.0.0.1")
NODES = ("10.72.1.2", "10.72.2.2", "10.72.3.2")
CLIENT, CLIENT6 = "198.51.100.7", "2001:db8:9::7"


def edge_with(*frontends: Frontend) -> Edge:
    """An edge whose table went through nft's own grammar first."""
    nft = FakeNft()
    nft.apply(replacement(render(frontends)))
    assert nft.table is not None
    return Edge(nft.table, addresses=OWN)


def syn(dst: str = "10.71.0.1", dport: int = 443, **fields: object) -> Packet:
    values = {"src": CLIENT6 if ":" in dst else CLIENT, "dst": dst, "dport": dport} | fields
    return Packet(**values)  # type: ignore[arg-type]


# The case, a packet, what becomes of it, and where it goes.
TABLE: list[tuple[str, Packet, str, str]] = [
    ("nothing", syn(), "local", "10.71.0.1:443"),
    ("in-turn", syn(), "accept", "10.72.2.2:30080"),
    ("in-turn", syn(dport=444), "local", "10.71.0.1:444"),
    ("in-turn", syn(proto="udp"), "local", "10.71.0.1:443"),
    ("in-turn", syn(dst="203.0.113.5"), "accept", "203.0.113.5:443"),  # only passing through
    ("in-turn", syn(flags=frozenset({"ack"})), "local", "10.71.0.1:443"),
    ("in-turn", syn(flags=frozenset({"syn", "rst"})), "local", "10.71.0.1:443"),
    ("draining-and-down", syn(), "accept", "192.0.2.2:30080"),
    ("wildcards-dual-stack", syn(dport=30080), "accept", "192.0.2.1:30080"),
    ("wildcards-dual-stack", syn(dst="fd71::1", dport=30080), "accept", "fd72:2::2:30080"),
    ("wildcards-dual-stack", syn(dst="203.0.113.5", dport=30080), "accept", "203.0.113.5:30080"),
    ("wildcards-dual-stack", syn(dst="127.0.0.1", dport=30080), "local", "127.0.0.1:30080"),
    ("udp-affinity-client-address", syn(dport=53, proto="udp"), "accept", "10.72.2.2:30080"),
    ("no-backend", syn(dport=1), "reject", "10.71.0.1:1"),
    ("no-backend", syn(dport=2), "drop", "10.71.0.1:2"),
    ("no-backend", syn(dport=3), "local", "10.71.0.1:3"),
    ("no-backend", syn(dst="fd71::1", dport=4, proto="udp"), "reject", "fd71::1:4"),
    ("limits-and-ranges", syn(), "reject", "10.71.0.1:443"),
    ("limits-and-ranges", syn(src="10.9.9.9"), "accept", "10.72.1.2:30080"),
    ("limits-and-ranges", syn(src="192.0.2.7"), "accept", "10.72.1.2:30080"),
    ("limits-and-ranges", syn(dst="fd71::1"), "accept", "fd72:1::2:30080"),
    ("limits-and-ranges", syn(dst="fd71::1", src="2001:db9::1"), "reject", "fd71::1:443"),
]


@pytest.mark.parametrize(("case", "packet", "verdict", "to"), TABLE)
def test_where_packets_go(case: str, packet: Packet, verdict: str, to: str) -> None:
    outcome = edge_with(*CASES[case]).send(packet)
    assert (outcome.verdict, f"{outcome.packet.dst}:{outcome.packet.dport}") == (verdict, to)


def test_who_is_turned_away_is_up_to_the_frontend_that_is_asked_for() -> None:
    few = RelayOptions(source_ranges=("192.0.2.0/24",))
    edge = edge_with(a_frontend("exact"), a_frontend("wildcard", listen=("0.0.0.0",), relay=few))
    assert edge.send(syn()).verdict == "accept"
    assert edge.send(syn(dst="10.72.1.1")).verdict == "reject"
    assert edge.send(syn(dst="10.72.1.1", src="192.0.2.9")).verdict == "accept"


def test_answers_go_back_as_the_edge_and_everything_is_counted() -> None:
    edge = edge_with(a_frontend(ips=("10.72.1.2",)))
    there = edge.send(syn()).packet
    assert (there.src, there.dst) == ("edge", "10.72.1.2")
    back = edge.send(there.answer)
    assert back.verdict == "accept"
    assert back.packet == syn().answer
    later = edge.send(syn(flags=frozenset({"ack"})))
    assert later.packet.dst == there.dst
    backend = "10.72.1.2 . tcp . 30080"
    assert edge.counted == {
        ("opened4", backend): 1, ("sent4", backend): 2, ("answered4", backend): 1,
    }  # fmt: skip
    # Connections of today pay for no chain that is only for first packets.
    assert later.chains == ("forwarded",)


def test_clients_on_the_edge_itself_are_served_and_counted() -> None:
    edge = edge_with(a_frontend(ips=("10.72.1.2",), kernel=KernelOptions(masquerade=False)))
    there = edge.send(syn(src="10.71.0.1"), local=True).packet
    assert (there.src, there.dst) == ("edge", "10.72.1.2")
    assert edge.send(there.answer).verdict == "local"
    backend = "10.72.1.2 . tcp . 30080"
    assert edge.counted["sent4", backend] == edge.counted["answered4", backend] == 1


def test_the_clients_address_is_kept_but_for_a_node_that_gets_itself() -> None:
    edge = edge_with(a_frontend(ips=("10.72.1.2",), kernel=KernelOptions(masquerade=False)))
    assert edge.send(syn()).packet.src == CLIENT
    assert edge.send(syn(src="10.72.1.2")).packet.src == "edge"


def test_shares_are_exact() -> None:
    for balance in (Balance.ROUND_ROBIN, Balance.RANDOM):
        edge = edge_with(a_frontend(weights=(3, 1), balance=balance))
        seen = Counter(edge.send(syn(sport=1000 + n)).packet.dst for n in range(400))
        if balance is Balance.ROUND_ROBIN:
            assert seen == {"10.72.1.2": 300, "10.72.2.2": 100}
        else:
            assert 250 < seen["10.72.1.2"] < 350


@pytest.mark.parametrize("size", [2, CROWD])
def test_shares_are_exact_where_frontends_share_their_maps(size: int) -> None:
    whole = a_crowd(a_frontend(ips=NODES), size)
    for down in (0, 1):
        edge = edge_with(*(with_state(f, 1, BackendState.DOWN) if down else f for f in whole))
        # Taking turns would give each frontend nodes of its own, if they shared a counter.
        sent = [
            (port, edge.send(syn(dport=port, sport=turn)).packet.dst)
            for turn in range(1000, 1006)
            for port in (443, 444)
        ]
        expected = {(port, ip): 6 // (3 - down) for port in (443, 444) for ip in NODES[down:]}
        assert Counter(sent) == expected


def test_whose_number_is_in_no_round_is_given_any_seat() -> None:
    both = a_frontend(
        ips=(*NODES[:2], "fd72:1::2", "fd72:2::2"),
        listen=("10.71.0.1", "0.0.0.0", "::"),
        weights=(211, 210, 211, 210),
    )
    edge = edge_with(*a_crowd(both))
    for to in ("10.71.0.1", "10.72.1.1", "fd71::1"):
        sent = []
        for _ in range(SLOTS):
            outcome = edge.send(syn(dst=to))
            edge.forget()
            assert (outcome.verdict, outcome.packet.dport) == ("accept", 30080)
            sent.append(outcome.packet.dst)
        turns, again = Counter(sent[:421]), Counter(sent[421:])
        assert sorted(turns.values()) == [210, 211]
        assert again.keys() == turns.keys()
        assert min(again.values()) > 150


def test_one_client_has_one_backend_where_it_is_asked_for() -> None:
    sticky = RelayOptions(affinity_seconds=60)
    for frontend in (
        a_frontend(balance=Balance.SOURCE_HASH),
        a_frontend(balance=Balance.MAGLEV),
        a_frontend(relay=sticky),
    ):
        edge = edge_with(frontend)
        for client in ("198.51.100.7", "198.51.100.8", "198.51.100.9"):
            seen = {edge.send(syn(src=client, sport=1000 + n)).packet.dst for n in range(6)}
            assert len(seen) == 1


def test_limits_hold_and_are_told_apart() -> None:
    options = RelayOptions(client_rate=3, max_connections_per_client=2, max_connections=3)
    edge = edge_with(a_frontend(relay=options))
    verdicts = [edge.send(syn(sport=1000 + n)).verdict for n in range(4)]
    assert verdicts == ["accept", "accept", "reject", "reject"]
    others = [edge.send(syn(src=f"198.51.100.{n}")).verdict for n in (20, 21)]
    assert others == ["accept", "reject"]
    reasons = Counter({name.split("-")[0]: n for name, n in edge.counters.items()})
    assert reasons == {"limit_client": 1, "limit_client_rate": 1, "limit_frontend": 1}
    edge.forget()
    assert edge.send(syn(src="198.51.100.30")).verdict == "accept"


def test_a_drained_node_keeps_its_connections_through_a_change() -> None:
    frontend = a_frontend(ips=("10.72.1.2",))
    edge = edge_with(frontend)
    edge.send(syn())
    edge.table = edge_with(with_state(frontend, 1, BackendState.DRAINING)).table
    assert edge.send(syn(flags=frozenset({"ack"}))).packet.dst == "10.72.1.2"
    assert edge.send(syn(sport=1)).verdict == "reject"


def test_answers_that_belong_to_nothing_reset_no_connection() -> None:
    edge = edge_with(a_frontend())
    stray = Packet(
        src="10.72.1.2", sport=30080, dst="10.72.1.1", dport=50000, flags=frozenset({"syn", "ack"})
    )
    # The edge's own TCP may know them, and if it does not, its reset goes no further.
    assert edge.send(stray).verdict == "local"
    reset = replace(stray.answer, flags=frozenset({"rst"}))
    assert edge.send(reset, local=True).verdict == "drop"
    assert edge.send(replace(reset, dst="10.72.1.9"), local=True).verdict == "accept"
    # A client's TCP does not.
    assert edge.send(replace(stray, dst="192.0.2.7")).verdict == "drop"
    assert edge.send(replace(stray, src="10.72.1.9", dst="192.0.2.7")).verdict == "accept"
