"""What of a frontend the kernel plane can't do, by the configuration's own key names.

A key that the kernel plane can't honour is refused, never ignored. One that only its fast path
does not know is no fault: such a frontend goes through the nftables table.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from nplb.model.kernel import KernelOptions, PlaneKind
from nplb.model.keys import Protocol
from nplb.model.plan import Frontend
from nplb.model.reasons import Balance
from nplb.model.relay import NoBackend, RelayOptions, SendProxy
from nplb.model.settings import FrontendSettings, Settings

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


def is_fast(frontend: Frontend) -> bool:
    """Whether a frontend of the kernel plane asks for its fast path, and may have it."""
    return frontend.kernel.fast_path and not fast_path_obstacle(frontend)


def fast_path_obstacle(frontend: Frontend) -> str:
    """What keeps a frontend of the kernel plane from its fast path, by key; empty if it may."""
    if frontend.key.protocol is not Protocol.TCP:
        return str(frontend.key.protocol)
    return ", ".join(fast_path_obstacles(frontend.relay, frontend.kernel))


def fast_path_obstacles(options: RelayOptions, kernel: KernelOptions) -> tuple[str, ...]:
    """The same for options alone: the keys that the fast path does not know. Whatever gives a
    frontend a guard while it has a backend is among them (`dataplane/kernel/guards.py`)."""
    cases = (
        (not kernel.masquerade, "kernel.masquerade"),
        (bool(options.affinity_seconds), "affinity"),
        (bool(options.source_ranges), "source_ranges"),
        (options.source_ranges_file is not None, "source_ranges_file"),
        (bool(options.denied_ranges), "denied_ranges"),
        (options.denied_ranges_file is not None, "denied_ranges_file"),
        (bool(options.service_ranges), "loadBalancerSourceRanges"),
        (options.client_rate > 0, "limits.per_client_rate"),
        (bool(options.max_connections_per_client), "limits.per_client"),
        (bool(options.max_connections), "limits.connections"),
    )
    return tuple(key for there, key in cases if there)


def served_by(frontend: Frontend) -> str:
    """The plane of a frontend, for people: `relay`, `kernel`, and where the fast path is asked for
    `kernel (fast path)` or `kernel (table: affinity)`, with what keeps it from it."""
    if frontend.plane is not PlaneKind.KERNEL or not frontend.kernel.fast_path:
        return str(frontend.plane)
    obstacle = fast_path_obstacle(frontend)
    return f"{frontend.plane} (table: {obstacle})" if obstacle else f"{frontend.plane} (fast path)"


def asking_for_fast_path(settings: Settings) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Every section that asks for the fast path on the kernel plane, and the keys that keep its
    frontends from it: `kernel` for frontends in general, or `frontends[0]`."""
    if settings.plane is PlaneKind.KERNEL and settings.kernel.fast_path:
        yield "kernel", fast_path_obstacles(settings.relay, settings.kernel)
    for index, entry in enumerate(settings.frontends):
        kernel = _in_force(settings, entry, "kernel")
        if plane_of(settings, entry) is PlaneKind.KERNEL and kernel.fast_path:
            options = _in_force(settings, entry, "relay")
            yield f"frontends[{index}]", fast_path_obstacles(options, kernel)


def plane_of(settings: Settings, entry: FrontendSettings) -> PlaneKind:
    """The plane of an entry's frontends: its own, or that of another entry that names them too, or
    the general one."""
    plane: PlaneKind = _in_force(settings, entry, "plane")
    return plane


def _in_force(settings: Settings, entry: FrontendSettings, name: str) -> Any:
    """What holds for an entry's frontends: entries with their port go before those of the whole
    Service, and then earlier ones before later ones, as a plan has it (`plan/overrides.py`)."""
    naming = [
        other
        for other in settings.frontends
        if other.service == entry.service
        and other.port in (None, entry.port)
        and other.cluster in (None, entry.cluster)
    ]
    naming.sort(key=lambda other: other.port is None)
    set_by = (value for one in naming if (value := getattr(one, name)) is not None)
    return next(set_by, getattr(settings, name))
