"""The fast path's program, shown single packets (BPF_PROG_TEST_RUN): what it makes of them, and
that it lets everything else pass untouched."""

import contextlib
import os
import random
import signal
import socket
import struct
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from nplb.dataplane.kernel.fastpath import bpf, layout
from nplb.dataplane.kernel.fastpath.fastpath import LICENCE, FastPath
from nplb.dataplane.kernel.fastpath.program import program as compiled
from nplb.dataplane.kernel.render import Renderer
from nplb.model.plan import Frontend
from nplb.model.reasons import Balance
from tests.support import packets
from tests.support.fastpath import FAST, begin_turns_again, entries, opened, pins_removed, program
from tests.support.kernelplans import a_frontend
from tests.support.netns import Namespace, namespaces, requires_namespaces
from tests.support.packets import ACK, FIN, RST, SYN, Packet, tcp

pytestmark = requires_namespaces

SHORTEST = 14 + 40  # new kernels show no program a packet without an IP header
PASS, SHOT, REDIRECTED = -1, 2, 7
CLIENT, EDGE = ("10.71.0.2", 40000), ("10.71.0.1", 443)
CLIENT6, EDGE6 = ("fd71::2", 40000), ("fd71::1", 443)
NODES = ("10.72.1.2", "10.72.1.3", "fd72:1::2", "fd72:1::3")
STAMPS = struct.pack(">BBII", 8, 10, 5000, 7000)  # the option: a value, and an echo
MSS = struct.pack(">BBH", 2, 4, 9000)
LINKS = """\
link add to-client mtu 1400 type veth peer name clients
link add to-nodes mtu 1400 type veth peer name nodes
addr add 10.71.0.1/24 dev to-client
addr add 10.72.1.1/24 dev to-nodes
addr add fd71::1/64 dev to-client nodad
addr add fd72:1::1/64 dev to-nodes nodad
link set to-client up
link set to-nodes up
link set clients up
link set nodes up
"""


@dataclass
class Edge:
    """A namespace with the program, and whom it serves."""

    space: Namespace
    path: FastPath
    number: int

    def serve(self, *frontends: Frontend) -> None:
        renderer = Renderer()
        renderer.render(frontends)
        with self.space.entered():
            self.path.apply(renderer.rendered)

    def show(self, packet: Packet) -> tuple[int, Packet]:
        """The verdict, and the packet after it."""
        with self.space.entered():
            verdict, frame = bpf.run(self.number, packet.frame)
        return verdict, Packet(frame)

    def moved(self, packet: Packet) -> Packet:
        """What became of a packet that must be moved, well formed."""
        packet.assert_right()
        verdict, after = self.show(packet)
        assert verdict == REDIRECTED
        after.assert_right()
        assert after.hops == packet.hops - 1
        return after

    def passed(self, packet: Packet) -> None:
        """Assert that a packet is left alone."""
        assert self.show(packet) == (PASS, packet)

    def open(self, source: tuple[str, int], to: tuple[str, int], options: bytes = b"") -> Packet:
        """A connection up to the node's answer: its SYN as the node sees it."""
        syn = self.moved(tcp(source, to, SYN, options=options))
        self.moved(answer(syn, SYN | ACK, acknowledged=1001, options=options))
        return syn


def answer(to: Packet, flags: int, **fields: int | bytes) -> Packet:
    """A node's packet to whom it has had one from."""
    source, port, destination, other = to.ends
    return tcp((destination, other), (source, port), flags, **fields)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def running() -> Iterator[Edge]:
    with namespaces("edge") as made, pins_removed(made["edge"]):
        space = made["edge"]
        space.run("ip", "-batch", "-", stdin=LINKS)
        space.sysctl("net.ipv4.ip_forward", "1")
        space.sysctl("net.ipv6.conf.all.forwarding", "1")
        path = FastPath()
        edge = Edge(space, path, -1)
        edge.serve()
        edge.serve(a_frontend(kernel=FAST))
        edge.number = program(space)
        try:
            yield edge
        finally:
            os.close(edge.number)
            path.close()


@pytest.fixture
def edge(running: Edge) -> Edge:
    """Two nodes of both families, and no connection."""
    running.serve(
        a_frontend(ips=NODES, listen=(EDGE[0], EDGE6[0]), kernel=FAST),
        a_frontend("all", ips=NODES, listen=("0.0.0.0", "::"), edge_port=80, kernel=FAST),
    )
    with running.space.entered():
        running.path.end([(ip, 30080) for ip in NODES])
    begin_turns_again(running.space)
    return running


