"""What probing says of one address, and what to probe."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from nplb.model.health import TCP_CHECK, Check, HealthSettings
from nplb.model.health import InitialState as InitialState
from nplb.model.keys import Address
from nplb.model.reasons import Cause


class ProbeRole(StrEnum):
    """Whose word a probe asks for."""

    NODE_PORT = "node_port"  # a Service's, at its NodePort
    HEALTH_CHECK = "health_check"  # a Service's, at its health check node port
    KUBE_PROXY = "kube_proxy"  # kube-proxy's own


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeTarget:
    """One address to probe and how.

    `expect_refusal` says that the Service has no ready endpoint, so that every node refuses.
    When that ends, what was seen meanwhile says nothing of the node: it is forgotten, and the
    next probe is made at once and decides.

    `turn_seconds` 0: it is probed on its own. Otherwise it shares the probes of its node: every
    `turn_seconds` one of the targets with its IP address that share is probed, each in its turn,
    and a node of which nothing answers any more takes all of them down. What is in doubt is
    probed on its own meanwhile.
    """

    address: Address
    health: HealthSettings = HealthSettings()
    check: Check = TCP_CHECK
    role: ProbeRole = ProbeRole.NODE_PORT
    expect_refusal: bool = False
    turn_seconds: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Detection:
    """How soon probes find what is wrong, and at what cost.

    `rate` is in probes a second while all is well, `budget` what it was to stay within. A node
    that goes silent is out of every Service after `node_seconds` at the latest; a single Service
    that fails on a node which otherwise works, and that no client asks for, after
    `service_seconds`.
    """

    shared: bool = False
    rate: float = 0.0
    budget: float = 0.0
    node_seconds: float = 0.0
    service_seconds: float = 0.0

    @property
    def over_budget(self) -> bool:
        """Whether even sharing cannot keep within the budget: the bound goes before it."""
        return self.shared and self.rate > self.budget * 1.001


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What probing says of one address.

    `healthy` is None until the first probe has ended. `cause` and `detail` are the last
    probe's, but a backend that is down keeps the cause that took it down while it answers
    again, and a probe that the edge itself could not make changes nothing of a backend that
    was probed before. `since` is when `healthy` last changed, `probed_at` when the last probe
    ended (epoch seconds). `streak` counts the probes in a row that contradict `healthy`.
    `answer` is the last HTTP status, `weight` the number of local endpoints that a health check
    node port named. `by_node` says that the whole node went down, not this address alone.
    """

    address: Address
    healthy: bool | None = None
    cause: Cause | None = None
    detail: str = ""
    since: float = 0.0
    probed_at: float | None = None
    latency_seconds: float | None = None
    streak: int = 0
    answer: int | None = None
    weight: int | None = None
    by_node: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Probing:
    """What the prober did since it started.

    `ended` counts probes by what they saw; `latency_buckets` counts the successful ones by
    upper bound in seconds, not cumulated, the last bound being infinity. `repeated` were
    thrown away since the edge itself was late, and done again. `in_flight` run now. `sharing`
    targets share the probes of `streams` nodes, of which `nodes_down` are down as a whole.
    """

    targets: int = 0
    in_flight: int = 0
    ended: Mapping[Cause, int] = field(default_factory=dict)
    repeated: int = 0
    latency_buckets: tuple[tuple[float, int], ...] = ()
    latency_seconds: float = 0.0
    sharing: int = 0
    streams: int = 0
    nodes_down: int = 0
