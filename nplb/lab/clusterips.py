"""ClusterIPs: gives the fabric a rule for every port of every one.

On loopback, ports below 1024 may need a right that the lab does not have: that is said once,
and they are left out.
"""

import errno
import logging
import os
from collections.abc import Callable

from nplb.lab.fabric import Fabric, PortServer
from nplb.lab.rules import cluster_ip_rule
from nplb.lab.view import ClusterView
from nplb.model.cluster import Service
from nplb.model.keys import Protocol, ServiceKey

log = logging.getLogger(__name__)

LOWEST_FREE_PORT = 1024
_DENIED = os.strerror(errno.EACCES)
PortKey = tuple[Protocol, int]


class ClusterIps:
    """Serves every ClusterIP of the cluster that `view` shows."""

    def __init__(self, view: ClusterView, fabric: Fabric) -> None:
        self._view = view
        self._fabric = fabric
        self._served: dict[ServiceKey, tuple[str, dict[PortKey, PortServer]]] = {}
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
        for key in tuple(self._served):
            self._close(key)

    def _changed(self, keys: frozenset[ServiceKey]) -> None:
        for key in sorted(keys):
            service = self._view.service(key)
            ip = service.cluster_ips[0] if service and service.cluster_ips else ""
            known = self._served.get(key)
            if known is not None and known[0] != ip:
                self._close(key)
            if service is not None and ip and ":" not in ip:
                self._serve(service, ip)

    def _close(self, key: ServiceKey) -> None:
        for server in self._served.pop(key)[1].values():
            server.close()

    def _serve(self, service: Service, ip: str) -> None:
        _, ports = self._served.setdefault(service.key, (ip, {}))
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
                ports[port_key] = self._fabric.cluster_port(service.key, ip, *port_key)
            ports[port_key].apply(cluster_ip_rule(service, port, slices))
            if ports[port_key].problem:
                self._say(port.port, ports[port_key].problem)

    def _say(self, port: int, problem: str) -> None:
        """Tell of a right that is missing, once. Of a port that somebody has, whoever wants to
        listen there has told already, and tries again."""
        if port < LOWEST_FREE_PORT and problem.endswith(_DENIED) and not self._said:
            self._said = True
            log.warning(
                "ClusterIPs are not served on ports below 1024 (%s); NodePorts are. Root may, "
                "and anyone where net.ipv4.ip_unprivileged_port_start is 0",
                problem,
            )