def flows(edge: Edge) -> list[layout.Flow]:
    return [
        layout.flow(key, value)
        for name in layout.FLOWS.values()
        for key, value in entries(edge.space, name).items()
    ]


@pytest.mark.parametrize(("client", "to"), [(CLIENT, EDGE), (CLIENT6, EDGE6)], ids=("v4", "v6"))
def test_both_ways_of_a_connection_until_both_have_closed(
    edge: Edge, client: tuple[str, int], to: tuple[str, int]
) -> None:
    syn = edge.moved(tcp(client, to, SYN))
    source, port, node, node_port = syn.ends
    assert node in NODES
    assert node_port == 30080
    assert source == ("fd72:1::1" if ":" in node else "10.72.1.1")
    assert port >= 1024
    assert len(flows(edge)) == 2
    back = edge.moved(answer(syn, SYN | ACK, sequence=1, acknowledged=1001))
    assert back.ends == (*to, *client)
    for flags, payload in ((ACK, b""), (ACK, b"odd"), (ACK, b"even")):
        assert edge.moved(tcp(client, to, flags, payload=payload)).ends == syn.ends
        assert edge.moved(answer(syn, flags, payload=payload)).ends == (*to, *client)
    edge.moved(tcp(client, to, FIN | ACK, sequence=1001, acknowledged=2, payload=b"bye"))
    edge.moved(answer(syn, ACK, sequence=2, acknowledged=1005))
    edge.moved(answer(syn, FIN | ACK, sequence=2, acknowledged=1005))
    assert len(flows(edge)) == 2
    last = edge.moved(tcp(client, to, ACK, sequence=1005, acknowledged=3))
    assert last.ends == syn.ends  # the one that ends it is moved too
    assert not flows(edge)
    edge.passed(tcp(client, to, ACK, sequence=1005, acknowledged=3))


def test_each_packet_is_counted_once_whatever_becomes_of_its_connection(edge: Edge) -> None:
    """One that closes, one that goes on, and all that nplb ends."""
    edge.serve(a_frontend(ips=NODES[:1], listen=EDGE[:1], kernel=FAST))
    before, want = counts(edge), [0] * len(layout.Counts._fields)

    def move(packet: Packet) -> Packet:
        want[2 if packet.source in NODES else 1] += len(packet.ip)
        return edge.moved(packet)

    def told() -> tuple[int, ...]:
        found = counts(edge)
        assert found == counts(edge)
        return tuple(now - then for now, then in zip(found, before, strict=True))

    for number, ends in enumerate((True, False), 1):
        client = (CLIENT[0], CLIENT[1] + number)
        syn = move(tcp(client, EDGE, SYN))
        move(answer(syn, SYN | ACK, acknowledged=1001))
        move(tcp(client, EDGE, ACK, payload=bytes(number)))
        want[0] += 1
        assert told() == tuple(want)
        if ends:
            move(tcp(client, EDGE, FIN | ACK, sequence=1001, acknowledged=1001))
            move(answer(syn, FIN | ACK, sequence=1001, acknowledged=1002))
            move(tcp(client, EDGE, ACK, sequence=1002, acknowledged=1002))
            assert told() == tuple(want)
    assert len(flows(edge)) == 2
    for _ in range(2):  # what nplb has counted before is added to
        with edge.space.entered():
            assert edge.path.end([(NODES[0], 30080)]) == 1
        assert told() == tuple(want)
        move(tcp(CLIENT, EDGE, SYN))
        want[0] += 1
    assert told() == tuple(want)


def counts(edge: Edge) -> layout.Counts:
    """Of the first node."""
    with edge.space.entered():
        return edge.path.read().counts.get((NODES[0], 30080), layout.Counts(0, 0, 0))


