"""`nplb run` through crashes and upgrades of its own, in front of a lab: clients notice nothing."""

import asyncio
import os
import re
import signal
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from nplb.lab.cluster import Lab
from tests.support.clients import Crowd
from tests.support.edge import STARTED_SECONDS, Edge, ask, children, is_running, of_lab
from tests.support.eventually import eventually
from tests.support.labmanifests import service

pytestmark = pytest.mark.timeout(120)


def accepted(text: str) -> int:
    """How many clients all frontends have taken, by the metrics page."""
    found = re.findall(
        r"^nplb_frontend_connections_accepted_total\{.*\} (\S+)$", text, re.MULTILINE
    )
    return int(sum(float(number) for number in found))


def since_by_node(status: dict[str, Any]) -> dict[str, float]:
    return {
        f"{f['key']['service']['name']} {b['key']['node']}": b["since"]
        for f in status["plan"]["frontends"]
        for b in f["backends"]
    }


def worker_pids(status: dict[str, Any]) -> list[int]:
    return [worker["pid"] for worker in status["traffic"]["workers"]]


async def handed_on(edge: Edge) -> None:
    """Wait until the workers keep what the next control is to go on from: that is written once a
    second."""

    def is_kept(status: dict[str, Any]) -> bool:
        pid = worker_pids(status)[0]
        history, plan = kept(pid, "history"), kept(pid, "plan")
        return history.count('"healthy":true') == 4 and plan.count('"state":"active"') == 4

    await edge.until(is_kept, "the state to be kept")


def kept(pid: int, name: str) -> str:
    """What a process holds in memory under this name."""
    for link in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(OSError):
            if str(link.readlink()).startswith(f"/memfd:nplb-{name} "):
                return link.read_text()
    return ""


async def test_control_is_killed_and_the_next_one_goes_on(edge: Edge, lab: Lab) -> None:
    await edge.begin(of_lab(lab))
    async with Crowd(edge) as crowd:
        await handed_on(edge)
        for _ in range(2):
            before = await edge.status()
            counted = accepted((await edge.get("/metrics"))[1])
            await edge.killed()
            asked = crowd.asked
            while crowd.asked < asked + 20:  # noqa: ASYNC110 -- nobody is in control
                await asyncio.sleep(0.02)
            assert await crowd.old_connections_live()
            await edge.start()
            await edge.ready()
            after = await edge.status()
            assert worker_pids(after) == worker_pids(before)
            assert since_by_node(after) == since_by_node(before)
            assert accepted((await edge.get("/metrics"))[1]) >= counted + 20
            assert await crowd.old_connections_live()
            kinds = [d["kind"] for d in after["decisions"]]
            assert kinds.count("started") >= 2, "the journal goes on"
            assert kinds.count("frontend_added") == 2
    assert crowd.failed == []


async def test_an_upgrade_goes_unnoticed(edge: Edge, lab: Lab) -> None:
    await edge.begin(of_lab(lab))
    gaps: list[str] = []
    stop = asyncio.Event()

    async def watch_the_admin_port() -> None:
        while not stop.is_set():
            code, text = await edge.get("/readyz")
            if code != 200:
                gaps.append(f"{code}: {text}")
            await asyncio.sleep(0.01)

    watching = asyncio.create_task(watch_the_admin_port())  # noqa: TID251
    async with Crowd(edge) as crowd:
        for _ in range(2):
            before = await edge.status()
            counted = accepted((await edge.get("/metrics"))[1])
            await edge.upgraded()
            await edge.ready()
            after = await edge.status()
            assert not set(worker_pids(after)) & set(worker_pids(before))
            assert since_by_node(after) == since_by_node(before)
            assert accepted((await edge.get("/metrics"))[1]) >= counted
            assert await crowd.old_connections_live()
    stop.set()
    await watching
    assert crowd.failed == []
    assert gaps == [], "the admin port answers all the time"
    # The old workers end with their last connection.
    old = [pid for pid in worker_pids(before) if pid not in worker_pids(after)]
    await eventually(
        lambda: not any(is_running(pid) for pid in old), "old workers go", STARTED_SECONDS
    )
    edge.signal(signal.SIGTERM)
    await eventually(lambda: not is_running(edge.pid), "the successor stops", STARTED_SECONDS)


