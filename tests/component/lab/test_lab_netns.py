"""The lab in network namespaces: the kernel forwards by kube-proxy's rules, and faults are real."""

import asyncio
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from nplb.lab.cluster import Lab
from nplb.lab.healthcheck import HEALTHZ_PORT
from nplb.lab.netns.namespace import leftovers
from nplb.lab.timing import Timing
from nplb.model.errors import ConfigurationError, HostError, HostPermissionError
from nplb.model.keys import Address
from tests.support.labclient import get, is_silent, read_answer, refuses
from tests.support.labmanifests import service
from tests.support.netns import Namespace, dial, namespaces, requires_namespaces

pytestmark = requires_namespaces

NODE = "node-2"


def make(**options: object) -> Lab:
    return Lab(netns=True, timing=Timing.quick(), tls=False, **options)  # type: ignore[arg-type]


@pytest.fixture
async def edge() -> AsyncIterator[Namespace]:
    """The namespace that the test lives in: the edge's."""
    with namespaces("edge") as made, made["edge"].entered():
        made["edge"].sysctl("net.ipv4.ip_forward", "1")
        yield made["edge"]


@pytest.fixture
async def lab(edge: Namespace) -> AsyncIterator[Lab]:
    async with make() as running:
        yield running


@pytest.fixture
async def web(lab: Lab) -> Address:
    """A Service with three pods, and its address on the node that the faults are about."""
    await lab.apply(service("web", pods=3))
    await lab.service_ready("web")
    return lab.address(NODE, "web")


async def as_client(lab: Lab, to: Address, request: bytes = b"/") -> str:
    """What a client beyond the edge is answered."""
    assert lab.site is not None
    client = Namespace(lab.site.client.name)

    def ask() -> str:
        with dial(client, to) as sock:
            sock.sendall(b"GET " + request + b" HTTP/1.0\r\n\r\n")
            data = b""
            while piece := sock.recv(65536):
                data += piece
        return data.decode().partition("\r\n\r\n")[2]

    return await asyncio.to_thread(ask)


async def pods_behind(address: Address, times: int = 30) -> set[str]:
    return {(await get(address, "/json")).json["node"] for _ in range(times)}


async def test_every_node_forwards_to_every_pod(lab: Lab, web: Address) -> None:
    for name in lab.nodes:
        assert await pods_behind(lab.address(name, "web")) == set(lab.nodes)
    # What leaves a node has the node's address; what stays has its side of the pod's cable.
    seen = {(await get(web, "/json")).json["client"] for _ in range(50)}
    assert seen == {"10.213.0.2", "10.244.2.1"}
    assert (await get(Address(web.ip, HEALTHZ_PORT), "/healthz")).status == 200


async def test_a_port_without_a_pod_is_refused_and_one_without_a_local_pod_is_silent(
    lab: Lab,
) -> None:
    await lab.apply(service("web", pods=0, externalTrafficPolicy="Local", type="LoadBalancer"))
    await lab.wait_for(lambda: lab.is_settled, "rules")
    assert await refuses(lab.address(NODE, "web"))
    await lab.apply(service("web", pods=1, externalTrafficPolicy="Local", type="LoadBalancer"))
    await lab.service_ready("web")
    (pod,) = lab.pods("web")
    here = pod["spec"]["nodeName"]
    away = next(name for name in lab.nodes if name != here)
    assert await is_silent(lab.address(away, "web"))
    assert lab.site is not None
    assert f"client {lab.site.client_ip}" in await as_client(lab, lab.address(here, "web"))
    check = lab.service("web").health_check_node_port
    assert (await get(Address(lab.node(here).address, check))).status == 200
    assert (await get(Address(lab.node(away).address, check))).status == 503


async def test_affinity_is_kept_through_changes(lab: Lab) -> None:
    await lab.apply(service("web", pods=4, sessionAffinity="ClientIP"))
    await lab.service_ready("web")
    web = lab.address("node-1", "web")
    (pod,) = {(await get(web, "/json")).json["pod"] for _ in range(8)}
    await lab.apply(service("other", pods=1))
    await lab.service_ready("other")
    assert {(await get(web, "/json")).json["pod"] for _ in range(8)} == {pod}