@pytest.mark.parametrize(("client", "to"), [(CLIENT, EDGE), (CLIENT6, EDGE6)], ids=("v4", "v6"))
def test_packets_go_to_the_link_address_of_the_next_hop(
    edge: Edge, client: tuple[str, int], to: tuple[str, int]
) -> None:
    for device, ips in (("to-nodes", NODES), ("to-client", (CLIENT[0], CLIENT6[0]))):
        for ip in ips:
            edge.space.run("ip", "neigh", "replace", ip, "lladdr", f"02:00:00:00:00:{ip[-1]:0>2}",
                           "dev", device)  # fmt: skip
    try:
        syn = edge.open(client, to)
        there, back = edge.moved(tcp(client, to, ACK)), edge.moved(answer(syn, ACK))
        for packet, device in ((there, "to-nodes"), (back, "to-client")):
            own = edge.space.run("cat", f"/sys/class/net/{device}/address").strip()
            assert packet.frame[:6].hex(":") == f"02:00:00:00:00:{packet.destination[-1]:0>2}"
            assert packet.frame[6:12].hex(":") == own
    finally:
        for device in ("to-nodes", "to-client"):
            edge.space.run("ip", "neigh", "flush", "dev", device, "nud", "all")


def test_signals_do_not_keep_it_from_being_loaded(edge: Edge) -> None:
    """As when children of nplb's end just then."""
    came: list[int] = []
    before = signal.signal(signal.SIGUSR1, lambda number, _: came.append(number))
    here = threading.get_ident()
    timers = [
        threading.Timer(seconds, signal.pthread_kill, (here, signal.SIGUSR1))
        for seconds in (0.02, 0.05, 0.08)
    ]
    with contextlib.ExitStack() as stack:
        maps = {name: stack.enter_context(opened(edge.space, name)) for name in layout.MAPS}
        code = compiled().linked({name: each.descriptor for name, each in maps.items()})
        for timer in timers:
            timer.start()
        os.close(bpf.load("nplb_fast_path", code, LICENCE))
        for timer in timers:
            timer.join()
    signal.signal(signal.SIGUSR1, before)
    assert came


LAYOUTS = {
    "none": b"",
    "the usual": b"\1\1" + STAMPS,
    "of Linux": MSS + b"\4\2" + STAMPS + b"\1\3\3\7",
    "at an odd place": b"\1" + STAMPS,
    "last": MSS + b"\3\3\7\1\1\1" + STAMPS,
    "after unknown ones": b"\xfd\5abc" + MSS + STAMPS,
    "MSS at an odd place": b"\1" + MSS,
}


@pytest.mark.parametrize("options", LAYOUTS.values(), ids=LAYOUTS)
@pytest.mark.parametrize(("client", "to"), [(CLIENT, EDGE), (CLIENT6, EDGE6)], ids=("v4", "v6"))
def test_options_wherever_they_stand(
    edge: Edge, client: tuple[str, int], to: tuple[str, int], options: bytes
) -> None:
    """Timestamps go on from the edge's clock to the node, and are the client's own on the way
    back. Segments fit the edge's interfaces."""
    syn = edge.moved(tcp(client, to, SYN, options=options))
    stamped = STAMPS in options
    fits = struct.pack(">BBH", 2, 4, 1400 - 20 - (40 if syn.six else 20))
    sent = stamp_of(syn.options)
    assert without_stamps(syn.options) == without_stamps(options).replace(MSS, fits)
    assert (sent is not None) == stamped
    add = sent[0] - 5000 if sent else 0
    if sent:
        assert sent[1] == 7000  # the echo of the node's
    # A node echoes what it has had: the client must see its own again.
    echoing = struct.pack(">BBII", 8, 10, 123, (5000 + add) % 2**32)
    back = edge.moved(
        answer(syn, SYN | ACK, acknowledged=1001, options=options.replace(STAMPS, echoing))
    )
    assert stamp_of(back.options) == ((123, 5000) if stamped else None)
    assert without_stamps(back.options) == without_stamps(options).replace(MSS, fits)
    later = edge.moved(tcp(client, to, ACK, options=options, payload=b"x"))
    assert stamp_of(later.options) == (((5000 + add) % 2**32, 7000) if stamped else None)
    assert later.options.startswith(options[:2])
    assert MSS in later.options or MSS not in options  # no SYN, nothing to clamp


def stamp_of(options: bytes) -> tuple[int, int] | None:
    at = options.find(b"\x08\x0a")
    return struct.unpack_from(">II", options, at + 2) if at >= 0 else None


