"""Turns the contents of manifest files into objects of the model, or says all that is wrong.

Takes what `kubectl apply -f` takes of our kinds: several documents a file, `List`s, Services
and EndpointSlices without a namespace (which are then in `default`). Objects of other kinds
are left out with one note.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from nplb.config.yaml import Document, YamlError, parse
from nplb.model.cluster import EndpointSlice, Node, Service
from nplb.sources.decode import DecodeError, Path, decode_node, decode_service, decode_slice
from nplb.sources.manifests.files import ManifestError

_DEFAULT_NAMESPACE = "default"
# apiVersion and kind of what is read. Others may have the same kind: Knative has a Service.
_OURS = {
    ("v1", "Service"),
    ("v1", "Node"),
    ("discovery.k8s.io/v1", "EndpointSlice"),
}
_OLD_SLICES = "discovery.k8s.io/v1beta1"
# As a slip of the keyboard is: Servce, services, not ServiceAccount.
_ALIKE = 0.85


@dataclass(frozen=True, slots=True, kw_only=True)
class Objects:
    """All objects of some files, each kind in the order of files and documents. `places` has
    the place of each Service as `file:line:column`. `warnings` say which fields were read
    around, `passed_over` which kinds are not nplb's to read."""

    services: tuple[Service, ...] = ()
    nodes: tuple[Node, ...] = ()
    slices: tuple[EndpointSlice, ...] = ()
    places: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    passed_over: str = ""


@dataclass(frozen=True, slots=True)
class _Raw:
    """One object as written, and where."""

    document: Document
    path: Path
    value: dict[str, Any]
    api_version: str
    kind: str

    def place(self, within: Path = ()) -> str:
        return str(self.document.mark((*self.path, *within)))


def read_objects(contents: Iterable[tuple[str, bytes]], *, cluster: str) -> Objects:
    """The objects of files given as (path, content).

    Errors: ManifestError with everything that is wrong in all of them, each as
    `file:line:column: what, what to do`.
    """
    reading = _Reading(cluster)
    for file, content in contents:
        reading.file(file, content)
    if reading.errors:
        raise ManifestError(reading.errors)
    return reading.objects()


class _Reading:
    def __init__(self, cluster: str) -> None:
        self.errors: list[str] = []
        self._cluster = cluster
        self._services: list[tuple[Service, str]] = []
        self._nodes: list[Node] = []
        self._slices: list[EndpointSlice] = []
        self._places: dict[tuple[str, str, str], str] = {}
        self._others: Counter[str] = Counter()
        self._warnings: list[str] = []

    def file(self, file: str, content: bytes) -> None:
        if not content.strip():
            # What an editor leaves for a moment, or a slip of the shell, is no decision.
            self.errors.append(f"{file}:1:1: is empty; to serve nothing from it, write a comment")
            return
        try:
            documents = parse(content, file=file)
        except YamlError as error:
            self.errors.extend(str(problem) for problem in error.problems)
            return
        for document in documents:
            if document.value is None:
                continue
            for raw in self._raws(document, (), document.value):
                self._take(raw)

    def _raws(
        self, document: Document, path: Path, value: object, inherited: tuple[str, str] = ("", "")
    ) -> Iterator[_Raw]:
        """An object, or the objects of a list of them."""
        mark = document.mark(path)
        if not isinstance(value, dict):
            self.errors.append(
                f"{mark}: this is no Kubernetes object; write apiVersion, kind and metadata"
            )
            return
        version, kind = value.get("apiVersion") or inherited[0], value.get("kind") or inherited[1]
        for key, text in (("apiVersion", version), ("kind", kind)):
            if not isinstance(text, str) or not text:
                place = document.mark((*path, key))
                self.errors.append(f"{place}: {key} must say what this is, as in 'kind: Service'")
                return
        if not kind.endswith("List") or "items" not in value:
            yield _Raw(document, path, value, version, kind)
            return
        items = value["items"]
        if items is not None and not isinstance(items, list):
            self.errors.append(f"{document.mark((*path, 'items'))}: items must be a list")
            return
        # What the API answers to a list leaves kind and apiVersion out of the items.
        item = (version, kind.removesuffix("List"))
        for index, entry in enumerate(items or []):
            yield from self._raws(document, (*path, "items", index), entry, item)

    def _take(self, raw: _Raw) -> None:
        if (raw.api_version, raw.kind) not in _OURS:
            if raw.api_version == _OLD_SLICES:
                self.errors.append(
                    f"{raw.place(('apiVersion',))}: {_OLD_SLICES} is no longer served; "
                    "write discovery.k8s.io/v1"
                )
            elif meant := _meant(raw.api_version, raw.kind):
                self.errors.append(
                    f"{raw.place(('kind',))}: {raw.api_version} has no kind {raw.kind!r}; "
                    f"did you mean {meant}?"
                )
            else:
                self._others[raw.kind] += 1
            return
        try:
            self._decode(raw)
        except DecodeError as error:
            self.errors.append(f"{raw.place(error.path)}: {error}")

    def _decode(self, raw: _Raw) -> None:
        def warn(text: str) -> None:
            self._warnings.append(f"{raw.place()}: {text}")

        if raw.kind == "Node":
            node = decode_node(raw.value, warn=warn)
            if self._is_first(raw, "", node.name):
                self._nodes.append(node)
            return
        value = _with_namespace(raw.value)
        if raw.kind == "Service":
            service = decode_service(value, cluster=self._cluster, warn=warn)
            if self._is_first(raw, service.key.namespace, service.key.name):
                self._services.append((service, raw.place()))
            return
        piece = decode_slice(value, warn=warn)
        if self._is_first(raw, piece.namespace, piece.name):
            self._slices.append(piece)

    def _is_first(self, raw: _Raw, namespace: str, name: str) -> bool:
        """Whether no other object has this name; both places go into the error."""
        key = (raw.kind, namespace, name)
        first = self._places.setdefault(key, raw.place())
        if first == raw.place():
            return True
        subject = f"{raw.kind} {namespace}/{name}" if namespace else f"{raw.kind} {name}"
        self.errors.append(f"{raw.place()}: {subject} stands at {first} already; remove one")
        return False

    def objects(self) -> Objects:
        listed = ", ".join(f"{kind} ({n})" for kind, n in sorted(self._others.items()))
        return Objects(
            services=tuple(service for service, _ in self._services),
            nodes=tuple(self._nodes),
            slices=tuple(self._slices),
            places=tuple(place for _, place in self._services),
            warnings=tuple(self._warnings),
            passed_over=f"objects of other kinds are left out: {listed}" if listed else "",
        )


def _meant(api_version: str, kind: str) -> str:
    """The kind of ours that was mistyped, if it looks like that."""
    ours = {name.lower(): name for version, name in _OURS if version == api_version}
    close = get_close_matches(kind.lower(), ours, n=1, cutoff=_ALIKE)
    return ours[close[0]] if close else ""


def _with_namespace(value: dict[str, Any]) -> dict[str, Any]:
    """The object, in the namespace `default` unless it says another, as kubectl puts it."""
    metadata = value.get("metadata")
    if metadata is None:
        metadata = {}
    if not isinstance(metadata, dict) or metadata.get("namespace"):
        return value
    return {**value, "metadata": {**metadata, "namespace": _DEFAULT_NAMESPACE}}
