"""Where cluster state comes from, and where what nplb says to a cluster goes: each source
publishes whole snapshots of one cluster, a writer writes into one.

Law: a source publishes nothing before it has read everything once, and after that it fails
static: whatever goes wrong, the last snapshot stays in force, its age shows, and the source
tries again by itself for as long as it runs. It says what is wrong, where, and what to do, and
never shows a credential. An object that makes no sense is left out and named in the status'
warnings; the rest of the cluster goes on. Sources do not know each other, nor who listens.

fields      reads fields of raw API objects, and names them in errors
decode      raw API objects (dicts) into `nplb.model.cluster`, for every source
book        the decoded objects of one cluster, and snapshots of them
factory     from settings to a source, importing late what is dear to import
kubernetes  the Kubernetes API: list, then watch
manifests   YAML files on disk, read again when they change
portbook    which NodePorts the Services of manifests were given, over restarts
portfile    the port book's file
"""

from collections.abc import Callable
from typing import Protocol

from nplb.model.cluster import Snapshot, SourceStatus
from nplb.model.outbound import Outbound

Publish = Callable[[Snapshot], None]
Report = Callable[[SourceStatus], None]
Now = Callable[[], float]


class Source(Protocol):
    """One cluster's state, read until cancelled.

    Built with `publish` (called with each new snapshot), `report` (called with each change of
    the source's own status) and `now` (epoch seconds). Both are called from the event loop,
    must not block, and get values that they may keep.
    """

    async def run(self) -> None:
        """Read, and go on reading through every failure. Returns only when cancelled."""


class Writer(Protocol):
    """Writes into one cluster until cancelled, whatever it was told last."""

    def want(self, outbound: Outbound) -> None:
        """From now on this is what should be written. Does not block."""

    async def run(self) -> None:
        """Write, and go on writing through every failure. Returns only when cancelled."""

    async def finish(self, withdrawn: Outbound) -> None:
        """After the end of `run`: leave the cluster as it should be without this edge. `withdrawn`
        is what should be written then. Takes some seconds at most."""
