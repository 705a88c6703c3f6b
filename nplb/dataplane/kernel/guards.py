"""Who is turned away before a backend is chosen: rules of one frontend's guard chain."""

from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, collapse_addresses, ip_network

from nplb.dataplane.kernel.names import Names, refusal_counter
from nplb.dataplane.kernel.ruleset import Chain, ElementSet
from nplb.dataplane.kernel.serving import FAMILY
from nplb.dataplane.kernel.skeleton import CLIENT_ENTRIES
from nplb.model.kernel import Refusal
from nplb.model.keys import Protocol
from nplb.model.plan import Frontend
from nplb.model.reasons import EndReason
from nplb.model.relay import NoBackend


@dataclass(frozen=True, slots=True, kw_only=True)
class Guard:
    """A guard chain, with the sets and counters that its rules name."""

    chain: Chain
    sets: tuple[ElementSet, ...]
    counters: tuple[str, ...]


# The reasons that the kernel can turn a client away for.
REFUSALS = (
    EndReason.SOURCE_DENIED,
    EndReason.NO_BACKEND,
    EndReason.LIMIT_CLIENT_RATE,
    EndReason.LIMIT_CLIENT,
    EndReason.LIMIT_FRONTEND,
)


def render_guard(frontend: Frontend, names: Names, served: bool) -> Guard | None:
    """The guard of a frontend for one family; None if everybody is let through. `served` says
    whether any backend serves."""
    options = frontend.relay
    family = FAMILY[names.family]
    rules: list[str] = []
    sets: list[ElementSet] = []
    counters: list[str] = []

    def refuse(condition: str, reason: EndReason) -> None:
        counter = refusal_counter(reason, frontend.key)
        counters.append(counter)
        rules.append(f'{condition}counter name "{counter}" {_verdict(frontend, names)}')

    if options.source_ranges:
        ranges = _ranges(options.source_ranges, names.family)
        admitted = f"{family.ip} saddr != {{ {', '.join(ranges)} }} " if ranges else ""
        if "0.0.0.0/0" not in ranges and "::/0" not in ranges:
            refuse(admitted, EndReason.SOURCE_DENIED)
    if not served:
        # Where `unbind` is asked for, the packet goes on to the edge's own sockets: nobody
        # listens there.
        if options.no_backend is not NoBackend.UNBIND:
            refuse("", EndReason.NO_BACKEND)
    else:
        if options.client_rate:
            sets.append(_client_set(names.rates, family.type, "flags dynamic,timeout"))
            refuse(
                f"update @{names.rates} {{ {family.ip} saddr timeout 1m "
                f"{_rate(options.client_rate)} }} ",
                EndReason.LIMIT_CLIENT_RATE,
            )
        if options.max_connections_per_client:
            sets.append(_client_set(names.clients, family.type, "flags dynamic"))
            refuse(
                f"add @{names.clients} {{ {family.ip} saddr "
                f"ct count over {options.max_connections_per_client} }} ",
                EndReason.LIMIT_CLIENT,
            )
        if options.max_connections:
            sets.append(_client_set(names.total, "inet_service", "flags dynamic"))
            refuse(
                f"add @{names.total} {{ th dport ct count over {options.max_connections} }} ",
                EndReason.LIMIT_FRONTEND,
            )
    if not rules:
        return None
    return Guard(
        chain=Chain(name=names.guard, rules=tuple(rules)),
        sets=tuple(sets),
        counters=tuple(counters),
    )


def _client_set(name: str, kind: str, flags: str) -> ElementSet:
    return ElementSet(name=name, key=kind, dynamic=True, options=(f"size {CLIENT_ENTRIES}", flags))


def _rate(rate: float) -> str:
    """`limit` counts whole packets: slow rates are counted by the minute."""
    burst = max(1, round(rate))
    if rate >= 1 and rate == int(rate):
        return f"limit rate over {int(rate)}/second burst {burst} packets"
    return f"limit rate over {max(1, round(rate * 60))}/minute burst {burst} packets"


def _verdict(frontend: Frontend, names: Names) -> str:
    if frontend.kernel.refusal is Refusal.DROP:
        return "drop"
    if frontend.key.protocol is Protocol.TCP:
        return "reject with tcp reset"
    return f"reject with {'icmp' if names.family == 4 else 'icmpv6'} port-unreachable"


def _ranges(texts: tuple[str, ...], number: int) -> list[str]:
    """The CIDRs of one family without overlaps, as nft wants them in one set."""
    fours: list[IPv4Network] = []
    sixes: list[IPv6Network] = []
    for text in texts:
        network = ip_network(text.strip(), strict=False)
        if isinstance(network, IPv4Network):
            fours.append(network)
        else:
            sixes.append(network)
    found = collapse_addresses(fours) if number == 4 else collapse_addresses(sixes)
    return [str(n.network_address) if n.prefixlen == n.max_prefixlen else str(n) for n in found]
