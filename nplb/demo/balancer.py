"""The demo's balancer: `nplb run` as a process of its own, with a configuration of its own."""

import asyncio
import contextlib
import json
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
    """Runs `nplb run --config PATH`; its log goes to `log_path`."""

    def __init__(self, *, config_path: Path, log_path: Path, admin: Address) -> None:
        self.config_path = config_path
        self.log_path = log_path
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
    def running(self) -> bool:
        """Whether the process lives."""
        return self._process is not None and self._process.returncode is None

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
        assert self._process is not None
        self._process.send_signal(signal.SIGHUP)

    async def stop(self) -> int | None:
        """SIGTERM, wait, and return the exit code. Kills what does not end."""
        if self._process is None:
            return None
        if self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(signal.SIGTERM)
            try:
                async with asyncio.timeout(STOP_SECONDS):
                    await self._process.wait()
            except TimeoutError:
                self._process.kill()
                await self._process.wait()
        return self._process.returncode

    def _log_end(self) -> str:
        with contextlib.suppress(OSError):
            return "\n".join(self.log_path.read_text(errors="replace").splitlines()[-20:])
        return "(no log)"
