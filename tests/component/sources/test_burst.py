"""A burst of events, from the API server to the plan: what it costs is counted in passes."""

import dataclasses
import random
from pathlib import Path
from typing import Any

from nplb.aio.tasks import TaskOwner
from nplb.control.books import Books
from nplb.control.findings import FindingBook
from nplb.control.inputs import Inputs
from nplb.control.reconciler import Reconciler
from nplb.model.applied import Applied, Traffic
from nplb.model.plan import Plan
from nplb.model.settings import Settings
from nplb.model.verdict import ProbeTarget
from nplb.observe.journal import Journal
from nplb.sources.kubernetes.source import KubernetesReader
from tests.support.eventually import eventually
from tests.support.fakeapi import serving
from tests.support.reading import FAST, kubeconfig, kubernetes_cluster

EVENTS = 10_000
GATHER_SECONDS = 5.0
PATIENCE_SECONDS = 40.0


class Nowhere:
    """A plane and a prober that take everything and do nothing."""

    async def apply(self, plan: Plan) -> Applied:
        return Applied(generation=plan.generation)

    def traffic(self) -> Traffic:
        return Traffic()

    def retarget(self, targets: tuple[ProbeTarget, ...]) -> None:
        pass


def service(node_port: int) -> Any:
    return {
        "metadata": {"name": "web", "namespace": "default"},
        "spec": {"type": "NodePort", "ports": [{"port": 80, "nodePort": node_port}]},
    }


async def test_ten_thousand_events_at_once_cost_a_handful_of_passes(tmp_path: Path) -> None:
    async with serving() as api, TaskOwner("test") as tasks:
        api.put("services", service(30000))
        cluster = kubernetes_cluster(kubeconfig(tmp_path / "config", api.url, {"token": api.token}))
        inputs, nowhere = Inputs(Settings(clusters=(cluster,))), Nowhere()
        reconciler = Reconciler(
            inputs=inputs,
            plane=nowhere,
            prober=nowhere,
            journal=Journal(),
            books=Books(own_pids=lambda: ()),
            findings=FindingBook(),
            now=lambda: 1.0,
        )
        source = KubernetesReader(
            cluster,
            publish=inputs.publish,
            report=inputs.report,
            now=lambda: 1.0,
            rng=random.Random(1),
            pacing=dataclasses.replace(FAST, gather_seconds=GATHER_SECONDS),
        )

        def planned(node_port: int) -> bool:
            return [f.node_port for f in reconciler.plan.frontends] == [node_port]

        tasks.spawn(source.run(), "source")
        tasks.spawn(reconciler.run(), "reconciler")
        await eventually(lambda: planned(30000), "the first plan")
        await eventually(lambda: api.watching == 3, "all watches")
        before = reconciler.passes
        for number in range(1, EVENTS):
            api.put("services", service(30000 + number % 2500))
        api.put("services", service(32767))
        await eventually(lambda: planned(32767), "the last plan", PATIENCE_SECONDS)
        # A snapshot each time events were gathered, a pass each, and few for how the source stands.
        assert reconciler.passes - before <= 5 + 2 * PATIENCE_SECONDS / GATHER_SECONDS
