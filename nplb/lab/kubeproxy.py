"""A node's kube-proxy: serves every NodePort at the node's address, and says how it stands.

It follows the cluster's Services and slices and makes its listeners match. `stuck` holds back
every update, as a proxy that hangs does: its rules grow stale, and after a while its health
check says so.
"""

import logging
import time
from collections.abc import Callable

from nplb.lab.fabric import MachineNetwork, PortServer
from nplb.lab.healthcheck import (
    HEALTHZ_PORT,
    ProxyHealth,
    proxy_health_responder,
    service_health_responder,
)
from nplb.lab.httpd import http_accept
from nplb.lab.interface import Listener
from nplb.lab.rules import Rule, local_ready_endpoints, node_port_rule
from nplb.lab.view import ClusterView
from nplb.model.cluster import Service
from nplb.model.keys import Protocol, ServiceKey

log = logging.getLogger(__name__)

PortKey = tuple[Protocol, int]


class KubeProxy:
    """One node's proxy. `eligible` says whether the Node may serve (its object tells).

    `health_seconds` is how long an update may wait before the proxy counts as unhealthy.
    """

    def __init__(
        self,
        network: MachineNetwork,
        node: str,
        view: ClusterView,
        *,
        eligible: Callable[[], bool],
        health_seconds: float,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._network = network
        self._interface = network.interface
        self._node = node
        self._view = view
        self._eligible = eligible
        self._health_seconds = health_seconds
        self._now = now
        self._ports: dict[PortKey, PortServer] = {}
        self._ports_of: dict[ServiceKey, set[PortKey]] = {}
        self._checks: dict[ServiceKey, tuple[int, Listener]] = {}
        self._healthz: Listener | None = None
        self._stuck = False
        self._waiting: set[ServiceKey] = set()
        self._waiting_since: float | None = None
        self._updated_at = now()
        self._unsubscribe: Callable[[], None] | None = None

    def start(self) -> None:
        """Listen, and follow the cluster."""
        respond = proxy_health_responder(self.health, self._now)
        accept = http_accept(self._interface, respond)
        self._healthz = Listener(self._interface, HEALTHZ_PORT, accept)
        self._unsubscribe = self._view.subscribe(self._changed)

    def stop(self) -> None:
        """Follow the cluster no longer, and close what it serves."""
        if self._unsubscribe is not None:
            self._unsubscribe()
            self._unsubscribe = None
        for server in self._ports.values():
            server.close()
        self._interface.close_ports()
        self._interface.end_connections()
        self._ports.clear()
        self._ports_of.clear()
        self._checks.clear()

    def health(self) -> ProxyHealth:
        """How it stands now."""
        late = (
            self._waiting_since is not None
            and self._now() - self._waiting_since >= self._health_seconds
        )
        return ProxyHealth(healthy=not late, eligible=self._eligible(), updated_at=self._updated_at)

    def rule(self, node_port: int, protocol: Protocol = Protocol.TCP) -> Rule | None:
        """What it does on a NodePort; None if it knows no such port."""
        server = self._ports.get((protocol, node_port))
        return server.rule if server is not None else None

    @property
    def problems(self) -> tuple[str, ...]:
        """Ports that it should serve and cannot, and why."""
        problems = [self._healthz.problem] if self._healthz is not None else []
        problems += [self._ports[key].problem for key in sorted(self._ports)]
        problems += [self._checks[key][1].problem for key in sorted(self._checks)]
        return tuple(problem for problem in problems if problem)

    @property
    def stuck(self) -> bool:
        """Whether updates wait."""
        return self._stuck

    @stuck.setter
    def stuck(self, stuck: bool) -> None:
        self._stuck = stuck
        if not stuck and self._waiting:
            waiting, self._waiting = frozenset(self._waiting), set()
            self._changed(waiting)

    # -- making it so --------------------------------------------------------------

    def _changed(self, keys: frozenset[ServiceKey]) -> None:
        if self._stuck:
            self._waiting |= keys
            if self._waiting_since is None:
                self._waiting_since = self._now()
            return
        self._waiting_since = None
        self._updated_at = self._now()
        services = {key: self._view.service(key) for key in sorted(keys)}
        # What goes first frees its numbers for what comes.
        for key, service in services.items():
            self._drop_stale(key, service)
        for service in services.values():
            if service is not None and service.uses_node_ports:
                self._serve(service)

    def _drop_stale(self, key: ServiceKey, service: Service | None) -> None:
        wanted: set[PortKey] = set()
        check_port = 0
        if service is not None and service.uses_node_ports:
            wanted = {(p.protocol, p.node_port) for p in service.ports if p.node_port}
            if service.needs_health_check_node_port:
                check_port = service.health_check_node_port
        for port_key in self._ports_of.get(key, set()) - wanted:
            self._ports.pop(port_key).close()
        self._ports_of[key] = self._ports_of.get(key, set()) & wanted
        if not self._ports_of[key]:
            del self._ports_of[key]
        if key in self._checks and self._checks[key][0] != check_port:
            self._checks.pop(key)[1].close()

    def _serve(self, service: Service) -> None:
        key = service.key
        slices = self._view.slices(key)
        for port in service.ports:
            if not port.node_port or port.protocol is Protocol.SCTP:
                continue
            port_key = (port.protocol, port.node_port)
            server = self._ports.get(port_key)
            if server is None:
                server = self._network.node_port(key, port.protocol, port.node_port)
                self._ports[port_key] = server
                self._ports_of.setdefault(key, set()).add(port_key)
            elif server.owner != key:
                log.error("NodePort %d is %s already, not %s", port.node_port, server.owner, key)
                continue
            server.apply(node_port_rule(service, port, slices, self._node))
        if service.needs_health_check_node_port and key not in self._checks:
            self._open_check(service)

    def _open_check(self, service: Service) -> None:
        port = service.health_check_node_port
        if not port:
            return
        key = service.key

        def local_endpoints() -> int:
            present = self._view.service(key)
            slices = self._view.slices(key)
            return local_ready_endpoints(present, slices, self._node) if present else 0

        respond = service_health_responder(key, local_endpoints, lambda: self.health().healthy)
        listener = Listener(self._interface, port, http_accept(self._interface, respond))
        self._checks[key] = (port, listener)
