"""The Kubernetes source on a quiet API server: what it reads, asks for and publishes."""

import asyncio
import dataclasses
import random
import time
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from nplb.model.cluster import SourceState
from tests.support.fakeapi import FakeApi, answers, hangs, serving, status
from tests.support.reading import FAST, Reading, kubeconfig, kubernetes_cluster, reading


def service(name: str, node_port: int = 30080, namespace: str = "default", **labels: str) -> Any:
    return {
        "metadata": {"name": name, "namespace": namespace, "labels": labels},
        "spec": {"type": "NodePort", "ports": [{"port": 80, "nodePort": node_port}]},
    }


def node(name: str, ready: str = "True") -> Any:
    return {
        "metadata": {"name": name},
        "status": {
            "addresses": [{"type": "InternalIP", "address": "192.0.2.1"}],
            "conditions": [{"type": "Ready", "status": ready}],
        },
    }


def piece(name: str, service: str) -> Any:
    return {
        "metadata": {"name": name, "labels": {"kubernetes.io/service-name": service}},
        "addressType": "IPv4",
        "endpoints": [{"addresses": ["10.1.0.1"], "nodeName": "a"}],
        "ports": [{"name": "", "port": 8080}],
    }


@pytest.fixture
async def fake() -> AsyncIterator[FakeApi]:
    async with serving() as server:
        server.put("services", service("web"))
        server.put("nodes", node("b"))
        server.put("nodes", node("a"))
        server.put("endpointslices", piece("web-1", "web"))
        yield server


@pytest.fixture
def config(fake: FakeApi, tmp_path: Path) -> Path:
    return kubeconfig(tmp_path / "config", fake.url, {"token": fake.token})


def _has_watched(fake: FakeApi, times: int) -> bool:
    return sum(seen.verb == "watch" for seen in fake.seen) >= times


async def test_the_first_snapshot_has_everything_sorted(fake: FakeApi, config: Path) -> None:
    async with reading(kubernetes_cluster(config)) as said:
        await said.until_live()
        assert said.statuses[0].state is SourceState.CONNECTING
        assert said.services == ["default/web"]
        assert [node.name for node in said.snapshot.nodes] == ["a", "b"]
        assert [piece.service for piece in said.snapshot.slices] == ["web"]
        assert said.snapshot.cluster == "prod"
        assert len(said.snapshots) == 1


async def test_nothing_is_published_before_every_kind_has_listed(
    fake: FakeApi, config: Path
) -> None:
    fake.play("list", "nodes", hangs)
    async with reading(kubernetes_cluster(config)) as said:
        await said.until(lambda: {seen.verb for seen in fake.seen} == {"list", "watch"}, "watches")
        fake.put("services", service("later", 30081))
        await asyncio.sleep(0.1)
        assert said.snapshots == []
        assert said.status.state is SourceState.CONNECTING
        fake.release()
        await said.until_services("later", "web")


async def test_changes_of_every_kind_arrive(fake: FakeApi, config: Path) -> None:
    async with reading(kubernetes_cluster(config)) as said:
        await said.until_live()
        fake.put("services", service("api", 30081))
        await said.until_services("api", "web")
        fake.put("services", service("web", 30099))
        await said.until(
            lambda: said.snapshot.services[-1].ports[0].node_port == 30099, "the new NodePort"
        )
        fake.delete("services", "web")
        await said.until_services("api")
        fake.put("nodes", node("a", ready="Unknown"))
        await said.until(lambda: said.snapshot.nodes[0].ready is None, "a node not known ready")
        fake.delete("nodes", "b")
        await said.until(lambda: len(said.snapshot.nodes) == 1, "one node")
        fake.delete("endpointslices", "web-1")
        await said.until(lambda: said.snapshot.slices == (), "no slices")


async def test_large_lists_come_in_pages(fake: FakeApi, config: Path) -> None:
    for number in range(1, 25):
        fake.put("services", service(f"s{number:02}", 30100 + number))
    pacing = dataclasses.replace(FAST, page_size=10)
    async with reading(kubernetes_cluster(config), pacing) as said:
        await said.until_live()
        assert len(said.snapshot.services) == 25
    pages = [seen for seen in fake.seen if seen.plural == "services" and seen.verb == "list"]
    assert [page.query.get("continue") for page in pages] == [None, "10", "20"]


async def test_a_list_whose_pages_expire_is_read_in_one_piece(fake: FakeApi, config: Path) -> None:
    for number in range(1, 25):
        fake.put("services", service(f"s{number:02}", 30100 + number))
    pacing = dataclasses.replace(FAST, page_size=10)

    async def first(server: FakeApi, request: Any) -> Any:
        gone = answers(410, status(410, "The provided continue parameter is too old", "Expired"))
        server.play("list", "services", gone)
        return server._list(request, "services", None)

    fake.play("list", "services", first)
    async with reading(kubernetes_cluster(config), pacing) as said:
        await said.until_live()
        assert len(said.snapshot.services) == 25
        assert said.status.error == ""


