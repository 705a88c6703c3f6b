"""The Kubernetes source on the lab's API server, with the faults that it can play: the last
snapshot stays, the status tells, recovery needs no help."""

import asyncio
import dataclasses
import random
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from nplb.lab.api.faults import ApiFaults
from nplb.lab.api.server import ApiServer
from nplb.model.cluster import SourceState
from nplb.model.errors import ClusterError
from nplb.model.settings import ClusterSettings
from nplb.sources.factory import list_once
from tests.support.reading import (
    FAST,
    TOKEN,
    Reading,
    cluster_of,
    kubeconfig,
    kubernetes_cluster,
    lab_api,
    reading,
)

# The kubernetes Service is the API server's own.
OWN = "kubernetes"


def service(name: str, namespace: str = "default", **labels: str) -> dict[str, Any]:
    return {
        "metadata": {"name": name, "namespace": namespace, "labels": labels},
        "spec": {"type": "NodePort", "ports": [{"port": 80}]},
    }


@pytest.fixture
async def api() -> AsyncIterator[ApiServer]:
    async with lab_api() as server:
        server.create("services", service("web"))
        server.create("nodes", {"metadata": {"name": "a"}})
        yield server


@pytest.fixture
def cluster(api: ApiServer, tmp_path: Path) -> ClusterSettings:
    return cluster_of(api, tmp_path)


def as_listed(api: ApiServer) -> dict[str, int]:
    """Every service and its first NodePort, as the API server has it."""
    return {
        raw["metadata"]["name"]: raw["spec"]["ports"][0].get("nodePort", 0)
        for raw in api.store.list("services")
    }


def as_published(said: Reading) -> dict[str, int]:
    return {s.key.name: s.ports[0].node_port for s in said.snapshot.services}


async def test_changes_arrive_as_they_are_made(api: ApiServer, cluster: ClusterSettings) -> None:
    async with reading(cluster) as said:
        await said.until_live()
        assert as_published(said) == as_listed(api)
        api.create("services", service("api"))
        await said.until_services("api", OWN, "web")
        api.patch("services", "api", {"spec": {"ports": [{"port": 80, "nodePort": 30007}]}})
        await said.until(lambda: as_published(said)["api"] == 30007, "the new number")
        api.delete("services", "web")
        await said.until_services("api", OWN)
        api.patch(
            "nodes",
            "a",
            {"status": {"conditions": [{"type": "Ready", "status": "False", "reason": "Test"}]}},
            subresource="status",
        )
        await said.until(lambda: said.snapshot.nodes[0].ready is False, "a node not ready")
        api.delete("nodes", "a")
        await said.until(lambda: said.snapshot.nodes == (), "no nodes")


async def test_a_service_that_leaves_the_selector_is_gone(
    api: ApiServer, cluster: ClusterSettings
) -> None:
    cluster = dataclasses.replace(cluster, service_selector="tier in (edge, front)")
    api.create("services", service("edge", tier="edge"))
    async with reading(cluster) as said:
        await said.until_services("edge")
        api.patch("services", "web", {"metadata": {"labels": {"tier": "front"}}})
        await said.until_services("edge", "web")
        api.patch("services", "edge", {"metadata": {"labels": {"tier": "back"}}})
        await said.until_services("web")


async def test_a_selector_that_is_none_is_told(api: ApiServer, cluster: ClusterSettings) -> None:
    cluster = dataclasses.replace(cluster, service_selector="tier in (")
    async with reading(cluster) as said:
        await said.until_error("400 Bad Request", "list services in all namespaces")


async def test_some_namespaces_by_pages(api: ApiServer, cluster: ClusterSettings) -> None:
    for name in ("shop", "hidden"):
        api.create("namespaces", {"metadata": {"name": name}})
        for number in range(25):
            api.create("services", service(f"s{number:02}", name))
    cluster = dataclasses.replace(cluster, namespaces=("shop", "nowhere"))
    async with reading(cluster, dataclasses.replace(FAST, page_size=10)) as said:
        await said.until_live()
        assert said.services == [f"shop/s{number:02}" for number in range(25)]
        assert [node.name for node in said.snapshot.nodes] == ["a"]


