"""The lab's control interface: faults and nodes over HTTP, and faults of the API server."""

import asyncio
import dataclasses
from typing import Any

import aiohttp
import pytest

from nplb.lab.client import LabClient
from nplb.lab.cluster import Lab
from nplb.lab.kubeconfig import Access, read_kubeconfig
from nplb.model.errors import ClusterError, ConfigurationError
from tests.support.api import until
from tests.support.eventually import eventually
from tests.support.lab import Networks, make_lab
from tests.support.labclient import get, refuses
from tests.support.labmanifests import service


@pytest.fixture
def client(lab: Lab) -> LabClient:
    return LabClient(read_kubeconfig(lab.kubeconfig_path))


async def in_thread(call: Any, *arguments: Any) -> Any:
    """The client waits for its answer: let the lab run meanwhile."""
    return await asyncio.to_thread(call, *arguments)


async def api_get(lab: Lab, seconds: float = 20.0) -> int:
    """The status of a GET at the API server."""
    headers = {"Authorization": f"Bearer {lab.api.token}"}
    timeout = aiohttp.ClientTimeout(seconds)
    async with (
        aiohttp.ClientSession(headers=headers, timeout=timeout) as session,
        session.get(f"{lab.api.url}/api/v1/nodes", ssl=False) as answer,
    ):
        await answer.read()
        return answer.status


async def test_faults_over_http(lab: Lab, client: LabClient) -> None:
    await lab.apply(service("web", pods=1))
    await lab.service_ready("web")
    answer = await in_thread(client.fault, "node-2", "refuse", None)
    assert answer["fault"]["text"] == "node/node-2 refuse"
    assert await refuses(lab.address("node-2", "web"))
    listed = await in_thread(client.faults)
    assert [fault["target"] for fault in listed["faults"]] == ["node/node-2"]
    assert "slow[=200ms]" in listed["catalogue"]["node"]
    cleared = await in_thread(client.clear, "node-2", None)
    assert [fault["fault"] for fault in cleared["cleared"]] == ["refuse"]
    assert (await get(lab.address("node-2", "web"))).status == 200


async def test_nodes_over_http(lab: Lab, client: LabClient) -> None:
    added = await in_thread(client.add_node, "")
    assert added["node"]["name"] == "node-4"
    lab.faults.apply("node-1", "dead")
    answer = await in_thread(client.nodes)
    assert [node["name"] for node in answer["nodes"]] == ["node-1", "node-2", "node-3", "node-4"]
    assert [node["powered"] for node in answer["nodes"]] == [False, True, True, True]
    assert answer["problems"] == []


@pytest.mark.parametrize(
    ("target", "fault", "says"),
    [
        ("node-9", "refuse", "there are node-1, node-2, node-3"),
        ("node-1", "explode", "there are refuse"),
        ("", "refuse", "target is missing"),
    ],
)
async def test_mistakes_are_answered_in_words(
    client: LabClient, target: str, fault: str, says: str
) -> None:
    with pytest.raises(ConfigurationError, match=says):
        await in_thread(client.fault, target, fault, None)


async def test_the_token_is_asked_for(lab: Lab) -> None:
    wrong = LabClient(Access(url=lab.api.url, token="guess", ca_pem=lab.api.ca_pem))
    with pytest.raises(ConfigurationError, match="401"):
        await in_thread(wrong.faults)


async def test_a_lab_that_has_ended_is_said(networks: Networks) -> None:
    async with make_lab(networks, nodes=0) as lab:
        access = read_kubeconfig(lab.kubeconfig_path)
    assert not lab.kubeconfig_path.exists()
    with pytest.raises(ClusterError, match="no lab answers"):
        await in_thread(LabClient(access).faults)


@pytest.mark.parametrize(
    ("fault", "status"),
    [
        ("bad-gateway", 502),
        ("too-many-requests", 429),
        ("unauthorized", 401),
        ("internal-error", 500),
        ("forbidden", 403),
    ],
)
async def test_api_faults_and_the_way_out_of_them(
    lab: Lab, client: LabClient, fault: str, status: int
) -> None:
    assert await api_get(lab) == 200
    await in_thread(client.fault, "api", fault, None)
    assert await api_get(lab) == status
    await in_thread(client.clear, "api", None)
    assert await api_get(lab) == 200


async def test_a_hanging_api_server_can_be_helped(lab: Lab, client: LabClient) -> None:
    lab.faults.apply("api", "hang")
    with pytest.raises(TimeoutError):
        await api_get(lab, 0.5)
    await in_thread(client.clear, None, None)
    assert await api_get(lab) == 200


@pytest.mark.parametrize("fault", ["down", "restart"])
async def test_an_api_server_that_is_away_comes_back_by_itself(lab: Lab, fault: str) -> None:
    await lab.apply(service("web", pods=1))
    await lab.service_ready("web")
    lab.faults.apply("api", f"{fault}=1h")
    with pytest.raises(aiohttp.ClientConnectionError):
        await api_get(lab)
    # The data path does not need it.
    assert (await get(lab.address("node-1", "web"))).status == 200
    lab.faults.apply("api", f"{fault}=300ms")

    async def answers() -> bool:
        try:
            return await api_get(lab) == 200
        except aiohttp.ClientConnectionError:
            return False

    await until(answers, "the API server is back")
    await eventually(lambda: not lab.faults.active, "the fault is over")


@pytest.mark.parametrize("fault", ["down", "restart"])
async def test_an_api_server_that_is_away_can_be_brought_back(
    lab: Lab, client: LabClient, fault: str
) -> None:
    await in_thread(client.fault, "api", f"{fault}=1h", None)
    with pytest.raises(aiohttp.ClientConnectionError):
        await api_get(lab)
    cleared = await in_thread(client.clear, "api", None)
    assert [one["fault"] for one in cleared["cleared"]] == [fault]

    async def answers() -> bool:
        try:
            return await api_get(lab) == 200
        except aiohttp.ClientConnectionError:
            return False

    await until(answers, "the API server is back")


async def test_the_way_out_serves_nothing_else_and_asks_for_the_token(lab: Lab) -> None:
    url = read_kubeconfig(lab.kubeconfig_path).control_url
    async with aiohttp.ClientSession() as session:
        for path, headers, status in (
            ("/lab/v1/nodes", {}, 401),
            ("/lab/v1/nodes", {"Authorization": f"Bearer {lab.api.token}"}, 200),
            ("/api/v1/nodes", {"Authorization": f"Bearer {lab.api.token}"}, 404),
        ):
            async with session.get(url + path, headers=headers, ssl=False) as answer:
                assert answer.status == status


@pytest.mark.parametrize("fault", ["down", "restart"])
async def test_a_fault_that_cuts_connections_is_answered_first(lab: Lab, fault: str) -> None:
    client = LabClient(dataclasses.replace(read_kubeconfig(lab.kubeconfig_path), control_url=""))
    answer = await in_thread(client.fault, "api", f"{fault}=300ms", None)
    assert answer["fault"]["text"] == f"api {fault}=300ms"
    await eventually(lambda: not lab.faults.active, "it is over")


async def test_the_api_alone_runs_no_controller(networks: Networks) -> None:
    async with make_lab(networks, nodes=0) as lab:
        await lab.apply(service("web", pods=2))
        assert await api_get(lab) == 200
        assert lab.node_port("web") >= 30000
        await asyncio.sleep(0.05)  # time in which a controller would have acted
        assert lab.api.store.list("pods") == []
        # The first node brings the controllers, and what was waiting gets done.
        await lab.add_node()
        await lab.service_ready("web")
        assert (await get(lab.address("node-1", "web"))).status == 200
