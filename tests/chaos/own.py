"""Faults of nplb's own processes and of what the machine gives them: clients notice nothing."""

import asyncio
import os
import resource
import signal
import socket
import struct
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from nplb.demo.conditions import Check
from nplb.model.errors import NplbError
from nplb.model.keys import Address
from tests.chaos.catalogue import fault
from tests.chaos.scene import Scene

RELOADS = 5
PAUSE_SECONDS = 2.0
SCARCE_SECONDS = 3.0
CROWD = 4000
RESET_ON_CLOSE = struct.pack("ii", 1, 0)


@fault("nplb: the configuration is reloaded five times")
async def reloads(scene: Scene) -> None:
    count = (await scene.stage.balancer.status())["reload"]["count"]
    for number in range(1, RELOADS + 1):
        balance = ("round_robin", "maglev", "least_connections")[number % 3]
        scene.stage.write_configuration(balance=balance)
        scene.stage.balancer.reload()
        await scene.until(_reloaded(count + number), "the reload")
    scene.stage.write_configuration()
    scene.stage.balancer.reload()
    await scene.until(_reloaded(count + RELOADS + 1), "the last reload")


@fault("nplb: workers join and leave")
async def resized(scene: Scene) -> None:
    for count in (4, 1, 2):
        scene.stage.write_configuration(workers=count)
        scene.stage.balancer.reload()
        await scene.until(_has_workers(count), f"{count} workers")
        await scene.hold(0.5)


@fault("nplb: it is upgraded in place")
async def upgrade(scene: Scene) -> None:
    accepted = await _accepted(scene)
    begun = time.monotonic()
    await scene.stage.balancer.upgrade()
    scene.note("upgraded", time.monotonic() - begun)
    await scene.until(lambda status: status["is_ready"], "the successor to be ready")
    if await _accepted(scene) < accepted:
        scene.record.broken.append("the counters went back")


@fault("nplb: an upgrade fails, and the old one goes on")
async def failed_upgrade(scene: Scene) -> None:
    balancer = scene.stage.balancer
    before = (await balancer.status())["reload"]["upgrades_failed"]
    pid = balancer.pid
    scene.stage.write_configuration(extra="balanse: best\n")
    try:
        os.kill(pid, signal.SIGUSR2)
        await scene.until(
            lambda status: status["reload"]["upgrades_failed"] > before, "the failure to be told"
        )
    finally:
        scene.stage.write_configuration()
    if balancer.pid != pid:
        scene.record.broken.append("another process is in control")


@fault("nplb: control is killed, and started again")
async def control_dies(scene: Scene) -> None:
    accepted = await _accepted(scene)
    await scene.stage.balancer.kill()
    await scene.hold(0.5)
    begun = time.monotonic()
    await scene.stage.balancer.start()
    scene.note("ready again", time.monotonic() - begun)
    if await _accepted(scene) < accepted:
        scene.record.broken.append("the counters went back")


@fault("nplb: a worker is killed")
async def worker_dies(scene: Scene) -> None:
    status = await scene.stage.balancer.status()
    workers = status["traffic"]["workers"]
    worker = workers[scene.stage.traffic.tally.requests % len(workers)]
    restarts = sum(w["restarts"] for w in workers)
    scene.cut()
    os.kill(worker["pid"], signal.SIGKILL)
    took = await scene.until(
        lambda s: (
            sum(w["restarts"] for w in s["traffic"]["workers"]) > restarts
            and all(w["alive"] for w in s["traffic"]["workers"])
        ),
        "the worker to be replaced",
    )
    scene.bound("replaced", took, 1.0)


@fault("nplb: control stands still for two seconds")
async def control_pauses(scene: Scene) -> None:
    await _pause(scene, scene.stage.balancer.pid)


@fault("nplb: a worker stands still for two seconds")
async def worker_pauses(scene: Scene) -> None:
    status = await scene.stage.balancer.status()
    await _pause(scene, status["traffic"]["workers"][0]["pid"])


@fault("nplb: the workers run out of descriptors")
async def workers_without_descriptors(scene: Scene) -> None:
    status = await scene.stage.balancer.status()
    with _limited([w["pid"] for w in status["traffic"]["workers"]], resource.RLIMIT_NOFILE):
        await scene.hold(SCARCE_SECONDS)


@fault("nplb: the workers run out of memory")
async def workers_without_memory(scene: Scene) -> None:
    workers = (await scene.stage.balancer.status())["traffic"]["workers"]
    told = scene.stage.balancer.log_path.stat().st_size
    address = scene.stage.edge_address("default/echo")
    with ExitStack() as crowd, _limited([w["pid"] for w in workers], resource.RLIMIT_AS):
        # A connection for which there is no memory is ended, and it may be any.
        for _ in range(CROWD):
            scene.cut(2 * SCARCE_SECONDS)
            await asyncio.to_thread(_join, crowd, address)
            if b"out of memory" in _logged_after(scene, told):
                break
        else:
            what = f"there was memory for {CROWD} connections more, or the log does not say so"
            scene.record.broken.append(what)
        await scene.hold(1.0)
        crowd.close()
        await scene.hold(SCARCE_SECONDS)


@fault("nplb: control runs out of descriptors")
async def control_without_descriptors(scene: Scene) -> None:
    with _limited([scene.stage.balancer.pid], resource.RLIMIT_NOFILE):
        await scene.hold(SCARCE_SECONDS)
    await scene.sees_changes()


@fault("nplb: control can't write a byte to a file")
async def disk_full(scene: Scene) -> None:
    with _limited([scene.stage.balancer.pid], resource.RLIMIT_FSIZE):
        scene.stage.balancer.reload()
        await scene.hold(SCARCE_SECONDS)
    await scene.sees_changes()


async def _pause(scene: Scene, pid: int) -> None:
    os.kill(pid, signal.SIGSTOP)
    try:
        await scene.hold(PAUSE_SECONDS)
    finally:
        os.kill(pid, signal.SIGCONT)


def _join(crowd: ExitStack, address: Address) -> None:
    """One more client that says nothing."""
    with suppress(ConnectionError):
        sock = crowd.enter_context(socket.create_connection(address))
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)


def _logged_after(scene: Scene, told: int) -> bytes:
    with scene.stage.balancer.log_path.open("rb") as log:
        log.seek(told)
        return log.read()


def _in_use(pid: int, limit: int) -> int:
    """How much of what a limit is about a process has."""
    if limit == resource.RLIMIT_NOFILE:
        return len(list(Path(f"/proc/{pid}/fd").iterdir()))
    if limit == resource.RLIMIT_AS:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[0]) * resource.getpagesize()
    return 0


@contextmanager
def _limited(pids: list[int], limit: int) -> Iterator[None]:
    """Give processes no more of something than they have now."""
    before = [(pid, resource.prlimit(pid, limit)) for pid in pids]
    for pid, (_, hard) in before:
        resource.prlimit(pid, limit, (_in_use(pid, limit), hard))
    try:
        yield
    finally:
        for pid, limits in before:
            try:
                resource.prlimit(pid, limit, limits)
            except ProcessLookupError:
                raise NplbError(f"process {pid} has ended for want of something") from None


async def _accepted(scene: Scene) -> int:
    status: dict[str, Any] = await scene.stage.balancer.status()
    return sum(int(f["accepted"]) for f in status["traffic"]["frontends"].values())


def _has_workers(count: int) -> Check:
    return lambda status: [w["alive"] for w in status["traffic"]["workers"]] == [True] * count


def _reloaded(count: int) -> Check:
    return lambda status: bool(status["reload"]["count"] >= count)