async def test_the_service_selector_is_the_servers_work(fake: FakeApi, config: Path) -> None:
    fake.put("services", service("edge", 30081, tier="edge"))
    settings = kubernetes_cluster(config, service_selector="tier=edge")
    async with reading(settings) as said:
        await said.until_services("edge")
        fake.put("services", service("edge2", 30082, tier="edge"))
        await said.until_services("edge", "edge2")
    asked = {seen.plural: seen.query.get("labelSelector") for seen in fake.seen}
    assert asked == {"services": "tier=edge", "nodes": None, "endpointslices": None}


async def test_only_configured_namespaces_are_asked_for(fake: FakeApi, config: Path) -> None:
    for number, namespace in enumerate(("shop", "web", "hidden")):
        fake.put("services", service("front", 30090 + number, namespace=namespace))
    settings = kubernetes_cluster(config, namespaces=("web", "shop"))
    async with reading(settings) as said:
        await said.until_live()
        assert said.services == ["shop/front", "web/front"]
        fake.put("services", service("more", 30095, namespace="web"))
        await said.until(lambda: said.services[-1] == "web/more", "the new service")
        assert len(said.snapshot.nodes) == 2
    assert {seen.path for seen in fake.seen} == {
        "/api/v1/nodes",
        "/api/v1/namespaces/shop/services",
        "/api/v1/namespaces/web/services",
        "/apis/discovery.k8s.io/v1/namespaces/shop/endpointslices",
        "/apis/discovery.k8s.io/v1/namespaces/web/endpointslices",
    }


async def test_many_namespaces_are_watched_at_once(fake: FakeApi, config: Path) -> None:
    settings = kubernetes_cluster(config, namespaces=tuple(f"n{n:03}" for n in range(70)))
    async with reading(settings) as said:
        await said.until(partial(_has_watched, fake, 141), "all watches open")
        fake.put("services", service("last", namespace="n069"))
        await said.until(lambda: said.services == ["n069/last"], "the new service")


async def test_another_server_in_the_kubeconfig_is_listed(
    fake: FakeApi, config: Path, tmp_path: Path
) -> None:
    pacing = dataclasses.replace(FAST, session_seconds=0.0)
    async with reading(kubernetes_cluster(config), pacing) as said, serving() as other:
        await said.until_watching(fake)
        # Its versions reach past ours: a watch from ours would mix the two.
        other.version = fake.version
        other.put("services", service("elsewhere"))
        kubeconfig(config, other.url, {"token": other.token})
        fake.hang_up()
        await said.until_services("elsewhere")
        await said.until(lambda: said.snapshot.nodes == (), "the other's nodes")


async def test_watches_ask_for_bookmarks_an_end_and_the_last_version(
    fake: FakeApi, config: Path
) -> None:
    pacing = dataclasses.replace(FAST, watch_seconds=(240, 480))
    async with reading(kubernetes_cluster(config), pacing) as said:
        await said.until(lambda: sum(s.verb == "watch" for s in fake.seen) == 3, "three watches")
    watches = [seen.query for seen in fake.seen if seen.verb == "watch"]
    assert all(query["allowWatchBookmarks"] == "true" for query in watches)
    assert all(240 <= int(query["timeoutSeconds"]) <= 480 for query in watches)
    assert all(query["resourceVersion"] == str(fake.version) for query in watches)


async def test_after_the_ordinary_end_of_a_watch_nothing_is_listed_again(
    fake: FakeApi, config: Path
) -> None:
    async with reading(kubernetes_cluster(config)) as said:
        await said.until_watching(fake)
        fake.put("services", service("api", 30081))
        await said.until_services("api", "web")
        before = len(fake.seen)
        fake.hang_up()
        # Written while no watch is open: the next one begins at the last version seen.
        fake.put("services", service("later", 30082))
        await said.until_services("api", "later", "web")
        await said.until(lambda: len(fake.seen) >= before + 3, "new watches")
        assert {seen.verb for seen in fake.seen[before:]} == {"watch"}
        assert all(status.state is not SourceState.STALE for status in said.statuses)


async def test_bookmarks_move_the_version_and_the_age(fake: FakeApi, config: Path) -> None:
    async with reading(kubernetes_cluster(config)) as said:
        await said.until_watching(fake)
        fake.version += 500
        at = said.status.last_snapshot_at
        assert at is not None
        await asyncio.sleep(1.1)
        fake.bookmark()
        await said.until(lambda: (said.status.last_snapshot_at or 0) > at + 1, "a younger state")
        fake.hang_up()
        await said.until(
            lambda: (
                [s for s in fake.seen if s.verb == "watch"][-1].query["resourceVersion"]
                == str(fake.version)
            ),
            "a watch from the bookmark",
        )
        assert len(said.snapshots) == 1


