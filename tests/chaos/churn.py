"""A day's worth of changes, compressed: what is remembered must not grow, and must not matter.

    python -m tests.chaos.churn [--hours 24] [--changes 400]

A lab's API server changes as a busy cluster does: Services come, change and go, nodes are
labelled, tainted, NotReady, deleted and back, pods come and go, watches break. The control plane
(source, reconciler, prober) follows it in this process, on a clock that runs an hour in the time
that the changes take. After each hour the cluster is as it was at first. Then:

- the plan is what a fresh start computes of the same snapshot and verdicts;
- there are no more objects of nplb's own, tasks and descriptors than after the second hour.
"""

import argparse
import asyncio
import gc
import logging
import os
import random
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from nplb.aio.tasks import TaskOwner
from nplb.control.books import Books
from nplb.control.findings import FindingBook
from nplb.control.inputs import Inputs
from nplb.control.reconciler import Reconciler
from nplb.demo.show import hold_free_network
from nplb.health.prober import Prober
from nplb.lab.cluster import Lab
from nplb.lab.timing import Timing
from nplb.lab.writes import delete, patch
from nplb.model.applied import Applied, Traffic
from nplb.model.health import HealthSettings
from nplb.model.plan import Plan
from nplb.model.settings import ClusterSettings, KubernetesSource, Settings
from nplb.observe.journal import Journal
from nplb.plan.make import make_plan
from nplb.policy.nodes import AUTOSCALER_TAINT, EXCLUDE_LABEL, WEIGHT_ANNOTATION
from nplb.sources.factory import make_source

HOUR = 3600.0
BASE_SERVICES = 10
MAX_EXTRA = 10
SETTLED_SECONDS = 60.0
GROWTH = 1.05
"""Counts differ by as much, from one moment to the next, without any growth."""

_SERVICE = """\
apiVersion: v1
kind: Service
metadata:
  name: {name}
  annotations: {{lab.nplb.io/pods: "{pods}"}}
spec:
  type: NodePort
  externalTrafficPolicy: {policy}
  selector: {{app: {name}}}
  ports: [{{port: 80, targetPort: 8080}}]
"""


class NoPlane:
    """Takes every plan and moves nothing."""

    async def apply(self, plan: Plan) -> Applied:
        """Say that it is applied."""
        return Applied(generation=plan.generation)

    def traffic(self) -> Traffic:
        """There is none."""
        return Traffic()


@dataclass(frozen=True, slots=True, kw_only=True)
class Hour:
    """What was seen at the end of an hour: how many objects of nplb's own there are, how many
    tasks and descriptors, and what differs from a fresh start's plan (empty: nothing)."""

    objects: int
    tasks: int
    descriptors: int
    difference: str
    passes: int


