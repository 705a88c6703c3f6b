"""One target of the prober: its history and verdict, and its probe in flight."""

import ipaddress

from nplb.health import table
from nplb.health.sharing import NodeStream
from nplb.model.verdict import ProbeTarget, Verdict

_CALM = frozenset({table.State.UP, table.State.TRUSTED})


class Probe:
    """`handle` is the connection in flight, -1 if there is none. `stream` is the node's shared
    probes, None where it is probed on its own."""

    __slots__ = (
        "count",
        "handle",
        "history",
        "is_ip",
        "live_counted",
        "lost_before",
        "repeats",
        "sockaddr",
        "started_at",
        "stream",
        "target",
        "verdict",
    )

    def __init__(self, target: ProbeTarget) -> None:
        self.target = target
        self.sockaddr = (target.address.ip, target.address.port)
        self.is_ip = _is_ip(target.address.ip)
        self.history = table.start(target.health.initial)
        self.verdict = Verdict(address=target.address)
        self.handle = -1
        self.count = 0
        self.started_at = float("-inf")
        self.lost_before = 0.0
        self.repeats = 0
        self.live_counted = False
        self.stream: NodeStream[Probe] | None = None

    @property
    def works(self) -> bool:
        """Whether it should answer, by what is known of it alone."""
        return self.history.state in _CALM and not self.target.expect_refusal

    @property
    def expects_refusal(self) -> bool:
        """Whether its Service is empty, so that it refuses on every node."""
        return self.target.expect_refusal

    @property
    def in_doubt(self) -> bool:
        """Whether one that shares must be probed on its own as well."""
        return self.history.state not in _CALM and not (
            self.target.expect_refusal and self.history.state is table.State.DOWN
        )

    def gap(self, draw: float) -> float:
        """Seconds from one probe's start to the next, by the state that it is in. Jitter only
        makes it shorter, so that `interval x fall + timeout` holds. The second probe of a target
        comes after a random part of the interval: targets that came together drift apart."""
        health, state = self.target.health, self.history.state
        interval = health.interval_seconds
        if state in (table.State.FALLING, table.State.RISING):
            interval = min(interval, health.fast_seconds)
        elif self.count == 1:
            return interval * (0.1 + 0.9 * draw)
        elif state is table.State.DOWN:
            interval = health.slow_seconds or interval
        return interval * (1.0 - health.jitter * draw)


def _is_ip(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True
