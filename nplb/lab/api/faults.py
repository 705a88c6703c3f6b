"""Faults of the API server, on command: what a balancer in front of a cluster must live through."""

from dataclasses import dataclass, field


@dataclass(slots=True)
class ApiFaults:
    """What the API server does wrong now. Filled in with the HTTP layer."""

    active: dict[str, float] = field(default_factory=dict)