class Churn:
    """A lab, the control plane that follows it, and changes. `changes` are made an hour."""

    def __init__(self, lab: Lab, *, changes: int, rng: random.Random) -> None:
        self._lab = lab
        self._changes = changes
        self._rng = rng
        self._hours = 0.0  # on the compressed clock
        source = KubernetesSource(kubeconfig=lab.kubeconfig_path)
        self.settings = Settings(
            clusters=(ClusterSettings(name="lab", source=source),),
            health=HealthSettings(
                interval_seconds=1.0, fast_seconds=0.2, timeout_seconds=0.5, rise=1
            ),
        )
        self.inputs = Inputs(self.settings)
        self.prober = Prober(publish=self.inputs.verdicts.set, rng=rng, now=self.now)
        self.reconciler = Reconciler(
            inputs=self.inputs,
            plane=NoPlane(),
            prober=self.prober,
            journal=Journal(capacity=200),
            books=Books(own_pids=lambda: ()),
            findings=FindingBook(),
            now=self.now,
        )
        self._extra: list[str] = []
        self._numbers = 0

    def now(self) -> float:
        """The compressed clock, in epoch seconds."""
        return 1.0e9 + self._hours * HOUR + time.monotonic()

    async def run(self, hours: int, tell: Callable[[str], None]) -> list[Hour]:
        """So many hours of changes."""
        seen: list[Hour] = []
        async with TaskOwner("churn") as tasks:
            reader = make_source(
                self.settings.clusters[0],
                publish=self.inputs.publish,
                report=self.inputs.report,
                now=self.now,
                rng=self._rng,
            )
            tasks.spawn(reader.run(), "source")
            tasks.spawn(self.prober.run(), "prober")
            tasks.spawn(self.reconciler.run(), "reconciler")
            for number in range(BASE_SERVICES):
                await self._service(f"base-{number}", 2)
            await self._settle()
            for number in range(1, hours + 1):
                for _ in range(self._changes):
                    await self._change()
                    await asyncio.sleep(0)
                await self._restore()
                self._hours += 1.0
                await self._settle()
                seen.append(
                    Hour(
                        objects=_objects(),
                        tasks=len(asyncio.all_tasks()),
                        descriptors=len(os.listdir("/proc/self/fd")),  # noqa: PTH208
                        difference=self._difference(),
                        passes=self.reconciler.passes,
                    )
                )
                last = seen[-1]
                tell(
                    f"hour {number:2}: {last.passes} passes, {last.objects} objects, "
                    f"{last.tasks} tasks, {last.descriptors} descriptors"
                    + (f", DIFFERS: {last.difference}" if last.difference else "")
                )
        return seen

    # -- changes ---------------------------------------------------------------

    async def _change(self) -> None:
        rng, api = self._rng, self._lab.api
        node = rng.choice(list(self._lab.nodes))
        kind = rng.random()
        if kind < 0.2:
            await self._come_or_go()
        elif kind < 0.5:
            name = rng.choice([f"base-{n}" for n in range(BASE_SERVICES)] + self._extra)
            change: dict[str, Any] = rng.choice(
                [
                    {"metadata": {"annotations": {"lab.nplb.io/pods": str(rng.randrange(4))}}},
                    {"metadata": {"labels": {"round": str(rng.random())}}},
                    {"spec": {"externalTrafficPolicy": rng.choice(["Local", "Cluster"])}},
                    {"metadata": {"annotations": {"nplb.io/balance": rng.choice(["first", "x"])}}},
                ]
            )
            patch(api, "services", name, change, namespace="default")
        elif kind < 0.65:
            value = rng.choice([None, "", "true", "false"])
            patch(api, "nodes", node, {"metadata": {"labels": {EXCLUDE_LABEL: value}}})
        elif kind < 0.75:
            weight = rng.choice([None, "3", "heavy"])
            patch(api, "nodes", node, {"metadata": {"annotations": {WEIGHT_ANNOTATION: weight}}})
        elif kind < 0.85:
            taints = rng.choice([[], [{"key": AUTOSCALER_TAINT, "effect": "NoSchedule"}]])
            patch(api, "nodes", node, {"spec": {"taints": taints}})
        elif kind < 0.97:
            fault = rng.choice(["refuse", "silent", "not-ready-but-serving", "delete"])
            self._lab.faults.clear(node)
            if rng.random() < 0.5:
                self._lab.faults.apply(node, fault)
        else:
            self._lab.faults.apply("api", "cut")
        if rng.random() < 0.3:
            await asyncio.sleep(rng.random() * 0.05)

    async def _come_or_go(self) -> None:
        if len(self._extra) >= MAX_EXTRA or (self._extra and self._rng.random() < 0.5):
            name = self._extra.pop(self._rng.randrange(len(self._extra)))
            delete(self._lab.api, "services", name, namespace="default")
        else:
            self._numbers += 1
            name = f"extra-{self._numbers}"
            self._extra.append(name)
            await self._service(name, self._rng.randrange(4))

    async def _service(self, name: str, pods: int, policy: str = "Cluster") -> None:
        await self._lab.apply(_SERVICE.format(name=name, pods=pods, policy=policy))

    async def _restore(self) -> None:
        """Everything as it was at first."""
        api = self._lab.api
        self._lab.faults.clear()
        for name in self._extra:
            delete(api, "services", name, namespace="default")
        self._extra.clear()
        for number in range(BASE_SERVICES):
            await self._service(f"base-{number}", 2)
            annotations = {"nplb.io/balance": None}
            patch(
                api,
                "services",
                f"base-{number}",
                {"metadata": {"annotations": annotations, "labels": {"round": None}}},
                namespace="default",
            )
        for node in self._lab.nodes:
            metadata: dict[str, Any] = {
                "labels": {EXCLUDE_LABEL: None},
                "annotations": {WEIGHT_ANNOTATION: None},
            }
            patch(api, "nodes", node, {"metadata": metadata, "spec": {"taints": []}})

    async def _settle(self) -> None:
        """Until every node passes in every Service, and nothing moves."""
        end = time.monotonic() + SETTLED_SECONDS
        quiet_since, generation = time.monotonic(), -1
        while time.monotonic() < end:
            plan = self.reconciler.plan
            now = time.monotonic()
            if plan.generation != generation or not self._is_whole(plan):
                quiet_since, generation = now, plan.generation
            if now - quiet_since > 0.5:
                return
            await asyncio.sleep(0.02)
        raise AssertionError(f"the plan did not settle: {self._difference()}; {_unwell(plan)}")

    def _is_whole(self, plan: Plan) -> bool:
        nodes = len(self._lab.nodes)
        return len(plan.frontends) == BASE_SERVICES and all(
            len(frontend.active) == nodes for frontend in plan.frontends
        )

    # -- what must hold ----------------------------------------------------------

    def _difference(self) -> str:
        """What a fresh start would plan otherwise."""
        fresh = make_plan(
            self.settings,
            self.inputs.snapshots.get(),
            self.prober.verdicts(),
            Plan(),
            self.now(),
        )
        one, other = _timeless(self.reconciler.plan), _timeless(fresh)
        if one == other:
            return ""
        for mine, new in zip(one.frontends, other.frontends, strict=False):
            if mine != new:
                return f"{mine} is not {new}"
        return f"{len(one.frontends)} frontends, {len(other.frontends)} after a fresh start"