def without_stamps(options: bytes) -> bytes:
    at = options.find(b"\x08\x0a")
    rest = options if at < 0 else options[:at] + options[at + 10 :]
    return rest.rstrip(b"\0")


@pytest.mark.parametrize(
    "options",
    [b"\x08\x02", b"\x02\x02", b"\x08\x00", b"\x02\x03\x01\x08\x0a\x01", b"\xfd\xff", b"\x01" * 40],
)
def test_options_that_are_wrong_are_the_ends_own_matter(edge: Edge, options: bytes) -> None:
    packet = tcp(CLIENT, EDGE, SYN, options=options, payload=b"what follows stays")
    after = edge.moved(packet)
    assert after.inner[20:] == packet.inner[20:]


@pytest.mark.parametrize(("node", "own"), [(NODES[0], "10.72.1.1"), (NODES[2], "fd72:1::1")])
def test_a_node_may_be_its_own_client(edge: Edge, node: str, own: str) -> None:
    """Then the sum of the addresses stays as it was, and only ports and timestamps change it."""
    opened = [
        edge.moved(tcp((node, 5000 + n), (own, 80), SYN, options=LAYOUTS["of Linux"]))
        for n in range(2)
    ]
    assert node in [syn.ends[2] for syn in opened]
    for syn in opened:
        edge.moved(answer(syn, SYN | ACK, acknowledged=1001, options=LAYOUTS["of Linux"]))


def test_ip_options_move_with_their_packet(edge: Edge) -> None:
    syn = edge.moved(tcp(CLIENT, EDGE, SYN, options=b"\1\1" + STAMPS, ip_options=b"\1" * 40))
    assert syn.ip[20:60] == b"\1" * 40
    assert edge.moved(answer(syn, SYN | ACK)).ends == (*EDGE, *CLIENT)


def test_wildcards_are_for_the_edges_own_addresses(edge: Edge) -> None:
    for client, own in ((CLIENT[0], "10.72.1.1"), (CLIENT6[0], "fd72:1::1")):
        assert edge.moved(tcp((client, 5000), (own, 80), SYN)).ends[2] in NODES
        edge.passed(
            tcp((client, 5000), (own.replace("::1", "::9").replace(".1.1", ".1.9"), 80), SYN)
        )
        edge.passed(tcp((client, 5000), (own, 443), SYN))


def test_a_syn_that_nobody_answers_goes_to_another_node(edge: Edge) -> None:
    first, second = (edge.moved(tcp(CLIENT, EDGE, SYN)) for _ in range(2))
    assert first.ends[2] != second.ends[2]
    assert len(flows(edge)) == 2
    edge.passed(answer(first, SYN | ACK))  # too late
    assert edge.moved(answer(second, SYN | ACK)).ends == (*EDGE, *CLIENT)
    # Once answered, one that is sent again goes to the same node.
    assert edge.moved(tcp(CLIENT, EDGE, SYN)).ends == second.ends


def test_a_port_that_is_used_again_is_a_new_connection(edge: Edge) -> None:
    syn = edge.open(CLIENT, EDGE)
    edge.moved(tcp(CLIENT, EDGE, FIN | ACK, sequence=1001, acknowledged=1001))
    assert edge.moved(tcp(CLIENT, EDGE, SYN)).ends != syn.ends
    assert len(flows(edge)) == 2


def test_an_end_that_is_made_up_ends_nothing(edge: Edge) -> None:
    syn = edge.open(CLIENT, EDGE)
    edge.moved(tcp(CLIENT, EDGE, ACK, sequence=1001, acknowledged=1001))
    far = 1001 + (1 << 30)
    for flags in (RST, FIN | ACK, SYN, RST, SYN | FIN, SYN | RST, SYN | ACK, RST):
        edge.moved(tcp(CLIENT, EDGE, flags, sequence=far, acknowledged=1001))
        far += flags == SYN  # and what would be right if that were a beginning
    edge.moved(tcp(CLIENT, EDGE, RST, sequence=1002))  # a reset must be just right
    assert not any(flow.flags & (layout.RESET | layout.FIN) for flow in flows(edge))
    edge.moved(tcp(CLIENT, EDGE, ACK, sequence=1001, acknowledged=1001))
    edge.moved(answer(syn, RST, sequence=1001))
    assert any(flow.flags & layout.RESET for flow in flows(edge))


