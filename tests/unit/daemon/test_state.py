"""What one control process hands on: it comes back as it was, or not at all."""

import asyncio
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nplb.aio.tasks import TaskOwner
from nplb.daemon.codec import CannotBeCoded, decoder, encoder
from nplb.daemon.grants import GrantsFile
from nplb.daemon.state import _decode, _encode, read_inheritance
from nplb.model.annotations import Grant
from nplb.model.cluster import Snapshot, SourceState, SourceStatus
from nplb.model.decision import Decision, DecisionKind
from nplb.model.keys import Address, FrontendKey, ServiceKey
from nplb.model.plan import Plan
from nplb.model.reasons import Cause
from nplb.model.settings import ManifestsSource, Settings
from nplb.model.status import ReloadStatus
from nplb.model.verdict import Verdict
from nplb.plan.make import make_plan
from tests.support.builders import a_cluster, a_node, a_port, a_service, a_snapshot, a_verdict


def a_state() -> tuple[Snapshot, Plan]:
    snapshot = a_snapshot([a_service("web", a_port(30080))], [a_node(1)])
    settings = Settings(clusters=(a_cluster(snapshot.cluster),))
    verdicts = {Address("10.0.0.1", 30080): a_verdict("10.0.0.1", 30080)}
    return snapshot, make_plan(settings, {snapshot.cluster: snapshot}, verdicts, Plan(), 5.0)


def test_snapshots_and_plans_come_back_equal() -> None:
    snapshot, plan = a_state()
    assert plan.frontends
    data, _ = _encode([("version", 1), ("snapshot", snapshot), ("plan", plan)])
    found = _decode(data)
    assert found["snapshot"] == [snapshot]
    assert found["plan"] == [plan]


ADDRESSES = st.builds(Address, st.sampled_from(["10.0.0.1", "fd00::1"]), st.integers(1, 65535))
VERDICTS = st.builds(
    Verdict,
    address=ADDRESSES,
    healthy=st.none() | st.booleans(),
    cause=st.none() | st.sampled_from(Cause),
    detail=st.text(),
    since=st.floats(0, 1e10),
    probed_at=st.none() | st.floats(0, 1e10),
    streak=st.integers(0, 5),
)


@given(st.lists(VERDICTS, max_size=5))
def test_any_verdict_comes_back(verdicts: list[Verdict]) -> None:
    data, _ = _encode(("verdict", one) for one in verdicts)
    assert _decode(data).get("verdict", []) == verdicts


GRANT = Grant(
    service=ServiceKey("c", "shop", "web"),
    uid="u1",
    good={"edge-port": "443"},
    ports={FrontendKey(ServiceKey("c", "shop", "web"), 80): 443},
)


def a_history(**more: object) -> dict[str, bytes]:
    verdict = Verdict(address=Address("10.0.0.1", 1), healthy=True, since=3.0)
    decisions = [
        Decision(at=1.0, kind=DecisionKind.STARTED, subject="nplb", text="x", sequence=n)
        for n in (7, 8, 9)
    ]
    lines = [
        ("version", 1),
        ("verdict", verdict),
        *(("decision", one) for one in decisions),
        ("counts", {"started": 9, "a_kind_of_another_version": 2}),
        ("reload", ReloadStatus(at=4.0, count=3)),
        *more.items(),
    ]
    status = SourceStatus(cluster="c", state=SourceState.LIVE, since=1.0)
    snapshot, plan = a_state()
    return {
        "snapshots": _encode([("snapshot", snapshot), ("source", status)])[0],
        "plan": _encode([("plan", plan)])[0],
        "grants": _encode([("grant", GRANT)])[0],
        "history": _encode(lines)[0],
    }


def test_an_inheritance_is_read_whole() -> None:
    found = read_inheritance(a_history(identity="edge-1").get)
    assert found is not None
    assert found.verdicts[Address("10.0.0.1", 1)].since == 3.0
    assert [d.sequence for d in found.decisions] == [7, 8, 9]
    assert found.counts == {DecisionKind.STARTED: 9}
    assert found.reload is not None
    assert found.reload.count == 3
    assert found.identity == "edge-1"
    assert found.plan.frontends
    assert found.snapshots
    assert found.grants == (GRANT,)
    assert read_inheritance(lambda name: None) is None


@pytest.mark.parametrize(
    "damage", [b'["verdict",{"healthy":', b"[1]\n", b'["version",99]\n', b"\xff"]
)
def test_a_part_that_makes_no_sense_is_left_out_and_said(
    damage: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    parts = a_history()
    parts["history"] = damage + parts["history"]
    found = read_inheritance(parts.get)
    assert found is not None
    assert found.verdicts == {}
    assert found.plan.frontends, "the others are taken"
    assert "history can't be read" in caplog.text


class Colour(StrEnum):
    RED = "red"


class Point(NamedTuple):
    x: int
    y: int


ORIGIN = Point(0, 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Old:
    name: str
    at: Point = ORIGIN
    colour: Colour | None = None
    paths: tuple[Path, ...] = ()
    by_point: dict[Point, float] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class New:
    name: str
    size: int = 7
    at: Point = ORIGIN


def test_another_version_reads_what_it_knows() -> None:
    old = Old(name="a", at=Point(1, 2), colour=Colour.RED, paths=(Path("/x"),))
    assert decoder(New)(encoder(Old)(old)) == New(name="a", at=Point(1, 2))
    assert decoder(Old)(encoder(New)(New(name="b"))) == Old(name="b")
    assert decoder(Old)(encoder(Old)(old)) == old
    with_map = replace(old, by_point={Point(1, 2): 0.5})
    assert decoder(Old)(encoder(Old)(with_map)) == with_map
    with pytest.raises((KeyError, TypeError, ValueError)):
        decoder(Old)({"at": [1, 2]})
    with pytest.raises(ValueError, match="blue"):
        decoder(Old)({"name": "a", "colour": "blue"})


def test_a_type_that_is_not_known_says_so() -> None:
    with pytest.raises(CannotBeCoded):
        encoder(ManifestsSource | Old)


def test_what_the_version_before_has_left_is_read_without_grants() -> None:
    parts = a_history()
    del parts["grants"]
    found = read_inheritance(parts.get)
    assert found is not None
    assert (found.grants, bool(found.plan.frontends)) == ((), True)


async def test_grants_are_on_disk_when_nplb_has_ended(tmp_path: Path) -> None:
    path = tmp_path / "annotations.json"
    grants: tuple[Grant, ...] = ()
    file = GrantsFile(path, lambda: grants)
    assert file.read() == ()
    async with TaskOwner("test") as tasks:
        tasks.spawn(file.run(), "grants")
        await asyncio.sleep(0)
        grants = (GRANT,)
    assert GrantsFile(path, tuple).read() == (GRANT,)
    path.write_text("{")
    assert GrantsFile(path, tuple).read() == ()
    assert path.with_name("annotations.json.damaged").exists()