def _timeless(plan: Plan) -> Plan:
    """The plan without what may depend on when things happened."""
    return replace(
        plan,
        generation=0,
        refusals=(),
        frontends=tuple(
            replace(
                frontend,
                backends=tuple(replace(b, since=0.0, left_at=0.0) for b in frontend.backends),
                left_out=(),
            )
            for frontend in plan.frontends
        ),
    )


def _unwell(plan: Plan) -> list[str]:
    return [
        f"{backend.key}: {backend.reason} {backend.detail}"
        for frontend in plan.frontends
        for backend in frontend.backends
        if backend not in frontend.active
    ][:10]


def _objects() -> int:
    """How many objects of nplb's own there are; the lab's do not count."""
    gc.collect()
    count = 0
    for thing in gc.get_objects():
        module: object = type(thing).__module__
        if isinstance(module, str) and module.startswith("nplb."):
            count += not module.startswith("nplb.lab")
    return count


def grown(seen: list[Hour]) -> str:
    """What there is more of at the end than after the second hour; empty if nothing."""
    early = seen[min(1, len(seen) - 1)]
    for name in ("objects", "tasks", "descriptors"):
        before = getattr(early, name)
        now = min(getattr(hour, name) for hour in seen[-2:])
        if now > before * GROWTH + 10:
            return f"{name}: {before} -> {now}"
    return ""


async def follow(hours: int, changes: int, lab: Lab, tell: Callable[[str], None]) -> list[Hour]:
    """Churn on a lab that runs."""
    return await Churn(lab, changes=changes, rng=random.Random(7)).run(hours, tell)


async def main(hours: int, changes: int) -> int:
    """Print each hour, and judge. Returns the exit code."""
    with (
        tempfile.TemporaryDirectory(prefix="nplb-churn-") as place,
        hold_free_network() as network,
    ):
        lab = Lab(
            nodes=4,
            network=network,
            kubeconfig=Path(place) / "kubeconfig",
            timing=Timing.quick(),
        )
        async with lab:
            seen = await follow(hours, changes, lab, lambda text: print(text, flush=True))
    more = grown(seen)
    differs = sum(bool(hour.difference) for hour in seen)
    print(
        f"churn: {hours} hours, {hours * changes} changes, {seen[-1].passes} passes; "
        f"{differs} hours ended with another plan than a fresh start's; "
        + (f"grown since the second hour: {more}" if more else "nothing has grown")
    )
    return 1 if differs or more else 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.churn", description=__doc__)
    parser.add_argument("--hours", type=int, default=24)
    parser.add_argument("--changes", type=int, default=400, help="an hour [400]")
    given = parser.parse_args()
    logging.disable(logging.WARNING)  # every decision would be a line
    sys.exit(asyncio.run(main(given.hours, given.changes)))