# Who sends what: its flags, how many bytes after its SYN it begins, how many it has, and how many
# of the other's it acknowledges.
CLOSINGS = {
    "the node first": (
        ("node", FIN | ACK, 0, 5, 0),
        ("client", FIN | ACK, 0, 0, 6),
        ("node", ACK, 6, 0, 1),
    ),
    "the client first, and the node much later": (
        ("client", FIN | ACK, 0, 7, 0),
        ("node", ACK, 0, 900, 8),
        ("client", ACK, 8, 0, 900),
        ("node", ACK, 900, 900, 8),
        ("client", ACK, 8, 0, 1800),
        ("node", FIN | ACK, 1800, 0, 8),
        ("client", ACK, 8, 0, 1801),
    ),
    "both at once": (
        ("client", FIN | ACK, 0, 0, 0),
        ("node", FIN | ACK, 0, 0, 0),
        ("client", ACK, 1, 0, 1),
        ("node", ACK, 1, 0, 1),
    ),
    "a FIN that is sent again": (
        ("client", FIN | ACK, 0, 10, 0),
        ("client", FIN | ACK, 0, 10, 0),
        ("node", FIN | ACK, 0, 0, 11),
        ("node", FIN | ACK, 0, 0, 11),
        ("client", ACK, 11, 0, 1),
    ),
    "the last bytes arrive after the FIN": (
        ("client", FIN | ACK, 1400, 100, 0),
        ("client", ACK, 0, 1400, 0),
        ("node", FIN | ACK, 0, 0, 1501),
        ("client", ACK, 1501, 0, 1),
    ),
}


@pytest.mark.parametrize("closing", CLOSINGS.values(), ids=CLOSINGS)
@pytest.mark.parametrize("start", [1000, 2**32 - 500], ids=("low", "wraps"))
@pytest.mark.parametrize(("client", "to"), [(CLIENT, EDGE), (CLIENT6, EDGE6)], ids=("v4", "v6"))
def test_a_connection_is_forgotten_with_its_last_packet(
    edge: Edge,
    client: tuple[str, int],
    to: tuple[str, int],
    start: int,
    closing: tuple[tuple[str, int, int, int, int], ...],
) -> None:
    syn = edge.moved(tcp(client, to, SYN, sequence=start))
    begun = (start + 1) % 2**32
    edge.moved(answer(syn, SYN | ACK, sequence=start, acknowledged=begun))
    edge.moved(tcp(client, to, ACK, sequence=begun, acknowledged=begun))
    for who, flags, at, size, acknowledged in closing:
        assert len(flows(edge)) == 2
        ends = (client, to) if who == "client" else (syn.ends[2:], syn.ends[:2])
        edge.moved(
            tcp(
                *ends,
                flags,
                sequence=(begun + at) % 2**32,
                acknowledged=(begun + acknowledged) % 2**32,
                payload=bytes(size),
            )
        )
    assert not flows(edge)


def test_a_port_that_is_used_again_while_the_node_has_forgotten(edge: Edge) -> None:
    edge.open(CLIENT, EDGE)
    edge.moved(tcp(CLIENT, EDGE, ACK, sequence=1001, acknowledged=1001))
    syn = edge.moved(tcp(CLIENT, EDGE, SYN, sequence=3 * 10**9))
    edge.moved(answer(syn, SYN | ACK, sequence=2 * 10**9, acknowledged=3 * 10**9 + 1))
    edge.moved(tcp(CLIENT, EDGE, FIN | ACK, sequence=3 * 10**9 + 1, acknowledged=2 * 10**9 + 1))
    edge.moved(answer(syn, FIN | ACK, sequence=2 * 10**9 + 1, acknowledged=3 * 10**9 + 2))
    edge.moved(tcp(CLIENT, EDGE, ACK, sequence=3 * 10**9 + 2, acknowledged=2 * 10**9 + 2))
    assert not flows(edge)


def test_only_who_has_the_answer_opens_a_connection(edge: Edge) -> None:
    """Others can make an entry, not one that stays for days."""
    edge.open(CLIENT, EDGE)  # the node's answer has the number 1000
    edge.moved(tcp(CLIENT, EDGE, ACK, sequence=1001, acknowledged=5 * 10**8))
    assert not any(flow.flags & layout.OPEN for flow in flows(edge))
    edge.moved(tcp(CLIENT, EDGE, ACK, sequence=1001, acknowledged=1001))
    assert any(flow.flags & layout.OPEN for flow in flows(edge))


