"""A small nft in memory: takes transactions as text, refuses what the real one refuses, and
holds what a table would hold."""

import re
from dataclasses import replace
from typing import TypeVar

from nplb.dataplane.kernel.ruleset import TABLE, Chain, ElementSet, Ruleset

_SET = re.compile(r"@([^ }:]+)")
_TARGET = re.compile(r"(?:goto|jump) (\S+)")


class RefusedError(Exception):
    """What nft would not take."""


class FakeNft:
    """One table. `apply` is all or nothing."""

    def __init__(self) -> None:
        self.table: Ruleset | None = None

    def apply(self, text: str) -> None:
        """Take a transaction."""
        table = None
        if self.table is not None:
            table = Ruleset(
                sets=dict(self.table.sets),
                chains=dict(self.table.chains),
                counters=self.table.counters,
            )
        for line in text.splitlines():
            table = _command(table, line)
        if table is not None:
            _check(table)
        self.table = table


def _command(table: Ruleset | None, line: str) -> Ruleset | None:
    verb, kind, rest = line.split(" ", 2)
    if not rest.startswith(TABLE):
        raise RefusedError(f"not our table: {line}")
    if kind == "table":
        if verb == "delete" and table is None:
            raise RefusedError(line)
        return (table or Ruleset()) if verb == "add" else None
    if table is None:
        raise RefusedError(f"no table: {line}")
    name, _, body = rest.removeprefix(TABLE).strip().partition(" ")
    if kind in ("set", "map"):
        _set(table, verb, kind, name, body)
    elif kind == "element":
        _elements(table, verb, name, body)
    elif kind == "chain":
        _chain(table, verb, name, body)
    elif kind == "rule":
        chain = _there(table.chains, name)
        table.chains[name] = replace(chain, rules=(*(chain.rules or ()), body))
    elif kind == "counter":
        if (name in table.counters) is (verb == "add"):
            raise RefusedError(line)
        return replace(table, counters=table.counters ^ {name})
    else:
        raise RefusedError(line)
    return table


V = TypeVar("V")


def _there(things: dict[str, V], name: str) -> V:
    if name not in things:
        raise RefusedError(f"there is no {name}")
    return things[name]


def _set(table: Ruleset, verb: str, kind: str, name: str, body: str) -> None:
    if verb == "delete":
        each = _there(table.sets, name)
        if each.kind != kind:
            raise RefusedError(f"{name} is a {each.kind}")
        del table.sets[name]
        return
    parts = [part.strip() for part in body.strip("{} ").split(";") if part.strip()]
    word, _, what = parts[0].partition(" ")
    key, _, data = what.partition(" : ")
    table.sets[name] = ElementSet(
        name=name,
        key=key,
        data=data,
        typeof=word == "typeof",
        dynamic=any("dynamic" in part for part in parts),
        options=tuple(parts[1:]),
        elements={},
    )


def _elements(table: Ruleset, verb: str, name: str, body: str) -> None:
    each = _there(table.sets, name)
    elements = dict(each.elements)
    for entry in body.strip("{} ").split(", "):
        key, _, data = entry.partition(" : ")
        if verb == "add":
            if elements.get(key, data) != data:
                raise RefusedError(f"{key} is in {name} with other data")
            elements[key] = data
        elif elements.pop(key, None) is None:
            raise RefusedError(f"{key} is not in {name}")
    table.sets[name] = replace(each, elements=elements)


def _chain(table: Ruleset, verb: str, name: str, body: str) -> None:
    if verb == "add":
        table.chains[name] = Chain(name=name, hook=body.strip("{} "))
        return
    chain = _there(table.chains, name)
    if verb == "flush":
        table.chains[name] = replace(chain, rules=())
    else:
        if chain.rules:
            raise RefusedError(f"chain {name} still has rules")
        del table.chains[name]


def _check(table: Ruleset) -> None:
    """Nothing names what is not there."""
    targets = [v for s in table.sets.values() for v in s.elements.values()]
    rules = [rule for chain in table.chains.values() for rule in chain.rules or ()]
    for text in (*targets, *rules):
        for target in _TARGET.findall(text):
            _there(table.chains, target)
    for rule in rules:
        for name in _SET.findall(rule):
            _there(table.sets, name)
        for counter in re.findall(r'counter name "([^"]+)"', rule):
            if counter not in table.counters:
                raise RefusedError(f"there is no counter {counter}")
