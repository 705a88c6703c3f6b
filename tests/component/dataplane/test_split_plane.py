"""Frontends on both planes in one edge, and moving between them under a client's eyes."""

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Self

import pytest

from nplb.dataplane.kernel import netlink
from nplb.dataplane.kernel.nft import Nft
from nplb.dataplane.kernel.plane import KernelPlane, delete_table, left_behind
from nplb.dataplane.relay.plane import RelayPlane
from nplb.dataplane.relay.runtime import RuntimeDirectory
from nplb.dataplane.split import SplitPlane
from nplb.model.kernel import KernelOptions, PlaneKind
from nplb.model.keys import Address
from nplb.model.plan import Frontend
from tests.support.eventually import eventually
from tests.support.fastpath import flows, pins_removed
from tests.support.fastpath import frontends as fast_frontends
from tests.support.kernelplans import a_frontend, a_plan
from tests.support.netns import (
    Greeter,
    Site,
    dial,
    greet,
    greeting,
    requires_namespaces,
    site,
)

pytestmark = requires_namespaces

EDGE = Address("10.71.0.1", 443)


@pytest.fixture(scope="module")
def world() -> Iterator[Site]:
    with site() as here, pins_removed(here.edge), contextlib.ExitStack() as greeters:
        for port in (30080, 30081):
            for node, name in zip(here.nodes, ("one", "two"), strict=True):
                greeters.enter_context(Greeter(node, port, name))
        yield here


@pytest.fixture
async def plane(world: Site) -> AsyncIterator[SplitPlane]:
    with world.edge.entered():
        relay = RelayPlane(workers=1)
        relay.start_workers()
        await relay.start()
        plane = SplitPlane(relay, KernelPlane, left_behind)
        yield plane
        await plane.stop()
        await relay.stop()
        await delete_table(Nft())


def on(kind: PlaneKind, frontend: Frontend | None = None) -> Frontend:
    return replace(frontend or a_frontend(), plane=kind)


def listens_on(port: int) -> bool:
    """Whether any TCP socket listens on a port in the calling thread's namespace."""
    lines = Path("/proc/thread-self/net/tcp").read_text().splitlines()[1:]
    sockets = [line.split() for line in lines]
    return any(int(s[1].rpartition(":")[2], 16) == port and s[3] == "0A" for s in sockets)


async def test_a_frontend_moves_to_the_kernel_and_back_and_its_connections_stay(
    world: Site, plane: SplitPlane
) -> None:
    other = on(PlaneKind.RELAY, a_frontend("other", edge_port=444))
    failures: list[BaseException] = []
    served = 0
    stop = asyncio.Event()

    def knock() -> None:
        greet(world.client, EDGE)

    async def keep_knocking() -> None:
        nonlocal served
        while not stop.is_set():
            try:
                await asyncio.to_thread(knock)
                served += 1
            except OSError as error:
                failures.append(error)

    async def more_served(count: int) -> None:
        enough = served + count
        await eventually(lambda: served >= enough or failures, "served")

    await plane.apply(a_plan(on(PlaneKind.RELAY), other))
    socks = []
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(keep_knocking(), name="knock")
        for kind in (PlaneKind.KERNEL, PlaneKind.RELAY, PlaneKind.KERNEL, PlaneKind.RELAY):
            sock = await asyncio.to_thread(dial, world.client, EDGE)
            greeting(sock)
            socks.append(sock)
            applied = await plane.apply(a_plan(on(kind), other))
            assert not applied.listen_errors
            await more_served(5)
        stop.set()
    assert not failures
    with world.edge.entered():
        assert listens_on(443)
    applied = await plane.apply(a_plan(on(PlaneKind.KERNEL), other))
    while applied.retry_seconds is not None:  # the listener stays a moment longer, and goes
        await asyncio.sleep(applied.retry_seconds)
        applied = await plane.apply(a_plan(on(PlaneKind.KERNEL), other))
    with world.edge.entered():
        await eventually(lambda: not listens_on(443), "the relay's listener is closed")
    assert (await asyncio.to_thread(greet, world.client, EDGE))[0]
    for sock in socks:
        with sock:
            sock.sendall(b"still here")
            assert sock.recv(64) == b"still here"
    assert (await asyncio.to_thread(greet, world.client, Address("10.71.0.1", 444)))[0]


