"""One service of two clusters behind one port, while one of the clusters fails."""

import asyncio
import sys
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack

import pytest

from nplb.lab.cluster import Lab
from tests.support.edge import Edge, ask, clusters
from tests.support.lab import Networks, claim_networks, make_lab
from tests.support.labmanifests import service

PORT = 8090


@pytest.fixture
def other_networks() -> Iterator[Networks]:
    with claim_networks() as claimed:
        yield claimed


@pytest.fixture
async def labs(networks: Networks, other_networks: Networks) -> AsyncIterator[tuple[Lab, Lab]]:
    """Two clusters, whose services say by their names where a client has come to."""
    async with AsyncExitStack() as stack:
        found = []
        for name, own in (("east", networks), ("west", other_networks)):
            lab = await stack.enter_async_context(make_lab(own, nodes=2))
            await lab.apply(service(f"web-{name}", node_port=30080))
            await lab.service_ready(f"default/web-{name}")
            found.append(lab)
        yield found[0], found[1]


async def nplb(edge: Edge, *arguments: str) -> str:
    """What a command prints."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "nplb", *arguments, "--admin", f"http://{edge.admin}"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said, _ = await process.communicate()
    return said.decode()


async def places(edge: Edge, count: int) -> Counter[str]:
    """Where so many clients come to."""
    found: Counter[str] = Counter()
    for _ in range(count):
        text = await ask(edge.ip, PORT)
        found["east" if "service web-east" in text else "west"] += 1
    return found


async def test_clients_are_shared_by_weight_and_an_outage_fails_none(
    edge: Edge, labs: tuple[Lab, Lab]
) -> None:
    east, west = labs
    await edge.begin(
        clusters(east=east.kubeconfig_path, west=west.kubeconfig_path),
        pools=f'[{{name: default/web, listen: "{edge.ip}:{PORT}", members: '
        '["east/default/web-east weight=3", west/default/web-west]}]',
        balance="round_robin",
        workers="1",
    )
    await edge.until(
        lambda s: sum(b["state"] == "active" for b in s["plan"]["frontends"][0]["backends"]) == 4,
        "all four nodes",
    )
    assert await places(edge, 40) == {"east": 30, "west": 10}

    # The API of one goes away, and then its nodes: nobody is left without an answer.
    east.faults.apply("api", "restart=1h")
    await edge.until(lambda s: s["sources"][0]["state"] == "stale", "the API to be missed")
    assert set(await places(edge, 8)) == {"east", "west"}
    for node in ("node-1", "node-2"):
        east.faults.apply(node, "dead")
    assert sum((await places(edge, 12)).values()) == 12
    await edge.until(
        lambda s: (
            [
                b["key"]["node"]
                for b in s["plan"]["frontends"][0]["backends"]
                if b["state"] == "active"
            ]
            == ["west/node-1", "west/node-2"]
        ),
        "the other cluster alone",
    )
    assert await places(edge, 8) == {"west": 8}
    code, text = await edge.get("/metrics")
    assert code == 200
    assert 'cluster="pool"' in text
    said = await nplb(edge, "explain", "default/web", "west/node-1")
    assert "pool/default/web:8090" in said
    assert "passing" in said
    assert "served as a part of pool/default/web" in await nplb(edge, "explain", "web-east")
    assert f"{edge.ip}:{PORT}" in await nplb(edge, "url", "east/default/web-east")
