"""An edge for every test of `nplb run`, and a small lab for it to stand in front of."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from nplb.lab.cluster import Lab
from tests.support.edge import Edge, make_edge
from tests.support.lab import Networks, make_lab
from tests.support.labmanifests import service


@pytest.fixture
async def edge(tmp_path: Path, networks: Networks) -> AsyncIterator[Edge]:
    """An edge, not started; ended after the test."""
    async with make_edge(tmp_path, networks) as edge:
        yield edge


@pytest.fixture
async def lab(networks: Networks) -> AsyncIterator[Lab]:
    """Two nodes, `web` on 30080, and `echo` on 30007, which sends back what comes."""
    async with make_lab(networks, nodes=2) as lab:
        await lab.apply(service("web", node_port=30080))
        await lab.apply(service("echo", node_port=30007, app="echo", port=7, target=7007))
        await lab.service_ready("default/web")
        await lab.service_ready("default/echo")
        yield lab
