"""The part of the table that is the same for every plan: base chains and shared maps.

README.md explains each chain and map, and why it has its hook.
"""

from collections.abc import Callable, Mapping

from nplb.dataplane.kernel.ruleset import NO_ELEMENTS, SHAPE, Chain, ElementSet, Ruleset
from nplb.dataplane.kernel.serving import FAMILIES, FAMILY

# Shared maps of listening addresses: with an address, and for all of the edge's own.
LISTEN_MAPS = ("frontends", "wildcards")
# How many clients one frontend's dynamic sets hold, and how many backends can be counted.
CLIENT_ENTRIES = 131072
BACKEND_ENTRIES = 524288
SHAPE_CHAIN = f"shape-{SHAPE}"
# What another table's filter drops is not counted, and this is still before addresses of the
# way back are rewritten.
AFTER_FILTERS = "filter + 10"

# What is counted of each backend by the packet path itself: an element appears with the
# first packet. Values are (name of the set, what it counts).
OPENED, SENT, ANSWERED = "opened", "sent", "answered"
TRAFFIC_SETS = (OPENED, SENT, ANSWERED)
# A packet that is in a frontend's chain when a transaction is committed may draw by the rule that
# was there before, and look into the map as it is after: where it finds nobody it asks once more.
_ASK = ("jump frontends", "jump frontends")


def skeleton(
    shared: Mapping[str, Mapping[str, str]], ports: tuple[int, int] | None = None
) -> Ruleset:
    """Base chains and shared maps; `shared` are the maps' elements by name, `ports` the source
    ports that masquerading gives TCP where others are the fast path's."""
    sets: dict[str, ElementSet] = {}

    def add(name: str, key: str, data: str = "") -> None:
        elements = shared.get(name, NO_ELEMENTS)
        sets[name] = ElementSet(name=name, key=key, data=data, elements=elements)

    add("node-ports", "inet_proto . inet_service")
    for number in FAMILIES:
        kind = FAMILY[number].type
        for name, (key, _) in listen_kinds(number).items():
            add(f"{name}{number}", key, "verdict")
        add(f"nodes{number}", kind)
        add(f"affinity{number}", f"{kind} . inet_proto . inet_service", "verdict")
        add(f"kept{number}", f"{kind} . inet_proto . inet_service")
        add(f"hairpins{number}", f"{kind} . {kind}")
        for name in TRAFFIC_SETS:
            sets[f"{name}{number}"] = ElementSet(
                name=f"{name}{number}",
                key=f"{kind} . inet_proto . inet_service",
                dynamic=True,
                options=(f"size {BACKEND_ENTRIES}", "flags dynamic"),
            )
    chains = [
        Chain(name=SHAPE_CHAIN),
        Chain(
            name="nat-prerouting",
            hook="type nat hook prerouting priority dstnat; policy accept;",
            rules=_ASK,
        ),
        Chain(
            name="nat-output",
            hook="type nat hook output priority -100; policy accept;",
            rules=_ASK,
        ),
        Chain(name="frontends", rules=_dispatch()),
        Chain(
            name="forwarded",
            hook=f"type filter hook forward priority {AFTER_FILTERS}; policy accept;",
            rules=(
                *_each_family(_known),
                *_each_family(_to_backend),
                *_each_family(_from_backend),
                *_each_family(_strays),
            ),
        ),
        Chain(
            name="sent-by-edge",
            hook=f"type filter hook output priority {AFTER_FILTERS}; policy accept;",
            rules=(*_each_family(_to_backend), *_each_family(_resets)),
        ),
        Chain(
            name="received-by-edge",
            hook=f"type filter hook input priority {AFTER_FILTERS}; policy accept;",
            rules=_each_family(_from_backend),
        ),
        Chain(
            name="nat-postrouting",
            hook="type nat hook postrouting priority srcnat; policy accept;",
            rules=_each_family(_leaving),
        ),
    ]
    for number in FAMILIES:
        chains += _leaving_chains(number, ports)
    return Ruleset(sets=sets, chains={chain.name: chain for chain in chains})


def listen_kinds(number: int) -> dict[str, tuple[str, str]]:
    """Of each of `LISTEN_MAPS` the type of its key, and the key of a packet."""
    exact, wildcard = LISTEN_MAPS
    family = FAMILY[number]
    port, asked = "inet_proto . inet_service", "meta l4proto . th dport"
    return {
        exact: (f"{family.type} . {port}", f"{family.ip} daddr . {asked}"),
        wildcard: (port, asked),
    }