async def ask(sock: socket.socket) -> str:
    """The name of the pod that answers a datagram; empty if none does."""

    def exchange() -> str:
        try:
            sock.send(b"anyone?")
            return sock.recv(2048).decode().partition(" ")[0]
        except (TimeoutError, ConnectionRefusedError):
            return ""

    return await asyncio.to_thread(exchange)


async def test_a_udp_client_moves_off_a_pod_that_has_gone(lab: Lab) -> None:
    """Though it keeps its port, so that its tracked flow never ends by itself."""
    await lab.apply(service("dns", pods=2, protocol="UDP", port=53, target=5353))
    await lab.service_ready("dns")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(0.5)
        sock.connect(lab.address("node-1", "dns"))
        first = ""
        while not first:
            first = await ask(sock)
        lab.api.delete("pods", first, "default")
        deadline = asyncio.get_running_loop().time() + 20
        while await ask(sock) in ("", first):
            assert asyncio.get_running_loop().time() < deadline


async def test_cluster_ips_work_from_nodes_and_from_pods(lab: Lab, web: Address) -> None:
    spec = lab.service("web")
    to = Address(spec.cluster_ips[0], spec.ports[0].port)
    assert lab.site is not None
    inside = names(_tag(lab))
    node = next(name for name in inside if name.endswith(f"-{NODE}"))
    pod = next(name for name in inside if "-pod-" in name)
    for name in (node, pod):
        for _ in range(6):  # a pod that gets itself, too
            with await asyncio.to_thread(dial, Namespace(name), to) as sock:
                sock.sendall(b"GET / HTTP/1.0\r\n\r\n")
                assert b"200" in await asyncio.to_thread(sock.recv, 4096)


def names(prefix: str) -> list[str]:
    """The namespaces that begin so."""
    return [each.name for each in Path("/run/netns").iterdir() if each.name.startswith(prefix)]


def _tag(lab: Lab) -> str:
    assert lab.site is not None
    return lab.site.client.name.removesuffix("client")


async def test_silent_and_refusing_nodes(lab: Lab, web: Address) -> None:
    reader, writer = await asyncio.open_connection(web.ip, web.port)

    async def talk(seconds: float) -> str:
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        async with asyncio.timeout(seconds):
            return (await read_answer(reader)).text

    assert await talk(20)
    lab.faults.apply(NODE, "refuse")
    assert await refuses(web)
    assert await refuses(Address(web.ip, HEALTHZ_PORT))
    assert await talk(20)
    lab.faults.clear()
    lab.faults.apply(NODE, "silent")
    assert await is_silent(web)
    assert await is_silent(Address(web.ip, HEALTHZ_PORT))
    with pytest.raises(TimeoutError):
        await talk(0.3)
    assert NODE in await pods_behind(lab.address("node-1", "web"))  # its pods live on
    lab.faults.clear()
    async with asyncio.timeout(20):
        await read_answer(reader)  # what was asked in silence
    lab.faults.apply(NODE, "reset")
    with pytest.raises(ConnectionError):
        await talk(20)
    assert await refuses(web)
    lab.faults.clear()
    assert (await get(web)).status == 200


async def test_a_machine_that_was_off_boots_and_serves(lab: Lab, web: Address) -> None:
    lab.faults.apply(NODE, "dead")
    assert await is_silent(web)
    lab.faults.clear()
    await lab.service_ready("web")
    assert (await get(web)).status == 200


async def test_a_slow_node_holds_up_packets(lab: Lab, web: Address) -> None:
    loop = asyncio.get_running_loop()
    lab.faults.apply(NODE, "slow=100ms")
    begin = loop.time()
    assert len((await get(web, "/bytes/300000")).body) == 300_000
    assert loop.time() - begin >= 0.4  # the handshake, and then the answer
    lab.faults.clear()
    assert await pods_behind(web) == set(lab.nodes)


async def test_lost_packets_are_sent_again(lab: Lab, web: Address) -> None:
    lab.faults.apply(NODE, "loss=5%")
    assert str(lab.faults.active[0]) == f"node/{NODE} loss=5%"
    for _ in range(5):
        assert len((await get(web, "/bytes/2000", timeout=50)).body) == 2000
    lab.faults.apply(NODE, "loss=100%")
    assert await is_silent(web)


