"""The prober against real sockets on loopback."""

import asyncio
import contextlib
import random
import resource
import signal
import socket
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from nplb.health.prober import Prober
from nplb.model.health import HealthSettings
from nplb.model.keys import Address
from nplb.model.reasons import Cause
from nplb.model.verdict import InitialState, ProbeTarget, Verdict
from tests.support.addresses import address_of, listening, refusing, silent
from tests.support.eventually import eventually


class Watch:
    """A prober, and everything it has published."""

    def __init__(self, max_in_flight: int | None = None) -> None:
        self.published: list[Mapping[Address, Verdict]] = []
        self.prober = Prober(
            publish=self.published.append,
            rng=random.Random(7),
            now=time.time,
            max_in_flight=max_in_flight,
        )

    def of(self, address: Address) -> Verdict:
        return self.prober.verdicts()[address]

    def healths(self, address: Address) -> list[bool | None]:
        """What was published of an address, without repetitions."""
        seen: list[bool | None] = []
        for verdicts in self.published:
            if address in verdicts and seen[-1:] != [verdicts[address].healthy]:
                seen.append(verdicts[address].healthy)
        return seen

    def ended(self) -> int:
        return sum(self.prober.probing().ended.values())


@contextlib.contextmanager
def probing(*targets: ProbeTarget, max_in_flight: int | None = None) -> Iterator[Watch]:
    watch = Watch(max_in_flight)
    watch.prober.retarget(targets)
    watch.prober.start()
    try:
        yield watch
    finally:
        watch.prober.stop()


def target(
    address: Address,
    *,
    interval: float = 0.05,
    timeout: float = 5.0,
    rise: int = 2,
    fall: int = 2,
    initial: InitialState = InitialState.PROBE,
) -> ProbeTarget:
    return ProbeTarget(
        address=address,
        health=HealthSettings(
            interval_seconds=interval,
            fast_seconds=interval,
            timeout_seconds=timeout,
            rise=rise,
            fall=fall,
            initial=initial,
        ),
    )


async def test_the_first_probe_decides() -> None:
    with listening() as server, refusing() as closed, silent() as dead:
        answers = address_of(server)
        targets = (
            target(answers, interval=60),
            target(closed, interval=60),
            target(dead, interval=60, timeout=0.2),
        )
        with probing(*targets) as watch:
            await eventually(lambda: watch.of(dead).healthy is False, "the silent one is down")
            assert watch.of(answers).healthy is True
            assert watch.of(answers).cause is Cause.CONNECTED
            assert watch.of(closed).healthy is False
            assert watch.of(closed).cause is Cause.REFUSED
            assert "ECONNREFUSED" in watch.of(closed).detail
            assert watch.of(dead).cause is Cause.TIMEOUT
            assert "0.2 s" in watch.of(dead).detail
            await eventually(
                lambda: bool(watch.published) and watch.published[-1][dead].healthy is False,
                "it is published",
            )


async def test_the_application_never_sees_a_probe_and_the_edge_keeps_no_time_wait() -> None:
    with listening("127.0.0.33") as server:
        where = address_of(server)
        with probing(target(where, interval=0.02)) as watch:
            await eventually(
                lambda: watch.prober.probing().ended.get(Cause.CONNECTED, 0) >= 20, "20 probes"
            )
        with pytest.raises(BlockingIOError):
            server.accept()
        lines = await asyncio.to_thread(_tcp_table)
        remote = f"2100007F:{where.port:04X}"
        assert not [line for line in lines if line.split()[2] == remote]


def _tcp_table() -> list[str]:
    return Path("/proc/net/tcp").read_text("ascii").splitlines()[1:]


async def test_a_backend_falls_and_rises() -> None:
    with refusing() as where:
        server = socket.socket()
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    server.bind((where.ip, where.port))
    server.listen()
    with probing(target(where)) as watch:
        await eventually(lambda: watch.of(where).healthy is True, "it is up")
        server.close()
        await eventually(lambda: watch.of(where).healthy is False, "it is down")
        down_since = watch.of(where).since
        with socket.create_server((where.ip, where.port)):
            await eventually(lambda: watch.of(where).healthy is True, "it is up again")
        assert watch.of(where).since >= down_since
        assert watch.healths(where)[:2] == [True, False]


