"""The kernel plane's fast path under test: a BPF file system, pins that do not stay, and what the
maps say."""

import contextlib
import fcntl
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from nplb.dataplane.kernel.fastpath import bpf, fastpath, layout
from nplb.dataplane.kernel.host import examine, missing_for_fast_path
from nplb.model.kernel import KernelOptions
from nplb.model.reasons import FastPathEvent
from tests.support.netns import Namespace

FAST = KernelOptions(fast_path=True)


def need_fast_path() -> None:
    """Skip the test where programs can't be loaded. Mounts the BPF file system where it is not."""
    with (Path(tempfile.gettempdir()) / "nplb-bpffs.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        host = examine()
        if host.bpf and not host.bpffs:
            subprocess.run(["mount", "-t", "bpf", "bpf", "/sys/fs/bpf"], check=False)
    if lacks := missing_for_fast_path(examine()):
        pytest.skip("; ".join(lacks))


@contextlib.contextmanager
def pins_removed(space: Namespace) -> Iterator[None]:
    """Let nothing stay of the fast path in a namespace: its pins outlive it, and its number is
    given again."""
    need_fast_path()
    with space.entered():
        fastpath.remove()
    try:
        yield
    finally:
        with space.entered():
            fastpath.remove()


@contextlib.contextmanager
def opened(space: Namespace, name: str) -> Iterator[bpf.BpfMap]:
    """One of the maps that are pinned for a namespace."""
    with space.entered():
        folder = fastpath.home()
    found = bpf.BpfMap(layout.MAPS[name], bpf.pinned(folder / f"{name}-{layout.SHAPE}"))
    try:
        yield found
    finally:
        found.close()


def entries(space: Namespace, name: str) -> dict[bytes, bytes]:
    """What a map holds."""
    with opened(space, name) as found:
        return dict(found.entries())


def flows(space: Namespace) -> int:
    """How many connections the fast path knows; none where it is not there."""
    try:
        return sum(len(entries(space, name)) for name in layout.FLOWS.values()) // 2
    except FileNotFoundError:
        return 0


def event(space: Namespace, event: FastPathEvent) -> int:
    """How often something happened."""
    with opened(space, "events") as found:
        return layout.events(found.get)[event]


def frontends(space: Namespace) -> dict[tuple[str, int], bytes]:
    """Which addresses the fast path serves, whoever's turn it is; none where it is not there."""
    try:
        found = entries(space, "frontends")
    except FileNotFoundError:
        return {}
    return {layout.endpoint_of(key): layout.with_turn(value) for key, value in found.items()}


def begin_turns_again(space: Namespace) -> None:
    """Let the next connection of every frontend be given what the first one was: also its port."""
    with opened(space, "frontends") as found:
        found.update({key: layout.with_turn(value) for key, value in found.entries()})


def program(space: Namespace) -> int:
    """The descriptor of the program that is pinned for a namespace; whoever asks closes it."""
    with space.entered():
        return bpf.pinned(fastpath.home() / "program")
