"""What a node says of itself on 10256, and of a Service's local pods on its health check port."""

import asyncio

from nplb.lab.cluster import Lab
from nplb.lab.healthcheck import HEALTHZ_PORT
from nplb.lab.nodeobjects import AUTOSCALER_TAINT
from nplb.model.keys import Address
from tests.support.labclient import get, refuses
from tests.support.labmanifests import service


def healthz(lab: Lab, node: str) -> Address:
    return Address(lab.node(node).address, HEALTHZ_PORT)


async def test_a_healthy_node_says_so(lab: Lab) -> None:
    answer = await get(healthz(lab, "node-1"), "/healthz")
    assert answer.status == 200
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["x-content-type-options"] == "nosniff"
    told = answer.json
    assert told["nodeEligible"] is True
    assert told["healthy"] is True
    assert told["lastUpdated"] == told["currentTime"]
    assert told["status"]["IPv4"]["healthy"] is True
    live = (await get(healthz(lab, "node-1"), "/livez")).json
    assert "nodeEligible" not in live
    assert (await get(healthz(lab, "node-1"), "/metrics")).status == 404


async def test_a_node_about_to_be_deleted_is_not_eligible_but_alive(lab: Lab) -> None:
    taint = {"key": AUTOSCALER_TAINT, "value": "1", "effect": "NoSchedule"}
    lab.api.patch("nodes", "node-2", {"spec": {"taints": [taint]}})
    answer = await get(healthz(lab, "node-2"), "/healthz")
    assert answer.status == 503
    assert answer.json["nodeEligible"] is False
    assert answer.json["healthy"] is True
    assert (await get(healthz(lab, "node-2"), "/livez")).status == 200
    lab.api.patch("nodes", "node-2", {"spec": {"taints": None}})
    assert (await get(healthz(lab, "node-2"), "/healthz")).status == 200


async def test_cordon_and_not_ready_leave_a_node_eligible(lab: Lab) -> None:
    lab.api.patch("nodes", "node-2", {"spec": {"unschedulable": True}})
    lab.faults.apply("node-2", "not-ready-but-serving")
    assert (await get(healthz(lab, "node-2"), "/healthz")).status == 200


async def test_a_deleted_node_is_not_eligible(lab: Lab) -> None:
    lab.api.delete("nodes", "node-3")
    answer = await get(healthz(lab, "node-3"), "/healthz")
    assert answer.status == 503
    assert answer.json["nodeEligible"] is False


async def test_a_stuck_proxy_serves_old_rules_and_becomes_unhealthy(lab: Lab) -> None:
    await lab.apply(service("web", pods=1))
    await lab.service_ready("web")
    lab.faults.apply("node-1", "proxy-stuck")
    await lab.apply(service("other", pods=1))
    await lab.service_ready("other")
    assert await refuses(lab.address("node-1", "other"))
    assert (await get(lab.address("node-1", "web"))).status == 200

    async def status(path: str) -> int:
        return (await get(healthz(lab, "node-1"), path)).status

    async with asyncio.timeout(20):
        while await status("/livez") != 503:
            pass  # each look is a request: this is no busy loop
    told = (await get(healthz(lab, "node-1"), "/healthz")).json
    assert told["healthy"] is False
    assert told["status"]["IPv4"]["healthy"] is False
    lab.faults.clear("node-1")
    assert await status("/healthz") == 200
    assert (await get(lab.address("node-1", "other"))).status == 200


async def test_the_health_check_port_counts_local_ready_pods(lab: Lab) -> None:
    await lab.apply(service("front", pods=4, type="LoadBalancer", externalTrafficPolicy="Local"))
    await lab.service_ready("front")
    port = lab.service("front").health_check_node_port
    counts = {}
    for name, machine in lab.nodes.items():
        answer = await get(Address(machine.address, port), "/whatever")
        assert answer.json["service"] == {"namespace": "default", "name": "front"}
        assert answer.json["serviceProxyHealthy"] is True
        assert answer.headers["x-load-balancing-endpoint-weight"] == str(
            answer.json["localEndpoints"]
        )
        assert answer.headers["content-type"] == "application/json"
        assert answer.status == 200
        counts[name] = answer.json["localEndpoints"]
    assert sorted(counts.values()) == [1, 1, 2]


async def test_a_node_with_none_but_terminating_pods_fails_its_check_and_still_serves(
    lab: Lab,
) -> None:
    await lab.apply(service("front", pods=1, type="LoadBalancer", externalTrafficPolicy="Local"))
    await lab.service_ready("front")
    (pod,) = lab.pods("front")
    node = pod["spec"]["nodeName"]
    for other in lab.nodes:
        lab.api.patch("nodes", other, {"spec": {"unschedulable": True}})  # no new pod anywhere
    lab.api.delete("pods", pod["metadata"]["name"], "default")
    await lab.wait_for(lambda: lab.is_settled, "the proxies to know")
    address = Address(lab.node(node).address, lab.service("front").health_check_node_port)
    answer = await get(address)
    assert answer.status == 503
    assert answer.json["localEndpoints"] == 0
    assert answer.headers["x-load-balancing-endpoint-weight"] == "0"
    assert (await get(lab.address(node, "front"))).status == 200


async def test_the_health_check_port_goes_with_the_policy(lab: Lab) -> None:
    await lab.apply(service("front", pods=1, type="LoadBalancer", externalTrafficPolicy="Local"))
    await lab.service_ready("front")
    address = Address(lab.node("node-1").address, lab.service("front").health_check_node_port)
    assert not await refuses(address)
    lab.api.patch(
        "services", "front", {"spec": {"externalTrafficPolicy": "Cluster"}}, namespace="default"
    )
    await lab.wait_for(lambda: lab.is_settled, "the proxies to know")
    assert await refuses(address)
