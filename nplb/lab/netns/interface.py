"""An interface whose sockets are in a namespace, and whose faults are rules there."""

import asyncio
import socket
from collections.abc import Callable

from nplb.dataplane.kernel import conntrack
from nplb.lab.interface import Interface, Reach
from nplb.lab.netns.delayline import DelayLine
from nplb.lab.netns.faultrules import fault_table
from nplb.lab.netns.namespace import Namespace


class NamespaceInterface(Interface):
    """A pod's: its address is the namespace's own, and silence takes in all of it."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, ip: str, name: str, namespace: Namespace
    ) -> None:
        super().__init__(loop, ip, name)
        self.namespace = namespace

    @property
    def reach(self) -> Reach:
        """What a client finds here."""
        return self._reach

    @reach.setter
    def reach(self, reach: Reach) -> None:
        if reach is not self._reach:
            self._reach = reach
            self.write_faults()

    @property
    def played_reach(self) -> Reach:
        """Its sockets know of nothing: rules stand before them."""
        return Reach.UP

    def socket(self, kind: socket.SocketKind) -> socket.socket:
        """A new non-blocking socket in the namespace."""
        with self.namespace.entered():
            return super().socket(kind)

    def write_faults(self) -> None:
        """Put the rules of `reach` in the place of those before."""
        text = fault_table(self.ip, self._reach)
        self.namespace.run("nft", "-f", "-", stdin=text)


class MachineInterface(NamespaceInterface):
    """A node's: connections through it are those that its kernel tracks.

    `faults` gives the transaction of all that is wrong with the machine, `pod_of` the interface
    of a pod anywhere in the cluster by its address, `line` is its cable.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        ip: str,
        name: str,
        namespace: Namespace,
        *,
        faults: Callable[[], str],
        pod_of: Callable[[str], Interface | None],
        line: DelayLine,
    ) -> None:
        super().__init__(loop, ip, name, namespace)
        self._faults = faults
        self._pod_of = pod_of
        self._line = line

    @property
    def delay_seconds(self) -> float:
        """How long every packet is held up, each way."""
        return self._line.delay_seconds

    @delay_seconds.setter
    def delay_seconds(self, seconds: float) -> None:
        self._line.delay_seconds = seconds

    def write_faults(self) -> None:
        """Put the rules of all that is wrong in the place of those before."""
        self.namespace.run("nft", "-f", "-", stdin=self._faults())

    @property
    def connections(self) -> int:
        """How many connections to the node's address are open."""
        with self.namespace.entered():
            return sum(
                entry.live and entry.asked.ip == self.ip for entry in conntrack.tracked(_any)
            )

    def reset_connections(self) -> None:
        """Reset every connection to the node's address: the pods' ends of those through it are
        told, and it knows of none any more."""
        super().reset_connections()
        with self.namespace.entered():
            through = [entry for entry in conntrack.tracked(_any) if entry.asked.ip == self.ip]
        for entry in through:
            pod = self._pod_of(entry.backend.ip)
            if pod is not None and entry.client is not None:
                pod.reset_peers({entry.client})
        with self.namespace.entered():
            conntrack.end(lambda entry: entry.asked.ip == self.ip, _any)


def _any(*_answers: object) -> bool:
    return True
