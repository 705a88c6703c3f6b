"""An edge as the load balancer behind `type: LoadBalancer`, from creation to the edge's end."""

import signal
from collections.abc import AsyncIterator
from typing import Any

import pytest

from nplb.lab.cluster import Lab
from tests.support.edge import Edge, ask, of_lab
from tests.support.eventually import eventually
from tests.support.lab import Networks, make_lab
from tests.support.labmanifests import service


@pytest.fixture
async def lab(networks: Networks) -> AsyncIterator[Lab]:
    async with make_lab(networks, nodes=2) as lab:
        lab.api.create("namespaces", {"metadata": {"name": "nplb"}})
        await lab.apply(balancer("web"))
        await lab.service_ready("default/web")
        yield lab


def balancer(name: str) -> str:
    return service(name, type="LoadBalancer", port=8081, loadBalancerClass="nplb.io/edge")


async def begin(edge: Edge, lab: Lab, **writes: str) -> None:
    await edge.begin(
        of_lab(lab, writes={"status": True, "events": True, **writes}),
        listen=f'{{addresses: "{edge.ip}", port: mirror, load_balancer_port: service}}',
    )


def ingress(lab: Lab, name: str) -> list[dict[str, Any]]:
    for raw in lab.api.store.list("services"):
        if raw["metadata"]["name"] == name:
            return list(raw.get("status", {}).get("loadBalancer", {}).get("ingress", []))
    return []


def reasons(lab: Lab) -> dict[str, str]:
    """The Events that nplb has sent: reason by Service."""
    return {
        raw["involvedObject"]["name"]: raw["reason"]
        for raw in lab.api.store.list("events")
        if raw.get("source", {}).get("component") == "nplb"
    }


async def test_a_service_gets_its_address_and_loses_it(edge: Edge, lab: Lab) -> None:
    await begin(edge, lab, on_stop="withdraw")
    await eventually(lambda: ingress(lab, "web"), "the address")
    [entry] = ingress(lab, "web")
    assert (entry["ip"], entry["ipMode"]) == (edge.ip, "Proxy")
    [port] = entry["ports"]
    assert port == {"port": 8081, "protocol": "TCP"}
    assert "service web" in await ask(entry["ip"], port["port"])
    status, text = await edge.get("/metrics")
    assert status == 200
    assert 'nplb_writer_lease_held{cluster="lab"} 1.0' in text

    # A second one wants the same port of the edge: its owner is told who has it.
    await lab.apply(balancer("late"))
    await eventually(lambda: reasons(lab).get("late") == "EdgePortConflict", "the Event")
    assert not ingress(lab, "late")

    edge.signal(signal.SIGTERM)
    assert await edge.ended() == 0
    assert not ingress(lab, "web")
    [lease] = lab.api.store.list("leases", "nplb")
    assert not lease["spec"]["holderIdentity"]


async def test_without_rights_it_serves_and_names_what_is_missing(edge: Edge, lab: Lab) -> None:
    lab.api.faults.forbid(resource="leases")
    lab.api.faults.forbid(resource="events")
    await begin(edge, lab)
    assert "service web" in await ask(edge.ip, 8081)
    await edge.until(
        lambda s: any(f["kind"] == "write_refused" for f in s["findings"]), "the finding"
    )
    [finding] = [f for f in (await edge.status())["findings"] if f["kind"] == "write_refused"]
    assert "leases.coordination.k8s.io in namespace nplb" in finding["text"]
    assert not ingress(lab, "web")
