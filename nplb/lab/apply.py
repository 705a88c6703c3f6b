"""Applies manifests to the API: YAML with several documents and Lists, object by object."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from nplb.config.yaml import parse
from nplb.lab.api.registry import REGISTRY, Resource
from nplb.lab.api.server import ApiServer
from nplb.model.errors import ConfigurationError

JsonObject = dict[str, Any]


def read_objects(source: Path | str, *, file: str = "manifest") -> tuple[JsonObject, ...]:
    """The objects of a file, or of a text that messages call `file`.

    Raises YamlError for what is not YAML, ConfigurationError for what is no object or cannot be
    read.
    """
    if isinstance(source, Path):
        file = str(source)
        try:
            source = source.read_text()
        except OSError as error:
            raise ConfigurationError(f"{file}: {error.strerror}") from None
        except UnicodeDecodeError:
            raise ConfigurationError(f"{file}: is not a text in UTF-8") from None
    objects: list[JsonObject] = []
    for document in parse(source, file=file):
        if document.value is not None:
            objects.extend(_flat(document.value, str(document.mark(()))))
    return tuple(objects)


def _flat(value: Any, where: str) -> Iterator[JsonObject]:
    if not isinstance(value, dict) or not isinstance(value.get("kind"), str):
        raise ConfigurationError(f"{where}: this is no Kubernetes object: it has no kind")
    if value["kind"].endswith("List") and isinstance(value.get("items"), list):
        for item in value["items"]:
            yield from _flat(item, where)
        return
    metadata = value.get("metadata")
    if not isinstance(metadata, dict) or not isinstance(metadata.get("name"), str):
        raise ConfigurationError(f"{where}: this {value['kind']} has no metadata.name")
    _resource_of(value, where)
    yield value


def _resource_of(value: JsonObject, where: str) -> Resource:
    kind, version = value["kind"], value.get("apiVersion", "v1")
    for resource in REGISTRY.resources.values():
        if resource.kind == kind and any(s.api_version == version for s in resource.served):
            return resource
    known = ", ".join(sorted(resource.kind for resource in REGISTRY.resources.values()))
    raise ConfigurationError(f"{where}: the lab has no {kind} of {version}; it has {known}")


def apply_objects(api: ApiServer, objects: Sequence[JsonObject]) -> tuple[str, ...]:
    """Create what is not there, and merge into what is. Returns a line per object, as kubectl
    says it. Raises ApiError."""
    return tuple(_apply(api, value) for value in objects)


def _apply(api: ApiServer, value: JsonObject) -> str:
    resource = _resource_of(value, "manifest")
    metadata = value["metadata"]
    namespace = (metadata.get("namespace") or "default") if resource.namespaced else None
    name = metadata["name"]
    if api.store.get(resource.name, name, namespace) is None:
        api.create(resource.name, value, namespace)
        return f"{resource.singular}/{name} created"
    api.patch(resource.name, name, value, namespace=namespace)
    return f"{resource.singular}/{name} configured"
