"""NodePorts of a lab: they reach pods, refuse or are silent as a real node's do."""

import asyncio
import contextlib
import socket
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from nplb.lab.addresses import twin
from nplb.lab.cluster import Lab
from nplb.model.errors import ConfigurationError
from nplb.model.keys import Address, Protocol
from tests.support.eventually import eventually
from tests.support.lab import Networks, make_lab
from tests.support.labclient import get, is_silent, refuses
from tests.support.labmanifests import manual_slice, service
from tests.support.users import as_ordinary_user

LOWEST_FREE = int(Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").read_text())


async def test_every_node_forwards_to_every_pod(lab: Lab) -> None:
    await lab.apply(service("web", pods=3))
    await lab.service_ready("web")
    for node in lab.nodes:
        answers = [(await get(lab.address(node, "web"), "/json")).json for _ in range(30)]
        assert {answer["node"] for answer in answers} == {"node-1", "node-2", "node-3"}
        # A node that forwards to any pod hides the client behind its own address.
        assert {answer["client"] for answer in answers} == {lab.node(node).address}


async def test_a_service_without_pods_is_refused_until_it_has_one(lab: Lab) -> None:
    await lab.apply(service("web", pods=0))
    await lab.service_ready("web")
    address = lab.address("node-2", "web")
    assert await refuses(address)
    await lab.apply(service("web", pods=1))
    await lab.service_ready("web")
    assert (await get(address)).status == 200


async def test_local_serves_its_own_pod_and_keeps_the_clients_address(lab: Lab) -> None:
    await lab.apply(service("web", pods=2, externalTrafficPolicy="Local"))
    await lab.service_ready("web")
    nodes = [pod["spec"]["nodeName"] for pod in lab.pods("web")]
    for node in nodes:
        answer = await get(lab.address(node, "web"), "/json", source="127.0.0.9")
        assert answer.json["node"] == node
        assert answer.json["client"] == "127.0.0.9"
    (without,) = set(lab.nodes) - set(nodes)
    assert await is_silent(lab.address(without, "web"))


async def test_a_silent_node_of_a_local_service_answers_when_it_gets_a_pod(lab: Lab) -> None:
    await lab.apply(service("web", pods=1, externalTrafficPolicy="Local"))
    await lab.service_ready("web")
    (pod,) = lab.pods("web")
    other = next(name for name in lab.nodes if name != pod["spec"]["nodeName"])
    waiting = asyncio.get_running_loop().create_task(get(lab.address(other, "web"), timeout=30))
    assert await is_silent(lab.address(other, "web"))
    await lab.apply(service("web", pods=3, externalTrafficPolicy="Local"))
    # The client's kernel sends its SYN again, and this time it is answered.
    assert (await waiting).status == 200


async def test_client_ip_affinity_keeps_a_client_with_its_pod(lab: Lab) -> None:
    await lab.apply(service("web", pods=4, sessionAffinity="ClientIP"))
    await lab.service_ready("web")
    pods_of: dict[str, set[str]] = {}
    for client in (f"127.0.0.{n}" for n in range(10, 30)):
        for _ in range(4):
            answer = await get(lab.address("node-1", "web"), "/json", source=client)
            pods_of.setdefault(client, set()).add(answer.json["pod"])
    assert all(len(pods) == 1 for pods in pods_of.values())
    assert len(set.union(*pods_of.values())) > 1


async def test_several_ports_and_named_target_ports(lab: Lab) -> None:
    await lab.apply(
        service(
            "shop",
            pods=1,
            ports=[
                {"name": "http", "port": 80, "targetPort": "http"},
                {"name": "admin", "port": 81, "targetPort": "admin"},
                {"name": "raw", "port": 82, "targetPort": 9000},
                {"name": "low", "port": 83, "targetPort": 443},
                {"name": "same", "port": 8090},
            ],
        )
    )
    await lab.service_ready("shop")
    seen = {}
    for name in ("http", "admin", "raw", "low", "same"):
        answer = (await get(lab.address("node-3", "shop", name), "/json")).json
        seen[name] = answer["port"]
    assert seen["http"] == 8080
    assert seen["raw"] == 9000
    assert seen["low"] == 443  # below 1024, and served with or without the right
    assert seen["same"] == 8090
    (pod,) = lab.pods("shop")
    declared = {p.get("name"): p["containerPort"] for p in pod["spec"]["containers"][0]["ports"]}
    assert seen["admin"] == declared["admin"]


async def test_a_second_service_of_the_same_pods_opens_its_port_in_them(lab: Lab) -> None:
    await lab.apply(service("web", pods=2))
    await lab.service_ready("web")
    before = {pod["metadata"]["name"] for pod in lab.pods("web")}
    other = service("more", port=81, target=9999).replace('{"app": "more"}', '{"app": "web"}')
    await lab.apply(other)
    await lab.service_ready("more")
    assert (await get(lab.address("node-1", "more"), "/json")).json["port"] == 9999
    assert {pod["metadata"]["name"] for pod in lab.pods("web")} == before


async def test_slices_written_by_hand_are_honoured(lab: Lab) -> None:
    pod_ip = "10.250.3.4"
    greeting = b"by hand"

    async def greet(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(greeting)
        writer.close()

    # An address of its own for this test, at the twin: nobody else listens on it.
    server = await asyncio.start_server(greet, twin(pod_ip), 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        await lab.apply(service("outside", selector=False))
        address = lab.address("node-1", "outside")
        await lab.wait_for(lambda: lab.is_settled, "the proxies to know")
        assert await refuses(address)
        await lab.apply(manual_slice("outside", (pod_ip, "node-1"), port=port))
        await lab.service_ready("outside")
        reader, writer = await asyncio.open_connection(address.ip, address.port)
        assert await reader.read() == greeting
        writer.close()


async def test_the_cluster_ip_is_served_on_loopback(lab: Lab) -> None:
    await lab.apply(service("web", pods=2, port=8088))
    await lab.service_ready("web")
    (ip,) = lab.service("web").cluster_ips
    answer = await get(Address(twin(ip), 8088), "/json", source="127.0.0.77")
    assert answer.json["service"] == "web"
    assert answer.json["client"] == "127.0.0.77"


async def test_low_ports_without_the_right_are_said_once_and_nodeports_work(
    lab: Lab, caplog: pytest.LogCaptureFixture
) -> None:
    with as_ordinary_user():
        await lab.apply(service("web", pods=1, port=80, target=80))
        await lab.apply(service("shop", pods=1, port=443, target=443))
        for name in ("web", "shop"):
            await lab.service_ready(name)
    for name, port in (("web", 80), ("shop", 443)):
        assert (await get(lab.address("node-1", name), "/json")).json["port"] == port
    if LOWEST_FREE > 443:
        # An ordinary user's lab says it as it starts, when it meets its own ClusterIP.
        records = [*caplog.get_records("setup"), *caplog.get_records("call")]
        said = [r for r in records if "not served on ports below 1024" in r.getMessage()]
        assert len(said) == 1


async def test_udp_is_forwarded(lab: Lab) -> None:
    await lab.apply(service("dns", pods=1, app="echo", protocol="UDP", port=53, target=5353))
    await lab.service_ready("dns")
    address = lab.address("node-2", "dns")
    loop = asyncio.get_running_loop()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.setblocking(False)
        sock.connect((address.ip, address.port))
        for n in range(5):
            await loop.sock_sendall(sock, f"question {n}".encode())
            async with asyncio.timeout(10):
                assert await loop.sock_recv(sock, 1000) == f"question {n}".encode()
        await lab.apply(service("dns", pods=0, app="echo", protocol="UDP", port=53, target=5353))

        async def refused() -> bool:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(0.2):
                    try:
                        await loop.sock_sendall(sock, b"anybody?")
                        await loop.sock_recv(sock, 1000)
                    except ConnectionRefusedError:
                        return True
            return False

        while not await refused():
            assert lab.node("node-2").proxy.rule(address.port, Protocol.UDP) is not None


async def test_both_protocols_share_a_number(lab: Lab) -> None:
    ports = [
        {"name": "tcp", "port": 53, "protocol": "TCP", "targetPort": 5300, "nodePort": 30053},
        {"name": "udp", "port": 53, "protocol": "UDP", "targetPort": 5300, "nodePort": 30053},
    ]
    await lab.apply(service("dns", pods=1, ports=ports))
    await lab.service_ready("dns")
    address = lab.address("node-1", "dns")
    assert (await get(address)).status == 200
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.setblocking(False)
        sock.connect((address.ip, address.port))
        loop = asyncio.get_running_loop()
        await loop.sock_sendall(sock, b"12345")
        async with asyncio.timeout(10):
            assert b"5 bytes" in await loop.sock_recv(sock, 1000)


async def test_ports_come_and_go_with_their_service(lab: Lab) -> None:
    await lab.apply(service("web", pods=1, node_port=30100))
    await lab.service_ready("web")
    address = lab.address("node-1", "web")
    reader, writer = await asyncio.open_connection(address.ip, address.port)
    writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    assert (await reader.readuntil(b"\r\n")).startswith(b"HTTP/1.1 200")
    lab.api.delete("services", "web", "default")
    await eventually(
        lambda: lab.node("node-1").proxy.rule(30100) is None, "the proxy has forgotten the port"
    )
    assert await refuses(address)
    # The number is free for another Service, at once.
    await lab.apply(service("other", pods=1, node_port=30100))
    await lab.service_ready("other")
    assert "service other" in (await get(address)).text
    writer.close()


async def test_pods_are_spread_over_the_nodes(lab: Lab) -> None:
    await lab.apply(service("web", pods=6))
    await lab.service_ready("web")
    spread = Counter(pod["spec"]["nodeName"] for pod in lab.pods("web"))
    assert spread == {"node-1": 2, "node-2": 2, "node-3": 2}


async def test_two_labs_run_side_by_side(lab: Lab) -> None:
    """Even with the same pod and service networks: only their nodes' addresses differ."""
    second, third = lab.node("node-1").address.split(".")[1:3]
    networks = Networks(
        nodes=f"127.{int(second) + 128}.{third}.0/24",
        pods=f"10.{int(second) + 64}.{third}.0/24",
        services=f"10.{int(second) + 128}.{third}.0/24",
    )
    manifest = service("web", pods=2, node_port=30200)
    async with make_lab(networks) as other:
        for one in (lab, other):
            await one.apply(manifest)
            await one.service_ready("web")
        for one in (lab, other):
            names = {pod["metadata"]["name"] for pod in one.pods("web")}
            for node in one.nodes:
                assert (await get(one.address(node, "web"), "/json")).json["pod"] in names


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"nodes": 1000}, "1000 nodes do not fit into"),
        ({"node_port_range": "many"}, "the NodePort range 'many'.*write one such as 30000-32767"),
    ],
)
def test_nonsense_is_refused_with_advice(
    networks: Networks, options: dict[str, Any], says: str
) -> None:
    with pytest.raises(ConfigurationError, match=says):
        make_lab(networks, **options)
