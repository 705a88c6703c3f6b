"""An application's team annotates its Service in front of a running edge."""

import signal
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from nplb.lab.cluster import Lab
from tests.support.edge import Edge, ask, of_lab
from tests.support.lab import Networks, make_lab
from tests.support.labmanifests import service


@pytest.fixture
async def lab(networks: Networks) -> AsyncIterator[Lab]:
    async with make_lab(networks, nodes=2) as lab:
        # By age and by name, api goes before web.
        await lab.apply(service("api", node_port=30081))
        await lab.apply(service("web", node_port=30080))
        for name in ("api", "web"):
            await lab.service_ready(f"default/{name}")
        yield lab


def annotate(lab: Lab, name: str, **annotations: str) -> None:
    given = {f"nplb.io/{key.replace('_', '-')}": text for key, text in annotations.items()}
    lab.api.patch("services", name, {"metadata": {"annotations": given}}, namespace="default")


def refusals(status: dict[str, object]) -> list[str]:
    return [
        finding["text"]
        for finding in status["findings"]  # type: ignore[attr-defined]
        if finding["kind"] == "annotation_refused"
    ]


async def restart(edge: Edge) -> None:
    edge.signal(signal.SIGTERM)
    assert await edge.ended() == 0
    await edge.start()


@pytest.mark.parametrize(
    ("again", "keys"),
    [(restart, {"state_dir": "state"}), (Edge.upgraded, {})],
    ids=["restarted", "upgraded"],
)
async def test_a_port_of_ones_own_and_a_wrong_value(
    edge: Edge, lab: Lab, again: Callable[[Edge], Awaitable[None]], keys: dict[str, str]
) -> None:
    allowed = "{allow: [edge-port, balance], ports: 8000-8099}"
    await edge.begin(of_lab(lab), annotations=allowed, **keys)
    annotate(lab, "web", edge_port="8080", balance="first")
    await edge.until(
        lambda s: any(f["listen"][0]["port"] == 8080 for f in s["plan"]["frontends"]), "the port"
    )
    assert "service web" in await ask(edge.ip, 8080)

    annotate(lab, "web", edge_port="eighty", balance="first")
    await edge.until(refusals, "the refusal")
    [text] = refusals(await edge.status())
    assert "Service default/web: nplb.io/edge-port: 'eighty' is refused" in text
    assert "its last good value '8080' stays" in text
    assert "service web" in await ask(edge.ip, 8080)

    annotate(lab, "api", edge_port="8080")
    await edge.until(lambda s: len(refusals(s)) == 2, "the conflict")
    before = refusals(await edge.status())
    assert any("is taken by lab/default/web" in text for text in before)
    assert "service api" in await ask(edge.ip, 30081)
    assert "service web" in await ask(edge.ip, 8080)

    await again(edge)
    await edge.ready()
    await edge.until(lambda s: refusals(s) == before, "the same refusals")
    assert "service api" in await ask(edge.ip, 30081)
    assert "service web" in await ask(edge.ip, 8080)
