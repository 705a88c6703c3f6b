"""Faults of nodes and pods, and that clearing them mends everything."""

import asyncio
import socket
from typing import Any

import pytest

from nplb.lab.cluster import Lab
from nplb.lab.faults import UnknownTargetError
from nplb.lab.healthcheck import HEALTHZ_PORT
from nplb.lab.nodeobjects import AUTOSCALER_TAINT
from nplb.model.errors import ConfigurationError
from nplb.model.keys import Address
from tests.support.eventually import eventually
from tests.support.labclient import eventually_refuses, get, is_silent, read_answer, refuses
from tests.support.labmanifests import service

NODE = "node-2"


@pytest.fixture
async def web(lab: Lab) -> Address:
    """A Service with three pods, and its address on the node that the faults are about."""
    await lab.apply(service("web", pods=3))
    await lab.service_ready("web")
    return lab.address(NODE, "web")


def node_object(lab: Lab) -> dict[str, Any] | None:
    return lab.api.store.get("nodes", NODE)


def ready_of(lab: Lab) -> str:
    node = node_object(lab)
    if node is None:
        return "gone"
    return next(
        (c["status"] for c in node["status"]["conditions"] if c["type"] == "Ready"), "missing"
    )


def taint_keys(lab: Lab) -> set[str]:
    node = node_object(lab)
    return {taint["key"] for taint in (node or {"spec": {}})["spec"].get("taints") or []}


def unready_endpoints(lab: Lab) -> list[str]:
    """Nodes of the endpoints that are not ready."""
    return [
        endpoint["nodeName"]
        for slice_ in lab.api.store.list("endpointslices", "default")
        if slice_["metadata"]["labels"].get("kubernetes.io/service-name") == "web"
        for endpoint in slice_["endpoints"] or []
        if not endpoint["conditions"]["ready"]
    ]


