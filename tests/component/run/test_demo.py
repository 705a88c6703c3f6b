"""The demo: the scripted one ends well, the other one shows what it says."""

import asyncio
import re
import signal
import sys
from pathlib import Path

import pytest

from tests.support.lab import Networks


async def demo(*options: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "nplb",
        "demo",
        *options,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )


@pytest.mark.slow
@pytest.mark.timeout(200)
async def test_clients_never_notice_a_node_die(tmp_path: Path, networks: Networks) -> None:
    process = await demo("--check", "--directory", str(tmp_path), "--network", networks.nodes)
    out, _ = await process.communicate()
    text = out.decode()
    assert process.returncode == 0, text
    last = text.strip().splitlines()[-1]
    counted = re.match(r"demo: (\d+) requests, 0 failed, \d+ ended with the node", last)
    assert counted is not None, text
    assert int(counted.group(1)) > 1000


async def test_a_newcomer_is_told_what_runs_where(tmp_path: Path, networks: Networks) -> None:
    process = await demo(
        "--directory", str(tmp_path), "--network", networks.nodes, "--admin-port", "0"
    )
    assert process.stdout is not None
    text = ""
    async with asyncio.timeout(50):
        while "Ctrl-C" not in text:
            line = await process.stdout.readline()
            assert line, text
            text += line.decode()
    assert f"node-1 {networks.node(1)}" in text
    assert "kubectl get services" in text
    process.send_signal(signal.SIGINT)
    out, _ = await process.communicate()
    assert process.returncode == 0, out
    assert out.decode().strip().splitlines()[-1].startswith("demo: ")
