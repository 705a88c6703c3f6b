"""The wall clock is set while nplb runs: it dates what people read, and decides nothing."""

import random
from typing import cast

import pytest

from nplb.control.books import Books
from nplb.control.findings import FindingBook
from nplb.control.inputs import Inputs
from nplb.control.keeper import StatusKeeper
from nplb.control.outbox import MakeWriter, Outbox
from nplb.control.reconciler import Reconciler
from nplb.health.prober import Prober
from nplb.model.settings import Settings
from nplb.observe.journal import Journal
from nplb.web.health import live_parts
from tests.support.builders import a_cluster, a_node, a_port, a_service, a_snapshot, a_verdict
from tests.unit.control.test_reconciler import MemoryPlane

DAY = 86400.0


class Clock:
    def __init__(self) -> None:
        self.wall = 1.8e9

    def now(self) -> float:
        return self.wall


@pytest.mark.parametrize("jump", [DAY, -DAY])
async def test_a_clock_that_is_set_changes_nothing_but_dates(jump: float) -> None:
    clock = Clock()
    snapshot = a_snapshot([a_service("web", a_port(30080))], [a_node(1)])
    inputs = Inputs(Settings(clusters=(a_cluster(),)))
    prober = Prober(publish=inputs.verdicts.set, rng=random.Random(1), now=clock.now)
    journal, books, findings = Journal(), Books(own_pids=lambda: {1}), FindingBook()
    plane = MemoryPlane()
    reconciler = Reconciler(
        inputs=inputs,
        plane=plane,
        prober=prober,
        journal=journal,
        books=books,
        findings=findings,
        now=clock.now,
    )
    keeper = StatusKeeper(
        inputs=inputs,
        reconciler=reconciler,
        plane=plane,
        journal=journal,
        books=books,
        findings=findings,
        prober=prober,
        outbox=Outbox(cast("MakeWriter", None), lambda: None),
        config_path="nplb.yaml",
        now=clock.now,
    )
    inputs.publish(snapshot)
    verdict = a_verdict("192.0.2.1")
    inputs.verdicts.set({verdict.address: verdict})
    await reconciler.turn()
    plan = reconciler.plan
    assert plan.frontends[0].active
    clock.wall += jump
    # The loop has turned a moment ago, whatever the wall says: nobody is to start it anew for that.
    assert all(part.ok for part in live_parts(keeper.status()))
    await reconciler.turn()
    assert reconciler.plan is plan, "the same plan, with the times of before"
    assert len(plane.plans) == 2
