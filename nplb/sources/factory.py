"""From a cluster's settings to what reads it. Imports late what is dear to import."""

import asyncio
import random
from collections.abc import Callable
from pathlib import Path

from nplb.model.cluster import Snapshot
from nplb.model.outbound import WriterStatus
from nplb.model.settings import ClusterSettings, KubernetesSource
from nplb.sources import Now, Publish, Report, Source, Writer


def make_source(
    settings: ClusterSettings,
    *,
    publish: Publish,
    report: Report,
    now: Now,
    rng: random.Random,
    state_dir: Path | None = None,
) -> Source:
    """The source that a cluster's settings mean, not running yet. `state_dir` keeps the
    NodePorts given to Services of manifests over restarts; None keeps them in memory."""
    if isinstance(settings.source, KubernetesSource):
        from nplb.sources.kubernetes.source import KubernetesReader

        return KubernetesReader(settings, publish=publish, report=report, now=now, rng=rng)
    from nplb.sources.manifests.source import ManifestsReader

    return ManifestsReader(
        settings, publish=publish, report=report, now=now, rng=rng, state_dir=state_dir
    )


def make_writer(
    settings: ClusterSettings,
    *,
    identity: str,
    report: Callable[[WriterStatus], None],
    now: Now,
    rng: random.Random,
) -> Writer:
    """What writes into a cluster that is read from its API, not running yet. `identity` is this
    edge's name in the cluster."""
    from nplb.sources.kubernetes.writer import KubernetesWriter

    return KubernetesWriter(settings, identity=identity, report=report, now=now, rng=rng)


async def list_once(
    settings: ClusterSettings,
    *,
    now: Now,
    rng: random.Random,
    state_dir: Path | None = None,
) -> Snapshot:
    """A cluster as it is now, read once: for commands that print and end.

    Errors: ConfigurationError for what the operator gave (kubeconfig, context, credentials,
    manifests), ClusterError for what the API server or the way to it does, HostError for a port
    book that can't be read. Each says what is wrong, where, and what to do.
    """
    if isinstance(settings.source, KubernetesSource):
        from nplb.sources.kubernetes.source import list_cluster

        return await list_cluster(settings, now=now, rng=rng)
    from nplb.sources.manifests.source import read_manifests

    return await asyncio.to_thread(read_manifests, settings, now=now, rng=rng, state_dir=state_dir)


def check_source(settings: ClusterSettings, state_dir: Path | None = None) -> tuple[str, ...]:
    """Read what a source needs from this machine (kubeconfig and context, or manifests), and
    ask no API server; blocks. Returns what would be left out or read around.

    Errors: ConfigurationError saying what is missing or wrong, where, and what to do.
    """
    if isinstance(settings.source, KubernetesSource):
        from nplb.sources.kubernetes.kubeconfig import find_access

        find_access(settings.source)
        return ()
    from nplb.sources.manifests.source import check_manifests

    return check_manifests(settings, rng=random.Random(), state_dir=state_dir)