def _each_family(rules: Callable[[int], tuple[str, ...]]) -> tuple[str, ...]:
    return tuple(rule for number in FAMILIES for rule in rules(number))


def _dispatch() -> tuple[str, ...]:
    """One look-up for the address, one for the port if the address is the edge's own. `accept`
    ends it for who is no client of ours."""
    (exact4, exact6), (any4, any6) = (
        tuple(f"@{name}{number}" for number in FAMILIES) for name in LISTEN_MAPS
    )
    return (
        "tcp flags != syn / fin,syn,rst,ack accept",
        f"ip daddr . meta l4proto . th dport vmap {exact4}",
        f"ip6 daddr . meta l4proto . th dport vmap {exact6}",
        "fib daddr type != local accept",
        "ip daddr 127.0.0.0/8 accept",
        "ip6 daddr ::1 accept",
        f"meta nfproto ipv4 meta l4proto . th dport vmap {any4}",
        f"meta nfproto ipv6 meta l4proto . th dport vmap {any6}",
    )


def _known(number: int) -> tuple[str, ...]:
    """Every packet but a backend's first: finding the element counts."""
    ip = FAMILY[number].ip
    there = f"{ip} daddr . meta l4proto . th dport @{SENT}{number}"
    back = f"{ip} saddr . meta l4proto . th sport @{ANSWERED}{number}"
    return (
        f"ct status dnat ct direction original {there} accept",
        f"ct status dnat ct direction reply {back} accept",
    )


def _to_backend(number: int) -> tuple[str, ...]:
    ip = FAMILY[number].ip
    ours = f"{ip} daddr @nodes{number} meta l4proto . th dport @node-ports"
    counted = f"update @{SENT}{number} {{ {ip} daddr . meta l4proto . th dport counter }}"
    return (f"ct status dnat ct direction original {ours} {counted}",)


def _from_backend(number: int) -> tuple[str, ...]:
    ip = FAMILY[number].ip
    ours = f"{ip} saddr @nodes{number} meta l4proto . th sport @node-ports"
    counted = f"update @{ANSWERED}{number} {{ {ip} saddr . meta l4proto . th sport counter }}"
    return (f"ct status dnat ct direction reply {ours} {counted}",)


def _strays(number: int) -> tuple[str, ...]:
    """Answers that were not rewritten: a client that is sent one resets its connection."""
    ip = FAMILY[number].ip
    ours = f"{ip} saddr @nodes{number} meta l4proto . th sport @node-ports"
    return (f"ct state invalid {ours} drop",)


def _resets(number: int) -> tuple[str, ...]:
    """What the edge's own TCP says to one that was meant for a client. The answer itself has to
    reach it: it may be the relay's, of a connection that is older than connection tracking."""
    ip = FAMILY[number].ip
    ours = f"{ip} daddr @nodes{number} meta l4proto . th dport @node-ports"
    return (f"ct state invalid tcp flags rst {ours} drop",)


def _leaving(number: int) -> tuple[str, ...]:
    ip = FAMILY[number].ip
    ours = f"{ip} daddr @nodes{number} meta l4proto . th dport @node-ports"
    return (f"ct status dnat {ours} goto leaving{number}",)


def _leaving_chains(number: int, ports: tuple[int, int] | None) -> list[Chain]:
    ip = FAMILY[number].ip
    masquerades = ["masquerade fully-random"]
    if ports is not None:
        first, last = ports
        masquerades.insert(0, f"meta l4proto tcp masquerade to :{first}-{last} fully-random")
    backend = f"{ip} daddr . meta l4proto . th dport"
    return [
        Chain(
            name=f"leaving{number}",
            rules=(
                f"update @{OPENED}{number} {{ {backend} counter }}",
                f"{backend} vmap @affinity{number}",
                f"{backend} @kept{number} goto keep{number}",
                *masquerades,
            ),
        ),
        Chain(
            name=f"keep{number}",
            rules=tuple(
                f"{who} {masquerade}"
                for who in ("fib saddr type local", f"{ip} saddr . {ip} daddr @hairpins{number}")
                for masquerade in masquerades
            ),
        ),
    ]