async def test_a_node_ends_a_connection_that_is_older_than_the_rules(
    world: Site, plane: SplitPlane
) -> None:
    """Connection tracking begins with the rules: the first that it sees of the connection is its
    end, and it finds that invalid."""
    frontend = a_frontend(ips=("10.72.1.2",), node_port=30082)
    with world.nodes[0].entered():
        server = socket.create_server(("", 30082))
    with server:
        await plane.apply(a_plan(on(PlaneKind.RELAY, frontend)))
        with await asyncio.to_thread(dial, world.client, EDGE) as client:
            node = (await asyncio.to_thread(server.accept))[0]
            await plane.apply(a_plan(on(PlaneKind.KERNEL, frontend)))
            node.close()
            assert client.recv(1) == b""


async def test_the_next_process_moves_what_workers_serve_on_to_the_kernel_without_a_gap(
    world: Site, tmp_path: Path
) -> None:
    failures: list[OSError] = []
    stop = asyncio.Event()

    async def keep_knocking() -> None:
        while not stop.is_set():
            try:
                await asyncio.to_thread(greet, world.client, EDGE)
            except OSError as error:
                failures.append(error)

    runtime = RuntimeDirectory(tmp_path / "run")
    with world.edge.entered():
        first = RelayPlane(workers=1, runtime=runtime)
        await first.start()
        await SplitPlane(first, KernelPlane, left_behind).apply(a_plan(on(PlaneKind.RELAY)))
        second = RelayPlane(workers=1, runtime=runtime)
        plane = SplitPlane(second, KernelPlane, left_behind)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(keep_knocking(), name="knock")
            await first.let_go()
            await second.start()
            applied = await plane.apply(a_plan(on(PlaneKind.KERNEL)))
            assert not applied.listen_errors
            while applied.retry_seconds is not None:
                await asyncio.sleep(applied.retry_seconds)
                applied = await plane.apply(a_plan(on(PlaneKind.KERNEL)))
            await eventually(lambda: not listens_on(443), "the relay's listener is closed")
            assert (await asyncio.to_thread(greet, world.client, EDGE))[0]
            stop.set()
        await plane.stop()
        await second.stop()
        await delete_table(Nft())
        runtime.close()
    assert failures == []


@pytest.mark.parametrize("fast", [False, True], ids=["table", "fast-path-alone"])
async def test_rules_that_were_left_behind_do_not_go_before_the_relay(
    world: Site, plane: SplitPlane, fast: bool
) -> None:
    """nplb ran with the kernel plane, stopped, and starts again with the relay. Meanwhile somebody
    may have deleted the table, and left the fast path."""
    before = KernelPlane()
    await before.apply(a_plan(a_frontend(ips=("10.72.1.2",), kernel=KernelOptions(fast_path=fast))))
    await before.stop()
    if fast:
        world.edge.run("nft", "flush", "ruleset")
    assert (await asyncio.to_thread(greet, world.client, EDGE))[0] == "one"
    await plane.apply(a_plan(on(PlaneKind.RELAY, a_frontend(ips=("10.72.2.2",)))))
    assert (await asyncio.to_thread(greet, world.client, EDGE))[0] == "two"


async def test_without_the_right_the_relay_serves_on(world: Site, plane: SplitPlane) -> None:
    world.edge.sysctl("net.ipv4.ip_forward", "0")
    try:
        applied = await plane.apply(
            a_plan(on(PlaneKind.KERNEL), on(PlaneKind.RELAY, a_frontend("other", edge_port=444)))
        )
        (error,) = applied.listen_errors[a_frontend().key]
        assert "net.ipv4.ip_forward=1" in error.detail
        assert (await asyncio.to_thread(greet, world.client, Address("10.71.0.1", 444)))[0]
    finally:
        world.edge.sysctl("net.ipv4.ip_forward", "1")


