"""What a path names: a resource, an object, a subresource, or nothing.

Mirrors `apiserver/pkg/endpoints/request/requestinfo.go` and the routes that the API installer
makes, down to which kind of 404 an unknown path gets.
"""

from dataclasses import dataclass

from nplb.lab.api import errors
from nplb.lab.api.access import Asked
from nplb.lab.api.discovery import REVIEWS, groups
from nplb.lab.api.registry import CORE, REGISTRY, Resource, Served
from nplb.lab.api.requests import Target


class UnknownPath(Exception):
    """A path outside of every group: a plain 404, not a Status."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ResourcePath:
    """A path below a group and version. `namespace` is None at the cluster scope (for a
    namespaced resource: all namespaces); `name` is empty for the collection."""

    resource: Resource
    served: Served
    namespace: str | None = None
    name: str = ""
    subresource: str = ""

    @property
    def target(self) -> Target:
        """The same for the operations."""
        return Target(
            resource=self.resource,
            served=self.served,
            namespace=self.namespace or "",
            name=self.name,
            subresource=self.subresource,
        )

    def asked(self, verb: str) -> Asked:
        """What a verb on this path needs the right for."""
        namespace = self.namespace or ""
        if self.resource.name == "namespaces":
            namespace = self.name
        return Asked(
            verb=verb,
            resource=self.resource.name,
            group=self.served.group,
            namespace=namespace,
            name=self.name,
            subresource=self.subresource,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ReviewPath:
    """A path to which a review is posted."""

    kind: str
    served: Served


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupPath:
    """A group (`served` None: the list of all), or a group and version (`resources` True)."""

    served: Served | None
    resources: bool = False


def resolve(path: str) -> ResourcePath | ReviewPath | GroupPath:
    """What a path below /api or /apis names. Raises UnknownPath, and ApiError 404 for an
    unknown resource in a known group."""
    parts = [part for part in path.split("/") if part]
    if parts[:1] == ["api"]:
        if len(parts) == 1:
            return GroupPath(served=CORE)
        if parts[1] != "v1":
            raise UnknownPath
        return _below(CORE, parts[2:])
    if parts[:1] != ["apis"]:
        raise UnknownPath
    if len(parts) == 1:
        return GroupPath(served=None)
    for served in groups():
        if served.group == parts[1]:
            if len(parts) == 2:
                return GroupPath(served=served)
            if served.version == parts[2]:
                return _below(served, parts[3:])
    raise UnknownPath


def _below(served: Served, parts: list[str]) -> ResourcePath | ReviewPath | GroupPath:
    if not parts:
        return GroupPath(served=served, resources=True)
    namespace: str | None = None
    # `namespaces/x` is the namespace itself, `namespaces/x/status` its status.
    if parts[0] == "namespaces" and len(parts) > 2:
        inside = _resource(served, parts[2])
        if inside is not None and inside.namespaced:
            namespace, parts = parts[1], parts[2:]
    reviews = REVIEWS.get(served, {})
    if len(parts) == 1 and parts[0] in reviews:
        return ReviewPath(kind=reviews[parts[0]][1], served=served)
    resource = _resource(served, parts[0])
    if resource is None or len(parts) > 3:
        raise errors.no_such_resource()
    name = parts[1] if len(parts) > 1 else ""
    subresource = parts[2] if len(parts) > 2 else ""
    if subresource and subresource not in resource.subresources:
        raise errors.no_such_resource()
    if name and resource.namespaced and namespace is None:
        raise errors.no_such_resource()
    return ResourcePath(
        resource=resource, served=served, namespace=namespace, name=name, subresource=subresource
    )


def _resource(served: Served, name: str) -> Resource | None:
    resource = REGISTRY.resources.get(name)
    return resource if resource is not None and served in resource.served else None