async def test_an_object_that_makes_no_sense_is_left_out_and_named(
    fake: FakeApi, config: Path
) -> None:
    fake.put("services", {"metadata": {"name": "odd"}, "spec": {"ports": "none"}})
    async with reading(kubernetes_cluster(config)) as said:
        await said.until_live()
        assert said.services == ["default/web"]
        [warning] = said.status.warnings
        assert "Service default/odd: spec.ports: must be a list" in warning
        # A known one that turns odd is no longer trusted, and comes back once it is right.
        fake.put("services", {"metadata": {"name": "web"}, "spec": {"type": 5}})
        await said.until(lambda: said.snapshot.services == (), "no services")
        assert len(said.status.warnings) == 2
        fake.put("services", service("web"))
        fake.delete("services", "odd")
        await said.until_services("web")
        await said.until(lambda: said.status.warnings == (), "no warnings")
        assert said.status.state is SourceState.LIVE


async def test_a_change_that_shows_nowhere_publishes_nothing(fake: FakeApi, config: Path) -> None:
    async with reading(kubernetes_cluster(config)) as said:
        await said.until_live()
        heartbeat = {**node("a"), "status": {**node("a")["status"], "images": ["x"]}}
        fake.put("nodes", heartbeat)
        fake.put("services", service("last", 30081))
        await said.until_services("last", "web")
        assert len(said.snapshots) == 2


async def test_a_burst_makes_a_handful_of_snapshots(fake: FakeApi, config: Path) -> None:
    pacing = dataclasses.replace(FAST, gather_seconds=0.2)
    async with reading(kubernetes_cluster(config), pacing) as said:
        await said.until_live()
        for number in range(2000):
            fake.put("services", service("web", 30000 + number))
        await said.until(
            lambda: said.snapshot.services[0].ports[0].node_port == 31999, "the last NodePort"
        )
        assert len(said.snapshots) < 200


async def test_an_old_session_gives_way_to_a_new_one_without_a_gap(
    fake: FakeApi, config: Path
) -> None:
    pacing = dataclasses.replace(FAST, session_seconds=0.0)
    async with reading(kubernetes_cluster(config), pacing) as said:
        await said.until_watching(fake)
        for round_ in range(5):
            fake.hang_up()
            fake.put("services", service(f"s{round_}", 30100 + round_))
            names = [f"s{number}" for number in range(round_ + 1)]
            await said.until_services(*names, "web")
            watches = 3 * (round_ + 2)
            await said.until(partial(_has_watched, fake, watches), "new watches")
        assert sum(seen.verb == "list" for seen in fake.seen) == 3


async def test_a_token_replaced_on_disk_is_used_by_the_next_session(
    fake: FakeApi, config: Path, tmp_path: Path
) -> None:
    token = tmp_path / "token"
    token.write_text("first\n")
    kubeconfig(config, fake.url, {"tokenFile": "token"})
    fake.token = "first"
    async with reading(kubernetes_cluster(config)) as said:
        await said.until_watching(fake)
        fake.token = "second"
        fake.hang_up()
        await said.until_error("401 Unauthorized", str(config), "renew them")
        assert said.services == ["default/web"]
        token.write_text("second\n")
        await said.until_live()
    assert "second" not in "".join(status.error for status in said.statuses)


async def test_a_snapshot_says_since_when_it_is_known_to_be_true(
    fake: FakeApi, config: Path
) -> None:
    started = time.time()
    async with reading(kubernetes_cluster(config)) as said:
        await said.until_live()
        assert started <= said.snapshot.taken_at <= time.time()


async def test_any_number_of_changes_ends_with_what_a_list_shows(
    fake: FakeApi, config: Path
) -> None:
    rng = random.Random(7)
    async with reading(kubernetes_cluster(config)) as said:
        await said.until_watching(fake)
        names = [f"s{number}" for number in range(6)]
        for _ in range(200):
            name = rng.choice(names)
            if ("default", name) in fake.objects["services"] and rng.random() < 0.4:
                fake.delete("services", name)
            else:
                fake.put("services", service(name, rng.randrange(30000, 32768)))
            match rng.randrange(30):
                case 0:
                    fake.hang_up()
                case 1:
                    fake.forget()
                    fake.hang_up()
            if rng.random() < 0.2:
                await asyncio.sleep(0)
        wanted = {
            key[1]: raw["spec"]["ports"][0]["nodePort"]
            for key, raw in fake.objects["services"].items()
        }

        def shown(said: Reading) -> dict[str, int]:
            return {s.key.name: s.ports[0].node_port for s in said.snapshot.services}

        await said.until(lambda: shown(said) == wanted, f"{wanted}")
        await said.until_live()
