"""Tasks with a name and an owner: none is lost, none outlives what started it."""

import asyncio
import logging
from collections.abc import Coroutine, Iterable
from types import TracebackType
from typing import Any, Self

log = logging.getLogger(__name__)

AGAIN_SECONDS = 5.0


async def end(tasks: Iterable["asyncio.Task[Any]"]) -> None:
    """Cancel tasks and wait until all have ended. A cancellation can be lost in a library's hands:
    who still runs after so long is told again."""
    left = set(tasks)
    while left:
        for task in left:
            task.cancel()
        _, left = await asyncio.wait(left, timeout=AGAIN_SECONDS)
        for task in left:
            log.warning("task %s goes on though it was cancelled: once more", task.get_name())


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
            await end(self._tasks)
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
