"""How nodes are probed, and what becomes of a Service when many fail at once."""

from dataclasses import dataclass
from enum import StrEnum

from nplb.model.relay import SendProxy


class InitialState(StrEnum):
    """What a backend is before its first probe has ended."""

    PROBE = "probe"  # not used; the first probe decides at once
    UP = "up"  # used
    DOWN = "down"  # not used until `rise` probes have succeeded


class ProbeKind(StrEnum):
    """What a probe says once it is connected."""

    TCP = "tcp"  # nothing: the connect is the probe, and the application never sees it
    HTTP = "http"  # a request, whose answer must have an expected status
    HTTPS = "https"  # the same, over TLS
    TLS = "tls"  # a handshake to its end, and a proper goodbye
    SEND_EXPECT = "send_expect"  # bytes, and others that the answer must hold


class ProbeSharing(StrEnum):
    """Whether the services of a node share its probes."""

    AUTO = "auto"  # once probing each on its own would pass the budget
    OFF = "off"  # never
    NODE = "node"  # always


class KubeProxyUse(StrEnum):
    """What kube-proxy's own word (`/healthz` on port 10256) counts for."""

    OFF = "off"  # it is not asked
    PREFER = "prefer"  # a node whose kube-proxy is not well serves when too few others do
    REQUIRE = "require"  # it gets no new connection


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """What a probe says and expects. Addresses apart, it is the same for all nodes.

    path, host, method, status   of an HTTP request; `host` empty is the node's address, `status`
                                 are ranges of numbers, both ends included
    verify, ca_file, server_name of TLS; `server_name` empty sends none, `ca_file` empty takes the
                                 system's authorities
    send, expect                 texts, in UTF-8; `expect` empty takes any answer
    proxy                        the PROXY header that goes before everything
    """

    kind: ProbeKind = ProbeKind.TCP
    path: str = "/"
    host: str = ""
    method: str = "GET"
    status: tuple[tuple[int, int], ...] = ((200, 399),)
    verify: bool = False
    ca_file: str = ""
    server_name: str = ""
    send: str = ""
    expect: str = ""
    proxy: SendProxy = SendProxy.NONE


TCP_CHECK = Check()


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthSettings:
    """Active probing of one frontend's backends. Times in seconds, `rise` and `fall` in probes,
    `jitter` as the share of the interval by which a probe may come sooner.

    fast_seconds         the interval while a backend is on its way up or down, if it is shorter
    slow_seconds         the interval while it is down; 0 is as usual
    kube_proxy           what kube-proxy's own word counts for
    health_check_port    whether a Service's health check node port is asked, where it has one
    panic_below          fewer passing nodes than this share of those that may serve is a panic
    fail_open            in a panic, nodes that fail their probes are used as well
    """

    enabled: bool = True
    interval_seconds: float = 5.0
    fast_seconds: float = 1.0
    slow_seconds: float = 0.0
    timeout_seconds: float = 1.0
    rise: int = 2
    fall: int = 2
    jitter: float = 0.1
    initial: InitialState = InitialState.PROBE
    check: Check = TCP_CHECK
    kube_proxy: KubeProxyUse = KubeProxyUse.OFF
    health_check_port: bool = True
    panic_below: float = 0.5
    fail_open: bool = False

    @property
    def bound_seconds(self) -> float:
        """A backend that goes silent is down after so long at the latest, probed on its own."""
        return self.interval_seconds * self.fall + self.timeout_seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class SharingSettings:
    """When services share the probes of their nodes. `budget` is in probes a second."""

    mode: ProbeSharing = ProbeSharing.AUTO
    budget: float = 1000.0


@dataclass(frozen=True, slots=True, kw_only=True)
class BlastRadius:
    """At most `share` of a Service's nodes may leave within `window_seconds` because of what the
    API says alone. A share of 1 is no limit."""

    share: float = 0.5
    window_seconds: float = 600.0

    def limit(self, nodes: int) -> int:
        """How many of so many nodes may leave: one at least, and never the last one."""
        if self.share >= 1.0:
            return nodes
        return min(max(1, int(self.share * nodes)), max(nodes - 1, 0))
