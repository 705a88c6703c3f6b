"""An edge for tests: `nplb run` as a process of its own, with a configuration of its own.

The edge listens on an address of its own in 127.0.0.0/8, so that tests side by side never want
the same port.
"""

import asyncio
import json
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import aiohttp

from nplb.lab.cluster import Lab
from tests.support.eventually import eventually
from tests.support.lab import Networks

STARTED_SECONDS = 60.0


class Edge:
    """One `nplb run`. `ip` is where its frontends listen."""

    def __init__(self, directory: Path, networks: Networks) -> None:
        self.ip = networks.node(200)
        self.admin = f"{networks.node(201)}:9090"
        self.config_path = directory / "nplb.yaml"
        self.log_path = directory / "nplb.log"
        self.runtime = directory / "run"
        self.process: asyncio.subprocess.Process | None = None

    @property
    def pid(self) -> int:
        """The process that is in control: the one started, or its successor."""
        with suppress(OSError, ValueError):
            pid = int((self.runtime / "control.lock").read_text())
            if is_running(pid):
                return pid
        return self.process.pid if self.process is not None else 0

    def configure(self, clusters: str, **keys: str) -> None:
        """Write the configuration: `clusters` as YAML's flow, other keys as they are."""
        lines = {
            "clusters": clusters,
            "listen": f'{{addresses: "{self.ip}", port: mirror}}',
            "health": "{interval: 200ms, timeout: 150ms, rise: 1, fall: 2}",
            "timeouts": "{connect: 500ms}",
            "workers": "2",
            "admin": f'{{listen: "{self.admin}"}}',
            "shutdown": "{drain: 5s}",
            "runtime_dir": str(self.runtime),
            "orphan_timeout": "60s",
            **keys,
        }
        text = "".join(f"{key}: {value}\n" for key, value in lines.items())
        self.config_path.write_text(text)

    async def begin(self, clusters: str, **keys: str) -> None:
        """Write the configuration, start with it, and wait until it is ready."""
        self.configure(clusters, **keys)
        await self.start()
        await self.ready()

    async def start(self, *wrapper: str) -> None:
        """Start; does not wait for anything. `wrapper` is a command that runs it."""
        with self.log_path.open("ab") as log:
            self.process = await asyncio.create_subprocess_exec(
                *wrapper,
                sys.executable,
                "-m",
                "nplb",
                "run",
                "--config",
                str(self.config_path),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    async def get(self, path: str) -> tuple[int, str]:
        """Status and text of an admin page; (0, "") when nobody answers."""
        timeout = aiohttp.ClientTimeout(total=5)
        try:
            async with (
                aiohttp.ClientSession(timeout=timeout) as session,
                session.get(f"http://{self.admin}{path}") as response,
            ):
                return response.status, await response.text()
        except (aiohttp.ClientError, TimeoutError):
            return 0, ""

    async def status(self) -> dict[str, Any]:
        """`/api/v1/status`, empty when nobody answers."""
        code, text = await self.get("/api/v1/status")
        return dict(json.loads(text)) if code == 200 else {}

    async def until(self, condition: Callable[[dict[str, Any]], object], what: str) -> None:
        """Wait until the status says so, and what it shows as the plan is in force."""
        deadline = asyncio.get_running_loop().time() + STARTED_SECONDS
        while True:
            status = await self.status()
            with suppress(KeyError, IndexError):
                if condition(status) and _in_force(status):
                    return
            assert is_running(self.pid), f"nplb run has ended:\n{self.log()}"
            late = asyncio.get_running_loop().time() > deadline
            assert not late, f"waited in vain for {what}; {json.dumps(status)[:4000]}\n{self.log()}"
            # A status costs both sides milliseconds, which are the test's own on a busy machine.
            await asyncio.sleep(0.05)

    async def ready(self) -> None:
        """Wait until it is ready."""
        await self.until(lambda status: status["is_ready"], "the edge to be ready")

    async def serves(self, service: str) -> None:
        """Wait until a service (its name) is served by at least one node."""
        await self.until(
            lambda status: any(
                f["state"] == "serving"
                for f in status["plan"]["frontends"]
                if f["key"]["service"]["name"] == service
            ),
            f"{service} to be served",
        )

    async def reloaded(self, count: int) -> None:
        """Wait until so many reloads have been tried."""
        await self.until(lambda status: status["reload"]["count"] >= count, "the reload")

    def log(self) -> str:
        """What it has logged."""
        return self.log_path.read_text(errors="replace") if self.log_path.exists() else ""

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal."""
        os.kill(self.pid, number)

    async def killed(self) -> None:
        """End its control process as a crash would, and wait until it has ended."""
        pid = self.pid
        os.kill(pid, signal.SIGKILL)
        while is_running(pid):  # noqa: ASYNC110 -- it is no child, perhaps
            await asyncio.sleep(0.01)

    async def upgraded(self) -> None:
        """Have a successor take over, and wait until the old process has ended."""
        before = self.pid
        self.signal(signal.SIGUSR2)
        await self.until(lambda _: self.pid != before, "a successor")
        await eventually(lambda: not is_running(before), "the old process ends", STARTED_SECONDS)

    async def ended(self) -> int:
        """Wait for its end. Returns the exit code."""
        assert self.process is not None
        async with asyncio.timeout(STARTED_SECONDS):
            return await self.process.wait()

    async def stop(self) -> None:
        """End it, whatever it does."""
        if self.process is None:
            return
        for number in (signal.SIGTERM, signal.SIGKILL):
            pid = self.pid
            with suppress(ProcessLookupError):
                os.kill(pid, number)
            with suppress(TimeoutError):
                async with asyncio.timeout(10):
                    while is_running(pid):  # noqa: ASYNC110
                        await asyncio.sleep(0.02)
        # Workers that nobody can find any more end by themselves.
        for left in self.runtime.glob("worker-*.sock"):
            left.unlink()
        with suppress(ProcessLookupError):
            async with asyncio.timeout(5):
                await self.process.wait()


def _in_force(status: dict[str, Any]) -> bool:
    """Whether the plane serves the plan that is shown: for a moment it still serves the one
    before."""
    applied = status["applied"]
    return bool(status["plan"]["generation"] == (applied["generation"] if applied else 0))


def is_running(pid: int) -> bool:
    """Whether there is such a process, which has not ended."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] not in "ZX"


def clusters(**kubeconfigs: Path) -> str:
    """The configuration's `clusters`: each by its name, read with a kubeconfig."""
    return json.dumps(
        [
            {"name": name, "kubernetes": {"kubeconfig": str(path)}}
            for name, path in kubeconfigs.items()
        ]
    )


def of_lab(lab: Lab, *, writes: dict[str, Any] | None = None, **kubernetes: str) -> str:
    """The configuration's `clusters`: a lab, by the name of lab; more keys of its `kubernetes`."""
    source = {"kubeconfig": str(lab.kubeconfig_path), **kubernetes}
    return json.dumps([{"name": "lab", "kubernetes": source, "writes": writes or {}}])


@asynccontextmanager
async def make_edge(directory: Path, networks: Networks) -> AsyncIterator[Edge]:
    """An edge, not started; whatever was started is ended."""
    edge = Edge(directory, networks)
    try:
        yield edge
    finally:
        await edge.stop()


async def ask(ip: str, port: int) -> str:
    """One request over a new connection: the answer's body, or `OSError`."""
    reader, writer = await asyncio.open_connection(ip, port)
    try:
        writer.write(b"GET / HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n")
        async with asyncio.timeout(10):
            answer = await reader.read()
    finally:
        writer.close()
    if not answer:
        raise ConnectionResetError("no answer")
    return answer.partition(b"\r\n\r\n")[2].decode()


def hold_port(ip: str, port: int) -> socket.socket:
    """Listen as another process would."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind((ip, port))
    sock.listen()
    return sock


def children(pid: int) -> list[int]:
    """The processes that a process has started."""
    found: list[int] = []
    for file in Path(f"/proc/{pid}/task").glob("*/children"):
        with suppress(OSError):
            found += [int(child) for child in file.read_text().split()]
    return found


def kill(pid: int) -> None:
    """SIGKILL to one process."""
    os.kill(pid, signal.SIGKILL)
