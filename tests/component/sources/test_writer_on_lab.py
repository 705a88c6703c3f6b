"""Writing into the lab's API server: addresses under a Lease, Events, and what is missing."""

import asyncio
import dataclasses
import random
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from nplb.aio.tasks import TaskOwner
from nplb.lab.api.server import ApiServer
from nplb.model.applied import Applied
from nplb.model.keys import ServiceKey
from nplb.model.outbound import Notice, Outbound, WriterStatus
from nplb.model.plan import Plan
from nplb.model.settings import ClusterSettings, ListenSettings, OnStop, Settings, WriteSettings
from nplb.plan.make import make_plan
from nplb.plan.outbound import Served, ingress_writes
from nplb.sources.kubernetes.pacing import Pacing
from nplb.sources.kubernetes.writer import KubernetesWriter
from tests.support.eventually import eventually
from tests.support.reading import FAST, Reading, cluster_of, lab_api, reading

WRITES = WriteSettings(status=True, events=True, advertise=("192.0.2.7", "edge.example.org"))
QUICK = dataclasses.replace(
    FAST,
    lease_seconds=5.0,
    renew_seconds=0.1,
    withdraw_seconds=0.2,
    refused_seconds=0.2,
    repeat_event_seconds=3600.0,
)


def balancer(name: str, **spec: Any) -> dict[str, Any]:
    return {
        "metadata": {"name": name},
        "spec": {
            "type": "LoadBalancer",
            "loadBalancerClass": "nplb.io/edge",
            "ports": [{"port": 80}],
            **spec,
        },
    }


@pytest.fixture
async def api() -> AsyncIterator[ApiServer]:
    async with lab_api() as server:
        server.create("namespaces", {"metadata": {"name": "nplb"}})
        server.create("services", balancer("web"))
        server.create("nodes", {"metadata": {"name": "a"}})
        yield server


@pytest.fixture
def cluster(api: ApiServer, tmp_path: Path) -> ClusterSettings:
    return cluster_of(api, tmp_path, writes=WRITES)


class WritingEdge:
    """An edge that plans what it reads, and writes what its plan says."""

    def __init__(self, cluster: ClusterSettings, said: Reading, writer: KubernetesWriter) -> None:
        self.cluster = cluster
        self.said = said
        self.writer = writer
        self.statuses: list[WriterStatus] = []
        self.notices: tuple[Notice, ...] = ()
        self.plan = Plan()

    @property
    def status(self) -> WriterStatus:
        return self.statuses[-1]

    def outbound(self, *, withdraw: bool = False) -> Outbound:
        settings = Settings(clusters=(self.cluster,), listen=ListenSettings(addresses=("0.0.0.0",)))
        snapshot = self.said.snapshot
        self.plan = make_plan(settings, {"prod": snapshot}, {}, self.plan, time.time())
        served = Served.of(self.plan, Applied(generation=1))
        writes = ingress_writes(self.cluster, snapshot, served, withdraw=withdraw)
        return Outbound(cluster="prod", ingress=writes, notices=self.notices)

    async def pump(self) -> None:
        """As the reconciler does: what changes is told to the writer."""
        last: Outbound | None = None
        while True:
            if self.said.snapshots:
                outbound = self.outbound()
                if outbound != last:
                    self.writer.want(outbound)
                last = outbound
            await asyncio.sleep(0.01)


@asynccontextmanager
async def an_edge(
    cluster: ClusterSettings, identity: str, *, finish: bool = False, pacing: Pacing = QUICK
) -> AsyncIterator[WritingEdge]:
    statuses: list[WriterStatus] = []
    writer = KubernetesWriter(
        cluster,
        identity=identity,
        report=statuses.append,
        now=time.time,
        rng=random.Random(identity),
        pacing=pacing,
    )
    async with reading(cluster) as said:
        edge = WritingEdge(cluster, said, writer)
        edge.statuses = statuses
        async with TaskOwner(identity) as tasks:
            tasks.spawn(writer.run(), "writer")
            tasks.spawn(edge.pump(), "pump")
            yield edge
            assert tasks.failure is None
        if finish:
            await writer.finish(edge.outbound(withdraw=True))


