"""A real Prometheus scrapes the demo: what it makes of the metrics, the rules and the board."""

import asyncio
import json
import re
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml

from nplb.demo.stage import HTTP_SERVICES, Stage
from nplb.model.keys import Address
from tests.support.lab import Networks

PROMETHEUS = shutil.which("prometheus")
DEPLOY = Path(__file__).parents[3] / "deploy"
DASHBOARD = DEPLOY / "grafana" / "nplb.json"

pytestmark = [
    pytest.mark.skipif(PROMETHEUS is None, reason="needs prometheus (package prometheus)"),
    pytest.mark.timeout(150),
]

# Has a value only while something is wrong, or while somebody watches for a while.
QUIET = re.compile(
    r"state=\"down\"|serving.* == 0|nplb_findings|reason!~|changes\(|nplb_decisions_total"
)


class Server:
    """A Prometheus that scrapes `admin` with the shipped rules, quicker than shipped."""

    def __init__(self, folder: Path, address: str, admin: Address) -> None:
        self.url = f"http://{address}"
        self._address = address
        self._folder = folder
        self._admin = admin
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        """Start it; does not wait."""
        assert PROMETHEUS is not None
        shipped = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yml").read_text())
        shipped["global"] = {"scrape_interval": "500ms", "evaluation_interval": "500ms"}
        shipped["rule_files"] = [str(DEPLOY / "prometheus" / "nplb.rules.yml")]
        shipped["scrape_configs"][0]["static_configs"][0]["targets"] = [str(self._admin)]
        config = self._folder / "prometheus.yml"
        config.write_text(yaml.safe_dump(shipped))
        with (self._folder / "prometheus.log").open("wb") as log:
            self._process = await asyncio.create_subprocess_exec(
                PROMETHEUS,
                f"--config.file={config}",
                f"--storage.tsdb.path={self._folder / 'tsdb'}",
                f"--web.listen-address={self._address}",
                "--log.level=warn",
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    async def stop(self) -> None:
        """End it."""
        if self._process is not None and self._process.returncode is None:
            self._process.terminate()
            try:
                async with asyncio.timeout(10):
                    await self._process.wait()
            except TimeoutError:
                self._process.kill()
                await self._process.wait()

    async def ask(self, path: str, **query: str) -> Any:
        """The `data` of an answer of its API; None while it does not answer yet."""
        assert self._process is not None
        assert self._process.returncode is None, self.log()
        timeout = aiohttp.ClientTimeout(total=10)
        try:
            async with (
                aiohttp.ClientSession(timeout=timeout) as session,
                session.get(f"{self.url}/api/v1/{path}", params=query) as response,
            ):
                answer = json.loads(await response.text())
        except (aiohttp.ClientError, TimeoutError, ValueError):
            return None
        assert answer["status"] == "success", (query, answer)
        return answer["data"]

    async def value(self, expression: str) -> list[dict[str, Any]]:
        """The series of an instant query."""
        data = await self.ask("query", query=expression)
        return [] if data is None else list(data["result"])

    async def until(self, expression: str) -> list[dict[str, Any]]:
        """The series of an instant query, once there is one."""
        for _ in range(600):
            if found := await self.value(expression):
                return found
            await asyncio.sleep(0.1)
        raise AssertionError(f"never a value: {expression}\n{self.log()}")

    def log(self) -> str:
        """What it has to complain about."""
        return (self._folder / "prometheus.log").read_text(errors="replace")


@pytest.fixture
async def stage(tmp_path: Path, networks: Networks) -> AsyncIterator[Stage]:
    stage = Stage(
        directory=tmp_path / "demo",
        network=networks.nodes,
        edge=networks.node(200),
        admin=Address(networks.node(201), 9090),
    )
    async with stage:
        for service in HTTP_SERVICES:
            stage.traffic.start(service, stage.edge_address(service), kept=1, fresh=1)
        yield stage


@pytest.fixture
async def server(tmp_path: Path, networks: Networks, stage: Stage) -> AsyncIterator[Server]:
    server = Server(tmp_path, f"{networks.node(202)}:9091", stage.balancer.admin)
    await server.start()
    yield server
    await server.stop()


def expressions() -> list[str]:
    """What the dashboard asks, with its variables filled in as Grafana does."""
    board = json.loads(DASHBOARD.read_text())
    found = [target["expr"] for panel in board["panels"] for target in panel.get("targets", [])]
    found += [one["expr"] for one in board["annotations"]["list"]]
    for name in ("instance", "cluster", "namespace", "service"):
        found = [text.replace(f'"${name}"', '".*"') for text in found]
    return [text.replace("$__rate_interval", "1m") for text in found]


async def test_a_real_prometheus_takes_all_of_it(stage: Stage, server: Server) -> None:
    await server.until('up{job="nplb"} == 1')
    # Two scrapes give rates, and the rules have been evaluated on them.
    await server.until("sum(nplb:clients:rate5m) > 0")
    await server.until("nplb:probe_latency:p99_5m > 0")
    targets = await server.ask("targets")
    assert [(one["health"], one["lastError"]) for one in targets["activeTargets"]] == [("up", "")]
    rules = [one for group in (await server.ask("rules"))["groups"] for one in group["rules"]]
    assert len(rules) > 20
    assert {one["name"]: one.get("lastError") for one in rules if one["health"] != "ok"} == {}
    for one in rules:
        if one["type"] == "recording" and "failed" not in one["name"]:
            await server.until(one["name"])
    firing = {
        one["name"] for one in rules if one["type"] == "alerting" and one["state"] != "inactive"
    }
    assert firing == set()
    for expression in expressions():
        assert "$" not in expression, expression
        if QUIET.search(expression):
            await server.value(expression)
        else:
            await server.until(expression)

    # A node that dies is seen, and the alert for it begins to wait.
    stage.lab.faults.apply("node/node-2", "dead")
    await server.until('nplb_node_backends{node="node-2", state="down"} > 0')
    await server.until('ALERTS{alertname="NplbNodeDown", node="node-2"}')
    # Every series has few labels, and none of them is a client's.
    labels = set(await server.ask("labels"))
    assert not labels & {"client", "client_ip", "source", "address", "remote"}
    assert server.log() == ""
