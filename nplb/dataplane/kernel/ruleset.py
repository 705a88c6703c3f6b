"""What a table holds, as values: sets and maps with their elements, chains, counters.

Texts are nftables' own, without the table's name. Element keys and data are written as nft
prints them (`192.0.2.1 . tcp . 443`, `goto f4-...`), so that what is read back compares.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

TABLE = "inet nplb"
# Grows when the shape of the table changes: a table of another shape is replaced whole.
SHAPE = 2

NO_ELEMENTS: Mapping[str, str] = MappingProxyType({})


def _no_elements() -> Mapping[str, str]:
    return NO_ELEMENTS


@dataclass(frozen=True, slots=True, kw_only=True)
class ElementSet:
    """A set, or a map where `data` is not empty.

    `key` and `data` are what stands after `type` (or `typeof`, where `typeof` is true).
    `elements` maps each key to its data, which is empty in a set. The elements of a
    `dynamic` one are the packets' own: they are neither written nor compared.
    """

    name: str
    key: str
    data: str = ""
    typeof: bool = False
    dynamic: bool = False
    options: tuple[str, ...] = ()
    elements: Mapping[str, str] = field(default_factory=_no_elements)

    @property
    def kind(self) -> str:
        """`map` or `set`, as the commands of nft call it."""
        return "map" if self.data else "set"

    @property
    def definition(self) -> tuple[str, ...]:
        """Everything but the elements, as lines of nft."""
        word = "typeof" if self.typeof else "type"
        what = f"{self.key} : {self.data}" if self.data else self.key
        return (f"{word} {what}", *self.options)


@dataclass(frozen=True, slots=True, kw_only=True)
class Chain:
    """A chain. `hook` is empty but for a base chain; `rules` None means that they are not
    known (a chain that was found in the kernel), so they are written anew."""

    name: str
    hook: str = ""
    rules: tuple[str, ...] | None = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Ruleset:
    """A whole table. Names are unique among sets and maps, among chains and among counters."""

    sets: dict[str, ElementSet] = field(default_factory=dict)
    chains: dict[str, Chain] = field(default_factory=dict)
    counters: frozenset[str] = frozenset()


EMPTY = Ruleset()


def ruleset_text(ruleset: Ruleset) -> str:
    """The table in nft's own form, sorted by name: to read, and to compare in tests."""
    lines = [f"table {TABLE} {{"]
    for name in sorted(ruleset.counters):
        lines += [f"\tcounter {name} {{", "\t}", ""]
    for name in sorted(ruleset.sets):
        each = ruleset.sets[name]
        lines.append(f"\t{each.kind} {name} {{")
        lines += [f"\t\t{line}" for line in each.definition]
        if each.elements:
            written = [f"{k} : {v}" if v else k for k, v in each.elements.items()]
            lines.append("\t\telements = { " + ",\n\t\t\t     ".join(written) + " }")
        lines += ["\t}", ""]
    for name in sorted(ruleset.chains):
        chain = ruleset.chains[name]
        lines.append(f"\tchain {name} {{")
        if chain.hook:
            lines.append(f"\t\t{chain.hook}")
        lines += [f"\t\t{rule}" for rule in chain.rules or ()]
        lines += ["\t}", ""]
    if lines[-1] == "":
        lines.pop()
    return "\n".join([*lines, "}", ""])