async def test_an_upgrade_that_fails_changes_nothing(edge: Edge, lab: Lab) -> None:
    await edge.begin(of_lab(lab))
    pid, before = edge.pid, await edge.status()
    good = edge.config_path.read_text()
    async with Crowd(edge) as crowd:
        edge.config_path.write_text(good + "balanse: best\n")
        edge.signal(signal.SIGUSR2)
        await edge.until(lambda s: s["reload"]["upgrade_error"], "the upgrade to fail")
        assert edge.pid == pid
        error = (await edge.status())["reload"]["upgrade_error"]
        assert "exit code 78" in error
        assert "balanse" in edge.log()
        code, text = await edge.get("/readyz?verbose")
        assert code == 200
        assert "exit code 78" in text
        assert "nplb_upgrades_failed_total 1.0" in (await edge.get("/metrics"))[1]
        edge.config_path.write_text(good)

        # One that is killed when it has workers already.
        successor = await successor_of(edge, working=True)
        os.kill(successor, signal.SIGKILL)
        await edge.until(lambda s: s["reload"]["upgrades_failed"] == 2, "the second to fail")
        assert edge.pid == pid
        assert worker_pids(await edge.status()) == worker_pids(before)
        assert await crowd.old_connections_live()
        await lab.apply(service("late", node_port=30081))
        await edge.serves("late")

        await edge.upgraded()
        await edge.ready()
        assert (await edge.status())["reload"]["upgrade_error"] == ""
        assert "service late" in await ask(edge.ip, 30081)
        assert await crowd.old_connections_live()
    assert crowd.failed == []


async def test_told_to_stop_in_the_middle_of_an_upgrade_it_stops(edge: Edge, lab: Lab) -> None:
    await edge.begin(of_lab(lab), shutdown="{drain: 1s}")
    pid = edge.pid
    successor = await successor_of(edge)
    os.kill(pid, signal.SIGTERM)
    assert await edge.ended() == 0
    await eventually(
        lambda: not is_running(successor) and not list(edge.runtime.glob("worker-*.sock")),
        "nothing is left behind",
        STARTED_SECONDS,
    )
    assert "Traceback" not in edge.log()
    with pytest.raises(ConnectionRefusedError):
        await ask(edge.ip, 30080)


async def successor_of(edge: Edge, *, working: bool = False) -> int:
    """Ask for an upgrade, and wait for the process that is to take over; if `working`, until it has
    workers."""
    known = set(worker_pids(await edge.status()))
    found: list[int] = []

    def is_there() -> bool:
        found[:] = [
            child
            for child in children(edge.pid)
            if child not in known and (children(child) or not working)
        ]
        return bool(found)

    edge.signal(signal.SIGUSR2)
    await eventually(is_there, "a successor", STARTED_SECONDS)
    return found[0]


async def test_a_second_nplb_with_the_same_runtime_directory_is_refused(
    edge: Edge, lab: Lab
) -> None:
    await edge.begin(of_lab(lab))
    first = edge.process
    await edge.start()
    assert await edge.ended() == 1
    assert f"another nplb (pid {edge.pid}) runs" in edge.log()
    edge.process = first
    await edge.ready()


async def test_control_comes_back_while_the_api_is_away(edge: Edge, lab: Lab) -> None:
    await edge.begin(of_lab(lab))
    await handed_on(edge)
    lab.faults.apply("api", "restart=1h")
    await edge.killed()
    await edge.start()
    await edge.ready()
    # It plans with the last known state: a node that fails now is found and left out.
    lab.faults.apply("node-1", "refuse")
    await edge.until(
        lambda s: (
            [
                b["state"]
                for f in s["plan"]["frontends"]
                for b in f["backends"]
                if b["key"]["node"] == "node-1"
            ]
            == ["down", "down"]
        ),
        "the node to be out",
    )
    for _ in range(5):
        assert "service web" in await ask(edge.ip, 30080)