def test_a_node_that_is_asked_anew_may_begin_anew(edge: Edge) -> None:
    syn = edge.open(CLIENT, EDGE)
    edge.moved(answer(syn, SYN | ACK, sequence=7 * 10**8, acknowledged=1001))
    edge.moved(tcp(CLIENT, EDGE, ACK, sequence=1001, acknowledged=7 * 10**8 + 1))
    assert any(flow.flags & layout.OPEN for flow in flows(edge))


def test_a_node_that_has_forgotten_and_refuses_lets_the_next_one_serve(edge: Edge) -> None:
    syn = edge.open(CLIENT, EDGE)
    edge.moved(tcp(CLIENT, EDGE, ACK, sequence=1001, acknowledged=1001))
    again = tcp(CLIENT, EDGE, SYN, sequence=3 * 10**9)
    assert edge.moved(again).ends == syn.ends
    edge.moved(answer(syn, RST | ACK, sequence=0, acknowledged=3 * 10**9 + 1))
    assert edge.moved(again).ends[2] != syn.ends[2]


def test_what_closes_while_it_is_counted_for_the_last_time_is_counted(
    edge: Edge, monkeypatch: pytest.MonkeyPatch
) -> None:
    edge.serve(a_frontend(ips=NODES[:1], listen=EDGE[:1], kernel=FAST))
    before = counts(edge).opened
    syn = edge.open(CLIENT, EDGE)
    edge.serve()
    clock = time.clock_gettime_ns

    def closing(number: int) -> int:
        """The clock is read between the counters and the connections."""
        if flows(edge):
            edge.moved(tcp(CLIENT, EDGE, FIN | ACK, sequence=1001, acknowledged=1001))
            edge.moved(answer(syn, FIN | ACK, sequence=1001, acknowledged=1002))
            edge.moved(tcp(CLIENT, EDGE, ACK, sequence=1002, acknowledged=1002))
        return clock(number)

    monkeypatch.setattr(time, "clock_gettime_ns", closing)
    with edge.space.entered():
        reading = edge.path.read()
    assert reading.final
    assert reading.counts[NODES[0], 30080].opened == before + 1
    edge.serve(a_frontend(kernel=FAST))
    os.close(edge.number)
    edge.number = program(edge.space)


def test_a_packet_at_the_end_of_its_hops_goes_no_further(edge: Edge) -> None:
    edge.passed(tcp(CLIENT, EDGE, SYN, hops=1))  # the edge's own IP tells its sender
    assert not flows(edge)
    edge.open(CLIENT, EDGE)
    assert edge.show(tcp(CLIENT, EDGE, ACK, hops=1))[0] == SHOT


@pytest.mark.parametrize(("client", "to"), [(CLIENT, EDGE), (CLIENT6, EDGE6)], ids=("v4", "v6"))
def test_errors_speak_of_what_their_reader_has_sent(
    edge: Edge, client: tuple[str, int], to: tuple[str, int]
) -> None:
    """They come from whom it has sent to: a filter of reverse paths would drop a router's."""
    syn = edge.open(client, to)
    six = ":" in client[0]
    too_big = (2, 0) if six else (3, 4)
    router = "fd72:9::9" if six else "10.72.9.9"
    for there, reader, other in (
        # What the client has sent, on the way to the node, and what the node answers.
        (Packet(syn.frame), client, to),
        (tcp(to, client, ACK, payload=bytes(64)), syn.ends[2:], syn.ends[:2]),
    ):
        error = packets.icmp(router, there.source, *too_big, 1300, there.ip[: 48 + 20 * six])
        after = edge.moved(error)
        assert (after.source, after.destination) == (other[0], reader[0])
        assert after.inner[:2] == bytes(too_big)
        assert after.inner[4:8] == (1300).to_bytes(4, "big")
        quoted = Packet((packets.ETHERNET6 if six else packets.ETHERNET4) + after.inner[8:])
        assert quoted.ends == (*reader, *other)
        if not six:
            assert packets.ones_sum(quoted.ip[:20]) == 0xFFFF
    # Others' errors, and echo requests, are none of its business.
    other_one = tcp(("10.71.0.9", 1), ("10.72.1.2", 2), SYN)
    edge.passed(packets.icmp("10.72.9.9", "10.71.0.9", 3, 4, 1300, other_one.ip[:28]))
    edge.passed(packets.icmp(router, to[0], 128 if six else 8, 0, 1, syn.ip[:48]))


