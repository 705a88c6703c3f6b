"""What is written into the clusters: one writer for each that wants it, told after every pass."""

import asyncio
import logging
from collections.abc import Callable, Iterator, Mapping

from nplb.aio.tasks import TaskOwner, end
from nplb.model.applied import Applied
from nplb.model.cluster import Snapshot
from nplb.model.finding import Finding, FindingKind, Severity
from nplb.model.outbound import IngressWrite, Outbound, WriterStatus
from nplb.model.plan import Plan
from nplb.model.settings import ClusterSettings, KubernetesSource, Settings
from nplb.plan.notices import notices
from nplb.plan.outbound import Served, ingress_writes
from nplb.sources import Writer

log = logging.getLogger(__name__)

RESTART_SECONDS = 2.0

MakeWriter = Callable[[ClusterSettings, Callable[[WriterStatus], None]], Writer]


class Outbox:
    """Runs the writers. One that fails by a fault of its own is made anew; nothing else notices.

    `on_change` is called when a writer's status changes.
    """

    def __init__(self, make_writer: MakeWriter, on_change: Callable[[], None]) -> None:
        self._make_writer = make_writer
        self._on_change = on_change
        self._tasks = TaskOwner("outbox")
        self._running: dict[str, tuple[ClusterSettings, asyncio.Task[None]]] = {}
        self._writers: dict[str, Writer] = {}
        self._statuses: dict[str, WriterStatus] = {}
        self._wanted: dict[str, Outbound] = {}
        self._basis: dict[str, tuple[Snapshot, Served]] = {}

    @property
    def statuses(self) -> tuple[WriterStatus, ...]:
        """How each writer stands, sorted by cluster."""
        return tuple(self._statuses[name] for name in sorted(self._statuses))

    async def follow(self, settings: Settings) -> None:
        """Make the running writers those of the settings. One whose settings did not change is
        left alone; one that ends gives its Lease up."""
        wanted = {
            cluster.name: cluster
            for cluster in settings.clusters
            if cluster.writes.any and isinstance(cluster.source, KubernetesSource)
        }
        running = [(name, cluster) for name, (cluster, _) in self._running.items()]
        await self._end([name for name, cluster in running if wanted.get(name) != cluster])
        for name, cluster in wanted.items():
            if name not in self._running:
                task = self._tasks.spawn(self._run(cluster), name)
                self._running[name] = cluster, task

    async def _run(self, cluster: ClusterSettings) -> None:
        while True:
            writer = self._make_writer(cluster, self._report)
            self._writers[cluster.name] = writer
            if (wanted := self._wanted.get(cluster.name)) is not None:
                writer.want(wanted)
            try:
                await writer.run()
                log.error("writing to cluster %s ended; starting it again", cluster.name)
            except Exception:
                log.exception("writing to cluster %s failed; starting it again", cluster.name)
            await asyncio.sleep(RESTART_SECONDS)

    def _report(self, status: WriterStatus) -> None:
        self._statuses[status.cluster] = status
        self._on_change()

    def update(
        self,
        settings: Settings,
        snapshots: Mapping[str, Snapshot],
        plan: Plan,
        applied: Applied,
        now: float,
    ) -> None:
        """Tell the writers what a pass has made."""
        clusters = [c for c in settings.clusters if c.name in self._running and c.name in snapshots]
        if not clusters:
            return
        served = Served.of(plan, applied)
        for cluster in clusters:
            snapshot = snapshots[cluster.name]
            self._basis[cluster.name] = snapshot, served
            outbound = Outbound(
                cluster=cluster.name,
                ingress=_ingress(cluster, snapshot, served),
                notices=notices(cluster, snapshot, plan, served, now)
                if cluster.writes.events
                else (),
            )
            if outbound != self._wanted.get(cluster.name):
                self._wanted[cluster.name] = outbound
                if (writer := self._writers.get(cluster.name)) is not None:
                    writer.want(outbound)

    def findings(self, now: float) -> tuple[Finding, ...]:
        """What an operator should know of the writers."""
        return tuple(_findings(self.statuses, now))

    async def close(self) -> None:
        """End all writers: addresses are taken out where that is wanted, Leases given up."""
        await self._end(list(self._running))
        await self._tasks.close()

    async def let_go(self) -> None:
        """End all writers and leave everything as it is, for a successor of the same identity."""
        await self._tasks.close()
        self._running.clear()
        self._writers.clear()

    async def _end(self, names: list[str]) -> None:
        ending = {name: self._running.pop(name) for name in names}
        await end(task for _, task in ending.values())
        await asyncio.gather(
            *(self._finish(cluster) for cluster, _ in ending.values()), return_exceptions=True
        )

    async def _finish(self, cluster: ClusterSettings) -> None:
        name = cluster.name
        self._wanted.pop(name, None)
        self._statuses.pop(name, None)
        writer, basis = self._writers.pop(name, None), self._basis.pop(name, None)
        if writer is not None:
            ingress = _ingress(cluster, *basis, withdraw=True) if basis is not None else ()
            await writer.finish(Outbound(cluster=name, ingress=ingress))


def _ingress(
    cluster: ClusterSettings, snapshot: Snapshot, served: Served, *, withdraw: bool = False
) -> tuple[IngressWrite, ...]:
    if not cluster.writes.status:
        return ()
    return ingress_writes(cluster, snapshot, served, withdraw=withdraw)


def _findings(statuses: tuple[WriterStatus, ...], now: float) -> Iterator[Finding]:
    for status in statuses:
        if status.missing:
            yield Finding(
                kind=FindingKind.WRITE_REFUSED,
                severity=Severity.WARNING,
                cluster=status.cluster,
                subject=status.cluster,
                text=f"nplb only watches where it should write: {'; '.join(status.missing)}",
                remedy="grant the rights (deploy/rbac), or set status and events under `writes` to "
                "false",
                since=now,
            )
        if status.error:
            yield Finding(
                kind=FindingKind.WRITE_FAILED,
                severity=Severity.WARNING,
                cluster=status.cluster,
                subject=status.cluster,
                text=f"writing to the cluster fails: {status.error}",
                remedy="it is tried again by itself; what is served does not depend on it",
                since=now,
            )
