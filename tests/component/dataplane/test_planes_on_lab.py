"""`nplb run` on each plane in front of a lab in network namespaces, while its nodes break."""

import asyncio
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from itertools import cycle
from pathlib import Path

import pytest

from nplb.lab.cluster import Lab
from nplb.lab.timing import Timing
from nplb.model.kernel import PlaneKind
from nplb.model.keys import Address
from tests.support.fastpath import pins_removed
from tests.support.labmanifests import service
from tests.support.netns import Namespace, dial, namespaces, requires_namespaces

pytestmark = [*requires_namespaces, pytest.mark.timeout(180)]

NODE = "node-2"
CONFIG = """\
clusters:
  - name: lab
    kubernetes: {{kubeconfig: "{kubeconfig}"}}
listen: {{addresses: "{edge}"}}
plane: {plane}
health: {{interval: 500ms, timeout: 450ms, rise: 1}}
admin: {{listen: off}}
workers: 1
"""


class Client:
    """A client beyond the edge, which asks frontends in turn."""

    def __init__(self, lab: Lab, *node_ports: int) -> None:
        assert lab.site is not None
        self._space = Namespace(lab.site.client.name)
        self.ip = lab.site.edge_client_ip
        self._turns = cycle([Address(self.ip, port) for port in node_ports])

    def _ask(self) -> str:
        with dial(self._space, next(self._turns), timeout=5.0) as sock:
            sock.settimeout(5.0)
            sock.sendall(b"GET / HTTP/1.0\r\n\r\n")
            data = b""
            while piece := sock.recv(65536):
                data += piece
        assert data.startswith(b"HTTP/1.1 200"), data
        return data.decode().rpartition("\r\n\r\n")[2]

    async def ask(self) -> str:
        return await asyncio.to_thread(self._ask)

    async def well_served(self, times: int = 12) -> list[str]:
        """Wait until so many requests in a row are answered."""
        deadline = time.monotonic() + 60
        answers: list[str] = []
        while len(answers) < times:
            try:
                answers.append(await self.ask())
            except OSError:
                answers.clear()
                await asyncio.sleep(0.05)
            assert time.monotonic() < deadline, "not served"
        return answers


async def end(process: asyncio.subprocess.Process) -> None:
    """End nplb; it may wait for connections to nodes that were broken under them."""
    process.send_signal(signal.SIGTERM)
    try:
        async with asyncio.timeout(5):
            await process.wait()
    except TimeoutError:
        process.send_signal(signal.SIGTERM)
        await process.wait()


@pytest.fixture
async def lab() -> AsyncIterator[Lab]:
    with namespaces("edge") as made, pins_removed(made["edge"]), made["edge"].entered():
        made["edge"].sysctl("net.ipv4.ip_forward", "1")
        # Pods that are told to stop serve on while rules and nplb take it in.
        timing = replace(Timing.quick(), pod_shutdown=10.0)
        async with Lab(netns=True, timing=timing) as running:
            yield running


def has_pods(lab: Lab, node: str) -> bool:
    """Whether any kube-proxy may still forward to a pod on a node."""
    endpoints = [
        endpoint
        for slice_ in lab.api.store.list("endpointslices", "default")
        for endpoint in slice_["endpoints"] or []
    ]
    found = any(e.get("nodeName") == node and e["conditions"]["ready"] for e in endpoints)
    return found or not lab.is_settled


@pytest.mark.parametrize("plane", list(PlaneKind), ids=str)
async def test_clients_are_served_while_nodes_break(
    lab: Lab, plane: PlaneKind, tmp_path: Path
) -> None:
    """On the kernel plane, one of the two frontends is on the fast path, the other on the table."""
    await lab.apply(service("web", pods=3))
    await lab.apply(service("basket", pods=3, sessionAffinity="ClientIP"))
    for name in ("web", "basket"):
        await lab.service_ready(name)
    client = Client(lab, lab.node_port("web"), lab.node_port("basket"))
    config = tmp_path / "nplb.yaml"
    config.write_text(
        CONFIG.format(kubeconfig=lab.kubeconfig_path, edge=client.ip, plane=plane)
        + "kernel: {fast_path: true}\n"
    )
    with (tmp_path / "nplb.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "nplb", "run", "-c", str(config), stderr=log
        )
    try:
        await client.well_served()
        for fault in ("silent", "dead"):
            lab.faults.apply(NODE, fault)
            if fault == "dead":  # the other nodes forward to its pods until the cluster knows
                await lab.wait_for(lambda: not has_pods(lab, NODE), f"no pod on {NODE}")
            await client.well_served()  # it is found out, and left out
            for _ in range(10):
                await client.ask()
            lab.faults.clear()
            for name in ("web", "basket"):
                await lab.service_ready(name)
        await client.well_served()
        # A drain by the autoscaler: nobody notices, not even at first.
        lab.faults.apply(NODE, "drain=60s")
        for _ in range(20):
            await client.ask()
    finally:
        await end(process)


async def test_answers_that_go_around_the_edge(lab: Lab, tmp_path: Path) -> None:
    """Nodes that see clients' addresses on the kernel plane, and whose route to them is another."""
    await lab.apply(service("web", pods=3, externalTrafficPolicy="Local"))
    await lab.service_ready("web")
    client = Client(lab, lab.node_port("web"))
    config = tmp_path / "nplb.yaml"
    config.write_text(
        CONFIG.format(kubeconfig=lab.kubeconfig_path, edge=client.ip, plane="kernel")
        + "kernel: {masquerade: false}\n"
    )
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "nplb", "run", "-c", str(config), stderr=subprocess.DEVNULL
    )
    try:
        answers = await client.well_served(3)
        assert lab.site is not None
        assert all(f"client {lab.site.client_ip}" in answer for answer in answers)
        for name in lab.nodes:
            lab.faults.apply(name, "detour")
        with pytest.raises(OSError, match=r"refused|reset|timed out"):
            await client.ask()
        lab.faults.clear()
        await client.well_served(3)
    finally:
        await end(process)
