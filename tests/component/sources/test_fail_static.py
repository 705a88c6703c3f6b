"""Whatever the API server does, the plan stays, its age shows, and recovery needs no help: the
source, the reconcile loop and a plane together, on the lab's API server."""

import dataclasses
import random
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from nplb.aio.tasks import TaskOwner
from nplb.control.books import Books
from nplb.control.findings import FindingBook
from nplb.control.inputs import Inputs
from nplb.control.reconciler import Reconciler
from nplb.lab.api.faults import ApiFaults
from nplb.lab.api.server import ApiServer
from nplb.model.applied import Applied, Traffic
from nplb.model.cluster import SourceState, SourceStatus
from nplb.model.plan import Plan
from nplb.model.settings import ClusterSettings, HealthSettings, Settings
from nplb.model.verdict import ProbeTarget
from nplb.observe.journal import Journal
from nplb.sources.kubernetes.source import KubernetesReader
from tests.support.eventually import eventually
from tests.support.reading import FAST, TOKEN, cluster_of, lab_api


class Kept:
    """A plane and a prober that keep what they are given."""

    def __init__(self) -> None:
        self.plans: list[Plan] = []

    async def apply(self, plan: Plan) -> Applied:
        self.plans.append(plan)
        return Applied(generation=plan.generation)

    def traffic(self) -> Traffic:
        return Traffic()

    def retarget(self, targets: tuple[ProbeTarget, ...]) -> None:
        pass


class Balancing:
    """What an edge has made of a cluster."""

    def __init__(self, settings: Settings) -> None:
        self.inputs = Inputs(settings)
        self.plane = Kept()
        self.journal = Journal()
        self.reconciler = Reconciler(
            inputs=self.inputs,
            plane=self.plane,
            prober=self.plane,
            journal=self.journal,
            books=Books(own_pids=lambda: {1}),
            findings=FindingBook(),
            now=time.time,
        )

    @property
    def source(self) -> SourceStatus:
        return self.inputs.sources.get()["prod"]

    @property
    def served(self) -> dict[str, list[str]]:
        """Each service that is served, with its active nodes."""
        return {
            frontend.key.service.name: [backend.key.node for backend in frontend.active]
            for frontend in self.reconciler.plan.frontends
        }


def service(name: str) -> dict[str, Any]:
    return {"metadata": {"name": name}, "spec": {"type": "NodePort", "ports": [{"port": 80}]}}


def node(name: str, ip: str) -> dict[str, Any]:
    status = {"addresses": [{"type": "InternalIP", "address": ip}]}
    return {"metadata": {"name": name}, "status": status}


@pytest.fixture
async def api() -> AsyncIterator[ApiServer]:
    async with lab_api() as server:
        server.create("nodes", node("a", "192.0.2.1"))
        server.create("nodes", node("b", "192.0.2.2"))
        server.create("services", service("web"))
        yield server


@pytest.fixture
def cluster(api: ApiServer, tmp_path: Path) -> ClusterSettings:
    return cluster_of(api, tmp_path)


@asynccontextmanager
async def balancing(cluster: ClusterSettings) -> AsyncIterator[Balancing]:
    edge = Balancing(Settings(clusters=(cluster,), health=HealthSettings(enabled=False)))
    pacing = dataclasses.replace(FAST, silence_seconds=0.7, watch_seconds=(1, 1))
    reader = KubernetesReader(
        cluster,
        publish=edge.inputs.publish,
        report=edge.inputs.report,
        now=time.time,
        rng=random.Random(3),
        pacing=pacing,
    )
    async with TaskOwner("edge") as tasks:
        tasks.spawn(reader.run(), "reader")
        tasks.spawn(edge.reconciler.run(), "reconciler")
        yield edge
        assert tasks.failure is None


# Each begins a fault that lasts until it is cleared; streams are cut, so that it is met at once.
FAULTS: dict[str, Callable[[ApiFaults], None]] = {
    "away": ApiFaults.down,
    "hanging": ApiFaults.hang,
    "restarting for long, then 410": lambda faults: faults.restart(3600.0),
    "502 with HTML": ApiFaults.bad_gateway,
    "429": ApiFaults.too_many_requests,
    "500": ApiFaults.internal_error,
    "401": ApiFaults.unauthorized,
    "403": lambda faults: faults.forbid(resource="services"),
    "streams cut in mid-line": lambda faults: faults.cut_streams(None),
    "silent for ever": ApiFaults.stall_watches,
}

# In these two a watch opens all the same, which says that what is known holds.
OPENS = ("streams cut in mid-line", "silent for ever")


@pytest.mark.parametrize("name", FAULTS)
async def test_the_plan_stays_its_age_shows_and_recovery_needs_no_help(
    api: ApiServer, cluster: ClusterSettings, name: str
) -> None:
    async with balancing(cluster) as edge:
        await eventually(lambda: edge.served == {"web": ["a", "b"]}, "the first plan")
        before = edge.reconciler.plan
        FAULTS[name](api.faults)
        api.faults.cut_streams(None if "cut" in name else 0)
        await eventually(lambda: edge.source.state is SourceState.STALE, "the fault to be noticed")
        assert edge.source.error
        assert TOKEN not in edge.source.error
        known_at = edge.source.last_snapshot_at
        # What happens meanwhile is not seen, and nothing that was served is given up.
        api.delete("services", "web")
        api.create("services", service("late"))
        passes = edge.reconciler.passes
        edge.inputs.changed.set()
        await eventually(lambda: edge.reconciler.passes > passes, "another pass")
        assert edge.reconciler.plan is before
        assert edge.plane.plans[-1] is before
        if name not in OPENS:
            assert edge.source.last_snapshot_at == known_at, "its age grows"
        api.faults.clear()
        await eventually(lambda: edge.served == {"late": ["a", "b"]}, "what is there now")
        await eventually(lambda: edge.source.state is SourceState.LIVE, "all to be well")
        assert not edge.source.error
