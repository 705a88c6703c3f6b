"""The latest of everything that the reconciler makes plans of."""

import asyncio
from collections.abc import Mapping

from nplb.aio.cell import Cell
from nplb.model.cluster import Snapshot, SourceStatus
from nplb.model.drain import ManualDrain
from nplb.model.keys import Address
from nplb.model.settings import Settings
from nplb.model.verdict import Verdict


class Inputs:
    """Cells for settings, snapshots, source statuses, verdicts and manual drains, and the one
    event that any change of them sets; `urgent` is set as well by what can't wait until a burst of
    changes is over. Whoever holds this may set a cell; only the reconciler reads."""

    def __init__(self, settings: Settings) -> None:
        self.changed = asyncio.Event()
        self.urgent = asyncio.Event()
        self.settings: Cell[Settings] = Cell(settings, self.hurry)
        self.verdicts: Cell[Mapping[Address, Verdict]] = Cell({}, self.changed.set)
        self.snapshots: Cell[Mapping[str, Snapshot]] = Cell({}, self.changed.set)
        self.drains: Cell[tuple[ManualDrain, ...]] = Cell((), self.hurry)
        self.sources: Cell[Mapping[str, SourceStatus]] = Cell({}, self.changed.set)

    def hurry(self) -> None:
        """Have a pass at once."""
        self.urgent.set()
        self.changed.set()

    def publish(self, snapshot: Snapshot) -> None:
        """A source's new snapshot replaces the one before."""
        self.snapshots.set({**self.snapshots.get(), snapshot.cluster: snapshot})

    def report(self, status: SourceStatus) -> None:
        """What a source says of itself."""
        self.sources.set({**self.sources.get(), status.cluster: status})

    def forget(self, cluster: str) -> None:
        """A cluster that left the configuration takes its state along."""
        self.snapshots.set({k: v for k, v in self.snapshots.get().items() if k != cluster})
        self.sources.set({k: v for k, v in self.sources.get().items() if k != cluster})
