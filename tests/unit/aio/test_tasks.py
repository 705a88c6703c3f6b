"""No task outlives its owner, even one whose cancellation was lost on the way."""

import asyncio

import pytest

from nplb.aio import tasks
from nplb.aio.tasks import TaskOwner


async def test_a_lost_cancellation_is_told_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tasks, "AGAIN_SECONDS", 0.01)
    losses = 0

    async def deaf() -> None:
        nonlocal losses
        while losses < 3:
            try:
                await asyncio.sleep(3600)
            except asyncio.CancelledError:
                losses += 1
        await asyncio.sleep(3600)

    async with TaskOwner("test") as owner:
        task = owner.spawn(deaf(), "deaf")
        await asyncio.sleep(0)
    assert task.cancelled()
    assert losses == 3
    assert len(owner) == 0
