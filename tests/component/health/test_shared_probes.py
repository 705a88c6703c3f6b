"""Probes that a node's services share, against real sockets on loopback."""

import contextlib
import random
import socket
import time
from collections.abc import Iterator
from dataclasses import replace

from nplb.health.prober import Prober
from nplb.lab.silence import deafen, restore_hearing
from nplb.model.health import HealthSettings
from nplb.model.keys import Address
from nplb.model.reasons import Cause
from nplb.model.verdict import ProbeTarget
from tests.support.addresses import address_of, refusing
from tests.support.eventually import eventually

HEALTH = HealthSettings(
    interval_seconds=0.2, fast_seconds=0.1, timeout_seconds=0.15, rise=2, fall=2
)


class Node:
    """A node on loopback with so many services, each a listener."""

    def __init__(self, stack: contextlib.ExitStack, ip: str, services: int) -> None:
        self.sockets = [
            stack.enter_context(socket.create_server((ip, 0), backlog=128)) for _ in range(services)
        ]
        self.addresses = [address_of(sock) for sock in self.sockets]

    def go_silent(self) -> None:
        for sock in self.sockets:
            deafen(sock)

    def recover(self) -> None:
        for sock in self.sockets:
            restore_hearing(sock)


def targets(*nodes: Node, turn: float = 0.2) -> tuple[ProbeTarget, ...]:
    return tuple(
        ProbeTarget(address=address, health=HEALTH, turn_seconds=turn)
        for node in nodes
        for address in node.addresses
    )


@contextlib.contextmanager
def probing(*wanted: ProbeTarget) -> Iterator[Prober]:
    prober = Prober(publish=lambda _: None, rng=random.Random(7), now=time.time)
    prober.retarget(wanted)
    prober.start()
    try:
        yield prober
    finally:
        prober.stop()


def healths(prober: Prober, node: Node) -> set[bool | None]:
    verdicts = prober.verdicts()
    return {verdicts[address].healthy for address in node.addresses}


async def test_a_silent_node_is_out_for_all_its_services_and_only_it() -> None:
    with contextlib.ExitStack() as stack:
        good = Node(stack, "127.0.0.41", 20)
        bad = Node(stack, "127.0.0.42", 20)
        with probing(*targets(good, bad)) as prober:
            await eventually(lambda: healths(prober, bad) == {True}, "all are up")
            await eventually(lambda: healths(prober, good) == {True}, "all are up")
            bad.go_silent()
            await eventually(lambda: healths(prober, bad) == {False}, "all of it are down")
            assert healths(prober, good) == {True}
            verdicts = [prober.verdicts()[address] for address in bad.addresses]
            assert {v.cause for v in verdicts} == {Cause.TIMEOUT}
            assert any(v.by_node for v in verdicts)
            assert prober.probing().nodes_down == 1
            bad.recover()
            await eventually(lambda: healths(prober, bad) == {True}, "all of it are back")
            assert prober.probing().nodes_down == 0


async def test_few_probes_are_made_while_all_is_well() -> None:
    with contextlib.ExitStack() as stack:
        node = Node(stack, "127.0.0.43", 50)
        with probing(*targets(node, turn=0.05)) as prober:
            await eventually(lambda: healths(prober, node) == {True}, "all are up")
            before = prober.probing().ended[Cause.CONNECTED]
            begun = time.monotonic()
            await eventually(
                lambda: prober.probing().ended[Cause.CONNECTED] >= before + 20, "20 more"
            )
            # On their own, the 50 would have made 50 / 0.2 s.
            took = time.monotonic() - begun
            assert prober.probing().ended[Cause.CONNECTED] - before < 100 * max(took, 0.2)
            assert prober.probing().sharing == 50
            assert prober.probing().streams == 1


async def test_one_service_that_fails_is_found_in_its_turn_and_the_node_stays() -> None:
    with contextlib.ExitStack() as stack:
        node = Node(stack, "127.0.0.44", 6)
        with probing(*targets(node, turn=0.05)) as prober:
            await eventually(lambda: healths(prober, node) == {True}, "all are up")
            deafen(node.sockets[3])
            broken = node.addresses[3]
            await eventually(lambda: prober.verdicts()[broken].healthy is False, "it is down")
            others = [a for a in node.addresses if a != broken]
            assert {prober.verdicts()[a].healthy for a in others} == {True}
            assert not prober.verdicts()[broken].by_node
            restore_hearing(node.sockets[3])
            await eventually(lambda: prober.verdicts()[broken].healthy is True, "it is back")


async def test_a_clients_failure_is_looked_into_at_once() -> None:
    with contextlib.ExitStack() as stack:
        node = Node(stack, "127.0.0.45", 4)
        slow = tuple(replace(t, turn_seconds=3600.0) for t in targets(node))
        with probing(*slow) as prober:
            await eventually(lambda: healths(prober, node) == {True}, "all are up")
            node.go_silent()
            prober.report(node.addresses[0], Cause.TIMEOUT)
            await eventually(lambda: healths(prober, node) == {False}, "the node is down")


async def test_a_service_that_comes_to_a_node_that_is_down_is_down() -> None:
    with contextlib.ExitStack() as stack:
        node = Node(stack, "127.0.0.46", 4)
        wanted = targets(node)
        with probing(*wanted) as prober:
            await eventually(lambda: healths(prober, node) == {True}, "all are up")
            node.go_silent()
            await eventually(lambda: healths(prober, node) == {False}, "all are down")
            late = stack.enter_context(refusing("127.0.0.46"))
            prober.retarget((*wanted, ProbeTarget(address=late, health=HEALTH, turn_seconds=0.2)))
            assert prober.verdicts()[late].healthy is False
            node.recover()
            await eventually(lambda: healths(prober, node) == {True}, "all are back")
            await eventually(
                lambda: not prober.verdicts()[late].by_node, "it stands for itself again"
            )


async def test_sharing_begins_and_ends_without_a_gap() -> None:
    with contextlib.ExitStack() as stack:
        node = Node(stack, "127.0.0.47", 5)
        shared = targets(node)
        alone = tuple(replace(t, turn_seconds=0.0) for t in shared)
        with probing(*alone) as prober:
            await eventually(lambda: healths(prober, node) == {True}, "all are up")
            for wanted in (shared, alone, shared, alone):
                prober.retarget(wanted)
                before = sum(prober.probing().ended.values())
                await eventually(
                    lambda before=before: sum(prober.probing().ended.values()) > before + 5,  # type: ignore[misc]
                    "probes go on",
                )
                assert healths(prober, node) == {True}
            prober.retarget(shared)
            prober.retarget(())
            assert prober.verdicts() == {}
            assert prober.probing().streams == 0


async def test_every_refusing_service_takes_the_node_down() -> None:
    with contextlib.ExitStack() as stack:
        node = Node(stack, "127.0.0.48", 8)
        with probing(*targets(node)) as prober:
            await eventually(lambda: healths(prober, node) == {True}, "all are up")
            for sock in node.sockets:
                sock.close()
            await eventually(lambda: healths(prober, node) == {False}, "all are down")
            causes = {prober.verdicts()[Address(*a)].cause for a in node.addresses}
            assert causes == {Cause.REFUSED}
