"""How `nplb run` ends."""

import subprocess
import sys

FAILS_BESIDE_A_THREAD_THAT_STANDS_STILL = """
import asyncio, threading
from nplb.cli import run
from nplb.model.errors import HostPermissionError

run.LATE_SECONDS = 0.05

async def balancer():
    asyncio.get_running_loop().run_in_executor(None, threading.Event().wait)
    raise HostPermissionError("port 80: may not be bound")

run._run(balancer())
"""


def test_a_thread_that_stands_still_does_not_keep_the_error_from_being_told() -> None:
    script = [sys.executable, "-c", FAILS_BESIDE_A_THREAD_THAT_STANDS_STILL]
    done = subprocess.run(script, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 77
    assert "port 80: may not be bound" in done.stderr
