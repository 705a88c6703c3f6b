"""Tasks with a name and an owner: none is lost, none outlives what started it."""

import asyncio
import logging
from collections.abc import Coroutine
from types import TracebackType
from typing import Any, Self

log = logging.getLogger(__name__)

AGAIN_SECONDS = 5.0


class TaskOwner:
    """Owns background tasks. Leaving the `async with` block cancels and awaits all of them.

    A task that ends with an exception is logged with its name, and kept in `failure` (the
    first one), so that whoever waits on `failed` can act on it: a background task never
    dies in silence.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.failure: BaseException | None = None
        self.failed = asyncio.Event()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._closing = False

    def spawn(self, coroutine: Coroutine[Any, Any, Any], name: str) -> asyncio.Task[Any]:
        """Run a coroutine in the background under `owner/name`."""
        task = asyncio.get_running_loop().create_task(coroutine, name=f"{self.name}/{name}")
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if task.cancelled():
            return
        error = task.exception()
        if error is not None and not self._closing:
            log.error("task %s ended with an error", task.get_name(), exc_info=error)
            if self.failure is None:
                self.failure = error
                self.failed.set()

    def __len__(self) -> int:
        return len(self._tasks)

    async def close(self) -> None:
        """Cancel every task and wait until all have ended. Safe to call twice."""
        self._closing = True
        while self._tasks:
            tasks = list(self._tasks)
            for task in tasks:
                task.cancel()
            # A cancellation can be lost in a library's hands: who still runs is told again.
            await asyncio.wait(tasks, timeout=AGAIN_SECONDS)
        self._closing = False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()
