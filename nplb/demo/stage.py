"""The stage: a lab, nplb in front of it, and clients, in a directory of their own."""

import asyncio
import os
import secrets
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import aiohttp

from nplb.demo.balancer import Balancer
from nplb.demo.traffic import Traffic
from nplb.lab.cluster import Lab
from nplb.model.errors import NplbError
from nplb.model.keys import Address

DEFAULT_EDGE = "127.0.0.1"
DEFAULT_NETWORK = "127.0.1.0/24"
HTTP_SERVICES = ("default/web", "default/local", "default/shop", "default/front")
POLL_SECONDS = 0.05
# What ends connections that no balancer can save.
CUTTING_FAULTS = frozenset({"silent", "dead", "delete", "reset", "drain", "crash"})

_CONFIGURATION = """\
# Written by the demo. The edge listens on {edge}, the nodes are at other loopback addresses.
clusters:
  - name: lab
    kubernetes: {{kubeconfig: {kubeconfig}}}
listen: {{addresses: "{edge}", port: mirror}}
balance: {balance}
health: {{interval: 1s, timeout: 500ms, rise: 2, fall: 2}}
timeouts: {{connect: 1s}}
workers: {workers}
shutdown: {{drain: 5s}}
runtime_dir: {runtime}
orphan_timeout: 60s
admin: {{listen: "{admin}", token_file: {token}}}
"""


class Stage:
    """`directory` gets the kubeconfig, the configuration, nplb's log and the token for changes;
    `network` is where the nodes are, `edge` the address that nplb listens on."""

    def __init__(
        self,
        *,
        directory: Path,
        nodes: int = 3,
        network: str = DEFAULT_NETWORK,
        edge: str = DEFAULT_EDGE,
        admin: Address,
    ) -> None:
        self.directory = directory
        self.edge = edge
        manifests = sorted((Path(__file__).parents[1] / "lab" / "manifests").glob("*.yaml"))
        self.lab = Lab(
            nodes=nodes,
            network=network,
            kubeconfig=directory / "kubeconfig",
            manifests=manifests,
        )
        self.balancer = Balancer(
            config_path=directory / "nplb.yaml",
            log_path=directory / "nplb.log",
            runtime=directory / "run",
            admin=admin,
        )
        self.token_path = directory / "token"
        self.traffic = Traffic()

    def write_configuration(
        self, *, balance: str = "least_connections", workers: int = 2, extra: str = ""
    ) -> None:
        """Write nplb's configuration file."""
        text = _CONFIGURATION.format(
            edge=self.edge,
            kubeconfig=self.lab.kubeconfig_path,
            balance=balance,
            workers=workers,
            admin=self.balancer.admin,
            token=self.token_path,
            runtime=self.balancer.runtime,
        )
        self.balancer.config_path.write_text(text + extra)

    async def __aenter__(self) -> Self:
        self.directory.mkdir(parents=True, exist_ok=True)
        await self.lab.start()
        try:
            for service in (*HTTP_SERVICES, "default/echo"):
                await self.lab.service_ready(service)
            _write_token(self.token_path)
            self.write_configuration()
            await self.balancer.start()
        except BaseException:
            await self.close()
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> int | None:
        """End clients, balancer and lab. Returns the balancer's exit code."""
        await self.traffic.close()
        code = await self.balancer.stop()
        await self.lab.stop()
        return code

    def edge_address(self, service: str, port: int | str | None = None) -> Address:
        """Where clients reach a service (`namespace/name`) through the edge."""
        return Address(self.edge, self.lab.node_port(service, port))

    async def follow_faults(self) -> None:
        """Tell the clients of nodes that somebody takes away with their connections."""
        known: frozenset[tuple[str, str]] = frozenset()
        while True:
            faults = frozenset((fault.target, fault.name) for fault in self.lab.faults.active)
            if any(name in CUTTING_FAULTS for _, name in faults - known):
                self.traffic.node_went_silent()
            known = faults
            await asyncio.sleep(POLL_SECONDS)

    def delete_service(self, service: str) -> None:
        """Delete a Service (`namespace/name`)."""
        namespace, _, name = service.partition("/")
        self.lab.api.delete("services", name, namespace=namespace)

    async def until(
        self, condition: Callable[[dict[str, Any]], bool], what: str, *, seconds: float = 20.0
    ) -> float:
        """Wait until nplb's status says so. Returns how long it took; NplbError if in vain."""
        begun = time.monotonic()
        while time.monotonic() - begun < seconds:
            try:
                if condition(await self.balancer.status()):
                    return time.monotonic() - begun
            except (aiohttp.ClientError, TimeoutError) as error:
                if not self.balancer.running:
                    raise NplbError("nplb run has ended") from error
            await asyncio.sleep(POLL_SECONDS)
        raise NplbError(f"waited {seconds:g} s in vain for {what}")


def _write_token(path: Path) -> None:
    """A new token, for the owner's eyes alone."""
    path.unlink(missing_ok=True)
    with open(path, "x", opener=lambda p, flags: os.open(p, flags, 0o600)) as file:
        file.write(f"{secrets.token_hex(32)}\n")


def remove(directory: Path) -> None:
    """Delete a stage's directory."""
    shutil.rmtree(directory, ignore_errors=True)
