"""The lab for tests: every test has a cluster on addresses of its own.

Fixtures: `networks` (three networks that nobody else on this machine uses now), `lab` (three
nodes, quick timing, no Service). `make_lab(networks, ...)` builds one with other options.
"""

import os
import random
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from nplb.lab.cluster import Lab

CLAIM_PORT = 10299


@dataclass(frozen=True, slots=True, kw_only=True)
class Networks:
    """Networks of one lab."""

    nodes: str
    pods: str
    services: str

    def node(self, number: int) -> str:
        """The address of the node with this number."""
        return f"{self.nodes.rpartition('.')[0]}.{number}"


def _claim(second: int, third: int) -> socket.socket | None:
    """Hold the networks numbered so against every other process, until the socket closes."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        sock.bind((f"127.{second}.{third}.250", CLAIM_PORT))
    except OSError:
        sock.close()
        return None
    return sock


@contextmanager
def claim_networks() -> Iterator[Networks]:
    """Networks that no other test on this machine uses, until the block ends."""
    dice = random.Random(os.urandom(8))
    for _ in range(1000):
        second, third = dice.randrange(16, 64), dice.randrange(256)
        sock = _claim(second, third)
        if sock is not None:
            with sock:
                yield Networks(
                    nodes=f"127.{second}.{third}.0/24",
                    pods=f"10.{second + 64}.{third}.0/24",
                    services=f"10.{second + 128}.{third}.0/24",
                )
            return
    raise RuntimeError("no free network for a lab in 127.16.0.0 to 127.63.255.0")


@pytest.fixture
def networks() -> Iterator[Networks]:
    """Networks that no other test on this machine uses."""
    with claim_networks() as claimed:
        yield claimed


def make_lab(networks: Networks, **options: Any) -> "Lab":
    """A lab on these networks, not started. Options as `Lab` takes them; timing is quick."""
    from nplb.lab.cluster import Lab
    from nplb.lab.timing import Timing

    options.setdefault("timing", Timing.quick())
    return Lab(
        network=networks.nodes,
        pod_network=networks.pods,
        service_network=networks.services,
        **options,
    )


@pytest.fixture
async def lab(networks: Networks) -> AsyncIterator["Lab"]:
    """A lab with three nodes and nothing in it."""
    async with make_lab(networks) as running:
        yield running
