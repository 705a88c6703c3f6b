"""One machine in a namespace, and its pods in theirs.

A pod's cable ends in the machine, which routes: to other machines' pods by way of their node's
address, to everything else by way of the edge, as its default gateway is.
"""

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import IPv4Network

from nplb.lab.fabric import Impairment
from nplb.lab.interface import Interface
from nplb.lab.netns.delayline import DelayLine
from nplb.lab.netns.faultrules import UPLINK, fault_table
from nplb.lab.netns.interface import MachineInterface, NamespaceInterface
from nplb.lab.netns.namespace import Namespace, ip, make, remove
from nplb.lab.netns.proxytable import NftPort, ProxyTable
from nplb.model.errors import HostError
from nplb.model.keys import Protocol, ServiceKey


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What a machine knows of the site. `edge` is the edge's address on the machines' network,
    `others` all networks of machines and pods, `clients` the clients' one, `pod_of` finds any
    pod of the cluster by its address, `tag` is how names of namespaces begin."""

    edge: str
    prefix: int
    others: tuple[IPv4Network, ...]
    clients: IPv4Network
    tag: str
    pod_of: Callable[[str], Interface | None]


class NetnsMachine:
    """One machine. Its namespace and the cable's end `eth0` in it exist already."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        namespace: Namespace,
        name: str,
        address: str,
        pods: IPv4Network,
        around: Surroundings,
        table: ProxyTable,
        line: DelayLine,
    ) -> None:
        self.namespace = namespace
        self.address = address
        self.pods = pods
        self.table = table
        self.line = line
        self._loop = loop
        self._around = around
        self._pods: dict[str, NamespaceInterface] = {}
        self._made = 0
        self._impairment = Impairment()
        self._interface = MachineInterface(
            loop, address, name, namespace,
            faults=self._fault_rules, pod_of=around.pod_of, line=line,
        )  # fmt: skip
        self.interface: Interface = self._interface
        namespace.set_sysctl("net/ipv4/ip_forward", "1")
        for scope in ("all", "default"):
            namespace.set_sysctl(f"net/ipv4/conf/{scope}/rp_filter", "0")
        namespace.ip(
            f"addr add {address}/{around.prefix} dev {UPLINK}",
            f"link set {UPLINK} up",
            f"route add default via {around.edge}",
        )

    @property
    def namespaces(self) -> tuple[Namespace, ...]:
        """Its own and its pods'."""
        return (*(pod.namespace for pod in self._pods.values()), self.namespace)

    def pod_at(self, ip_: str) -> Interface | None:
        """The interface of a pod that runs here."""
        return self._pods.get(ip_)

    def know(self, other: "NetnsMachine") -> None:
        """Where another machine's pods are."""
        self.namespace.ip(f"route replace {other.pods} via {other.address}")

    def node_port(self, owner: ServiceKey, protocol: Protocol, port: int) -> NftPort:
        """A NodePort, as rules."""
        return NftPort(
            owner,
            ("", protocol, port),
            put=self.table.put,
            drop=self.table.drop,
            problem=lambda: self.table.problem,
        )

    def pod(self, ip_: str, name: str) -> Interface:
        """A pod in a namespace of its own. Takes some milliseconds, and the loop waits."""
        self._made += 1
        inside = Namespace(f"{self._around.tag}-pod-{ip_}")
        cable, gateway = f"pod{self._made}", str(self.pods[1])
        make([inside])
        pod = self._pods[ip_] = NamespaceInterface(self._loop, ip_, name, inside)
        ip(
            f"link add {cable} netns {self.namespace.name} "
            f"type veth peer name {UPLINK} netns {inside.name}"
        )
        self.namespace.ip(
            f"addr add {gateway}/32 dev {cable}",
            f"link set {cable} up",
            f"route add {ip_}/32 dev {cable}",
        )
        inside.ip(
            f"addr add {ip_}/32 dev {UPLINK}",
            f"link set {UPLINK} up",
            f"route add {gateway}/32 dev {UPLINK}",
            f"route add default via {gateway} src {ip_}",
        )
        return pod

    def remove_pod(self, ip_: str) -> None:
        """Remove a pod's namespace, its cable with it."""
        pod = self._pods.pop(ip_, None)
        if pod is not None:
            # At once, though the kernel takes a namespace apart later: the address is free.
            with contextlib.suppress(HostError):
                pod.namespace.ip(f"link del {UPLINK}")
            remove([pod.namespace])

    def impair(self, impairment: Impairment) -> None:
        """Make the way to the others be so."""
        before, self._impairment = self._impairment, impairment
        if before == impairment:
            return
        if before.detour is not impairment.detour:
            verb = "replace" if impairment.detour else "del"
            self.namespace.ip(f"route {verb} {self._around.clients} dev {UPLINK}")
        self._interface.write_faults()

    def _fault_rules(self) -> str:
        """The transaction of the faults that are on."""
        return fault_table(
            self.address,
            self.interface.reach,
            self._impairment,
            self._around.others,
            self._around.edge,
        )
