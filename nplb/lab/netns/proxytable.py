"""Keeps the table of one machine as the rules of its ports say, written off the event loop."""

import asyncio
import logging
from collections.abc import Callable, Iterable
from ipaddress import IPv4Network

from nplb.aio.tasks import TaskOwner
from nplb.dataplane.kernel import conntrack
from nplb.lab.netns.namespace import Namespace
from nplb.lab.netns.proxyrules import Served, Table, render, transaction
from nplb.lab.rules import Action, Rule
from nplb.model.errors import HostError
from nplb.model.keys import Address, Protocol, ServiceKey

log = logging.getLogger(__name__)

PortKey = tuple[str, Protocol, int]
RETRY_SECONDS = 1.0


class ProxyTable:
    """kube-proxy's table on one machine. `shared` gives the ports that every machine serves."""

    def __init__(
        self,
        namespace: Namespace,
        node_ip: str,
        pods: IPv4Network,
        shared: Callable[[], Iterable[Served]],
        tasks: TaskOwner,
    ) -> None:
        self.problem = ""
        self._namespace = namespace
        self._node_ip = node_ip
        self._pods = pods
        self._shared = shared
        self._tasks = tasks
        self._ports: dict[PortKey, Served] = {}
        self._written: Table | None = None
        self._udp: set[Address] = set()
        self._dirty = self._closed = False
        self._writing: asyncio.Task[None] | None = None

    @property
    def settled(self) -> bool:
        """Whether what is wanted is what is written."""
        return not self._dirty and self._writing is None

    def put(self, key: PortKey, served: Served) -> None:
        """Serve a port so."""
        self._ports[key] = served
        self.touch()

    def drop(self, key: PortKey) -> None:
        """Serve a port no longer."""
        if self._ports.pop(key, None) is not None:
            self.touch()

    def close(self) -> None:
        """Write no more: the machine goes. Its owner cancels what is being written."""
        self._closed = True

    def touch(self) -> None:
        """Something has changed. What changes in one turn of the loop is written as one."""
        self._dirty = True
        if self._writing is None and not self._closed:
            self._writing = self._tasks.spawn(self._write(), f"kube-proxy of {self._node_ip}")

    async def _write(self) -> None:
        try:
            while self._dirty and not self._closed:
                self._dirty = False
                ports = [*self._ports.values(), *self._shared()]
                table = render(ports, self._node_ip, self._pods)
                try:
                    await asyncio.to_thread(self._apply, table, ports)
                except HostError as error:
                    log.error("kube-proxy of %s cannot write rules: %s", self._node_ip, error)
                    self.problem = str(error)
                    self._dirty = True
                    await asyncio.sleep(RETRY_SECONDS)
                else:
                    self.problem = ""
        finally:
            self._writing = None

    def _apply(self, table: Table, ports: list[Served]) -> None:
        text = transaction(self._written, table)
        self._namespace.run("nft", "-f", "-", stdin=text)
        self._written = table
        self._forget_stale_udp(ports)

    def _forget_stale_udp(self, ports: list[Served]) -> None:
        """As kube-proxy does (pkg/proxy/conntrack/cleanup.go): a UDP client does not stay with
        an endpoint that has gone, nor with the nobody that it asked before there was one."""
        targets = {
            Address(served.cluster_ip or self._node_ip, served.port): {
                Address(target.ip, target.port) for target in served.rule.targets
            }
            for served in ports
            if served.protocol is Protocol.UDP and served.rule.action is Action.FORWARD
        }
        if not targets and not self._udp:
            return
        with self._namespace.entered():
            conntrack.end(
                lambda entry: (
                    entry.asked in targets.keys() | self._udp
                    and entry.backend not in targets.get(entry.asked, ())
                ),
                lambda protocol, _ip, _port: protocol is Protocol.UDP,
            )
            new = {(address.ip, address.port) for address in targets.keys() - self._udp}
            if new:
                conntrack.forget_untranslated(Protocol.UDP, new)
        self._udp = set(targets)


class NftPort:
    """One port of a Service on machines: as `fabric.PortServer`. `put` and `drop` write it."""

    def __init__(
        self,
        owner: ServiceKey,
        key: PortKey,
        *,
        put: Callable[[PortKey, Served], None],
        drop: Callable[[PortKey], None],
        problem: Callable[[], str],
    ) -> None:
        self.owner = owner
        self.rule = Rule(action=Action.REFUSE)
        self._key = key
        self._put = put
        self._drop = drop
        self._problem = problem

    @property
    def problem(self) -> str:
        """Why rules could not be written; empty if they are."""
        return self._problem()

    def apply(self, rule: Rule) -> None:
        """Treat new connections by this rule."""
        self.rule = rule
        cluster_ip, protocol, port = self._key
        self._put(
            self._key,
            Served(
                owner=self.owner, protocol=protocol, port=port, rule=rule, cluster_ip=cluster_ip
            ),
        )

    def close(self) -> None:
        """Serve it no longer. What is tracked lives on."""
        self._drop(self._key)
