"""The lab on loopback: everything is a socket of this process, and nothing needs root.

Nodes are loopback addresses, pods and ClusterIPs are served at their twins (`addresses.twin`).
kube-proxy's rules are played by user space forwarding.
"""

import asyncio
import random
from ipaddress import IPv4Network

from nplb.lab.addresses import twin
from nplb.lab.fabric import Impairment
from nplb.lab.interface import Interface
from nplb.lab.pods import Directory
from nplb.lab.serviceports import ServicePortServer
from nplb.model.keys import Protocol, ServiceKey


class LoopbackFabric:
    """Networks on loopback."""

    real = False

    def __init__(self) -> None:
        self.directory = Directory()
        self._cluster_ips: dict[str, Interface] = {}

    def start(self, loop: asyncio.AbstractEventLoop, rng: random.Random) -> None:
        """Begin."""
        self._loop = loop
        self._rng = rng

    async def stop(self) -> None:
        """Close what ClusterIPs served; machines close theirs."""
        for interface in self._cluster_ips.values():
            interface.close_ports()
            interface.end_connections()
        self._cluster_ips.clear()

    def machine(self, name: str, address: str, pods: IPv4Network) -> "LoopbackMachine":
        """A machine at a loopback address."""
        return LoopbackMachine(self._loop, self._rng, self.directory, name, address)

    def cluster_port(
        self, owner: ServiceKey, ip: str, protocol: Protocol, port: int
    ) -> ServicePortServer:
        """A port of a ClusterIP, served once for the whole host: there is one host, so one
        listener does for all nodes."""
        interface = self._cluster_ips.get(ip)
        if interface is None:
            interface = Interface(self._loop, twin(ip), f"ClusterIP {ip}")
            self._cluster_ips[ip] = interface
        return ServicePortServer(
            interface, owner, protocol, port, resolve=self.directory.resolve, rng=self._rng
        )

    @property
    def settled(self) -> bool:
        """Rules are in force as soon as they are given."""
        return True


class LoopbackMachine:
    """One machine on loopback."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        rng: random.Random,
        directory: Directory,
        name: str,
        address: str,
    ) -> None:
        self.interface = Interface(loop, address, name)
        self._loop = loop
        self._rng = rng
        self._directory = directory

    def node_port(self, owner: ServiceKey, protocol: Protocol, port: int) -> ServicePortServer:
        """A NodePort, forwarded in user space."""
        return ServicePortServer(
            self.interface, owner, protocol, port, resolve=self._directory.resolve, rng=self._rng
        )

    def pod(self, ip: str, name: str) -> Interface:
        """A pod at the twin of its address."""
        return Interface(self._loop, twin(ip), name)

    def remove_pod(self, ip: str) -> None:
        """Nothing is left of it: its sockets are closed."""

    def impair(self, impairment: Impairment) -> None:
        """There is no way between machines that could be impaired."""