async def test_what_took_a_backend_down_is_said_until_it_is_up_again() -> None:
    with refusing() as where:
        pass
    with probing(target(where, rise=1000)) as watch:
        await eventually(lambda: watch.of(where).healthy is False, "it is down")
        with socket.create_server((where.ip, where.port)):
            await eventually(lambda: watch.of(where).streak > 2, "it answers again")
            assert watch.of(where).healthy is False
            assert watch.of(where).cause is Cause.REFUSED
            assert "in a row" in watch.of(where).detail


async def test_a_backend_that_starts_down_needs_the_full_rise() -> None:
    with listening() as server:
        where = address_of(server)
        with probing(target(where, rise=3, initial=InitialState.DOWN)) as watch:
            await eventually(lambda: watch.of(where).healthy is True, "it is up")
            assert watch.ended() >= 3
            await eventually(lambda: watch.healths(where) == [False, True], "both are published")


async def test_ipv6() -> None:
    try:
        held = listening("::1")
        server = held.__enter__()
    except OSError:
        pytest.skip("this machine has no IPv6 loopback")
    where = address_of(server)
    with probing(target(where)) as watch:
        await eventually(lambda: watch.of(where).healthy is True, "it is up")
    held.__exit__(None, None, None)


async def test_nothing_is_published_while_nothing_changes() -> None:
    with listening() as server, refusing() as closed:
        targets = (target(address_of(server)), target(closed))
        with probing(*targets) as watch:
            await eventually(lambda: watch.ended() >= 20, "20 probes")
            verdict = watch.of(closed)
            assert len(watch.published) <= 2
            assert verdict.probed_at is not None
            assert verdict.since < verdict.probed_at


async def test_what_is_known_outlives_a_retarget() -> None:
    with refusing() as closed, listening() as server, silent() as dead:
        up = address_of(server)
        with probing(target(closed), target(up), target(dead, timeout=0.1)) as watch:
            await eventually(lambda: watch.of(closed).healthy is False, "it is down")
            await eventually(lambda: watch.of(up).healthy is True, "the other is up")
            since = watch.of(closed).since
            # Gone, changed and the same; the silent one goes while its probe is in flight.
            watch.prober.retarget((target(closed, interval=30, timeout=2),))
            assert set(watch.prober.verdicts()) == {closed}
            assert watch.of(closed).since == since
            assert watch.of(closed).healthy is False
            await eventually(
                lambda: [set(last) for last in watch.published[-1:]] == [{closed}],
                "the ones gone are unpublished",
            )
            await eventually(
                lambda: watch.prober.probing().in_flight == 0, "no probe of them is in flight"
            )
            # A shorter interval takes effect now, not when the long one has passed.
            before = watch.ended()
            watch.prober.retarget((target(closed, interval=0.02),))
            await eventually(lambda: watch.ended() >= before + 5, "probes at the short interval")
            # Back again, it starts anew.
            watch.prober.retarget(())
            watch.prober.retarget((target(closed),))
            assert watch.of(closed).healthy is None


async def test_a_live_failure_has_a_probe_follow_at_once() -> None:
    with refusing() as closed, socket.create_server((closed.ip, 0)) as server:
        where = address_of(server)
        with probing(target(where, interval=3600)) as watch:
            await eventually(lambda: watch.of(where).healthy is True, "it is up")
            server.close()
            for _ in range(100):
                watch.prober.report(where, Cause.REFUSED)
            assert watch.of(where).healthy is True, "live failures alone count once"
            assert watch.of(where).streak == 1
            await eventually(lambda: watch.of(where).healthy is False, "it is down")


async def test_a_live_failure_that_a_probe_does_not_confirm_is_forgotten() -> None:
    with listening() as server:
        where = address_of(server)
        with probing(target(where, interval=3600)) as watch:
            await eventually(lambda: watch.of(where).healthy is True, "it is up")
            before = watch.ended()
            watch.prober.report(where, Cause.TIMEOUT)
            assert watch.of(where).cause is Cause.TIMEOUT
            await eventually(lambda: watch.ended() == before + 1, "a probe has followed")
            assert watch.of(where).streak == 0
            assert watch.of(where).healthy is True
            assert watch.of(where).cause is Cause.CONNECTED


async def test_live_reports_that_say_nothing_new_cost_nothing() -> None:
    with listening() as server:
        where = address_of(server)
        with probing(target(where, interval=3600)) as watch:
            await eventually(lambda: watch.of(where).healthy is True, "it is up")
            verdict = watch.of(where)
            watch.prober.report(where, Cause.CONNECTED)
            watch.prober.report(where, Cause.LOCAL_ERROR)
            watch.prober.report(Address("192.0.2.1", 1), Cause.REFUSED)
            assert watch.of(where) is verdict