def shown(api: ApiServer, name: str = "web") -> list[dict[str, Any]]:
    """What stands in a Service's status."""
    for raw in api.store.list("services"):
        if raw["metadata"]["name"] == name:
            balancer = raw.get("status", {}).get("loadBalancer", {})
            return list(balancer.get("ingress", []))
    return []


def addresses(api: ApiServer, name: str = "web") -> list[str]:
    return [entry.get("ip") or entry["hostname"] for entry in shown(api, name)]


def lease(api: ApiServer) -> dict[str, Any]:
    found = [raw for raw in api.store.list("leases") if raw["metadata"]["name"] == "nplb.io-edge"]
    return dict(found[0]["spec"]) if found else {}


def events(api: ApiServer) -> list[dict[str, Any]]:
    return list(api.store.list("events"))


OURS = ["192.0.2.7", "edge.example.org"]


async def test_addresses_come_with_their_mode_and_go(
    api: ApiServer, cluster: ClusterSettings
) -> None:
    api.create("services", balancer("other", loadBalancerClass="example.org/lb"))
    api.create("services", balancer("plain", loadBalancerClass=None))
    async with an_edge(cluster, "one") as edge:
        await eventually(lambda: addresses(api) == OURS, "the addresses")
        number = edge.plan.frontends[0].node_port
        ports = [{"port": 80, "protocol": "TCP", "error": f"nplb.io/edge-port-{number}"}]
        assert shown(api) == [
            {"ip": "192.0.2.7", "ipMode": "Proxy", "ports": ports},
            {"hostname": "edge.example.org", "ports": ports},
        ]
        api.patch("services", "web", {"metadata": {"labels": {"a": "b"}}})
        api.create("services", balancer("late"))
        await eventually(lambda: addresses(api, "late") == OURS, "the addresses of another one")
        assert edge.status.addresses_written == 2, "nothing is written twice"
        # What someone else writes there is put right, and what is not served any more goes.
        wrong = {"status": {"loadBalancer": {"ingress": [{"ip": "198.51.100.1"}]}}}
        api.patch("services", "late", wrong, subresource="status")
        await eventually(lambda: addresses(api, "late") == OURS, "the status to be put right")
        ports = [{"port": 80, "protocol": "UDP", "nodePort": 0}]
        api.patch("services", "late", {"spec": {"ports": ports}})
        await eventually(lambda: not shown(api, "late"), "the addresses to go")
        assert addresses(api) == OURS
        assert not shown(api, "other")
        assert not shown(api, "plain")


async def test_an_unclassed_service_is_left_alone_but_for_what_the_edge_wrote(
    api: ApiServer, cluster: ClusterSettings
) -> None:
    api.create("services", balancer("plain", loadBalancerClass=None))
    theirs = {"ip": "198.51.100.1", "ipMode": "VIP"}
    ours = {"ip": "192.0.2.7", "ipMode": "Proxy"}
    status = {"status": {"loadBalancer": {"ingress": [theirs, ours]}}}
    api.patch("services", "plain", status, subresource="status")
    async with an_edge(cluster, "one"):
        await eventually(lambda: addresses(api, "plain") == ["198.51.100.1"], "the own to go")
        await eventually(lambda: addresses(api) == OURS, "the addresses of its own class")
        assert shown(api, "plain") == [theirs]


