"""Frontends on both planes in one edge, and moving between them under a client's eyes."""

import asyncio
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from nplb.dataplane.kernel.nft import Nft
from nplb.dataplane.kernel.plane import KernelPlane, delete_table, left_behind
from nplb.dataplane.relay.plane import RelayPlane
from nplb.dataplane.split import SplitPlane
from nplb.model.kernel import PlaneKind
from nplb.model.keys import Address
from nplb.model.plan import Frontend
from tests.support.eventually import eventually
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
    with (
        site() as here,
        Greeter(here.nodes[0], 30080, "one"),
        Greeter(here.nodes[1], 30080, "two"),
    ):
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
    for sock in socks:
        with sock:
            sock.sendall(b"still here")
            assert sock.recv(64) == b"still here"
    assert (await asyncio.to_thread(greet, world.client, Address("10.71.0.1", 444)))[0]


async def test_rules_that_were_left_behind_do_not_go_before_the_relay(
    world: Site, plane: SplitPlane
) -> None:
    """nplb ran with the kernel plane, stopped, and starts again with the relay."""
    await KernelPlane().apply(a_plan(a_frontend(ips=("10.72.1.2",))))
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
health: {{interval: 300ms, timeout: 200ms}}
admin: {{listen: off}}
workers: 1
"""
MANIFESTS = """\
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec: {type: NodePort, ports: [{port: 80, nodePort: 30080}]}
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


def start(world: Site, config: Path) -> "subprocess.Popen[bytes]":
    command = [sys.executable, "-m", "nplb", "run", "-c", str(config)]
    with config.with_suffix(".log").open("ab") as log:
        return subprocess.Popen(["ip", "netns", "exec", world.edge.name, *command], stderr=log)


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


@pytest.mark.timeout(120)
def test_killed_and_restarted_no_client_notices(world: Site, tmp_path: Path) -> None:
    (tmp_path / "cluster.yaml").write_text(MANIFESTS)
    config = tmp_path / "nplb.yaml"
    config.write_text(CONFIG.format(manifests=tmp_path / "cluster.yaml"))
    edge = Address("10.71.0.1", 30080)
    first = start(world, config)
    try:
        wait_for_service(world, config.with_suffix(".log"))
        with dial(world.client, edge) as sock:
            greeting(sock)
            first.send_signal(signal.SIGKILL)
            first.wait(10)
            for _ in range(10):
                greet(world.client, edge)
            second = start(world, config)
            try:
                deadline = time.monotonic() + 4
                while time.monotonic() < deadline:  # its whole start, the first probes included
                    greet(world.client, edge)
                    time.sleep(0.02)
                sock.sendall(b"still here")
                assert sock.recv(64) == b"still here"
            finally:
                second.terminate()
                second.wait(20)
            greet(world.client, edge)  # it stopped, and the kernel serves on
        flushed = world.edge.run(sys.executable, "-m", "nplb", "run", "--flush")
        assert "deleted" in flushed
        assert world.edge.run("nft", "list", "ruleset") == ""
    finally:
        first.kill()
        first.wait(10)
