"""The site of a lab in namespaces: the client, the edge's links, the switch, the machines."""

import asyncio
import contextlib
import itertools
import logging
import os
import random
from ipaddress import IPv4Network

from nplb.aio.tasks import TaskOwner
from nplb.lab.interface import Interface
from nplb.lab.netns.delayline import DelayLine
from nplb.lab.netns.machine import NetnsMachine, Surroundings
from nplb.lab.netns.namespace import (
    PREFIX,
    Namespace,
    ip,
    leftover_links,
    leftovers,
    link_names,
    make,
    remove,
)
from nplb.lab.netns.proxyrules import Served
from nplb.lab.netns.proxytable import NftPort, PortKey, ProxyTable
from nplb.lab.netns.requires import require, require_free
from nplb.lab.pods import Directory
from nplb.model.errors import ConfigurationError, HostError
from nplb.model.keys import Protocol, ServiceKey

log = logging.getLogger(__name__)

USUAL_NETWORK = "10.213.0.0/24"
BRIDGE = "br0"
# Links of this process's labs: two of them may run in one process.
_numbers = itertools.count()


class NetnsFabric:
    """Networks in namespaces, joined to the one in which the lab is started: the edge's.

    `nodes` is the machines' network; the next one of its size is the clients'. The edge has the
    last address of the first and the first of the second.
    """

    real = True

    def __init__(self, nodes: IPv4Network, pods: IPv4Network) -> None:
        self.directory = Directory()
        self.nodes = nodes
        self.clients = _next(nodes)
        self._pods = pods
        process, number = os.getpid(), next(_numbers)
        self._tag = f"{PREFIX}-{process}-{number}"
        self._links = link_names(process, number)
        self._switch = Namespace(f"{self._tag}-switch")
        self.client = Namespace(f"{self._tag}-client")
        self._machines: dict[str, NetnsMachine] = {}
        self._cluster_ports: dict[PortKey, Served] = {}
        self._tasks = TaskOwner("lab-netns")
        self._started = False

    @property
    def edge_ip(self) -> str:
        """The edge's address on the machines' network."""
        return str(self.nodes[-2])

    @property
    def edge_client_ip(self) -> str:
        """The edge's address that clients reach it at."""
        return str(self.clients[1])

    @property
    def client_ip(self) -> str:
        """The client's address."""
        return str(self.clients[2])

    def start(self, loop: asyncio.AbstractEventLoop, rng: random.Random) -> None:
        """Make the client, the switch and the edge's links, and remove what dead labs left."""
        require()
        _remove_leftovers()
        require_free({"the nodes' network": self.nodes, "the clients' network": self.clients})
        self._loop = loop
        self._started = True
        make([self._switch, self.client])
        to_nodes, to_client = self._links
        ip(
            f"link add {to_nodes} type veth peer name edge netns {self._switch.name}",
            f"link add {to_client} type veth peer name eth0 netns {self.client.name}",
            f"link add detour netns {self.client.name} "
            f"type veth peer name client netns {self._switch.name}",
            f"addr add {self.edge_ip}/{self.nodes.prefixlen} dev {to_nodes}",
            f"addr add {self.edge_client_ip}/{self.clients.prefixlen} dev {to_client}",
            f"link set {to_nodes} up",
            f"link set {to_client} up",
        )
        # Frames between machines are none of a packet filter's business.
        self._switch.set_sysctl("net/bridge/bridge-nf-call-iptables", "0")
        self._switch.ip(f"link add {BRIDGE} type bridge", f"link set {BRIDGE} up")
        for port in ("edge", "client"):
            DelayLine(loop, self._switch, port, BRIDGE).plug()
        for scope in ("all", "default"):
            self.client.set_sysctl(f"net/ipv4/conf/{scope}/rp_filter", "0")
        self.client.ip(
            f"addr add {self.client_ip}/{self.clients.prefixlen} dev eth0",
            "link set eth0 up",
            "link set detour up",
            f"route add default via {self.edge_client_ip}",
        )

    async def stop(self) -> None:
        """Remove every namespace and link."""
        if not self._started:
            return
        self._started = False
        for machine in self._machines.values():
            machine.table.close()
            machine.line.close()
        await self._tasks.close()
        for link in self._links:
            with contextlib.suppress(HostError):
                ip(f"link del {link}")
        made = [each for machine in self._machines.values() for each in machine.namespaces]
        remove([*made, self.client, self._switch])
        self._machines.clear()

    def machine(self, name: str, address: str, pods: IPv4Network) -> NetnsMachine:
        """A machine, plugged into the switch. Errors: ConfigurationError if the pod network
        has no range for it alone."""
        for other in self._machines.values():
            if other.pods.overlaps(pods):
                raise ConfigurationError(
                    f"the pod network {self._pods} has no range of its own for {name}: every node "
                    "takes a /24 of it; write a larger one such as 10.244.0.0/16"
                )
        inside = Namespace(f"{self._tag}-{name}")
        port = f"node{len(self._machines) + 1}"
        make([inside])
        ip(
            f"link add {port} netns {self._switch.name} "
            f"type veth peer name eth0 netns {inside.name}"
        )
        line = DelayLine(self._loop, self._switch, port, BRIDGE)
        line.plug()
        around = Surroundings(
            edge=self.edge_ip,
            prefix=self.nodes.prefixlen,
            others=(self.nodes, self._pods),
            clients=self.clients,
            tag=self._tag,
            pod_of=self._pod_of,
        )
        table = ProxyTable(inside, address, self._pods, self._shared, self._tasks)
        machine = NetnsMachine(self._loop, inside, name, address, pods, around, table, line)
        for other in self._machines.values():
            machine.know(other)
            other.know(machine)
        self._machines[name] = machine
        table.touch()
        return machine

    def cluster_port(self, owner: ServiceKey, ip_: str, protocol: Protocol, port: int) -> NftPort:
        """A port of a ClusterIP: every machine rewrites it for itself and its pods."""
        return NftPort(
            owner, (ip_, protocol, port), put=self._put, drop=self._drop, problem=lambda: ""
        )

    @property
    def settled(self) -> bool:
        """Whether every machine has written its rules."""
        return all(machine.table.settled for machine in self._machines.values())

    def _pod_of(self, ip_: str) -> Interface | None:
        pods = (machine.pod_at(ip_) for machine in self._machines.values())
        return next((pod for pod in pods if pod is not None), None)

    def _shared(self) -> tuple[Served, ...]:
        return tuple(self._cluster_ports.values())

    def _put(self, key: PortKey, served: Served) -> None:
        self._cluster_ports[key] = served
        self._touch_all()

    def _drop(self, key: PortKey) -> None:
        if self._cluster_ports.pop(key, None) is not None:
            self._touch_all()

    def _touch_all(self) -> None:
        for machine in self._machines.values():
            machine.table.touch()


def _remove_leftovers() -> None:
    for link in leftover_links():
        with contextlib.suppress(HostError):
            ip(f"link del {link}")
    left = leftovers()
    if left:
        log.info("removing %d network namespaces of labs that died", len(left))
        remove(left)


def _next(network: IPv4Network) -> IPv4Network:
    """The network of the same size that follows."""
    start = int(network.network_address) + network.num_addresses
    return IPv4Network((start % (1 << 32), network.prefixlen))