CONFIG = """\
clusters:
  - name: lab
    manifests: ["{manifests}"]
listen: {{addresses: "10.71.0.1"}}
plane: kernel
kernel: {{fast_path: {fast_path}}}
health: {{interval: 300ms, timeout: 200ms}}
admin: {{listen: off}}
workers: 1
runtime_dir: run
orphan_timeout: 10s
"""
MANIFESTS = """\
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec: {type: NodePort, ports: [{port: 80, nodePort: 30080}]}
---
apiVersion: v1
kind: Service
metadata: {name: basket, namespace: shop}
spec: {type: NodePort, sessionAffinity: ClientIP, ports: [{port: 81, nodePort: 30081}]}
---
apiVersion: v1
kind: Node
metadata: {name: one}
status: {addresses: [{type: InternalIP, address: 10.72.1.2}]}
---
apiVersion: v1
kind: Node
metadata: {name: two}
status: {addresses: [{type: InternalIP, address: 10.72.2.2}]}
"""


def configured(folder: Path, *, fast_path: bool = False) -> Path:
    """A configuration with the manifests it names."""
    manifests = folder / "cluster.yaml"
    manifests.write_text(MANIFESTS)
    config = folder / "nplb.yaml"
    config.write_text(CONFIG.format(manifests=manifests, fast_path=str(fast_path).lower()))
    return config


def start(world: Site, config: Path) -> "subprocess.Popen[bytes]":
    command = [sys.executable, "-m", "nplb", "run", "-c", str(config)]
    # Not by `ip netns exec`, which hides the BPF file system.
    with world.edge.entered(), config.with_suffix(".log").open("ab") as log:
        return subprocess.Popen(command, stderr=log)


