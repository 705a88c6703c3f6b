"""One source per configured cluster: started, watched over, and changed with the settings."""

import asyncio
import logging
from collections.abc import Callable

from nplb.aio.tasks import TaskOwner, end
from nplb.control.inputs import Inputs
from nplb.model.settings import ClusterSettings, Settings
from nplb.sources import Source

log = logging.getLogger(__name__)

RESTART_SECONDS = 2.0

MakeSource = Callable[[ClusterSettings, Settings], Source]


class Feeds:
    """Runs the sources. A source that fails by a fault of its own is started again; its last
    snapshot stays in force meanwhile, and no other source notices."""

    def __init__(self, inputs: Inputs, make_source: MakeSource) -> None:
        self._inputs = inputs
        self._make_source = make_source
        self._tasks = TaskOwner("feeds")
        self._running: dict[str, tuple[ClusterSettings, asyncio.Task[None]]] = {}

    async def follow(self, settings: Settings) -> None:
        """Make the running sources those of the settings. One whose settings did not change
        is left alone; one that changed keeps its snapshot until the new one has its own."""
        wanted = {cluster.name: cluster for cluster in settings.clusters}
        for name, (cluster, task) in list(self._running.items()):
            if wanted.get(name) == cluster:
                continue
            await end([task])
            del self._running[name]
            if name not in wanted:
                self._inputs.forget(name)
        for name, cluster in wanted.items():
            if name not in self._running:
                task = self._tasks.spawn(self._run(cluster, settings), name)
                self._running[name] = (cluster, task)

    async def _run(self, cluster: ClusterSettings, settings: Settings) -> None:
        while True:
            try:
                await self._make_source(cluster, settings).run()
                log.error("the source of cluster %s ended; starting it again", cluster.name)
            except Exception:
                log.exception("the source of cluster %s failed; starting it again", cluster.name)
            await asyncio.sleep(RESTART_SECONDS)

    async def close(self) -> None:
        """End all sources."""
        await self._tasks.close()
        self._running.clear()
