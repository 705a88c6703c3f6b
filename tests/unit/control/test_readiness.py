"""Readiness: what a start waits for, and what never takes a running edge out of service."""

from collections.abc import Collection
from typing import Any

from nplb.control.readiness import CLUSTER_GRACE_SECONDS, Readiness
from nplb.model.applied import Applied, ListenError, Traffic, WorkerCounters
from nplb.model.cluster import Snapshot, SourceState, SourceStatus
from nplb.model.plan import Plan
from nplb.model.settings import Settings
from nplb.model.status import ReadyPart, ReloadStatus
from nplb.model.verdict import Verdict
from nplb.plan.make import make_plan
from tests.support.builders import (
    a_cluster,
    a_node,
    a_port,
    a_service,
    a_snapshot,
    a_verdict,
)

BOTH = Settings(clusters=(a_cluster("a"), a_cluster("b")))
SNAPSHOT_A = a_snapshot([a_service(cluster="a")], [a_node(1)], cluster="a")
SNAPSHOT_B = a_snapshot(cluster="b")
WORKER = WorkerCounters(worker=0, pid=1, alive=True, generation=1, restarts=0)
GOOD = [a_verdict("192.0.2.1")]


def unready(*args: Any, **kwargs: Any) -> set[str]:
    """The names of the parts that are not met."""
    return {part.name for part in parts(*args, **kwargs) if not part.ok}


def parts(
    readiness: Readiness,
    *snapshots: Snapshot,
    verdicts: list[Verdict] | None = None,
    applied: bool = True,
    error: str = "",
    stopping: bool = False,
    now: float = 1.0,
    workers: tuple[WorkerCounters, ...] = (WORKER,),
    in_use: Collection[int] = (),
) -> tuple[ReadyPart, ...]:
    """The parts of readiness. `in_use` are ports that the edge can't listen on."""
    known = {s.cluster: s for s in snapshots}
    by_address = {v.address: v for v in (GOOD if verdicts is None else verdicts)}
    plan = make_plan(BOTH, known, by_address, Plan(), now)
    errors = {
        frontend.key: tuple(
            ListenError(address=address, in_use=True, detail="pid 1 has it")
            for address in frontend.listen
        )
        for frontend in plan.frontends
        if frontend.listen[0].port in in_use
    }
    return readiness.parts(
        settings=BOTH,
        snapshots=known,
        sources={
            "b": SourceStatus(cluster="b", state=SourceState.CONNECTING, since=0.0, error=error)
        },
        plan=plan,
        applied=Applied(generation=1, listen_errors=errors) if applied else None,
        traffic=Traffic(workers=workers),
        reload=ReloadStatus(at=0.0, errors=("nplb.yaml:1:1: wrong",), upgrade_error="it failed"),
        stopping=stopping,
        now=now,
    )


def test_a_start_waits_for_every_cluster_a_plan_and_the_first_probes() -> None:
    readiness = Readiness(started_at=0.0)
    assert unready(readiness, applied=False) == {"cluster/a", "cluster/b", "plan", "probes"}
    assert unready(readiness, SNAPSHOT_A) == {"cluster/b"}
    assert unready(readiness, SNAPSHOT_A, SNAPSHOT_B) == set()


def test_one_cluster_that_stays_away_does_not_hold_the_others_for_ever() -> None:
    late = CLUSTER_GRACE_SECONDS + 1
    assert unready(Readiness(started_at=0.0), SNAPSHOT_A, error="refused", now=late) == set()
    assert "cluster/a" in unready(Readiness(started_at=0.0), now=late)


def test_a_new_service_that_is_not_probed_yet_does_not_make_a_running_edge_unready() -> None:
    readiness = Readiness(started_at=0.0)
    assert unready(readiness, SNAPSHOT_A, SNAPSHOT_B, verdicts=[]) == {"probes"}
    assert unready(readiness, SNAPSHOT_A, SNAPSHOT_B) == set()
    assert unready(readiness, SNAPSHOT_A, SNAPSHOT_B, verdicts=[]) == set()


def test_stopping_and_no_worker() -> None:
    readiness = Readiness(started_at=0.0)
    assert unready(readiness, SNAPSHOT_A, SNAPSHOT_B, stopping=True) == {"running"}
    assert unready(readiness, SNAPSHOT_A, SNAPSHOT_B, workers=()) == {"workers"}


def test_an_edge_that_can_listen_for_none_of_its_frontends_is_not_ready() -> None:
    two = a_snapshot(
        [a_service("api", a_port(30081), cluster="a"), a_service("web", cluster="a")],
        [a_node(1)],
        cluster="a",
    )
    verdicts = [a_verdict("192.0.2.1", port) for port in (30080, 30081)]

    def of(*in_use: int, snapshot: Snapshot = two) -> ReadyPart:
        found = parts(
            Readiness(started_at=0.0), snapshot, SNAPSHOT_B, verdicts=verdicts, in_use=in_use
        )
        assert {part.name for part in found if not part.ok} <= {"frontends"}
        [part] = [part for part in found if part.name == "frontends"]
        return part

    assert of() == ReadyPart(name="frontends", ok=True)
    none = of(30080, 30081)
    assert not none.ok
    assert "2 of 2 " in none.detail
    assert "a/default/api:80/TCP, a/default/web:80/TCP" in none.detail
    some = of(30081)
    assert some.ok, "the others' clients may come"
    assert some.detail.endswith("a/default/api:80/TCP")
    assert of(snapshot=a_snapshot(cluster="a")).ok, "there is nothing to serve"
