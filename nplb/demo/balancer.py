"""The demo's balancer: `nplb run` as a process of its own, with a configuration of its own."""

import asyncio
import contextlib
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import aiohttp

from nplb.model.errors import NplbError
from nplb.model.keys import Address

START_SECONDS = 60.0
STOP_SECONDS = 20.0


class Balancer:
    """Runs `nplb run --config PATH`; its log goes to `log_path`. `runtime` is the runtime directory
    that the configuration names."""

    def __init__(self, *, config_path: Path, log_path: Path, runtime: Path, admin: Address) -> None:
        self.config_path = config_path
        self.log_path = log_path
        self.runtime = runtime
        self.admin = admin
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        """Start, and wait until it is ready. Raises NplbError with the log's end if it isn't."""
        with self.log_path.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "nplb",
                "run",
                "--config",
                str(self.config_path),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C is the demo's to pass on
            )
        deadline = asyncio.get_running_loop().time() + START_SECONDS
        while not await self._is_ready():
            if self._process.returncode is not None:
                raise NplbError(f"nplb run ended at once:\n{self._log_end()}")
            if asyncio.get_running_loop().time() > deadline:
                raise NplbError(f"nplb run was not ready in time:\n{self._log_end()}")
            await asyncio.sleep(0.05)

    @property
    def pid(self) -> int:
        """The process that is in control now: the one started, or its successor."""
        with contextlib.suppress(OSError, ValueError):
            pid = int((self.runtime / "control.lock").read_text())
            if _lives(pid):
                return pid
        return self._process.pid if self._process is not None else 0

    @property
    def running(self) -> bool:
        """Whether the process lives, or its successor."""
        return self._process is not None and _lives(self.pid)

    async def kill(self) -> None:
        """End it as a crash would, and wait for its end."""
        pid = self.pid
        os.kill(pid, signal.SIGKILL)
        await _end_of(pid, STOP_SECONDS)

    async def upgrade(self) -> None:
        """Have a successor take over, and wait for the end of the old process. Raises NplbError
        if that does not come."""
        pid = self.pid
        os.kill(pid, signal.SIGUSR2)
        if not await _end_of(pid, START_SECONDS):
            raise NplbError(f"the upgrade failed:\n{self._log_end()}")

    async def status(self) -> dict[str, Any]:
        """What `/api/v1/status` says."""
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=5)) as session,
            session.get(f"http://{self.admin}/api/v1/status") as response,
        ):
            response.raise_for_status()
            answer: dict[str, Any] = json.loads(await response.text())
            return answer

    async def _is_ready(self) -> bool:
        try:
            async with (
                aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=2)) as session,
                session.get(f"http://{self.admin}/readyz") as response,
            ):
                return response.status == 200
        except (aiohttp.ClientError, TimeoutError):
            return False

    def reload(self) -> None:
        """Send SIGHUP."""
        os.kill(self.pid, signal.SIGHUP)

    async def stop(self) -> int | None:
        """SIGTERM, wait, and return the exit code, 0 for a successor's. Kills what does not
        end."""
        if self._process is None:
            return None
        pid = self.pid
        if self.running:
            for number in (signal.SIGTERM, signal.SIGKILL):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, number)
                if await _end_of(pid, STOP_SECONDS):
                    break
        code = await self._process.wait()
        if pid != self._process.pid:
            return 0
        return code

    def _log_end(self) -> str:
        with contextlib.suppress(OSError):
            return "\n".join(self.log_path.read_text(errors="replace").splitlines()[-20:])
        return "(no log)"


def _lives(pid: int) -> bool:
    """Whether there is such a process, which has not ended."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] not in "ZX"


async def _end_of(pid: int, seconds: float) -> bool:
    """Wait for the end of a process, which need not be a child. Whether it came in time."""
    deadline = asyncio.get_running_loop().time() + seconds
    while _lives(pid):
        if asyncio.get_running_loop().time() > deadline:
            return False
        await asyncio.sleep(0.01)
    return True
