"""The runtime directory: one control at a time, and where its workers can be found.

`control.lock` is locked for as long as a control lives; the lock goes with its process, however
that ends, and can be handed on. `worker-*.sock` are the workers' rendezvous. The directory belongs
to the user and to nobody else: whoever could write there could pose as a worker.
"""

import contextlib
import errno
import fcntl
import os
import secrets
import socket
import stat
from pathlib import Path

from nplb.model.errors import HostError, HostPermissionError

LOCK_NAME = "control.lock"
PREFIX, SUFFIX = "worker-", ".sock"


class RuntimeDirectory:
    """The directory, made if it is missing. `lock` takes it for this process; `lock_fd` is then
    the descriptor that holds it. Errors: HostError where it can't be had or is not ours alone."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.lock_fd = -1
        try:
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._fd = os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            kind = HostPermissionError if error.errno == errno.EACCES else HostError
            raise kind(
                f"{path}: the runtime directory can't be made: {error.strerror}; give "
                "`runtime_dir` a directory that the user who runs nplb can write to"
            ) from error
        found = os.fstat(self._fd)
        if found.st_uid != os.geteuid() or found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            os.close(self._fd)
            raise HostError(
                f"{path}: the runtime directory must belong to the user who runs nplb, and nobody "
                f"else may write there: it has owner {found.st_uid} and mode "
                f"{stat.S_IMODE(found.st_mode):04o}; correct that, or set `runtime_dir`"
            )

    def lock(self) -> None:
        """Take the directory for this control. Errors: HostError while another one has it."""
        path = self.path / LOCK_NAME
        while self.lock_fd < 0:
            fd = self._locked(path)
            try:
                if os.fstat(fd).st_ino == path.stat().st_ino:
                    self.lock_fd = fd
                    break
            except FileNotFoundError:
                pass
            os.close(fd)  # whoever had it has removed it meanwhile
        self.sign()

    def _locked(self, path: Path) -> int:
        try:
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise HostError(f"{path}: can't be opened: {error.strerror}") from error
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = os.read(fd, 32).decode(errors="replace").strip()
            os.close(fd)
            who = f" (pid {holder})" if holder.isdigit() else ""
            raise HostError(
                f"{self.path}: another nplb{who} runs with this runtime directory; stop it, send "
                "it SIGUSR2 for an upgrade, or give this one a `runtime_dir` of its own"
            ) from error
        return fd

    def inherit_lock(self, fd: int) -> None:
        """The control before has handed its lock on: this descriptor, owned from now on."""
        self.lock_fd = fd

    def sign(self) -> None:
        """Write down which process has the lock."""
        with contextlib.suppress(OSError):
            os.pwrite(self.lock_fd, f"{os.getpid():<20}\n".encode(), 0)

    def bind(self, index: int) -> tuple[socket.socket, str]:
        """A bound socket, which the caller closes, for a new worker's rendezvous; and its name.
        Errors: OSError."""
        name = f"{PREFIX}{index}-{secrets.token_hex(4)}{SUFFIX}"
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            sock.bind(self._reach(name))
        except BaseException:
            sock.close()
            raise
        return sock, name

    def names(self) -> list[str]:
        """The names of all rendezvous that are there, sorted."""
        with contextlib.suppress(OSError):
            names = [entry.name for entry in self.path.iterdir()]
            return sorted(n for n in names if n.startswith(PREFIX) and n.endswith(SUFFIX))
        return []

    def connect(self, name: str, seconds: float) -> socket.socket:
        """A line to the worker that waits there, which the caller closes. Errors: OSError."""
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            sock.settimeout(seconds)
            sock.connect(self._reach(name))
        except BaseException:
            sock.close()
            raise
        return sock

    def remove(self, name: str) -> None:
        """Forget a rendezvous whose worker has ended."""
        with contextlib.suppress(OSError):
            (self.path / name).unlink()

    def _reach(self, name: str) -> str:
        """A path for a socket's address, which may be no longer than 107 bytes."""
        path = str(self.path / name)
        return path if len(os.fsencode(path)) < 108 else f"/proc/self/fd/{self._fd}/{name}"

    def discard(self) -> None:
        """Remove the directory, if nothing is in it that somebody may want. Only while locked."""
        if self.lock_fd >= 0 and not self.names():
            with contextlib.suppress(OSError):
                (self.path / LOCK_NAME).unlink()
                self.path.rmdir()

    def close(self) -> None:
        """Give the directory up. A lock that was handed on is still held by its heir."""
        if self.lock_fd >= 0:
            os.close(self.lock_fd)
            self.lock_fd = -1
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
