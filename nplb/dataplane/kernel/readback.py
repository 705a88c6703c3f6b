"""What the kernel really holds of our table, from nft's JSON.

Elements and names are read; the rules of a chain are only counted, since the kernel's form of
them is not the text that was written. `Found.ruleset` leaves rules unknown, so that the next
transaction writes all of them anew.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from nplb.dataplane.kernel.ruleset import Chain, ElementSet, Ruleset
from nplb.dataplane.kernel.skeleton import SHAPE_CHAIN


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """The table as it was found. `known_shape` is false for one
    that must be replaced whole: of another version, or with chains that hang elsewhere.
    `rule_counts` is by chain, and
    so is `draws`: the maps that its rules take a destination from."""

    ruleset: Ruleset
    known_shape: bool
    rule_counts: Mapping[str, int] = field(default_factory=dict)
    draws: Mapping[str, frozenset[str]] = field(default_factory=dict)


def found_table(things: Iterable[dict[str, Any]], want: Ruleset) -> Found | None:
    """What `nft -j list table` lists; None if there is no table. `want` tells which sets are
    the packets' own, and how those that are there were defined."""
    sets: dict[str, ElementSet] = {}
    chains: dict[str, Chain] = {}
    counters: set[str] = set()
    counts: dict[str, int] = {}
    draws: dict[str, frozenset[str]] = {}
    present, whole = False, True
    for thing in things:
        (kind, value), *_ = thing.items()
        if kind == "table":
            present = True
        elif kind in ("set", "map"):
            sets[value["name"]] = _set(value, want.sets.get(value["name"]))
        elif kind == "chain":
            chain = Chain(name=value["name"], hook=value.get("hook", ""), rules=None)
            chains[chain.name] = chain
            wanted = want.chains.get(chain.name)
            whole = whole and (wanted is None or bool(wanted.hook) == bool(chain.hook))
        elif kind == "counter":
            counters.add(value["name"])
        elif kind == "rule":
            chain_name = value["chain"]
            counts[chain_name] = counts.get(chain_name, 0) + 1
            draws[chain_name] = draws.get(chain_name, frozenset()) | _destinations(value)
    if not present:
        return None
    return Found(
        ruleset=Ruleset(sets=sets, chains=chains, counters=frozenset(counters)),
        known_shape=whole and SHAPE_CHAIN in chains,
        rule_counts=counts,
        draws=draws,
    )


def damage(found: Found, want: Ruleset) -> list[str]:
    """What differs from what was written, in words, at most a few."""
    wrong: list[str] = []
    have = found.ruleset
    for name, chain in want.chains.items():
        if name not in have.chains:
            wrong.append(f"chain {name} is missing")
        elif found.rule_counts.get(name, 0) != len(chain.rules or ()):
            wrong.append(f"chain {name} has other rules")
    wrong += [f"chain {name} is not ours" for name in have.chains if name not in want.chains]
    for name, each in want.sets.items():
        there = have.sets.get(name)
        if there is None:
            wrong.append(f"{each.kind} {name} is missing")
        elif not each.dynamic and there.elements != each.elements:
            wrong.append(f"{each.kind} {name} has other elements")
    return wrong[:5]


def _set(value: dict[str, Any], want: ElementSet | None) -> ElementSet:
    """A set as found. Where its type is as wanted it takes the wanted definition, which may
    say `typeof`; otherwise it keeps its own and is made anew."""
    key = _type(value["type"])
    data = _type(value["map"]) if "map" in value else ""
    dynamic = want is not None and want.dynamic
    elements = {} if dynamic else dict(_elements(value.get("elem", ())))
    if want is not None and (key, data) == _listed_type(want):
        return ElementSet(
            name=want.name,
            key=want.key,
            data=want.data,
            typeof=want.typeof,
            dynamic=dynamic,
            options=want.options,
            elements=elements,
        )
    return ElementSet(name=value["name"], key=key, data=data, elements=elements)


def _destinations(rule: dict[str, Any]) -> frozenset[str]:
    """The maps that a rule's `dnat` looks an address up in."""
    found = set()
    for part in rule.get("expr", ()):
        dnat = part.get("dnat") if isinstance(part, dict) else None
        address = dnat.get("addr") if isinstance(dnat, dict) else None
        if isinstance(address, dict) and isinstance(address.get("map"), dict):
            found.add(str(address["map"].get("data", "")).removeprefix("@"))
    return frozenset(found)


def _listed_type(want: ElementSet) -> tuple[str, str]:
    """How nft lists the type of a set that was made by `typeof`."""
    if not want.typeof:
        return want.key, want.data
    return "integer", {"ip daddr": "ipv4_addr", "ip6 daddr": "ipv6_addr"}[want.data]


def _type(value: Any) -> str:
    return " . ".join(value) if isinstance(value, list) else str(value)


def _elements(listed: Iterable[Any]) -> Iterable[tuple[str, str]]:
    for entry in listed:
        if isinstance(entry, list):
            key, data = entry
            yield element_text(key), element_text(data)
        else:
            yield element_text(entry), ""


def element_text(value: Any) -> str:
    """One element's key or data as it is written in a command."""
    if not isinstance(value, dict):
        return str(value)
    if "elem" in value:
        return element_text(value["elem"]["val"])
    if "concat" in value:
        return " . ".join(str(part) for part in value["concat"])
    if "range" in value:
        return "-".join(str(end) for end in value["range"])
    if "prefix" in value:
        return f"{value['prefix']['addr']}/{value['prefix']['len']}"
    (word, target), *_ = value.items()
    return f"{word} {target['target']}" if isinstance(target, dict) else word
