"""The reconcile loop: levels, nothing before the first snapshot, fail static, whole passes."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from nplb.aio.tasks import TaskOwner
from nplb.control import reconciler as loop
from nplb.control.books import Books
from nplb.control.findings import FindingBook
from nplb.control.inputs import Inputs
from nplb.control.reconciler import Reconciler
from nplb.model.applied import Applied, ListenError, Traffic
from nplb.model.cluster import Snapshot, SourceState, SourceStatus
from nplb.model.decision import DecisionKind
from nplb.model.finding import Finding, FindingKind
from nplb.model.keys import Address
from nplb.model.plan import Plan
from nplb.model.settings import Settings
from nplb.model.verdict import ProbeTarget
from nplb.observe.journal import Journal
from tests.support.builders import a_cluster, a_node, a_port, a_service, a_snapshot, a_verdict


class MemoryPlane:
    """A plane that keeps what it was given; it fails as often as told."""

    def __init__(self) -> None:
        self.plans: list[Plan] = []
        self.failures = 0
        self.busy: set[int] = set()
        self.gate = asyncio.Event()
        self.gate.set()

    async def apply(self, plan: Plan) -> Applied:
        await self.gate.wait()
        if self.failures:
            self.failures -= 1
            raise OSError("the plane broke")
        self.plans.append(plan)
        errors = {
            f.key: (ListenError(address=a, in_use=True, detail=f"{a} is held by pid 7"),)
            for f in plan.frontends
            for a in f.listen
            if a.port in self.busy
        }
        return Applied(
            generation=plan.generation,
            listen_errors=errors,
            retry_seconds=0.01 if errors else None,
        )

    def traffic(self) -> Traffic:
        return Traffic()


class MemoryProber:
    def __init__(self) -> None:
        self.targets: tuple[ProbeTarget, ...] = ()

    def retarget(self, targets: tuple[ProbeTarget, ...]) -> None:
        self.targets = targets


class Bench:
    def __init__(self) -> None:
        self.clock = 1000.0
        self.inputs = Inputs(Settings(clusters=(a_cluster(),)))
        self.plane = MemoryPlane()
        self.prober = MemoryProber()
        self.journal = Journal()
        self.findings = FindingBook()
        self.reconciler = Reconciler(
            inputs=self.inputs,
            plane=self.plane,
            prober=self.prober,
            journal=self.journal,
            books=Books(own_pids=lambda: {1}),
            findings=self.findings,
            now=lambda: self.clock,
        )

    def in_use(self) -> list[Finding]:
        findings = self.findings.findings
        return [f for f in findings if f.kind is FindingKind.EDGE_PORT_IN_USE]

    def kinds(self) -> list[DecisionKind]:
        return [d.kind for d in self.journal.latest()]


@asynccontextmanager
async def running() -> AsyncIterator[Bench]:
    bench = Bench()
    async with TaskOwner("test") as tasks:
        tasks.spawn(bench.reconciler.run(), "reconciler")
        yield bench


async def until(condition: Callable[[], object], what: str) -> None:
    deadline = asyncio.get_running_loop().time() + 10
    while not condition():
        assert asyncio.get_running_loop().time() < deadline, f"waited in vain for {what}"
        await asyncio.sleep(0.005)


def snapshot(*ports: int) -> Snapshot:
    services = [a_service(f"s{p}", a_port(p)) for p in ports]
    return a_snapshot(services, [a_node(1)])


async def test_nothing_is_planned_before_the_first_snapshot() -> None:
    async with running() as bench:
        bench.inputs.verdicts.set({})
        await bench.reconciler.wait_pass(5)
        assert bench.plane.plans == []
        bench.inputs.publish(snapshot(30080))
        await until(lambda: bench.plane.plans, "first plan")
        assert [str(t.address) for t in bench.prober.targets] == ["192.0.2.1:30080"]


@pytest.mark.parametrize("turns", range(5))
async def test_the_loop_ends_when_told_in_the_moment_of_a_change(turns: int) -> None:
    bench = Bench()
    async with TaskOwner("test") as tasks:
        loop = tasks.spawn(bench.reconciler.run(), "reconciler")
        await bench.reconciler.wait_pass(0.01)
        bench.inputs.publish(snapshot(30080))
        for _ in range(turns):
            await asyncio.sleep(0)
        loop.cancel()
        await asyncio.wait([loop], timeout=10)
        assert loop.cancelled()


async def test_an_empty_first_snapshot_is_a_plan() -> None:
    async with running() as bench:
        bench.inputs.publish(snapshot())
        await until(lambda: bench.reconciler.applied, "applied")


async def test_changes_during_a_pass_cost_one_more_pass() -> None:
    async with running() as bench:
        bench.inputs.publish(snapshot(30080))
        await until(lambda: bench.plane.plans, "first plan")
        bench.plane.gate.clear()
        bench.inputs.publish(snapshot(30080, 30081))
        await asyncio.sleep(0.1)
        for last in range(30082, 30100):
            bench.inputs.publish(snapshot(30080, last))
        bench.plane.gate.set()
        await until(lambda: len(bench.plane.plans) >= 3, "two more plans")
        await bench.reconciler.wait_pass(0.2)
        assert len(bench.plane.plans) == 3
        assert [f.node_port for f in bench.plane.plans[-1].frontends] == [30080, 30099]


async def test_ten_thousand_changes_at_once_cost_one_pass() -> None:
    async with running() as bench:
        bench.inputs.publish(snapshot(30080))
        await until(lambda: bench.plane.plans, "first plan")
        await bench.reconciler.wait_pass(0.2)
        before = bench.reconciler.passes
        address = Address("192.0.2.1", 30080)
        for number in range(5000):
            bench.inputs.publish(snapshot(30080, 30081 + number % 100))
            bench.inputs.verdicts.set({address: a_verdict(*address, healthy=bool(number % 2))})
        await until(lambda: bench.reconciler.passes > before, "a pass")
        await bench.reconciler.wait_pass(0.2)
        assert bench.reconciler.passes == before + 1
        last = bench.plane.plans[-1].frontends
        assert [f.node_port for f in last] == [30080, 30180]
        assert last[0].active


async def test_health_goes_into_a_pass_at_once_while_what_a_cluster_says_waits() -> None:
    address = Address("192.0.2.1", 30080)
    async with running() as bench:
        bench.inputs.publish(snapshot(30080))
        await until(lambda: bench.reconciler.pace.free_at > 0.0, "the first pass to end")
        bench.reconciler.pace.free_at = asyncio.get_running_loop().time() + 600.0
        bench.inputs.publish(snapshot(30080, 30081))
        await bench.reconciler.wait_pass(0.1)
        assert len(bench.plane.plans) == 1
        bench.inputs.verdicts.set({address: a_verdict(*address)})
        bench.inputs.hurry()
        await until(lambda: len(bench.plane.plans) == 2, "a pass")
        assert [f.node_port for f in bench.plane.plans[-1].frontends] == [30080, 30081]
        assert bench.plane.plans[-1].frontends[0].active


async def test_a_failed_pass_is_followed_by_a_whole_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "RETRY_SECONDS", 0.01)
    async with running() as bench:
        bench.plane.failures = 3
        bench.inputs.publish(snapshot(30080))
        await until(lambda: bench.plane.plans, "a plan after failures")
        assert len(bench.plane.plans[-1].frontends) == 1
        await until(lambda: not bench.reconciler.last_error, "the error to be forgotten")


async def test_a_source_that_fails_changes_nothing_but_the_journal() -> None:
    async with running() as bench:
        bench.inputs.publish(snapshot(30080))
        bench.inputs.report(SourceStatus(cluster="prod", state=SourceState.LIVE, since=1.0))
        await until(lambda: bench.plane.plans, "first plan")
        generation = bench.reconciler.plan.generation
        bench.inputs.report(
            SourceStatus(cluster="prod", state=SourceState.STALE, since=2.0, error="refused")
        )
        await until(lambda: DecisionKind.SOURCE_STALE in bench.kinds(), "the entry")
        assert bench.reconciler.plan.generation == generation
        assert len(bench.reconciler.plan.frontends) == 1


async def test_why_a_cluster_cannot_be_read_is_told_before_there_is_a_snapshot() -> None:
    def failing(error: str) -> SourceStatus:
        return SourceStatus(cluster="prod", state=SourceState.CONNECTING, since=1.0, error=error)

    def texts() -> list[str]:
        return [one.text for one in bench.journal.latest()]

    async with running() as bench:
        for error in ("", "refused", "refused", "no route"):
            bench.inputs.report(failing(error))
            await bench.reconciler.wait_pass(5.0)
        # Each attempt of an outage may meet another error: they are not told one by one.
        assert texts() == ["can't be read yet: refused"]
        bench.clock += loop.ERROR_INTERVAL_SECONDS
        bench.inputs.report(failing("unauthorized"))
        await until(lambda: len(texts()) == 2, "the next entry")
        assert texts()[-1] == "can't be read yet: unauthorized"


async def test_objects_that_a_source_leaves_out_are_findings() -> None:
    status = SourceStatus(cluster="prod", state=SourceState.LIVE, since=1.0)
    odd = ("Service default/odd: spec.ports: must be a list", "Node a: spec: must be a mapping")
    async with running() as bench:
        bench.inputs.publish(snapshot(30080))
        bench.inputs.report(replace(status, warnings=odd, passed_over="Deployment (1)"))
        await until(lambda: len(bench.findings.findings) == 3, "the findings")
        assert [(f.kind, f.subject) for f in bench.findings.findings] == [
            (FindingKind.OBJECT_REFUSED, "Node a"),
            (FindingKind.OBJECT_REFUSED, "Service default/odd"),
            (FindingKind.OBJECTS_PASSED_OVER, "prod"),
        ]
        bench.inputs.report(status)
        await until(lambda: not bench.findings.findings, "them to close")


async def test_a_port_in_use_is_a_finding_until_it_comes_free() -> None:
    async with running() as bench:
        bench.plane.busy = {30080}
        bench.inputs.publish(snapshot(30080, 30081))
        await until(bench.in_use, "the finding")
        (finding,) = bench.in_use()
        assert "0.0.0.0:30080 is in use" in finding.text
        assert DecisionKind.LISTEN_FAILED in bench.kinds()
        bench.plane.busy = set()  # nothing is told: the plane asked to be tried again
        await until(lambda: not bench.in_use(), "the finding to close")
        assert DecisionKind.FINDING_CLOSED in bench.kinds()
        assert DecisionKind.LISTENING in bench.kinds()


async def test_verdicts_reach_the_plan() -> None:
    async with running() as bench:
        bench.inputs.publish(snapshot(30080))
        await until(lambda: bench.plane.plans, "first plan")
        assert bench.plane.plans[-1].frontends[0].active == ()
        verdict = a_verdict("192.0.2.1")
        bench.inputs.verdicts.set({Address("192.0.2.1", 30080): verdict})
        await until(lambda: bench.plane.plans[-1].frontends[0].active, "an active backend")
        assert DecisionKind.BACKEND_JOINED in bench.kinds()
