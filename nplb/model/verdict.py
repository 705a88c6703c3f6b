"""What probing says of one address, and what to probe."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from nplb.model.keys import Address
from nplb.model.reasons import Cause


class InitialState(StrEnum):
    """What a backend is before its first probe has ended."""

    PROBE = "probe"  # not used; the first probe decides at once
    UP = "up"  # used
    DOWN = "down"  # not used until `rise` probes have succeeded


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeTarget:
    """One address to probe and how. Times in seconds; `rise` and `fall` in probes; `jitter` is
    the share of the interval by which each probe is moved at random.

    `expect_refusal` says that the Service has no ready endpoint, so that every node refuses.
    When that ends, what was seen meanwhile says nothing of the node: it is forgotten, and the
    next probe is made at once and decides.
    """

    address: Address
    interval_seconds: float
    timeout_seconds: float
    rise: int
    fall: int
    jitter: float = 0.1
    initial: InitialState = InitialState.PROBE
    expect_refusal: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What probing says of one address.

    `healthy` is None until the first probe has ended. `cause` and `detail` are the last
    probe's, but a backend that is down keeps the cause that took it down while it answers
    again, and a probe that the edge itself could not make changes nothing of a backend that
    was probed before. `since` is when `healthy` last changed, `probed_at` when the last probe
    ended (epoch seconds). `streak` counts the probes in a row that contradict `healthy`.
    """

    address: Address
    healthy: bool | None = None
    cause: Cause | None = None
    detail: str = ""
    since: float = 0.0
    probed_at: float | None = None
    latency_seconds: float | None = None
    streak: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Probing:
    """What the prober did since it started.

    `ended` counts probes by what they saw; `latency_buckets` counts the successful ones by
    upper bound in seconds, not cumulated, the last bound being infinity. `repeated` were
    thrown away since the edge itself was late, and done again. `in_flight` run now.
    """

    targets: int = 0
    in_flight: int = 0
    ended: Mapping[Cause, int] = field(default_factory=dict)
    repeated: int = 0
    latency_buckets: tuple[tuple[float, int], ...] = ()
    latency_seconds: float = 0.0
