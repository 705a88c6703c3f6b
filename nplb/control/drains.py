"""Nodes taken out by hand, kept over restarts with who and why."""

import logging
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from nplb.aio.cell import Cell
from nplb.disk.statefile import StateFile
from nplb.model.drain import ManualDrain
from nplb.model.errors import HostError

log = logging.getLogger(__name__)

VERSION = 1
MAX_TEXT = 500
MAX_DRAINS = 10_000


class Drains:
    """The drains in force. They need not name a node that exists: one that comes back under
    its name is still drained.

    `cell` is set anew at each change. `path` None keeps them until nplb ends; `problem` says why
    the file could not be written, and is empty otherwise.
    """

    def __init__(
        self,
        path: Path | None,
        cell: Cell[tuple[ManualDrain, ...]],
        now: Callable[[], float],
    ) -> None:
        """Reads the file. Raises HostError if it is there and can't be read."""
        self._file = _file(path) if path is not None else None
        self._cell = cell
        self._now = now
        self.problem = ""
        self.frozen = ""
        """While it is not empty nothing can be changed, and it says why."""
        if self._file is not None:
            self._cell.set(tuple(self._file.read(_parse) or ()))

    @property
    def drains(self) -> tuple[ManualDrain, ...]:
        """Every drain, sorted by cluster and node."""
        return self._cell.get()

    def drain(self, cluster: str, node: str, *, who: str, why: str) -> ManualDrain:
        """Take a node out. One that is out already gets the new reason, and keeps its time."""
        self._check_frozen()
        before = {(d.cluster, d.node): d for d in self.drains}
        old = before.get((cluster, node))
        new = ManualDrain(
            cluster=cluster,
            node=node,
            who=who[:MAX_TEXT],
            why=why[:MAX_TEXT],
            at=self._now(),
        )
        if old is not None:
            new = replace(new, at=old.at)
        elif len(before) >= MAX_DRAINS:
            raise HostError(f"{MAX_DRAINS} nodes are drained already; undrain some first")
        before[cluster, node] = new
        self._keep(before)
        return new

    def undrain(self, cluster: str, node: str) -> bool:
        """Put a node back. Returns whether it was out."""
        self._check_frozen()
        before = {(d.cluster, d.node): d for d in self.drains}
        if before.pop((cluster, node), None) is None:
            return False
        self._keep(before)
        return True

    def write_again(self) -> None:
        """Try to write what could not be written. Once that works, there is no problem any
        more."""
        if self.problem:
            self._write()

    def restore(self, drains: tuple[ManualDrain, ...]) -> None:
        """Go on from what a control before had, where there is no file that would say."""
        if self._file is None:
            self._cell.set(drains)

    def _check_frozen(self) -> None:
        if self.frozen:
            raise HostError(self.frozen)

    def _keep(self, drains: dict[tuple[str, str], ManualDrain]) -> None:
        self._cell.set(tuple(drains[key] for key in sorted(drains)))
        self._write()

    def _write(self) -> None:
        if self._file is None:
            return
        try:
            self._file.write([asdict(drain) for drain in self.drains])
        except HostError as error:
            if not self.problem:
                log.error("%s", error)
            self.problem = str(error)
        else:
            self.problem = ""


def _file(path: Path) -> StateFile:
    loss = "nodes drained by hand come back"
    return StateFile(path=path, kind="drains", version=VERSION, loss=loss)


def _parse(content: Any) -> list[ManualDrain]:
    drains = {(d["cluster"], d["node"]): ManualDrain(**d) for d in content}
    return [drains[key] for key in sorted(drains)]
