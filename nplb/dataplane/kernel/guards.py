"""Who is turned away before a backend is chosen: rules of one frontend's guard chain."""

import hashlib
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address

from nplb.dataplane.kernel.names import Names, refusal_counter
from nplb.dataplane.kernel.ruleset import Chain, ElementSet
from nplb.dataplane.kernel.serving import FAMILY
from nplb.dataplane.kernel.skeleton import CLIENT_ENTRIES
from nplb.model.kernel import Refusal
from nplb.model.keys import Protocol
from nplb.model.plan import Frontend
from nplb.model.reasons import EndReason
from nplb.model.relay import NoBackend, RelayOptions
from nplb.policy.prefixes import admitted_sources


@dataclass(frozen=True, slots=True, kw_only=True)
class Guard:
    """A guard chain, with the sets and counters that its rules name."""

    chain: Chain
    sets: tuple[ElementSet, ...]
    counters: tuple[str, ...]


# So many ranges stand in the rule itself.
_INLINE = 64
# The reasons that the kernel can turn a client away for.
REFUSALS = (
    EndReason.SOURCE_DENIED,
    EndReason.NO_BACKEND,
    EndReason.LIMIT_CLIENT_RATE,
    EndReason.LIMIT_CLIENT,
    EndReason.LIMIT_FRONTEND,
)


def render_guard(frontend: Frontend, names: Names, served: bool) -> Guard | None:
    """The guard of a frontend for one family, which goes on to the frontend's chain with whom it
    lets through; None if that is everybody. `served` says whether any backend serves."""
    options = frontend.relay
    family = FAMILY[names.family]
    rules: list[str] = []
    sets: list[ElementSet] = []
    counters: list[str] = []

    def refuse(condition: str, reason: EndReason) -> None:
        counter = refusal_counter(reason, frontend.key)
        counters.append(counter)
        rules.append(f'{condition}counter name "{counter}" {_verdict(frontend, names)}')

    sources = _sources(options, names.family)
    if sources is not None:
        if len(sources) <= _INLINE:
            those = f"{{ {', '.join(sources)} }}"
        else:  # a set of its own, which frontends with the same clients share
            shared = _source_set(options, names.family)
            sets.append(shared)
            those = f"@{shared.name}"
        refuse(f"{family.ip} saddr != {those} " if sources else "", EndReason.SOURCE_DENIED)
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
            # One element for all its addresses and ports.
            sets.append(_client_set(names.total, "inet_proto", "flags dynamic"))
            refuse(
                f"add @{names.total} {{ meta l4proto ct count over {options.max_connections} }} ",
                EndReason.LIMIT_FRONTEND,
            )
    if not rules:
        return None
    if served:
        rules.append(f"goto {names.chain}")
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


@lru_cache(maxsize=1024)
def _sources(options: RelayOptions, family: int) -> tuple[str, ...] | None:
    """The clients of one family that are admitted, as nft writes ranges; None for everybody."""
    admitted = admitted_sources(options)
    if admitted is None:
        return None
    kind = IPv4Address if family == 4 else IPv6Address
    everybody = [(0, 2 ** kind(0).max_prefixlen - 1)]
    ranges = list(admitted.ranges(family))
    return None if ranges == everybody else tuple(_range(kind(a), kind(b)) for a, b in ranges)


def _range(first: IPv4Address | IPv6Address, last: IPv4Address | IPv6Address) -> str:
    """A range as nft lists it: an address, a prefix if it is one, or two addresses."""
    size = int(last) - int(first) + 1
    if size == 1:
        return str(first)
    if size & (size - 1) == 0 and int(first) % size == 0:
        return f"{first}/{first.max_prefixlen - size.bit_length() + 1}"
    return f"{first}-{last}"


@lru_cache(maxsize=64)
def _source_set(options: RelayOptions, family: int) -> ElementSet:
    sources = _sources(options, family)
    assert sources is not None
    digest = hashlib.sha256("\n".join(sources).encode()).hexdigest()[:16]
    return ElementSet(
        name=f"s{family}-{digest}",
        key=FAMILY[family].type,
        options=("flags interval",),
        elements=dict.fromkeys(sources, ""),
    )