def wait_for_service(world: Site, log: Path, seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while True:
        try:
            greet(world.client, Address("10.71.0.1", 30080))
        except OSError:
            assert time.monotonic() < deadline, f"never served: {log.read_text()}"
            time.sleep(0.1)
        else:
            return


def rules_generation(world: Site) -> int:
    with world.edge.entered():
        return netlink.generation()


class Load:
    """Clients that never rest: for each frontend, one connects again and again, and one talks on
    one connection. `failures` holds what any of them met, `served` how often they were answered."""

    def __init__(self, world: Site, *frontends: Address) -> None:
        self.failures: list[BaseException] = []
        self.served = 0
        self._world = world
        self._stop = threading.Event()
        jobs = [(job, to) for job in (self._connect, self._talk) for to in frontends]
        self._threads = [threading.Thread(target=self._run, args=each) for each in jobs]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(30)

    def more(self, count: int) -> None:
        """Wait until so many more were answered."""
        enough, deadline = self.served + count, time.monotonic() + 30
        while self.served < enough and not self.failures:
            assert time.monotonic() < deadline, "clients are not answered"
            time.sleep(0.01)
        assert not self.failures, self.failures

    def _run(self, job: Callable[[Address], None], to: Address) -> None:
        try:
            job(to)
        except BaseException as error:
            self.failures.append(error)

    def _connect(self, to: Address) -> None:
        while not self._stop.is_set():
            greet(self._world.client, to)
            self.served += 1
            time.sleep(0.002)

    def _talk(self, to: Address) -> None:
        with dial(self._world.client, to) as sock:
            greeting(sock)
            while not self._stop.is_set():
                sock.sendall(b"still here")
                assert sock.recv(64) == b"still here"
                self.served += 1
                time.sleep(0.002)


@pytest.mark.timeout(180)
def test_killed_restarted_and_upgraded_under_load_no_client_notices(
    world: Site, tmp_path: Path
) -> None:
    """One of the two frontends is on the fast path, the other on the table."""
    config = configured(tmp_path, fast_path=True)
    log = config.with_suffix(".log")
    running = start(world, config)
    try:
        wait_for_service(world, log)
        fast, by_table = (Address("10.71.0.1", port) for port in (30080, 30081))
        with Load(world, fast, by_table) as load:
            load.more(50)
            deadline = time.monotonic() + 30  # the table serves before the fast path does
            while set(fast_frontends(world.edge)) != {fast}:
                assert time.monotonic() < deadline, log.read_text()
                time.sleep(0.02)
            load.more(50)
            for _ in range(2):
                running.send_signal(signal.SIGKILL)
                running.wait(10)
                load.more(50)
                before = rules_generation(world)
                running = start(world, config)
                deadline = time.monotonic() + 60
                while rules_generation(world) == before:  # it takes the table over by rewriting it
                    assert time.monotonic() < deadline, log.read_text()
                    time.sleep(0.02)
                load.more(50)
                time.sleep(1.5)  # its first probes have come and gone
                load.more(50)
            running.send_signal(signal.SIGUSR2)
            running.wait(60)
            successor = int((tmp_path / "run/control.lock").read_text())
            assert successor != running.pid
            load.more(50)
            os.kill(successor, signal.SIGTERM)
            deadline = time.monotonic() + 60
            while Path(f"/proc/{successor}").exists():
                assert time.monotonic() < deadline, log.read_text()
                time.sleep(0.02)
            load.more(50)  # it stopped, and the kernel serves on
            with dial(world.client, fast) as sock:  # others have ended, and may be forgotten
                greeting(sock)
                assert flows(world.edge) >= 1
        assert not load.failures
        flush = [sys.executable, "-m", "nplb", "run", "--flush"]
        with world.edge.entered():
            flushed = subprocess.check_output(flush, text=True)
        assert "deleted" in flushed
        assert world.edge.run("nft", "list", "ruleset") == ""
    finally:
        running.kill()
        running.wait(10)


def test_an_edge_that_forwards_nothing_ends_the_start_with_77(world: Site, tmp_path: Path) -> None:
    config = configured(tmp_path)
    world.edge.sysctl("net.ipv4.ip_forward", "0")
    try:
        running = start(world, config)
        assert running.wait(60) == 77
        log = config.with_suffix(".log").read_text()
        assert "net.ipv4.ip_forward=1" in log
        assert "did not stop" not in log  # its workers had not been heard yet
        command = (sys.executable, "-m", "nplb", "check", str(config))
        checked = subprocess.run(
            ["ip", "netns", "exec", world.edge.name, *command],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert checked.returncode == 77
        assert "net.ipv4.ip_forward=1" in checked.stdout
    finally:
        world.edge.sysctl("net.ipv4.ip_forward", "1")


@pytest.mark.timeout(120)
def test_what_a_change_leaves_is_nothing_and_sysctls_are_left_alone(
    world: Site, tmp_path: Path
) -> None:
    def sysctls() -> list[str]:
        said = world.edge.run("sysctl", "-a", check=False).splitlines()
        return [line for line in said if line.startswith("net.") and not _moves(line)]

    before = sysctls()
    config = configured(tmp_path)
    running = start(world, config)
    try:
        wait_for_service(world, config.with_suffix(".log"))
        assert "inet nplb" in world.edge.run("nft", "list", "tables")
        running.terminate()
        running.wait(20)
        deleted = world.edge.run(sys.executable, "-m", "nplb", "rules", "--delete")
        assert "deleted the table inet nplb" in deleted
        assert "nothing to delete" in world.edge.run(sys.executable, "-m", "nplb", "run", "--flush")
        assert world.edge.run("nft", "list", "ruleset") == ""
        assert sysctls() == before
    finally:
        running.kill()
        running.wait(10)


def _moves(line: str) -> bool:
    """Sysctls that count by themselves, or that connection tracking brings with it."""
    return "conntrack" in line or "netfilter" in line or "random" in line