def test_what_is_not_for_it_passes(edge: Edge) -> None:
    edge.open(CLIENT, EDGE)
    data = tcp(CLIENT, EDGE, ACK, payload=bytes(100))
    elsewhere = Packet(b"\2" * 6 + data.frame[6:])  # another host's, seen by the way
    fragment = Packet(data.frame[:20] + b"\x20\x00" + data.frame[22:])
    for packet in (
        elsewhere,
        fragment,
        tcp(("10.71.0.3", 40000), EDGE, ACK),  # nobody has opened this
        tcp(CLIENT, ("10.71.0.1", 444), SYN),
        tcp(("10.71.0.3", 40000), EDGE, SYN | FIN),  # opens nothing anywhere
        tcp(("10.72.1.2", 30080), ("10.72.1.1", 60000), SYN | ACK),
        Packet(data.frame[:12] + b"\x08\x06" + data.frame[14:]),  # says that it is ARP
    ):
        edge.passed(packet)


def test_random_packets_pass_unless_they_are_a_connections(edge: Edge) -> None:
    """Whatever is cut off, changed or made up, a packet is left alone or is moved from one known
    end to another."""
    dice = random.Random(7)
    known = {}
    seeds = []
    for client, to in ((CLIENT, EDGE), (CLIENT6, EDGE6)):
        syn = edge.open(client, to, b"\1\1" + STAMPS)
        known[(*client, *to)] = syn.ends
        back = answer(syn, ACK, options=b"\1" + STAMPS, payload=bytes(9))
        known[back.ends] = (*to, *client)
        kind = (2, 0) if ":" in client[0] else (3, 4)
        seeds += [
            tcp(client, to, ACK, options=b"\1\1" + STAMPS, payload=b"data"),
            back,
            packets.icmp(back.source, syn.source, *kind, 1300, syn.ip),
            packets.icmp(to[0], client[0], *kind, 1300, tcp(to, client, ACK).ip),
        ]
    moved = 0
    with edge.space.entered():
        for _ in range(4000):
            frame = bytearray(dice.choice(seeds).frame)
            for _ in range(dice.choice((0, 1, 1, 2, 4))):
                # Not the addresses of the link: another host's packets pass anyway.
                frame[dice.randrange(12, len(frame))] = dice.randrange(256)
            if dice.random() < 0.3:
                frame = frame[: dice.randrange(SHORTEST, len(frame) + 1)]
            if dice.random() < 0.1:
                frame = frame[:14] + bytearray(dice.randbytes(dice.randrange(SHORTEST - 14, 120)))
            before = Packet(bytes(frame))
            if before.inner[13:14] and before.inner[13] & (SYN | ACK) == SYN:
                continue  # it may open a connection
            verdict, raw = bpf.run(edge.number, before.frame)
            after = Packet(raw)
            if verdict == PASS:
                assert after == before
                continue
            assert len(after.frame) == len(before.frame)
            if verdict == SHOT:  # it was at its last hop, or its connection's way is lost
                assert before.hops <= 1
            elif before.protocol == packets.TCP and verdict == REDIRECTED:
                moved += 1
                assert after.ends == known[before.ends]
            else:
                assert verdict == REDIRECTED
                assert before.protocol in (packets.ICMP, packets.ICMP6)
    assert moved > 500


def test_a_client_finds_the_node_that_its_address_is_for(edge: Edge) -> None:
    """The seat is what nftables' jhash of lookup3 gives; that both agree on real clients is tested
    between namespaces."""
    edge.serve(a_frontend(ips=NODES[:2], kernel=FAST, balance=Balance.MAGLEV))
    clients = [socket.inet_ntoa(struct.pack(">I", 0x0A470000 + n)) for n in range(2, 60)]
    first = {ip: edge.moved(tcp((ip, 4000), EDGE, SYN)).ends[2] for ip in clients}
    again = {ip: edge.moved(tcp((ip, 4001), EDGE, SYN)).ends[2] for ip in clients}
    assert first == again
    assert set(first.values()) == set(NODES[:2])