async def test_running_out_of_descriptors_takes_nobody_down() -> None:
    with listening() as server:
        where = address_of(server)
        with probing(target(where, interval=0.02)) as watch:
            await eventually(lambda: watch.of(where).healthy is True, "it is up")
            soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
            resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))  # those open stay open
            try:
                await eventually(
                    lambda: watch.prober.probing().ended.get(Cause.LOCAL_ERROR, 0) >= 5,
                    "probes could not be made",
                )
            finally:
                resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            assert watch.of(where).healthy is True
            connected = watch.prober.probing().ended[Cause.CONNECTED]
            await eventually(
                lambda: watch.prober.probing().ended[Cause.CONNECTED] > connected,
                "probes are made again",
            )
            assert watch.healths(where) == [True]


async def test_an_address_that_is_no_ip_is_the_edges_own_error() -> None:
    where = Address("node-1", 30080)
    with probing(target(where)) as watch:
        await eventually(lambda: watch.of(where).cause is Cause.LOCAL_ERROR, "it is said")
        assert watch.of(where).healthy is None
        assert "not an IP address" in watch.of(where).detail


async def test_a_loop_that_was_late_repeats_instead_of_judging() -> None:
    with silent() as dead, probing(target(dead, interval=0.2, timeout=0.3)) as watch:
        await eventually(lambda: watch.prober.probing().in_flight == 1, "a probe in flight")
        time.sleep(0.8)  # noqa: ASYNC251 - the blocked loop is what is tested
        await eventually(lambda: watch.prober.probing().repeated >= 1, "it is repeated")
        assert watch.of(dead).healthy is None
        # It is silent all the same, and a loop on time says so.
        await eventually(lambda: watch.of(dead).healthy is False, "it is down")


async def test_few_at_once_when_descriptors_are_few() -> None:
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(listening("0.0.0.0"))
        port = server.getsockname()[1]
        targets = [target(Address(f"127.0.7.{n}", port), interval=60) for n in range(1, 200)]
        watch = stack.enter_context(probing(*targets, max_in_flight=4))
        seen = set()

        def all_up() -> bool:
            seen.add(watch.prober.probing().in_flight)
            return all(v.healthy for v in watch.prober.verdicts().values())

        await eventually(all_up, "all are up")
        assert max(seen) <= 4


PAUSED = """
import asyncio, random, sys, time
from nplb.health.prober import Prober
from nplb.model.health import HealthSettings
from nplb.model.keys import Address
from nplb.model.verdict import ProbeTarget

async def main():
    def publish(verdicts):
        print(*(v.healthy for v in verdicts.values()), flush=True)
    prober = Prober(publish=publish, rng=random.Random(1), now=time.time)
    prober.retarget(tuple(
        ProbeTarget(address=Address("127.0.0.1", int(port)), health=HealthSettings(
            interval_seconds=0.02, timeout_seconds=0.3, rise=1, fall=1))
        for port in sys.argv[1:]))
    prober.start()
    while True:
        await asyncio.sleep(0.2)
        print("alive", sum(prober.probing().ended.values()), flush=True)

asyncio.run(main())
"""


async def test_a_paused_process_turns_nothing_down() -> None:
    with contextlib.ExitStack() as stack:
        servers = [stack.enter_context(listening()) for _ in range(5)]
        ports = [str(server.getsockname()[1]) for server in servers]
        child = await asyncio.create_subprocess_exec(
            sys.executable, "-c", PAUSED, *ports, stdout=asyncio.subprocess.PIPE
        )
        assert child.stdout is not None
        try:
            said: list[str] = []
            while not said or not said[-1].startswith("alive"):
                said.append((await child.stdout.readline()).decode())
            for _ in range(2):
                child.send_signal(signal.SIGSTOP)
                await asyncio.sleep(0.7)
                child.send_signal(signal.SIGCONT)
                said += [(await child.stdout.readline()).decode() for _ in range(3)]
        finally:
            child.kill()
            await child.wait()
        assert "False" not in "".join(said)
        assert "True" in "".join(said)


async def test_what_an_empty_service_refused_is_forgotten_when_it_has_endpoints() -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        address = address_of(server)
        empty = replace(target(address, interval=60, rise=5), expect_refusal=True)
        with probing(empty) as watch:
            await eventually(lambda: watch.of(address).healthy is False, "the refusal")
            server.listen()
            watch.prober.retarget((replace(empty, expect_refusal=False),))
            await eventually(lambda: watch.of(address).healthy is True, "the first probe")
