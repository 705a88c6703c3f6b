"""The manifests source on real files: changes, mistakes, numbers that stay."""

import asyncio
import contextlib
import random
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from nplb.aio.tasks import TaskOwner
from nplb.model.cluster import SourceState
from nplb.model.errors import ConfigurationError
from nplb.model.settings import ClusterSettings, ManifestsSource
from nplb.sources.factory import check_source, list_once
from nplb.sources.manifests.source import ManifestsReader
from tests.support.reading import Reading


def settings(*paths: Path | str, **changes: Any) -> ClusterSettings:
    source = ManifestsSource(paths=tuple(map(str, paths)))
    return ClusterSettings(name="prod", source=source, **changes)


def service(
    name: str, node_port: int = 0, *, labels: str = "{}", namespace: str = "default"
) -> str:
    number = f", nodePort: {node_port}" if node_port else ""
    return (
        "apiVersion: v1\nkind: Service\n"
        f"metadata: {{name: {name}, namespace: {namespace}, labels: {labels}}}\n"
        f"spec: {{type: NodePort, ports: [{{port: 80{number}}}]}}\n---\n"
    )


@contextlib.asynccontextmanager
async def following(
    cluster: ClusterSettings, state_dir: Path | None = None, seed: int = 1
) -> AsyncIterator[Reading]:
    said = Reading()
    source = ManifestsReader(
        cluster,
        publish=said.snapshots.append,
        report=said.statuses.append,
        now=time.time,
        rng=random.Random(seed),
        state_dir=state_dir,
        poll_seconds=0.02,
        settle_seconds=0.02,
    )
    async with TaskOwner("test") as tasks:
        task = tasks.spawn(source.run(), "source")
        yield said
        await asyncio.sleep(0)
        assert not task.done()


def ports(said: Reading) -> dict[str, int]:
    return {s.key.name: s.ports[0].node_port for s in said.snapshot.services}


async def test_changes_on_disk_become_snapshots(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(service("web", 30080))
    async with following(settings(tmp_path)) as said:
        await said.until_live()
        assert ports(said) == {"web": 30080}
        (tmp_path / "b.yaml").write_text(service("api", 30081))
        await said.until_services("api", "web")
        (tmp_path / "a.yaml").write_text(service("web", 30099))
        await said.until(lambda: ports(said)["web"] == 30099, "the new number")
        (tmp_path / "b.yaml").unlink()
        await said.until_services("web")
        assert said.snapshot.taken_at <= time.time()


async def test_a_touched_file_changes_nothing(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_text(service("web", 30080))
    async with following(settings(tmp_path)) as said:
        await said.until_live()
        file.write_text(service("web", 30080))
        (tmp_path / "b.yaml").write_text(service("last", 30081))
        await said.until_services("last", "web")
        assert len(said.snapshots) == 2


async def test_while_a_file_is_wrong_the_last_good_state_stays(tmp_path: Path) -> None:
    good, bad = tmp_path / "a.yaml", tmp_path / "b.yaml"
    good.write_text(service("web", 30080))
    bad.write_text(service("api", 30081))
    async with following(settings(tmp_path)) as said:
        await said.until_live()
        bad.write_text("kind: Service\n  metadata: broken\n")
        good.write_text(service("web", 30090))
        await said.until_error(f"{bad}:2:")
        assert said.status.state is SourceState.STALE
        assert ports(said) == {"api": 30081, "web": 30080}
        await said.until(lambda: said.status.attempts > 1, "more attempts")
        bad.write_text(service("api", 30091))
        await said.until(lambda: ports(said) == {"api": 30091, "web": 30090}, "both new numbers")
        await said.until_live()


async def test_deleting_all_files_deletes_no_service(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_text(service("web", 30080))
    async with following(settings(tmp_path / "*.yaml")) as said:
        await said.until_live()
        file.unlink()
        await said.until_error("no file matches this pattern")
        assert said.services == ["default/web"]


async def test_emptying_a_file_deletes_no_service_but_a_comment_does(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text(service("web", 30080))
    async with following(settings(tmp_path)) as said:
        await said.until_live()
        path.write_text("\n")
        await said.until_error(f"{path}:1:1: is empty")
        assert ports(said) == {"web": 30080}
        path.write_text("# nothing\n")
        await said.until_live()
        await said.until_services()


async def test_nothing_is_published_before_the_files_are_right(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    async with following(settings(file)) as said:
        await said.until_error(f"{file}: there is no such file")
        assert said.status.state is SourceState.CONNECTING
        file.write_text(service("web", 30080))
        await said.until_services("web")
        await said.until_live()


async def test_a_number_that_nplb_gave_stays_over_restarts(tmp_path: Path) -> None:
    manifests, state = tmp_path / "m", tmp_path / "state"
    manifests.mkdir()
    (manifests / "a.yaml").write_text(service("web") + service("api"))
    async with following(settings(manifests), state, seed=1) as said:
        await said.until_live()
        given = ports(said)
        assert all(30000 <= port <= 32767 for port in given.values())
    # Another seed would draw other numbers.
    (manifests / "a.yaml").write_text(service("new") + service("api") + service("web"))
    async with following(settings(manifests), state, seed=2) as said:
        await said.until_live()
        assert {name: ports(said)[name] for name in given} == given
    once = await list_once(
        settings(manifests), now=time.time, rng=random.Random(3), state_dir=state
    )
    assert {s.key.name: s.ports[0].node_port for s in once.services} == ports(said)


async def test_a_number_asked_for_twice_is_refused_to_one_with_its_place(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(service("a", 30080) + service("b", 30080))
    async with following(settings(tmp_path)) as said:
        await said.until_live()
        assert sorted(ports(said).values()) == [0, 30080]
        [warning] = said.status.warnings
        assert f"{tmp_path / 'a.yaml'}:6:1: " in warning
        assert "provided port is already allocated" in warning
        (tmp_path / "a.yaml").write_text(service("a", 30080) + service("b", 30081))
        await said.until(lambda: ports(said) == {"a": 30080, "b": 30081}, "both numbers")
        await said.until(lambda: said.status.warnings == (), "no warning")


async def test_namespaces_and_selector_apply_as_on_a_server(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(
        service("edge", 30081, labels="{tier: edge}")
        + service("inner", 30082)
        + service("other", 30083, labels="{tier: edge}", namespace="other")
    )
    cluster = settings(tmp_path, namespaces=("default",), service_selector="tier=edge")
    async with following(cluster) as said:
        await said.until_services("edge")


async def test_list_once_and_check_say_everything_that_is_wrong(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("kind: 3")
    (tmp_path / "b.yaml").write_text("just text")
    with pytest.raises(ConfigurationError) as caught:
        await list_once(settings(tmp_path), now=time.time, rng=random.Random(1))
    assert len(str(caught.value).splitlines()) == 2
    with pytest.raises(ConfigurationError, match="this is no Kubernetes object"):
        check_source(settings(tmp_path))
