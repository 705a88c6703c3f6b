"""Runs a Kubernetes source against a server, such as the lab's, and keeps what it publishes and
reports."""

import asyncio
import base64
import contextlib
import json
import random
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

from nplb.aio.tasks import TaskOwner
from nplb.lab.api.server import ApiServer
from nplb.model.cluster import Snapshot, SourceState, SourceStatus
from nplb.model.settings import ClusterSettings, KubernetesSource
from nplb.sources.kubernetes.kubeconfig import Access, find_access
from nplb.sources.kubernetes.pacing import Pacing
from nplb.sources.kubernetes.source import KubernetesReader
from tests.support.eventually import eventually
from tests.support.fakeapi import FakeApi

TOKEN = "a-token-of-the-lab"
FAST = Pacing(
    watch_seconds=(300, 300),
    connect_seconds=2.0,
    silence_seconds=20.0,
    settle_seconds=0.02,
    backoff_base_seconds=0.01,
    backoff_max_seconds=0.1,
    gather_seconds=0.01,
    lag_seconds=0.001,
)


def kubeconfig(path: Path, server: str, user: dict[str, Any], **cluster: Any) -> Path:
    """Write a kubeconfig with one context (JSON is YAML too). Returns its path."""
    content = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "lab",
        "contexts": [{"name": "lab", "context": {"cluster": "lab", "user": "edge"}}],
        "clusters": [{"name": "lab", "cluster": {"server": server, **cluster}}],
        "users": [{"name": "edge", "user": user}],
    }
    path.write_text(json.dumps(content, indent=1))
    return path


def kubernetes_cluster(path: Path | None, **changes: Any) -> ClusterSettings:
    """Settings of a cluster read with a kubeconfig."""
    source = KubernetesSource(kubeconfig=path)
    return ClusterSettings(name="prod", source=source, **changes)


@contextlib.asynccontextmanager
async def lab_api() -> AsyncIterator[ApiServer]:
    """The lab's API server, which speaks TLS and asks for `TOKEN`."""
    server = ApiServer(rng=random.Random(5), token=TOKEN, tls=True)
    await server.start()
    try:
        yield server
    finally:
        await server.stop()


def cluster_of(api: ApiServer, directory: Path, **changes: Any) -> ClusterSettings:
    """Settings of a `lab_api`'s cluster; its kubeconfig is written into the directory."""
    authority = base64.b64encode(api.ca_pem.encode()).decode()
    path = kubeconfig(
        directory / "config",
        api.url,
        {"token": TOKEN},
        **{"certificate-authority-data": authority},
    )
    return kubernetes_cluster(path, **changes)


class Reading:
    """A source that runs, with everything it has said so far."""

    def __init__(self) -> None:
        self.snapshots: list[Snapshot] = []
        self.statuses: list[SourceStatus] = []

    @property
    def snapshot(self) -> Snapshot:
        return self.snapshots[-1]

    @property
    def status(self) -> SourceStatus:
        return self.statuses[-1]

    @property
    def services(self) -> list[str]:
        """Names of the services of the last snapshot."""
        return [service.key.short for service in self.snapshot.services]

    async def until(self, condition: Callable[[], object], what: str) -> None:
        """Wait for a condition, and show the status if it does not come true."""
        try:
            await eventually(lambda: self.statuses and condition(), what)
        except AssertionError as error:
            raise AssertionError(f"{error}; status: {self.statuses[-3:]}") from None

    async def until_live(self) -> None:
        """Wait until all is well. The first watches may not have begun then."""
        await self.until(
            lambda: self.status.state is SourceState.LIVE and not self.status.error, "live"
        )

    async def until_watching(self, fake: FakeApi, watches: int = 3) -> None:
        """Wait until all is well and so many watches are open."""
        await self.until_live()
        await self.until(lambda: fake.watching == watches, f"{watches} watches")

    async def until_error(self, *words: str) -> None:
        """Wait for a status that is not live and whose error has all these words."""
        await self.until(
            lambda: (
                self.status.state is not SourceState.LIVE
                and all(word in self.status.error for word in words)
            ),
            f"an error with {words}",
        )

    async def until_services(self, *names: str) -> None:
        await self.until(
            lambda: self.snapshots and self.services == [f"default/{name}" for name in names],
            f"services {names}",
        )


@contextlib.asynccontextmanager
async def reading(
    settings: ClusterSettings,
    pacing: Pacing = FAST,
    find: Callable[[KubernetesSource], Access] = find_access,
) -> AsyncIterator[Reading]:
    """Run a source for the length of the `async with`. It must not end by itself."""
    said = Reading()
    source = KubernetesReader(
        settings,
        publish=said.snapshots.append,
        report=said.statuses.append,
        now=time.time,
        rng=random.Random(1),
        pacing=pacing,
        find=find,
    )
    async with TaskOwner("test") as tasks:
        task = tasks.spawn(source.run(), "source")
        yield said
        await asyncio.sleep(0)
        assert not task.done()
