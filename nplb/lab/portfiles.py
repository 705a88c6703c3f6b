"""Services as manifests have them, raw and with their places, to be asked about."""

import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from nplb.config.yaml import Document, YamlError, parse
from nplb.model.errors import ConfigurationError
from nplb.sources.manifests.files import read_files

STDIN = "-"
Path = tuple[str | int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class RawService:
    """One Service as written. `place` is file:line:column; `namespace` its own, or empty."""

    place: str
    namespace: str
    name: str
    value: dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class RawServices:
    """All Services of some files, in order, and how many objects of other kinds were there."""

    services: tuple[RawService, ...]
    others: dict[str, int]


def read_raw_services(paths: Sequence[str]) -> RawServices:
    """The Services in files, directories and patterns; `-` is standard input.

    Errors: ConfigurationError with everything that can't be read, a line each.
    """
    contents: list[tuple[str, bytes]] = []
    for path in paths:
        if path == STDIN:
            contents.append(("<stdin>", sys.stdin.buffer.read()))
        else:
            contents += read_files([path], settle_seconds=0.0).contents
    return raw_services(contents)


def raw_services(contents: Sequence[tuple[str, bytes]]) -> RawServices:
    """The Services in texts, each with the name that places show. Errors as above."""
    errors: list[str] = []
    services: list[RawService] = []
    others: Counter[str] = Counter()
    for file, content in contents:
        try:
            documents = parse(content, file=file)
        except YamlError as error:
            errors += [str(problem) for problem in error.problems]
            continue
        for document in documents:
            if document.value is None:
                continue
            for path_within, value in _flat(document, (), document.value, errors):
                kind, version = value.get("kind"), value.get("apiVersion")
                if kind == "Service" and version == "v1":
                    services.append(_service(document, path_within, value))
                else:
                    others[str(kind)] += 1
    if errors:
        raise ConfigurationError("\n".join(errors))
    return RawServices(services=tuple(services), others=dict(others))


def _flat(
    document: Document, path: Path, value: Any, errors: list[str]
) -> Iterator[tuple[Path, dict[str, Any]]]:
    """An object, or the objects of a list of them, each with its way down the document."""
    if not isinstance(value, dict) or not isinstance(value.get("kind"), str):
        errors.append(
            f"{document.mark(path)}: this is no Kubernetes object; write apiVersion, kind and "
            "metadata"
        )
    elif value["kind"].endswith("List") and isinstance(value.get("items"), list):
        # What the API answers to a list leaves kind and apiVersion out of the items.
        named = {
            "apiVersion": value.get("apiVersion"),
            "kind": value["kind"].removesuffix("List") or None,
        }
        for index, item in enumerate(value["items"]):
            if isinstance(item, dict):
                item = {**{k: v for k, v in named.items() if v}, **item}
            yield from _flat(document, (*path, "items", index), item, errors)
    else:
        yield path, value


def _service(document: Document, path: Path, value: dict[str, Any]) -> RawService:
    metadata = value.get("metadata")
    named = metadata if isinstance(metadata, dict) else {}
    return RawService(
        place=str(document.mark(path)),
        namespace=str(named.get("namespace") or ""),
        name=str(named.get("name") or ""),
        value=value,
    )
