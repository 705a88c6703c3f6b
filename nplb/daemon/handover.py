"""An upgrade (SIGUSR2), from the side of the control process that ends.

It starts a successor: a fresh interpreter with the same arguments, so whatever is installed by
now. It waits until that has read the configuration, then changes nothing any more, writes its
state, and has it take over. If the successor fails at any point before it has taken over, by an
error, by its death or by taking too long, the old one goes on as if nothing had happened.
"""

import asyncio
import contextlib
import logging
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from nplb.aio.tasks import TaskOwner
from nplb.daemon.line import ENVIRONMENT, Line, LineBroken

log = logging.getLogger(__name__)

PREPARE_SECONDS = 60.0
READY_SECONDS = 60.0
DONE_SECONDS = 20.0


class UpgradeFailed(Exception):
    """The successor did not take over; the text says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Owner:
    """What the ending control process does at each step: `freeze` changes nothing any more and
    writes its state; it returns the descriptors to be handed on and what to say with them.
    `resume` goes on after a failure. `tell_manager` tells the service manager of the successor.
    When `gives_up` is set before that, there is to be no upgrade."""

    freeze: Callable[[], Awaitable[tuple[tuple[int, ...], dict[str, Any]]]]
    resume: Callable[[], Awaitable[None]]
    tell_manager: Callable[[int], None]
    gives_up: asyncio.Event


async def hand_over(owner: Owner) -> int:
    """Have a successor take over. Returns its process id: from then on it has the workers, and
    this process is to end without them.

    Errors: UpgradeFailed, and then everything is as before, but with `lost` this process no longer
    has its workers and must begin anew.
    """
    if os.getpid() == 1:
        raise UpgradeFailed(
            "process 1 can't be replaced while its container lives: replace the container"
        )
    ours, theirs = socket.socketpair()
    line = Line(ours)
    environment = {k: v for k, v in os.environ.items() if k != "WATCHDOG_PID"}
    environment[ENVIRONMENT] = str(theirs.fileno())
    try:
        process = subprocess.Popen(  # noqa: ASYNC220 -- it outlives this loop
            [sys.executable, *sys.orig_argv[1:]],
            env=environment,
            stdin=subprocess.DEVNULL,
            pass_fds=[theirs.fileno()],
        )
    except OSError as error:
        line.close()
        raise UpgradeFailed(f"a new process can't be started: {error}") from error
    finally:
        theirs.close()
    log.info("upgrade: process %d is to take over", process.pid)
    frozen = False
    try:
        await _hear(line, "prepared", PREPARE_SECONDS, owner.gives_up)
        fds, more = await owner.freeze()
        frozen = True
        await line.say("go", fds=fds, **more)
        await _hear(line, "ready", READY_SECONDS, owner.gives_up)
    except (LineBroken, TimeoutError) as error:
        line.close()
        why = await _end(process, error)
        if frozen:
            await owner.resume()
        raise UpgradeFailed(why) from error
    except BaseException:
        line.close()
        process.kill()
        raise
    owner.tell_manager(process.pid)
    try:
        await line.say("yours")
        await _hear(line, "done", DONE_SECONDS)
    except (LineBroken, TimeoutError) as error:
        why = await _end(process, error)
        raise TakenAndLost(why) from error
    finally:
        line.close()
    process.returncode = 0  # it is not ours to wait for
    return process.pid


class TakenAndLost(UpgradeFailed):
    """The successor failed while it took the workers over: they serve on, and whoever begins anew
    finds them."""


async def _hear(line: Line, op: str, seconds: float, gives_up: asyncio.Event | None = None) -> None:
    """Wait for a word of the successor's. Errors: LineBroken, TimeoutError."""
    async with TaskOwner("upgrade") as tasks:
        heard = tasks.spawn(_said(line, op), "hear")
        waiting = {heard}
        if gives_up is not None:
            waiting.add(tasks.spawn(_once(gives_up), "gives-up"))
        await asyncio.wait(waiting, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        if not heard.done():
            if gives_up is not None and gives_up.is_set():
                raise LineBroken("told to stop meanwhile")
            raise TimeoutError(f"it was not {op} within {seconds:g} s")
        error = heard.result()
    if error is not None:
        raise error


async def _said(line: Line, op: str) -> LineBroken | None:
    try:
        await line.hear(op)
    except LineBroken as error:
        return error
    return None


async def _once(event: asyncio.Event) -> LineBroken | None:
    await event.wait()
    return None


async def _end(process: "subprocess.Popen[bytes]", error: Exception) -> str:
    """End a successor that has failed. Returns why it has."""
    why = str(error)
    with contextlib.suppress(subprocess.TimeoutExpired):
        await asyncio.to_thread(process.wait, 2.0)
    code = process.poll()
    if code is None:
        process.kill()
        await asyncio.to_thread(process.wait)
    elif code < 0:
        why = f"it was killed by {signal.Signals(-code).name}"
    elif "has ended" in why:
        why = f"it ended with exit code {code}; its log says why"
    return f"process {process.pid}: {why}"
