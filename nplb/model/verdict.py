"""What probing says of one address, and what to probe."""

from dataclasses import dataclass

from nplb.model.keys import Address
from nplb.model.reasons import Cause


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeTarget:
    """One address to probe and how. Times in seconds; `rise` and `fall` in probes."""

    address: Address
    interval_seconds: float
    timeout_seconds: float
    rise: int
    fall: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What probing says of one address.

    `healthy` is None until the first probe has ended. `cause` and `detail` are the last
    probe's; `since` is when `healthy` last changed, `probed_at` when the last probe ended
    (epoch seconds). `streak` counts the probes in a row that contradict `healthy`.
    """

    address: Address
    healthy: bool | None = None
    cause: Cause | None = None
    detail: str = ""
    since: float = 0.0
    probed_at: float | None = None
    latency_seconds: float | None = None
    streak: int = 0
