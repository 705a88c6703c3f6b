"""Waiting for something to become true, instead of sleeping."""

import asyncio
import time
from collections.abc import Callable


async def eventually(condition: Callable[[], object], what: str, seconds: float = 20.0) -> None:
    """Return once `condition()` is true; fail with `what` was awaited after `seconds`."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"after {seconds:g} s, still not: {what}"
        await asyncio.sleep(0.005)