async def test_of_two_edges_one_writes_and_the_other_takes_over(
    api: ApiServer, cluster: ClusterSettings
) -> None:
    other = dataclasses.replace(
        cluster, writes=dataclasses.replace(WRITES, advertise=("192.0.2.8",))
    )
    async with AsyncExitStack() as stack:
        async with an_edge(cluster, "one") as first:
            await eventually(lambda: addresses(api) == OURS, "the first's addresses")
            second = await stack.enter_async_context(an_edge(other, "two"))
            await eventually(
                lambda: second.statuses and second.status.holder == "one", "the second to see it"
            )
            for name in ("a", "b", "c"):
                api.create("services", balancer(name))
            await eventually(lambda: addresses(api, "c") == OURS, "new ones by the first alone")
            assert second.status.addresses_written == 0
            assert first.status.holds
        # It is gone without a word: its Lease has to run out.
        await eventually(lambda: lease(api)["holderIdentity"] == "two", "the takeover")
        await eventually(
            lambda: all(addresses(api, n) == ["192.0.2.8"] for n in ("web", "a", "b", "c")),
            "the second's addresses",
        )
        assert lease(api)["leaseTransitions"] == 1


async def test_who_lost_the_lease_writes_nothing_more(
    api: ApiServer, cluster: ClusterSettings
) -> None:
    async with an_edge(cluster, "one") as edge:
        await eventually(lambda: addresses(api) == OURS, "the addresses")
        stolen = {"holderIdentity": "thief", "leaseDurationSeconds": 3600}
        api.patch("leases", "nplb.io-edge", {"spec": stolen}, namespace="nplb")
        await eventually(lambda: not edge.status.holds, "the edge to notice")
        assert edge.status.holder == "thief"
        api.create("services", balancer("late"))
        await edge.said.until_services("kubernetes", "late", "web")
        await asyncio.sleep(0.3)
        assert not shown(api, "late")


@pytest.mark.parametrize("on_stop", OnStop)
async def test_the_end_takes_the_addresses_out_if_told_and_frees_the_lease(
    api: ApiServer, cluster: ClusterSettings, on_stop: OnStop
) -> None:
    writes = dataclasses.replace(WRITES, on_stop=on_stop)
    cluster = dataclasses.replace(cluster, writes=writes)
    async with an_edge(cluster, "one", finish=True):
        await eventually(lambda: addresses(api) == OURS, "the addresses")
    assert addresses(api) == (OURS if on_stop is OnStop.KEEP else [])
    assert not lease(api)["holderIdentity"]


async def test_an_api_server_that_hangs_does_not_hold_up_the_end(
    api: ApiServer, cluster: ClusterSettings, caplog: pytest.LogCaptureFixture
) -> None:
    writes = dataclasses.replace(WRITES, on_stop=OnStop.WITHDRAW)
    cluster = dataclasses.replace(cluster, writes=writes)
    pacing = dataclasses.replace(QUICK, write_seconds=3600.0, goodbye_seconds=0.1)
    async with an_edge(cluster, "one", finish=True, pacing=pacing):
        await eventually(lambda: addresses(api) == OURS, "the addresses")
        api.faults.hang()
    assert [r.getMessage() for r in caplog.records if "addresses may stay" in r.getMessage()]
    assert addresses(api) == OURS
    assert lease(api)["holderIdentity"] == "one", "who comes next waits for it, and takes them out"
    api.faults.clear()


async def test_a_service_made_anew_under_its_name_is_not_taken_for_the_old_one(
    api: ApiServer, cluster: ClusterSettings
) -> None:
    async with an_edge(cluster, "one") as edge:
        await eventually(lambda: addresses(api) == OURS, "the addresses")
        for _ in range(5):
            api.delete("services", "web")
            api.create("services", balancer("web"))
        await eventually(lambda: addresses(api) == OURS, "the addresses of the new one")
        assert not edge.status.error


async def test_without_rights_it_only_watches_and_says_which_one_is_missing(
    api: ApiServer, cluster: ClusterSettings, caplog: pytest.LogCaptureFixture
) -> None:
    api.faults.forbid(verb="patch", resource="services/status")
    async with an_edge(cluster, "one") as edge:
        await eventually(lambda: edge.statuses and edge.status.missing, "the missing right")
        [text] = edge.status.missing
        assert "no right to patch services/status in namespace default" in text
        assert "deploy/rbac" in text
        api.faults.allow()
        await eventually(lambda: addresses(api) == OURS, "the addresses once it is granted")
        await eventually(lambda: not edge.status.missing, "nothing missing")
    told = [r for r in caplog.records if "goes on without writing" in r.getMessage()]
    assert len(told) == 1


