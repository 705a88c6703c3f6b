"""Checks plain values against the models, section by section, and notes every problem.

One wrong value does not hide the next: what is wrong is noted with its path and taken out,
and the rest is checked as if it had been absent.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Protocol, TypeVar

from pydantic import BaseModel, ValidationError

from nplb.config.connections import FrontendSection
from nplb.config.document import ClusterSection, DocumentSection, EdgeSection
from nplb.config.errors import spelled
from nplb.config.keys import message_of, section_of
from nplb.config.pools import PoolSection
from nplb.config.values import kind_of
from nplb.config.words import did_you_mean, shown

Path = tuple[str | int, ...]


class Report(Protocol):
    """Is told of a problem with the value at a path, or with its key."""

    def __call__(self, path: Path, message: str, *, at_key: bool = False) -> None:
        """Note one problem."""


S = TypeVar("S", bound=BaseModel)

_LISTS: dict[str, type[BaseModel]] = {
    "clusters": ClusterSection,
    "frontends": FrontendSection,
    "pools": PoolSection,
}


@dataclass(slots=True)
class Sections:
    """What could be read. `clusters`, `frontends` and `pools` are keyed by their place in the
    list; one that lacks a key it can't be without is not there, and then `whole` is false."""

    edge: EdgeSection
    clusters: dict[int, ClusterSection] = field(default_factory=dict)
    frontends: dict[int, FrontendSection] = field(default_factory=dict)
    pools: dict[int, PoolSection] = field(default_factory=dict)
    whole: bool = True


def read_sections(value: object, report: Report) -> Sections:
    """The sections of a document's value. `report(path, message)` is told of every problem."""
    plain = _known(DocumentSection, value, (), report) or {}
    sections = Sections(edge=EdgeSection())
    lists = {name: plain.pop(name) for name in _LISTS if name in plain}
    edge = _validated(EdgeSection, plain, (), report)
    if edge is not None:
        sections.edge = edge
    if isinstance(value, dict) and "clusters" not in value:
        example = "clusters: [{name: prod, kubernetes: {kubeconfig: /etc/nplb/kubeconfig}}]"
        report(("clusters",), f"is missing, name at least one cluster, as in: {example}")
    sections.whole = isinstance(value, dict)
    for name, items in lists.items():
        for index, item in enumerate(items):
            model = None
            if item is not None:
                model = _validated(_LISTS[name], item, (name, index), report)
            if isinstance(model, ClusterSection):
                sections.clusters[index] = model
            elif isinstance(model, FrontendSection):
                sections.frontends[index] = model
            elif isinstance(model, PoolSection):
                sections.pools[index] = model
            else:
                sections.whole = False
    return sections


def key_paths(model: type[BaseModel] = DocumentSection, prefix: str = "") -> Iterator[str]:
    """Every key, with those of lists as `clusters[].name`, in the order of the models."""
    for name, info in model.model_fields.items():
        path = f"{prefix}{name}"
        yield path
        inner = section_of(info.annotation)
        if name in _LISTS and not prefix:
            yield from key_paths(_LISTS[name], f"{path}[].")
        elif inner is not None:
            yield from key_paths(inner, f"{path}.")


@cache
def _all_paths() -> tuple[str, ...]:
    return tuple(key_paths())


def section_paths() -> frozenset[str]:
    """The keys that hold a section, which is no value of its own: `health`, `timeouts`."""
    paths = set(key_paths())
    return frozenset(p.rpartition(".")[0] for p in paths if "." in p and "[]" not in p)


def _known(
    model: type[BaseModel], value: object, path: Path, report: Report
) -> dict[str, Any] | None:
    """The entries that the model has keys for. None if there is no mapping at all."""
    if not isinstance(value, dict):
        report(path, f"must be a mapping of keys, not {kind_of(value)}")
        return None
    kept: dict[str, Any] = {}
    for key, item in value.items():
        here = (*path, key)
        info = model.model_fields.get(key)
        if info is None:
            report(here, _unknown(model, key, path), at_key=True)
        elif item is None:
            inner = section_of(info.annotation)
            advice = "write {} for its defaults" if inner is not None else "write a value"
            report(here, f"is empty, {advice} or remove the key", at_key=True)
        elif not path and key in _LISTS:
            kept[key] = _known_items(_LISTS[key], item, here, report)
        elif (inner := section_of(info.annotation)) is not None:
            if (section := _known(inner, item, here, report)) is not None:
                kept[key] = section
        else:
            kept[key] = item
    return kept


def _known_items(
    model: type[BaseModel], value: object, path: Path, report: Report
) -> list[dict[str, Any] | None]:
    if not isinstance(value, list):
        hint = ", begin each entry with '- '" if isinstance(value, dict) else ""
        report(path, f"must be a list, not {kind_of(value)}{hint}")
        return []
    if not value and path == ("clusters",):
        report(path, "is an empty list, name at least one cluster")
    return [_known(model, item, (*path, i), report) for i, item in enumerate(value)]


def _unknown(model: type[BaseModel], key: str, path: Path) -> str:
    guess = did_you_mean(key, model.model_fields)
    if guess is not None:
        return f'unknown key, did you mean "{guess}"?'
    elsewhere = [p for p in _all_paths() if p.rpartition(".")[2] == key and p != key]
    if len(elsewhere) == 1 or (elsewhere and not path):
        return f'unknown key here, did you mean "{elsewhere[0]}"?'
    known = ", ".join(model.model_fields)
    where = f"in {shown(spelled(path))}" if path else "at the top"
    return f"unknown key, the keys {where} are: {known}"


def _validated(model: type[S], value: dict[str, Any], path: Path, report: Report) -> S | None:
    """The model, without the keys that are wrong; None if it can't be without one of them."""
    try:
        return model.model_validate(value)
    except ValidationError as error:
        rest = value
        for detail in error.errors(include_url=False, include_input=False):
            rest = _without(rest, detail["loc"])
            report((*path, *detail["loc"]), message_of(detail))
    try:
        return model.model_validate(rest)
    except ValidationError:
        return None


def _without(value: dict[str, Any], path: Path) -> dict[str, Any]:
    """A copy without the key at this path; of a list, all goes."""
    key, *rest = path
    copy = dict(value)
    inner = copy.pop(str(key), None)
    if rest and isinstance(inner, dict):
        copy[str(key)] = _without(inner, tuple(rest))
    return copy