class Talker:
    """A kept connection that asks and is answered."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    @classmethod
    async def to(cls, address: Address) -> "Talker":
        talker = cls(*await asyncio.open_connection(address.ip, address.port))
        await talker.ask()
        return talker

    @classmethod
    async def on(cls, sock: socket.socket) -> "Talker":
        return cls(*await asyncio.open_connection(sock=sock))

    async def ask(self, seconds: float = 20.0) -> str:
        self.writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        async with asyncio.timeout(seconds):
            return (await read_answer(self.reader)).text


async def test_refuse(lab: Lab, web: Address) -> None:
    talker = await Talker.to(web)
    waiting = socket.create_connection((web.ip, web.port))  # which the lab had no time to accept
    lab.faults.apply(NODE, "refuse")
    assert await refuses(web)
    assert await refuses(Address(web.ip, HEALTHZ_PORT))
    assert await talker.ask()
    late = await Talker.on(waiting)
    assert await late.ask(), "a connection of before lives on"
    assert (await get(lab.address("node-1", "web"))).status == 200
    lab.faults.clear(NODE)
    assert (await get(web)).status == 200
    talker.writer.close()
    late.writer.close()


async def test_reset(lab: Lab, web: Address) -> None:
    talker = await Talker.to(web)
    lab.faults.apply(NODE, "reset")
    with pytest.raises(ConnectionResetError):
        await talker.reader.read(1)
    assert await refuses(web)
    lab.faults.clear(NODE, "reset")
    assert (await get(web)).status == 200
    talker.writer.close()


async def test_silent(lab: Lab, web: Address) -> None:
    talker = await Talker.to(web)
    lab.faults.apply(NODE, "silent")
    assert await is_silent(web)
    assert await is_silent(Address(web.ip, HEALTHZ_PORT))
    with pytest.raises(TimeoutError):
        await talker.ask(0.3)
    # Its pods and its kubelet live on: the others still forward to them.
    answers = {(await get(lab.address("node-1", "web"), "/json")).json["node"] for _ in range(30)}
    assert NODE in answers
    assert ready_of(lab) == "True"
    lab.faults.clear()
    assert (await get(web)).status == 200
    assert "web-" in (await read_answer(talker.reader)).text  # what was asked in silence
    assert await talker.ask()
    talker.writer.close()


async def test_slow(lab: Lab, web: Address) -> None:
    loop = asyncio.get_running_loop()
    lab.faults.apply(NODE, "slow=100ms")
    begin = loop.time()
    assert (await get(web)).status == 200
    assert loop.time() - begin >= 0.2  # there and back
    lab.faults.apply(NODE, "slow=10s")
    lab.faults.clear(NODE, "slow")
    assert (await get(web, timeout=5)).status == 200


async def test_flap(lab: Lab, web: Address) -> None:
    lab.faults.apply(NODE, "flap=50ms")
    for _ in range(3):
        await eventually_refuses(web)
        await eventually_refuses(web, False)
    lab.faults.clear(NODE)
    assert not await refuses(web)


async def test_not_ready(lab: Lab, web: Address) -> None:
    """The kubelet stops: the control plane gives the node up, and its data path works on."""
    lab.faults.apply(NODE, "not-ready")
    await eventually(lambda: ready_of(lab) == "Unknown", "Ready is Unknown")
    await eventually(lambda: unready_endpoints(lab) == [NODE], "its pod is not ready")
    await eventually(
        lambda: "node.kubernetes.io/unreachable" in taint_keys(lab), "the node is tainted"
    )
    assert (await get(web)).status == 200
    assert (await get(Address(web.ip, HEALTHZ_PORT), "/healthz")).status == 200
    lab.faults.clear(NODE)
    await eventually(lambda: ready_of(lab) == "True", "the node is ready")
    await eventually(lambda: not taint_keys(lab), "and no longer tainted")
    await lab.service_ready("web")


async def test_not_ready_but_serving(lab: Lab, web: Address) -> None:
    lab.faults.apply(NODE, "not-ready-but-serving")
    assert ready_of(lab) == "False"
    await eventually(
        lambda: "node.kubernetes.io/not-ready" in taint_keys(lab), "the node is tainted"
    )
    assert unready_endpoints(lab) == []
    assert (await get(web)).status == 200
    lab.faults.clear(NODE)
    assert ready_of(lab) == "True"


async def test_dead(lab: Lab, web: Address) -> None:
    """The machine is off: silence, then Unknown, then its pods are given to others. Back, it
    knows nothing of its old connections."""
    talker = await Talker.to(web)
    lab.faults.apply(NODE, "dead")
    assert await is_silent(web)
    await eventually(lambda: ready_of(lab) == "Unknown", "Ready is Unknown")
    await eventually(
        lambda: sum(p["spec"]["nodeName"] != NODE for p in lab.pods("web")) == 3,
        "other nodes have all the pods",
    )
    await lab.service_ready("web")
    for _ in range(10):
        assert (await get(lab.address("node-1", "web"), "/json")).json["node"] != NODE
    lab.faults.clear(NODE)
    with pytest.raises(ConnectionResetError):
        await talker.reader.read(1)
    await eventually(lambda: ready_of(lab) == "True", "the node is ready")
    assert (await get(web)).status == 200
    await eventually(
        lambda: len(lab.pods("web")) == 3, "the pods that it had are gone, three are left"
    )
    talker.writer.close()


async def test_drain_by_the_autoscaler(lab: Lab, web: Address) -> None:
    talker = await Talker.to(web)
    lab.faults.apply(NODE, "drain=1h")
    assert AUTOSCALER_TAINT in taint_keys(lab)
    # Until the node is deleted it serves, new clients too; only its health check says no.
    assert (await get(web)).status == 200
    assert (await get(Address(web.ip, HEALTHZ_PORT), "/healthz")).status == 503
    assert await talker.ask()
    lab.faults.apply(NODE, "drain=100ms")
    await eventually(lambda: node_object(lab) is None, "the Node is deleted")
    assert await is_silent(web)
    await eventually(
        lambda: all(p["spec"]["nodeName"] != NODE for p in lab.pods("web")), "its pods moved"
    )
    lab.faults.clear(NODE)
    await eventually(lambda: ready_of(lab) == "True", "the node is back")
    assert AUTOSCALER_TAINT not in taint_keys(lab)
    assert (await get(web)).status == 200
    talker.writer.close()


async def test_a_drain_that_is_called_off(lab: Lab, web: Address) -> None:
    lab.faults.apply(NODE, "drain=10m")
    lab.faults.clear(NODE)
    assert AUTOSCALER_TAINT not in taint_keys(lab)
    assert (await get(Address(web.ip, HEALTHZ_PORT), "/healthz")).status == 200


async def test_delete(lab: Lab, web: Address) -> None:
    lab.faults.apply(NODE, "delete")
    assert node_object(lab) is None
    assert await is_silent(web)
    await eventually(
        lambda: (
            len(lab.pods("web")) == 3
            and all(p["spec"].get("nodeName") != NODE for p in lab.pods("web"))
        ),
        "its pods are made anew elsewhere",
    )
    lab.faults.clear(NODE)
    await eventually(lambda: ready_of(lab) == "True", "the node is back")
    assert (await get(web)).status == 200


async def test_several_faults_at_once_and_cleared_one_by_one(lab: Lab, web: Address) -> None:
    lab.faults.apply(NODE, "refuse")
    lab.faults.apply(NODE, "silent")
    assert [str(fault) for fault in lab.faults.active] == [
        "node/node-2 refuse",
        "node/node-2 silent",
    ]
    assert await is_silent(web)
    lab.faults.clear(NODE, "silent")
    assert await refuses(web)
    lab.faults.clear(NODE, "refuse")
    assert (await get(web)).status == 200
    assert lab.faults.active == ()


async def test_a_fault_for_a_time_ends_by_itself(lab: Lab, web: Address) -> None:
    fault = lab.faults.apply(NODE, "refuse", seconds=3600)
    assert fault.until == pytest.approx(fault.since + 3600)
    assert await refuses(web)
    lab.faults.apply(NODE, "refuse", seconds=0.2)
    await eventually(lambda: not lab.faults.active, "the fault is over")
    assert (await get(web)).status == 200


async def test_a_pod_dies_and_is_started_again(lab: Lab, web: Address) -> None:
    talker = await Talker.to(web)
    name = (await talker.ask()).split(" ", 1)[0]
    lab.faults.apply(f"pod/default/{name}", "crash")
    with pytest.raises(ConnectionResetError):
        await talker.reader.read(1)

    def status() -> dict[str, Any]:
        pod = lab.api.store.get("pods", name, "default")
        assert pod is not None
        found: dict[str, Any] = pod["status"]["containerStatuses"][0]
        return found

    await eventually(lambda: not status()["ready"], "the pod is not ready")
    await eventually(lambda: status()["ready"], "the pod is ready again")
    assert status()["restartCount"] == 1
    await lab.service_ready("web")
    assert lab.faults.active == ()
    talker.writer.close()


async def test_a_pod_that_fails_its_readiness_probe(lab: Lab, web: Address) -> None:
    pod = lab.pods("web")[0]
    name, node = pod["metadata"]["name"], pod["spec"]["nodeName"]
    lab.faults.apply(f"pod/{name}", "not-ready")
    await eventually(lambda: unready_endpoints(lab) == [node], "its endpoint is not ready")
    await lab.wait_for(lambda: lab.is_settled, "the proxies to know")
    for _ in range(10):
        assert name not in (await get(web)).text
    lab.faults.clear(f"pod/{name}")
    await lab.service_ready("web")


async def test_a_silent_pod_is_noticed_by_nobody(lab: Lab, web: Address) -> None:
    for pod in lab.pods("web"):
        lab.faults.apply(f"pod/{pod['metadata']['name']}", "silent")
    with pytest.raises(TimeoutError):
        await get(web, timeout=0.3)
    assert unready_endpoints(lab) == []
    lab.faults.clear()
    assert (await get(web)).status == 200


async def test_what_there_is_not_is_said_with_what_there_is(lab: Lab) -> None:
    with pytest.raises(UnknownTargetError, match="there are node-1, node-2, node-3"):
        lab.faults.apply("node-9", "refuse")
    with pytest.raises(ConfigurationError, match="there are refuse, reset, silent, slow"):
        lab.faults.apply(NODE, "explode")
    with pytest.raises(ConfigurationError, match="takes no argument"):
        lab.faults.apply(NODE, "refuse=5s")
    with pytest.raises(ConfigurationError, match="write it as 5s"):
        lab.faults.apply(NODE, "slow=soon")
    with pytest.raises(UnknownTargetError, match="no running pod default/web-1"):
        lab.faults.apply("pod/web-1", "crash")
    with pytest.raises(ConfigurationError, match="longer than"):
        lab.faults.apply(NODE, "refuse", seconds=0)
    assert lab.faults.active == ()
