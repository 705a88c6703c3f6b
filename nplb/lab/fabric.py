"""What the lab's machines are made of: the seam between the cluster and where it really runs.

The API server, the controllers, kubelets and kube-proxies are the same in every lab. A fabric
gives them networks: on loopback, in this process and without root (`loopback`), or in network
namespaces, where the kernel forwards by rules (`netns`).
"""

import asyncio
import random
from dataclasses import dataclass
from ipaddress import IPv4Network
from typing import Protocol as TypingProtocol

from nplb.lab.interface import Interface
from nplb.lab.pods import Directory
from nplb.lab.rules import Rule
from nplb.model.keys import Protocol, ServiceKey


class PortServer(TypingProtocol):
    """One port of a Service at one address. `owner` is the Service."""

    owner: ServiceKey

    @property
    def rule(self) -> Rule:
        """What it does now."""

    @property
    def problem(self) -> str:
        """Why it is not served though it should be; empty if it is."""

    def apply(self, rule: Rule) -> None:
        """Treat new connections by this rule from now on."""

    def close(self) -> None:
        """Serve it no longer: new connections are refused."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Impairment:
    """What is wrong with a machine's way to the others, where there is a real one.

    `loss` is the share of packets that are lost each way, 0 to 1. `partitioned`: nothing passes
    between it and other machines, while clients reach it. `detour`: its packets to clients go
    around the edge.
    """

    loss: float = 0.0
    partitioned: bool = False
    detour: bool = False

    @property
    def words(self) -> list[str]:
        """What of it is so, to show."""
        found = [f"loses {self.loss:.2%}".replace(".00", "")] if self.loss else []
        found += ["partitioned"] if self.partitioned else []
        return found + (["detour"] if self.detour else [])


class MachineNetwork(TypingProtocol):
    """One machine's network. `interface` has the node's address."""

    interface: Interface

    def node_port(self, owner: ServiceKey, protocol: Protocol, port: int) -> PortServer:
        """A NodePort of this machine."""

    def pod(self, ip: str, name: str) -> Interface:
        """A network for a pod on this machine. `ip` as the API has it, `name` for messages."""

    def remove_pod(self, ip: str) -> None:
        """The pod is gone."""

    def impair(self, impairment: Impairment) -> None:
        """Make the way to the others be so."""


class Fabric(TypingProtocol):
    """Where a lab's networks come from. `real` says whether packets have a way of their own,
    which can be lossy, cut or one-sided."""

    real: bool
    directory: Directory

    def start(self, loop: asyncio.AbstractEventLoop, rng: random.Random) -> None:
        """Begin. Errors: HostError, HostPermissionError for what this host lacks."""

    async def stop(self) -> None:
        """Take everything away that was made. Safe to call twice."""

    def machine(self, name: str, address: str, pods: IPv4Network) -> MachineNetwork:
        """A network for a machine whose pods have addresses of `pods`."""

    def cluster_port(self, owner: ServiceKey, ip: str, protocol: Protocol, port: int) -> PortServer:
        """A port of a ClusterIP, for the whole cluster."""

    @property
    def settled(self) -> bool:
        """Whether every rule so far is in force."""
