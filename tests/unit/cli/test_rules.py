"""`nplb rules`: what the kernel holds, and what it would."""

import asyncio
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from nplb.cli import main
from nplb.dataplane.kernel.plane import KernelPlane
from nplb.model.kernel import KernelOptions
from tests.support.kernelplans import a_frontend, a_plan
from tests.support.netns import namespaces, requires_namespaces

CLUSTER = """\
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec:
  type: NodePort
  ports:
    - {name: http, port: 80, nodePort: 30080}
    - {name: dns, port: 53, nodePort: 30053, protocol: UDP}
---
apiVersion: v1
kind: Node
metadata: {name: node-1}
status: {addresses: [{type: InternalIP, address: 192.0.2.1}]}
"""


def rules(*args: str) -> Result:
    return CliRunner().invoke(main, ["rules", *args], env={"NPLB_CONFIG": None})


@pytest.fixture
def config(tmp_path: Path) -> Path:
    (tmp_path / "cluster.yaml").write_text(CLUSTER)
    path = tmp_path / "nplb.yaml"
    path.write_text(
        "clusters: [{name: lab, manifests: cluster.yaml}]\n"
        "frontends: [{service: 'shop/web:dns', plane: kernel}]\n"
    )
    return path


def test_what_would_be_there(config: Path) -> None:
    """Only the frontends on the kernel plane, UDP among them."""
    result = rules("--plan", "-c", str(config))
    assert result.exit_code == 0, result.output
    assert "udp . 30053 : goto f4-" in result.output
    assert "meta l4proto udp dnat ip to numgen inc mod 1 map" in result.output
    assert "30080" not in result.output


def test_what_the_fast_path_would_take(config: Path) -> None:
    with config.open("a") as file:
        file.write("plane: kernel\nkernel: {fast_path: true}\n")
    said = rules("--plan", "-c", str(config)).output.splitlines()
    assert said[-2:] == [
        "# lab/shop/web:53/UDP: kernel (table: UDP)",
        "# lab/shop/web:80/TCP: kernel (fast path)",
    ]
    assert any("masquerade to :" in line for line in said), "ports of its own for the table"


def test_two_things_at_once_are_refused(config: Path) -> None:
    assert rules("--plan", "--delete", "-c", str(config)).exit_code == 2


@requires_namespaces[0]
@requires_namespaces[1]
def test_what_is_there_and_its_deletion() -> None:
    with namespaces("edge") as made, made["edge"].entered():
        assert "there is no table inet nplb" in rules().output
        made["edge"].run("nft", "add table inet nplb; add table inet theirs")
        assert rules().output == "table inet nplb {\n}\n"
        assert "deleted" in rules("--delete").output
        assert "nothing to delete" in rules("--delete").output
        assert made["edge"].run("nft", "list", "tables") == "table inet theirs\n"


@requires_namespaces[0]
@requires_namespaces[1]
def test_what_the_fast_path_holds_and_its_deletion() -> None:
    async def serve() -> None:
        plane = KernelPlane()
        await plane.apply(
            a_plan(a_frontend(ips=("127.0.0.2",), kernel=KernelOptions(fast_path=True)))
        )
        await plane.stop()

    with namespaces("edge") as made, made["edge"].entered():
        made["edge"].run("ip", "link", "add", "uplink", "type", "veth", "peer", "name", "far")
        asyncio.run(serve())
        *_, title, interfaces, events, frontend = rules().output.splitlines()
        assert title == "# fast path: 0 connections by IPv4, 0 by IPv6, room for 131,072 each"
        assert "at the ingress of: " in interfaces
        assert "uplink" in interfaces
        assert "no_room 0, no_port 0" in events
        assert frontend == "#   tcp 10.71.0.1:443 to node port 30080, 1 seat"
        assert rules("--delete").output == "deleted the table inet nplb and the fast path\n"
        assert "fast path" not in rules().output
        asyncio.run(serve())
        made["edge"].run("nft", "flush", "ruleset")
        assert rules("--delete").output == "deleted the fast path\n"
