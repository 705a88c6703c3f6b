"""The difference of two rulesets, written as one transaction of nft.

The order is what nft needs: what is named exists before it is named, and is named by nothing
any more before it goes.
"""

from collections.abc import Iterable, Iterator, Mapping

from nplb.dataplane.kernel.ruleset import EMPTY, TABLE, Chain, ElementSet, Ruleset

# Elements in one command: long lines cost nft more than many commands.
_BATCH = 4096


def transaction(have: Ruleset | None, want: Ruleset) -> str:
    """The commands that make `want` of what is there; empty if nothing differs. `have` None
    means that there is no table. Applied as a whole or not at all."""
    old = EMPTY if have is None else have
    lines: list[str] = []
    if have is None:
        lines.append(f"add table {TABLE}")
    replaced = {
        name
        for name in old.sets.keys() & want.sets.keys()
        if old.sets[name] is not want.sets[name]
        and old.sets[name].definition != want.sets[name].definition
    }
    gone_sets = [s for s in old.sets if s not in want.sets]
    gone_chains = [c for c in old.chains if c not in want.chains]
    new_sets = [want.sets[s] for s in want.sets if s not in old.sets]
    rewritten = list(_rewritten(old, want, replaced))
    lines += [f"add counter {TABLE} {name}" for name in sorted(want.counters - old.counters)]
    lines += [_add_chain(want.chains[c]) for c in want.chains if c not in old.chains]
    # Verdicts that point to chains go before the chains, so every deletion comes first.
    kept = [(old.sets[s], want.sets[s]) for s in want.sets if s in old.sets and s not in replaced]
    changed = [(was, now) for was, now in kept if was is not now and not now.dynamic]
    differences = _differences(changed)
    for name, gone, _ in differences:
        lines += _element_lines("delete", name, gone, {})
    lines += [f"flush chain {TABLE} {c}" for c in (*gone_chains, *rewritten) if c in old.chains]
    for name in sorted(replaced):
        lines.append(f"delete {old.sets[name].kind} {TABLE} {name}")
    lines += [f"delete {old.sets[s].kind} {TABLE} {s}" for s in gone_sets]
    made = (*new_sets, *(want.sets[name] for name in sorted(replaced)))
    for each in made:
        lines.append(_add_set(each))
    for name in rewritten:
        lines += [f"add rule {TABLE} {name} {rule}" for rule in want.chains[name].rules or ()]
    # After the rules: the kernel looks at every element of a map for each rule that names it.
    for each in made:
        lines += _element_lines("add", each.name, each.elements, each.elements)
    for name, _, added in differences:
        lines += _element_lines("add", name, added, added)
    lines += [f"delete chain {TABLE} {c}" for c in gone_chains]
    lines += [f"delete counter {TABLE} {name}" for name in sorted(old.counters - want.counters)]
    return "\n".join([*lines, ""]) if lines else ""


def replacement(want: Ruleset) -> str:
    """The commands that put `want` in the place of whatever the table holds, known or not."""
    head = f"add table {TABLE}\ndelete table {TABLE}\n"
    return head + transaction(None, want)


def _rewritten(old: Ruleset, want: Ruleset, replaced: set[str]) -> Iterator[str]:
    """Chains whose rules are written: those that differ, and all that name a set which has to
    be made anew."""
    for name, chain in want.chains.items():
        was = old.chains.get(name)
        if was is chain:
            if not replaced or not _names_any(chain, replaced):
                continue
        elif was is not None and was.rules == chain.rules and not _names_any(chain, replaced):
            continue
        yield name


def _names_any(chain: Chain, sets: set[str]) -> bool:
    return any(f"@{name}" in rule for rule in chain.rules or () for name in sets)


def _differences(
    pairs: Iterable[tuple[ElementSet, ElementSet]],
) -> list[tuple[str, list[str], dict[str, str]]]:
    """For each set its name, the keys to delete and the elements to add. Frontends with the
    same backends share their elements as one object, so they are compared once."""
    known: dict[tuple[int, int], tuple[list[str], dict[str, str]]] = {}
    found = []
    for was, now in pairs:
        if was.elements is now.elements:
            continue
        pair = (id(was.elements), id(now.elements))
        difference = known.get(pair)
        if difference is None:
            difference = known[pair] = _difference(was.elements, now.elements)
        if difference[0] or difference[1]:
            found.append((now.name, *difference))
    return found


def _difference(was: Mapping[str, str], now: Mapping[str, str]) -> tuple[list[str], dict[str, str]]:
    gone = [key for key, data in was.items() if now.get(key) != data]
    added = {key: data for key, data in now.items() if was.get(key) != data}
    return gone, added


def _add_chain(chain: Chain) -> str:
    hook = f" {{ {chain.hook} }}" if chain.hook else ""
    return f"add chain {TABLE} {chain.name}{hook}"


def _add_set(each: ElementSet) -> str:
    return f"add {each.kind} {TABLE} {each.name} {{ {'; '.join(each.definition)}; }}"


def _element_lines(
    verb: str, name: str, keys: Iterable[str], data: Mapping[str, str]
) -> Iterator[str]:
    written = [f"{key} : {data[key]}" if data.get(key) else key for key in keys]
    for start in range(0, len(written), _BATCH):
        elements = ", ".join(written[start : start + _BATCH])
        yield f"{verb} element {TABLE} {name} {{ {elements} }}"
