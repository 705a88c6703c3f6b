"""The real kubectl, run against an API server of the lab's.

`kubectl` is the fixture: a function that runs it with a kubeconfig of its own and returns what it
printed. `NPLB_TEST_KUBECTL` names another binary than the one on PATH.
"""

import asyncio
import base64
import json
import os
import shutil
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from nplb.lab.api.server import ApiServer
from tests.support.api import make_api

SECONDS = 30


@dataclass(frozen=True, slots=True)
class Ran:
    """What a run printed, and how it ended."""

    code: int
    out: str
    err: str


class Kubectl:
    """Runs kubectl against one API server."""

    def __init__(self, binary: str, api: ApiServer, home: Path) -> None:
        self.binary = binary
        self.api = api
        self.home = home

    async def run(self, *arguments: str, stdin: str = "") -> Ran:
        """One run, whatever it comes to."""
        process = await self.start(*arguments)
        async with asyncio.timeout(SECONDS):
            out, err = await process.communicate(stdin.encode())
        assert process.returncode is not None
        return Ran(process.returncode, out.decode(), err.decode())

    async def __call__(self, *arguments: str, stdin: str = "") -> str:
        """One run that succeeds. Returns what it printed."""
        ran = await self.run(*arguments, stdin=stdin)
        assert ran.code == 0, f"kubectl {' '.join(arguments)}: {ran.err}"
        return ran.out

    async def refused(self, *arguments: str, stdin: str = "") -> str:
        """One run that fails. Returns its complaint."""
        ran = await self.run(*arguments, stdin=stdin)
        assert ran.code != 0, f"kubectl {' '.join(arguments)} succeeded: {ran.out}"
        return ran.err.strip()

    async def start(self, *arguments: str) -> asyncio.subprocess.Process:
        """Start one run. The caller ends it."""
        environment = {
            "HOME": str(self.home),
            "PATH": os.environ.get("PATH", ""),
            "KUBECONFIG": str(self.home / "config"),
            "EDITOR": str(self.home / "editor"),
        }
        return await asyncio.create_subprocess_exec(
            self.binary,
            *arguments,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=environment,
            cwd=self.home,
        )

    def write_kubeconfig(self, token: str) -> None:
        """Let the runs after this use another token."""
        ca = base64.b64encode(self.api.ca_pem.encode()).decode()
        cluster = {"server": self.api.url, "certificate-authority-data": ca}
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "lab", "cluster": cluster}],
            "users": [{"name": "lab", "user": {"token": token}}],
            "contexts": [{"name": "lab", "context": {"cluster": "lab", "user": "lab"}}],
            "current-context": "lab",
        }
        (self.home / "config").write_text(json.dumps(config))


@pytest.fixture
async def kubectl(tmp_path: Path) -> AsyncIterator[Kubectl]:
    """kubectl against an API server of its own."""
    binary = os.environ.get("NPLB_TEST_KUBECTL") or shutil.which("kubectl")
    if binary is None:
        pytest.skip("there is no kubectl here: install Debian's kubernetes-client, or any other")
    api = make_api(tls=True)
    await api.start()
    runner = Kubectl(binary, api, tmp_path)
    runner.write_kubeconfig(api.token)
    yield runner
    await api.stop()
