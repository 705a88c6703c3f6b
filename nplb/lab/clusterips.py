"""ClusterIPs, served once for the whole host at their twins on loopback.

In a real cluster every node rewrites them for its own pods; here there is one host, so one
listener per ClusterIP and port does. Ports below 1024 may need a right that the lab does not
have: that is said once, and they are left out.
"""

import asyncio
import logging
import random
from collections.abc import Callable

from nplb.lab.addresses import twin
from nplb.lab.interface import Interface
from nplb.lab.rules import cluster_ip_rule
from nplb.lab.serviceports import Resolve, ServicePortServer
from nplb.lab.view import ClusterView
from nplb.model.cluster import Service
from nplb.model.keys import Protocol, ServiceKey

log = logging.getLogger(__name__)

LOWEST_FREE_PORT = 1024
PortKey = tuple[Protocol, int]


class ClusterIps:
    """Serves every ClusterIP of the cluster that `view` shows."""

    def __init__(
        self,
        view: ClusterView,
        *,
        loop: asyncio.AbstractEventLoop,
        resolve: Resolve,
        rng: random.Random,
    ) -> None:
        self._view = view
        self._loop = loop
        self._resolve = resolve
        self._rng = rng
        self._served: dict[ServiceKey, tuple[Interface, dict[PortKey, ServicePortServer]]] = {}
        self._said = False
        self._unsubscribe: Callable[[], None] | None = None

    def start(self) -> None:
        """Follow the cluster."""
        self._unsubscribe = self._view.subscribe(self._changed)

    def stop(self) -> None:
        """Close everything."""
        if self._unsubscribe is not None:
            self._unsubscribe()
            self._unsubscribe = None
        for interface, _ports in self._served.values():
            interface.close_ports()
            interface.end_connections()
        self._served.clear()

    def _changed(self, keys: frozenset[ServiceKey]) -> None:
        for key in sorted(keys):
            service = self._view.service(key)
            ip = service.cluster_ips[0] if service and service.cluster_ips else ""
            known = self._served.get(key)
            if known is not None and (not ip or known[0].name != f"ClusterIP {ip}"):
                known[0].close_ports()
                del self._served[key]
            if service is not None and ip and ":" not in ip:
                self._serve(service, ip)

    def _serve(self, service: Service, ip: str) -> None:
        if service.key not in self._served:
            self._served[service.key] = (Interface(self._loop, twin(ip), f"ClusterIP {ip}"), {})
        interface, ports = self._served[service.key]
        wanted = {
            (port.protocol, port.port): port
            for port in service.ports
            if port.protocol is not Protocol.SCTP
        }
        for gone in ports.keys() - wanted.keys():
            ports.pop(gone).close()
        slices = self._view.slices(service.key)
        for port_key, port in wanted.items():
            if port_key not in ports:
                ports[port_key] = ServicePortServer(
                    interface,
                    service.key,
                    port.protocol,
                    port.port,
                    resolve=self._resolve,
                    rng=self._rng,
                )
            ports[port_key].apply(cluster_ip_rule(service, port, slices))
            if ports[port_key].problem:
                self._say(port.port, ports[port_key].problem)

    def _say(self, port: int, problem: str) -> None:
        if port >= LOWEST_FREE_PORT:
            log.warning("a ClusterIP is not served: %s", problem)
        elif not self._said:
            self._said = True
            log.warning(
                "ClusterIPs are not served on ports below 1024 (%s); NodePorts are. Root may, "
                "and anyone where net.ipv4.ip_unprivileged_port_start is 0",
                problem,
            )
