"""One port of a Service as a node serves it: a listener, a rule, and who is bound to which pod.

The TCP half and the UDP half choose a pod by the same rule, like kube-proxy's chains: at random,
unless the Service asks for ClientIP affinity and the client was seen within its time.
"""

import random
import socket
import time
from collections.abc import Callable
from typing import Protocol as TypingProtocol

from nplb.lab.datagrams import DatagramPort
from nplb.lab.flow import Flow
from nplb.lab.interface import Interface, Listener
from nplb.lab.rules import Action, Rule, Target
from nplb.model.keys import Protocol, ServiceKey

MAX_AFFINITIES = 100_000


class Resolve(TypingProtocol):
    """Where a pod's port is really served: an API address and port to a socket address."""

    def __call__(self, ip: str, port: int, protocol: Protocol) -> tuple[str, int]: ...


class Chooser:
    """Chooses the pod for a client by the present rule. `affinity` is keyed by client address
    and holds the pod and when the client was last seen (monotonic seconds)."""

    def __init__(self, rng: random.Random, now: Callable[[], float] = time.monotonic) -> None:
        self.rule = Rule(action=Action.REFUSE)
        self._rng = rng
        self._now = now
        self._affinity: dict[str, tuple[tuple[str, int], float]] = {}

    def choose(self, client: str) -> Target | None:
        """A pod for a new connection, None if there is none."""
        rule = self.rule
        if not rule.targets:
            return None
        if rule.affinity_seconds is None:
            return rule.targets[int(self._rng.random() * len(rule.targets))]
        now = self._now()
        known = self._affinity.pop(client, None)
        target = None
        if known is not None and now - known[1] < rule.affinity_seconds:
            target = next((t for t in rule.targets if (t.ip, t.port) == known[0]), None)
        target = target or self._rng.choice(rule.targets)
        # Popped and set again, so that the dict stays in the order of last use.
        self._affinity[client] = ((target.ip, target.port), now)
        if len(self._affinity) > MAX_AFFINITIES:
            del self._affinity[next(iter(self._affinity))]
        return target


class ServicePortServer:
    """Serves one port of one Service on an interface. `apply` makes a rule so; `close` ends it.

    Refusing is not listening, dropping is listening deaf. Connections established before a
    change live on, as connection tracking would have it.
    """

    def __init__(
        self,
        interface: Interface,
        owner: ServiceKey,
        protocol: Protocol,
        port: int,
        *,
        resolve: Resolve,
        rng: random.Random,
    ) -> None:
        self.owner = owner
        self.protocol = protocol
        self.port = port
        self._interface = interface
        self._resolve = resolve
        self._chooser = Chooser(rng)
        self._listener: Listener | None = None
        self._datagrams: DatagramPort | None = None

    @property
    def rule(self) -> Rule:
        """What it does now."""
        return self._chooser.rule

    @property
    def problem(self) -> str:
        """Why it does not listen though it should; empty if it does."""
        port = self._listener or self._datagrams
        return port.problem if port is not None else ""

    def apply(self, rule: Rule) -> None:
        """Treat new connections by this rule from now on."""
        if self._listener is not None and rule.action is not Action.FORWARD:
            self._listener.take_waiting()
        self._chooser.rule = rule
        if rule.action is Action.REFUSE:
            self.close()
        elif self.protocol is Protocol.TCP:
            silent = rule.action is Action.DROP
            if self._listener is None:
                self._listener = Listener(self._interface, self.port, self._accept, silent=silent)
            else:
                self._listener.silent = silent
        elif self.protocol is Protocol.UDP:
            if self._datagrams is None:
                self._datagrams = DatagramPort(self._interface, self.port, self._route)
            self._datagrams.keep_only(
                {self._resolve(t.ip, t.port, self.protocol) for t in rule.targets}
            )

    def close(self) -> None:
        """Listen no longer: new connections are refused."""
        if self._listener is not None:
            self._listener.close()
            self._listener = None
        if self._datagrams is not None:
            self._datagrams.close()
            self._datagrams = None

    def _accept(self, sock: socket.socket, peer: tuple[str, int]) -> None:
        target = self._chooser.choose(peer[0])
        if target is None:
            sock.close()
            return
        # Masquerading, which `externalTrafficPolicy: Local` does without. A client that is not
        # on loopback could not be answered there.
        keep = self.rule.preserve_source and peer[0].startswith("127.")
        source = peer[0] if keep else self._interface.ip
        Flow(self._interface, sock, self._resolve(target.ip, target.port, self.protocol), source)

    def _route(self, client: str) -> tuple[str, int] | None:
        target = self._chooser.choose(client)
        return self._resolve(target.ip, target.port, self.protocol) if target else None
