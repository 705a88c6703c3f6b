"""One network namespace: made, entered and removed again."""

import contextlib
import ctypes
import json
import os
import re
import subprocess
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from nplb.model.errors import HostError

PREFIX = "nplb-lab"
_CLONE_NEWNET = 0x40000000
_OWNER = re.compile(rf"{PREFIX}-(\d+)-")
_LINK_OWNER = re.compile(r"nplb[nc](\d+)x")
_FOLDER = Path("/run/netns")
_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True, slots=True)
class Namespace:
    """A namespace by its name, as `ip netns` has it."""

    name: str

    @contextlib.contextmanager
    def entered(self) -> Iterator[None]:
        """Let the calling thread live in it: sockets made meanwhile stay there. Nothing may be
        awaited inside."""
        home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        try:
            there = os.open(_FOLDER / self.name, os.O_RDONLY | os.O_CLOEXEC)
            try:
                _enter(there)
                try:
                    yield
                finally:
                    _enter(home)
            finally:
                os.close(there)
        finally:
            os.close(home)

    def run(self, *command: str, stdin: str = "") -> str:
        """Run a command in it; returns its output. Errors: HostError with what it said."""
        with self.entered():
            return run(*command, stdin=stdin)

    def ip(self, *lines: str) -> None:
        """Commands of `ip` in it, as one batch."""
        run("ip", "-n", self.name, "-batch", "-", stdin="\n".join(lines) + "\n")

    def set_sysctl(self, key: str, value: str) -> None:
        """Write a sysctl of it: `net/ipv4/ip_forward`. One that this kernel has not is none."""
        with self.entered(), contextlib.suppress(FileNotFoundError):
            Path("/proc/sys", key).write_text(value)


def make(namespaces: Iterable[Namespace]) -> None:
    """Make them, loopback up."""
    named = tuple(namespaces)
    ip(*(f"netns add {each.name}" for each in named))
    for each in named:
        each.ip("link set lo up")


def remove(namespaces: Iterable[Namespace]) -> None:
    """Remove them with all that is in them, and pass over those that are gone."""
    lines = [f"netns del {each.name}" for each in namespaces]
    if lines:
        with contextlib.suppress(HostError):
            run("ip", "-force", "-batch", "-", stdin="\n".join(lines) + "\n")


def leftovers() -> list[Namespace]:
    """The namespaces of labs whose process is no more."""
    if not _FOLDER.is_dir():
        return []
    names = sorted(entry.name for entry in _FOLDER.iterdir())
    return [Namespace(name) for name in names if _is_orphan(_OWNER.match(name))]


def leftover_links() -> list[str]:
    """Their links in the calling thread's namespace. They would go with the namespaces, but
    some time later."""
    names = (link["ifname"] for link in json.loads(run("ip", "-j", "link", "show") or "[]"))
    return [name for name in names if _is_orphan(_LINK_OWNER.match(name))]


def link_names(process: int, number: int) -> tuple[str, str]:
    """What the edge's links to the machines and to the client are called, 15 letters at most."""
    return f"nplbn{process}x{number}", f"nplbc{process}x{number}"


def _is_orphan(owner: re.Match[str] | None) -> bool:
    return owner is not None and not Path("/proc", owner[1]).exists()


def ip(*lines: str) -> None:
    """Commands of `ip` in the calling thread's namespace, as one batch."""
    run("ip", "-batch", "-", stdin="\n".join(lines) + "\n")


def run(*command: str, stdin: str = "") -> str:
    """Run a command; returns its output. Errors: HostError with what it said."""
    try:
        done = subprocess.run(
            command, input=stdin, capture_output=True, text=True, check=False, timeout=60
        )
    except FileNotFoundError:
        raise HostError(f"the command {command[0]} is not installed") from None
    if done.returncode:
        said = "; ".join(line.strip() for line in done.stderr.strip().splitlines()[:3])
        raise HostError(f"{' '.join(command[:6])}: {said or f'exit code {done.returncode}'}")
    return done.stdout


def _enter(descriptor: int) -> None:
    if _libc.setns(descriptor, _CLONE_NEWNET):
        code = ctypes.get_errno()
        raise HostError(f"a network namespace cannot be entered: {os.strerror(code)}")