async def test_a_partition_parts_machines_from_each_other_alone(lab: Lab, web: Address) -> None:
    lab.faults.apply(NODE, "partition")
    outcomes: Counter[str] = Counter()
    for _ in range(12):
        try:
            outcomes[(await get(web, "/json", timeout=0.5)).json["node"]] += 1
        except TimeoutError:
            outcomes["none"] += 1
    assert set(outcomes) <= {NODE, "none"}
    assert (await get(Address(web.ip, HEALTHZ_PORT), "/healthz")).status == 200
    lab.faults.clear()
    assert await pods_behind(web) == set(lab.nodes)


async def test_answers_that_take_a_detour_do_not_pass_the_edge(lab: Lab, edge: Namespace) -> None:
    """The client still gets them where it asked the node itself. The edge, which tracks
    connections, sees half of each."""
    await lab.apply(service("web", pods=3, externalTrafficPolicy="Local"))
    await lab.service_ready("web")
    web = lab.address(NODE, "web")
    rules = (
        "add table ip watch\n"
        "add chain ip watch back { type filter hook forward priority 0; }\n"
        f"add rule ip watch back ip saddr {web.ip} counter drop\n"
    )
    edge.run("nft", "-f", "-", stdin=rules)
    with pytest.raises(TimeoutError):
        await asyncio.to_thread(_dial_quickly, lab, web)
    lab.faults.apply(NODE, "detour")
    assert "web" in await as_client(lab, web)
    lab.faults.clear()
    with pytest.raises(TimeoutError):
        await asyncio.to_thread(_dial_quickly, lab, web)


def _dial_quickly(lab: Lab, to: Address) -> None:
    assert lab.site is not None
    dial(Namespace(lab.site.client.name), to, timeout=0.5).close()


async def test_nothing_is_left_when_it_stops(edge: Namespace) -> None:
    before = edge.run("ip", "-br", "link")
    async with make(nodes=2) as lab:
        await lab.apply(service("web", pods=2))
        await lab.service_ready("web")
        tag = _tag(lab)
        assert len(names(tag)) == 6
    assert not names(tag)
    assert edge.run("ip", "-br", "link") == before
    assert edge.run("nft", "list", "ruleset") == ""


@pytest.mark.timeout(120)
async def test_what_a_killed_lab_left_is_removed_by_the_next(
    edge: Namespace, tmp_path: Path
) -> None:
    command = (sys.executable, "-m", "nplb", "lab", "--netns", "--nodes", "1", "--empty")
    kubeconfig = ("--kubeconfig", str(tmp_path / "kubeconfig"))
    process = await asyncio.create_subprocess_exec(
        *command, *kubeconfig, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    assert process.stdout is not None
    said = ""
    while "Ctrl-C" not in said:
        line = await process.stdout.readline()
        assert line, said
        said += line.decode()
    assert "10.213.0.1" in said
    process.send_signal(signal.SIGKILL)
    await process.wait()
    prefix = f"nplb-lab-{process.pid}-"
    left = [each.name for each in leftovers()]
    assert f"{prefix}0-node-1" in left
    async with make(nodes=1):
        pass
    assert not names(prefix)


async def test_what_is_missing_or_in_the_way_is_said(
    edge: Namespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with make(nodes=1):
        with pytest.raises(ConfigurationError, match=r"10\.213\.0\.0/24 overlaps .* --network"):
            await make(nodes=1).start()
    with pytest.raises(ConfigurationError, match="no range of its own for node-2"):
        await make(nodes=2, pod_network="10.244.0.0/24").start()
    monkeypatch.setattr(shutil, "which", lambda tool: None if tool == "nft" else tool)
    with pytest.raises(HostError, match="apt-get install nftables"):
        await make(nodes=1).start()
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(HostPermissionError, match="needs root"):
        await make(nodes=1).start()
    assert not names(f"nplb-lab-{os.getpid()}-")


async def test_a_lab_on_loopback_says_what_it_cannot_break() -> None:
    lab = Lab(tls=False, network="127.0.77.0/24", nodes=1, timing=Timing.quick())
    async with lab:
        with pytest.raises(ConfigurationError, match="--netns"):
            lab.faults.apply("node-1", "loss")