FAULTS: dict[str, tuple[Callable[[ApiFaults], None], tuple[str, ...]]] = {
    "down": (ApiFaults.down, ("can't connect", "connection refused")),
    "hang": (ApiFaults.hang, ("has sent nothing for 0.5 s",)),
    "bad-gateway": (ApiFaults.bad_gateway, ("502 Bad Gateway", "proxy or load balancer")),
    "too-many": (ApiFaults.too_many_requests, ("429 Too Many Requests", "asks to wait for 1 s")),
    "unauthorized": (ApiFaults.unauthorized, ("401 Unauthorized", "renew them")),
    "internal": (ApiFaults.internal_error, ("500 Internal Server Error",)),
    "stall": (ApiFaults.stall_watches, ("has sent nothing for 0.5 s",)),
    "cut": (lambda faults: faults.cut_streams(None), ("in the middle of",)),
    "forbidden": (
        lambda faults: faults.forbid(resource="endpointslices"),
        ("403 Forbidden", "endpointslices.discovery.k8s.io in all namespaces", "deploy/rbac"),
    ),
}


@pytest.mark.parametrize("name", FAULTS)
async def test_fault(api: ApiServer, cluster: ClusterSettings, name: str) -> None:
    begin, words = FAULTS[name]
    # Watches end by themselves, so that faults of new requests are met.
    silence = 0.5 if name in ("hang", "stall") else 20.0
    pacing = dataclasses.replace(FAST, silence_seconds=silence, watch_seconds=(1, 1))
    async with reading(cluster, pacing) as said:
        await said.until_live()
        api.create("services", service("before"))
        await said.until(lambda: "before" in as_published(said), "a watch that works")
        begin(api.faults)
        await said.until(
            lambda: any(all(word in s.error for word in words) for s in said.statuses), f"{words}"
        )
        assert "web" in as_published(said)
        assert TOKEN not in said.status.error
        api.create("services", service("meanwhile"))
        api.faults.clear()
        await said.until(lambda: as_published(said) == as_listed(api), "what a list shows")
        await said.until_live()


async def test_a_restart_makes_every_version_too_old(
    api: ApiServer, cluster: ClusterSettings
) -> None:
    async with reading(cluster) as said:
        await said.until_live()
        api.faults.restart(0.3)
        await said.until_error("can't connect")
        api.create("services", service("meanwhile"))
        await said.until_services(OWN, "meanwhile", "web")
        await said.until_live()
        assert any("too old resource version" in status.error for status in said.statuses)


async def test_a_start_without_the_server_waits_for_it(
    api: ApiServer, cluster: ClusterSettings
) -> None:
    api.faults.down()
    async with reading(cluster) as said:
        await said.until_error("can't connect")
        assert said.status.state is SourceState.CONNECTING
        with pytest.raises(ClusterError, match="connection refused"):
            await list_once(cluster, now=time.time, rng=random.Random(1))
        api.faults.clear()
        await said.until_services(OWN, "web")


async def test_two_clusters_do_not_notice_each_other(
    api: ApiServer, cluster: ClusterSettings, tmp_path: Path
) -> None:
    other = ApiServer(rng=random.Random(6), token=TOKEN)
    await other.start()
    path = kubeconfig(tmp_path / "other", other.url, {"token": TOKEN})
    try:
        async with reading(cluster) as said, reading(kubernetes_cluster(path)) as unhurt:
            await said.until_live()
            await unhurt.until_live()
            api.faults.hang()
            api.faults.cut_streams()
            other.create("services", service("only-here"))
            await unhurt.until_services(OWN, "only-here")
            assert all(not status.error for status in unhurt.statuses)
            assert said.services == [f"default/{OWN}", "default/web"]
            api.faults.clear()
    finally:
        await other.stop()


async def test_faults_one_after_another_end_with_what_a_list_shows(
    api: ApiServer, cluster: ClusterSettings
) -> None:
    rng = random.Random(11)
    pacing = dataclasses.replace(FAST, silence_seconds=0.5, watch_seconds=(1, 2))
    faults: list[Callable[[float], None]] = [
        api.faults.down,
        api.faults.hang,
        api.faults.restart,
        api.faults.bad_gateway,
        api.faults.unauthorized,
        api.faults.internal_error,
        api.faults.stall_watches,
        api.faults.cut_streams,
    ]
    async with reading(cluster, pacing) as said:
        await said.until_live()
        known: list[str] = []
        for round_ in range(30):
            rng.choice(faults)(rng.uniform(0.0, 0.2))
            for _ in range(rng.randrange(4)):
                if known and rng.random() < 0.4:
                    api.delete("services", known.pop(rng.randrange(len(known))))
                else:
                    name = f"s{round_}-{len(known)}-{rng.randrange(1000)}"
                    api.create("services", service(name))
                    known.append(name)
            await asyncio.sleep(rng.uniform(0.0, 0.1))
        api.faults.clear()
        await said.until(lambda: as_published(said) == as_listed(api), "what a list shows")
        await said.until_live()