async def test_without_a_lease_nothing_is_written(api: ApiServer, cluster: ClusterSettings) -> None:
    api.faults.forbid(resource="leases")
    async with an_edge(cluster, "one") as edge:
        await eventually(lambda: edge.statuses and edge.status.missing, "the missing right")
        assert "leases.coordination.k8s.io in namespace nplb" in edge.status.missing[0]
        await edge.said.until_live()
        assert not shown(api)
        api.faults.allow()
        await eventually(lambda: addresses(api) == OURS, "the addresses once it is granted")


@pytest.mark.parametrize(
    "fault", ["down", "bad_gateway", "internal_error", "too_many_requests", "hang"]
)
async def test_an_outage_loses_nothing_that_should_be_written(
    api: ApiServer, cluster: ClusterSettings, fault: str
) -> None:
    async with an_edge(cluster, "one") as edge:
        await eventually(lambda: addresses(api) == OURS, "the addresses")
        begin: Callable[[float], None] = getattr(api.faults, fault)
        begin(0.6)
        api.create("services", balancer("meanwhile"))
        await eventually(lambda: addresses(api, "meanwhile") == OURS, "its addresses, after")
        await eventually(lambda: not edge.status.error, "no error left")


def notice(text: str = "port 80/TCP is not served", name: str = "web") -> Notice:
    return Notice(
        service=ServiceKey("prod", "default", name), uid="u", reason="EdgePortConflict", text=text
    )


async def test_an_event_is_sent_once_and_counted_when_it_comes_again(
    api: ApiServer, cluster: ClusterSettings
) -> None:
    async with an_edge(cluster, "one") as edge:
        edge.notices = (notice(), notice("another thing"))
        await eventually(lambda: len(events(api)) == 2, "the events")
        event = next(e for e in events(api) if e["message"] == "port 80/TCP is not served")
        assert (event["type"], event["reason"]) == ("Warning", "EdgePortConflict")
        assert event["involvedObject"]["kind"] == "Service"
        assert event["involvedObject"]["name"] == "web"
        assert event["source"] == {"component": "nplb", "host": "one"}
        # The API has an event before its sender has the answer.
        await eventually(lambda: edge.status.events_sent == 2, "both counted")
        edge.notices = (notice("another thing"),)
        api.create("services", balancer("late"))
        await eventually(lambda: addresses(api, "late") == OURS, "another pass")
        edge.notices = (notice(), notice("another thing"))
        await eventually(lambda: any(e["count"] == 2 for e in events(api)), "the count")
        assert len(events(api)) == 2
        await eventually(lambda: edge.status.events_sent == 3, "one request for it")


async def test_a_service_that_is_talked_about_too_much_is_silenced(
    api: ApiServer, cluster: ClusterSettings
) -> None:
    api.create("services", balancer("quiet"))
    async with an_edge(cluster, "one") as edge:
        edge.notices = (
            *(notice(f"number {number}") for number in range(60)),
            notice("just one", "quiet"),
        )
        await eventually(lambda: any(e["message"] == "just one" for e in events(api)), "the other")
        assert len([e for e in events(api) if e["involvedObject"]["name"] == "web"]) == 25


async def test_a_namespace_that_forbids_events_does_not_keep_another_from_its_own(
    api: ApiServer, cluster: ClusterSettings
) -> None:
    api.create("namespaces", {"metadata": {"name": "shop"}})
    api.faults.forbid(resource="events", namespace="default")
    there = Notice(
        service=ServiceKey("prod", "shop", "x"), uid="u", reason="NoUsableNode", text="none"
    )
    async with an_edge(cluster, "one") as edge:
        edge.notices = (notice(), there)
        await eventually(lambda: events(api), "the event of the other namespace")
        assert [e["metadata"]["namespace"] for e in events(api)] == ["shop"]
        await eventually(lambda: edge.status.missing, "the missing right")
        assert "create events in namespace default" in edge.status.missing[0]
