"""A reload of `nplb run`: what it says, what it can change, what it refuses."""

import asyncio
import json
import re
import signal
import sys
from pathlib import Path

import pytest

from nplb.lab.cluster import Lab
from tests.support.clients import Crowd
from tests.support.edge import Edge, ask, hold_port, of_lab
from tests.support.lab import Networks
from tests.support.labmanifests import service

pytestmark = pytest.mark.timeout(120)


async def test_what_changes_is_logged_and_made_so_without_a_client_noticing(
    edge: Edge, lab: Lab, networks: Networks
) -> None:
    await edge.begin(of_lab(lab))
    old_admin = edge.admin
    async with Crowd(edge) as crowd:
        edge.configure(of_lab(lab), balance="maglev", workers="3", watch_config="true")
        edge.signal(signal.SIGHUP)
        await edge.until(
            lambda s: [w["alive"] for w in s["traffic"]["workers"]] == [True] * 3, "three workers"
        )
        await edge.reloaded(1)
        log = edge.log()
        assert "changed: balance: least_connections → maglev" in log
        assert "changed: workers: 2 → 3" in log

        # From now on a change of the file is enough: another admin address, fewer workers.
        edge.admin = f"{networks.node(202)}:9091"
        edge.configure(
            of_lab(lab),
            workers="1",
            watch_config="true",
            admin=f'{{listen: "{edge.admin}"}}',
        )
        await edge.until(lambda s: len(s["traffic"]["workers"]) == 1, "one worker")
        await edge.reloaded(2)
        assert f"changed: admin.listen: {old_admin} → {edge.admin}" in edge.log()
        assert await crowd.old_connections_live()
        assert (await edge.get("/readyz"))[0] == 200
    assert crowd.failed == []
    for _ in range(5):
        assert "service web" in await ask(edge.ip, 30080)


async def test_an_admin_address_that_can_not_be_had_is_refused_whole(edge: Edge, lab: Lab) -> None:
    await edge.begin(of_lab(lab))
    with hold_port(edge.ip, 9099):
        edge.configure(of_lab(lab), balance="first", admin=f'{{listen: "{edge.ip}:9099"}}')
        edge.signal(signal.SIGHUP)
        await edge.until(lambda s: s["reload"]["refused"] == 1, "the refusal")
    (error,) = (await edge.status())["reload"]["errors"]
    assert f"{edge.ip}:9099" in error
    code, text = await edge.get("/readyz?verbose")
    assert code == 200, "what runs goes on"
    assert re.search(r"\[\+\]config ok: .*9099", text)
    assert "nplb_config_last_reload_successful 0.0" in (await edge.get("/metrics"))[1]
    plan = (await edge.status())["plan"]
    assert {f["balance"] for f in plan["frontends"]} == {"least_connections"}


async def test_a_disk_that_takes_no_more_is_said_and_forgotten_when_it_does(
    edge: Edge, lab: Lab, tmp_path: Path
) -> None:
    state = tmp_path / "state"
    token = tmp_path / "token"
    token.write_text("0123456789abcdef0123456789abcdef")
    token.chmod(0o600)
    admin = f'{{listen: "{edge.admin}", token_file: "{token}"}}'
    await edge.begin(of_lab(lab), state_dir=str(state), admin=admin)
    state.mkdir(exist_ok=True)
    # A directory in the way of the file: not even root can write it.
    (state / "drains.json").unlink(missing_ok=True)
    (state / "drains.json").mkdir()
    (state / "drains.json" / "x").touch()
    done = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "nplb", "drain", "node-1", "--token-file", str(token)),
        *("--admin", f"http://{edge.admin}"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said = (await done.communicate())[0].decode()
    await edge.until(
        lambda s: [f for f in s["findings"] if f["kind"] == "not_written"], f"the finding; {said}"
    )
    assert (await edge.status())["drains"], "it holds all the same"
    (state / "drains.json" / "x").unlink()
    (state / "drains.json").rmdir()
    await lab.apply(service("late", node_port=30081))  # a pass
    await edge.until(
        lambda s: not [f for f in s["findings"] if f["kind"] == "not_written"], "it to be written"
    )
    assert "node-1" in (state / "drains.json").read_text()


async def test_a_path_that_can_not_even_be_looked_at_ends_nothing(edge: Edge, lab: Lab) -> None:
    edge.configure(of_lab(lab))
    await edge.start()
    await edge.serves("web")
    edge.configure(json.dumps([{"name": "lab", "kubernetes": {"kubeconfig": "a" * 300}}]))
    edge.signal(signal.SIGHUP)
    await edge.reloaded(1)
    assert "service web" in await ask(edge.ip, 30080)
