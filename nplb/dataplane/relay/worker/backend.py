"""A backend as a worker knows it: how it stands, and for how long it is passed over."""

from _socket import AF_INET, AF_INET6, inet_pton
from typing import TYPE_CHECKING, Any

from nplb.dataplane.relay.counters import row_base
from nplb.model.reasons import EndReason
from nplb.policy.balance import Target

if TYPE_CHECKING:
    from nplb.dataplane.relay.worker.frontend import Frontend

# A backend that failed a connect is passed over this long, doubled up to the limit with each
# failure in a row: probing will say in the meantime whether it is down.
SHUN_SECONDS = 0.5
SHUN_LIMIT_SECONDS = 8.0

DOWN = 0
ACTIVE = 1
DRAINING = 2


class Backend(Target):
    """One backend. `base` is the first cell of its row of counters, `full_weight` its weight
    once it is warm, `epoch` that of the last balancer that it was given to."""

    __slots__ = (
        "address",
        "base",
        "epoch",
        "failures",
        "family",
        "frontend",
        "full_weight",
        "row",
        "shunned_until",
        "since",
        "state",
        "tier",
    )

    def __init__(self, frontend: "Frontend", row: int, ip: str, port: int) -> None:
        super().__init__(f"{ip}:{port}")
        self.frontend = frontend
        self.row = row
        self.base = row_base(row)
        self.family = AF_INET6 if ":" in ip else AF_INET
        inet_pton(self.family, ip)
        if not 0 < port < 65536:
            raise ValueError(f"{port} is no port")
        self.address: tuple[Any, ...] = (ip, port)
        self.state = DOWN
        self.full_weight = 1.0
        self.since = 0.0
        self.tier = 0
        self.epoch = 0
        self.failures = 0
        self.shunned_until = 0.0

    def failed(self, reason: EndReason) -> None:
        """A connect failed: pass it over for a while."""
        worker = self.frontend.worker
        wait = min(SHUN_SECONDS * (1 << min(self.failures, 10)), SHUN_LIMIT_SECONDS)
        self.failures += 1
        self.shunned_until = worker.loop.now + wait
        self.frontend.dirty = True
        worker.report_failure(self, reason)

    def succeeded(self) -> None:
        """It answers again."""
        self.failures = 0
        if self.shunned_until:
            self.shunned_until = 0.0
            self.frontend.dirty = True
