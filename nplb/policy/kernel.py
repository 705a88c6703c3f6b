"""What of a frontend the kernel plane can't do, by the configuration's own key names.

A key that the kernel plane can't honour is refused, never ignored.
"""

from dataclasses import dataclass

from nplb.model.keys import Protocol
from nplb.model.plan import Frontend
from nplb.model.reasons import Balance
from nplb.model.relay import NoBackend, RelayOptions, SendProxy

BALANCES = (
    Balance.ROUND_ROBIN,
    Balance.RANDOM,
    Balance.SOURCE_HASH,
    Balance.MAGLEV,
)


@dataclass(frozen=True, slots=True)
class Unsupported:
    """One key whose value only the relay can honour, and why."""

    key: str
    why: str

    def __str__(self) -> str:
        return f"{self.key}: {self.why}; leave it out, or set plane: relay"


def unsupported(frontend: Frontend) -> tuple[Unsupported, ...]:
    """The keys of a frontend that the kernel plane can't honour."""
    found: list[Unsupported] = []
    if frontend.key.protocol not in (Protocol.TCP, Protocol.UDP):
        found.append(
            Unsupported("plane", f"the kernel plane does not carry {frontend.key.protocol}")
        )
    found += unsupported_balance(frontend.balance)
    if any(a.ip.startswith("127.") or a.ip == "::1" for a in frontend.listen):
        found.append(Unsupported("listen", "packets to a loopback address can't leave the edge"))
    return (*found, *unsupported_options(frontend.relay))


def unsupported_options(options: RelayOptions) -> tuple[Unsupported, ...]:
    """The same for options alone, before there is a frontend."""
    bytes_seen = "the kernel plane forwards packets and never sees a connection's bytes"
    cases = (
        (options.send_proxy is not SendProxy.NONE, "send_proxy", bytes_seen),
        (bool(options.accept_proxy_from), "accept_proxy_from", bytes_seen),
        (
            options.no_backend is NoBackend.HOLD,
            "no_backend",
            "hold is not possible: the kernel holds no client back",
        ),
        (bool(options.max_queue), "limits.queue", "the kernel holds no client back"),
        (
            bool(options.max_connections_per_backend),
            "limits.per_backend",
            "the kernel chooses a backend without counting its connections",
        ),
        (
            bool(options.source_addresses),
            "source_addresses",
            "the kernel plane uses the edge's own address, or keeps the client's",
        ),
        (options.lifetime_seconds > 0, "timeouts.lifetime", "the kernel ends no living connection"),
        (options.access_log, "access_log", "the kernel plane sees no single connection end"),
        (options.slow_start_seconds > 0, "slow_start", "seats are given at once"),
    )
    return tuple(Unsupported(key, why) for wrong, key, why in cases if wrong)


def unsupported_balance(balance: Balance) -> tuple[Unsupported, ...]:
    """The same for a balancing method alone."""
    if balance in BALANCES:
        return ()
    why = f"{balance} chooses by connections, which the kernel plane does not count before it"
    return (Unsupported("balance", f"{why} chooses, use one of {', '.join(BALANCES)}"),)
