"""The kinds that the API server knows: their names, scope, verbs and served versions.

One table drives routes, discovery and `kubectl api-resources`.
"""

from dataclasses import dataclass, field

ALL_VERBS = (
    "create", "delete", "deletecollection", "get", "list", "patch", "update", "watch",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """One group and version in which a kind is served. The core group's name is empty."""

    group: str
    version: str

    @property
    def api_version(self) -> str:
        """As in an object's apiVersion."""
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def path(self) -> str:
        """The path below which its resources are served."""
        return f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"


CORE = Served(group="", version="v1")


@dataclass(frozen=True, slots=True, kw_only=True)
class Resource:
    """One kind. `served` begins with the version in which objects are stored."""

    name: str
    singular: str
    kind: str
    namespaced: bool = True
    served: tuple[Served, ...] = (CORE,)
    verbs: tuple[str, ...] = ALL_VERBS
    short_names: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    subresources: tuple[str, ...] = ()

    @property
    def group(self) -> str:
        """The group in which objects are stored."""
        return self.served[0].group

    @property
    def api_version(self) -> str:
        """The apiVersion in which objects are stored."""
        return self.served[0].api_version


@dataclass(frozen=True, slots=True, kw_only=True)
class Registry:
    """The table, by resource name."""

    resources: dict[str, Resource] = field(default_factory=dict)

    def groups(self) -> list[Served]:
        """Every group and version served, the core group first."""
        seen = {served: None for resource in self.resources.values() for served in resource.served}
        return sorted(seen, key=lambda served: (served.group, served.version))

    def in_group(self, served: Served) -> list[Resource]:
        """The resources served in one group and version, sorted by name."""
        found = [r for r in self.resources.values() if served in r.served]
        return sorted(found, key=lambda resource: resource.name)


def _table(*resources: Resource) -> Registry:
    return Registry(resources={resource.name: resource for resource in resources})


REGISTRY = _table(
    Resource(
        name="configmaps", singular="configmap", kind="ConfigMap", short_names=("cm",),
    ),
    Resource(
        name="endpoints", singular="endpoints", kind="Endpoints", short_names=("ep",),
    ),
    Resource(
        name="events", singular="event", kind="Event", short_names=("ev",),
        served=(CORE, Served(group="events.k8s.io", version="v1")),
    ),
    Resource(
        name="namespaces", singular="namespace", kind="Namespace", namespaced=False,
        short_names=("ns",), subresources=("status",),
        verbs=tuple(verb for verb in ALL_VERBS if verb != "deletecollection"),
    ),
    Resource(
        name="nodes", singular="node", kind="Node", namespaced=False, short_names=("no",),
        subresources=("status",),
    ),
    Resource(
        name="pods", singular="pod", kind="Pod", short_names=("po",), categories=("all",),
        subresources=("status",),
    ),
    Resource(
        name="services", singular="service", kind="Service", short_names=("svc",),
        categories=("all",), subresources=("status",),
    ),
    Resource(
        name="leases", singular="lease", kind="Lease",
        served=(Served(group="coordination.k8s.io", version="v1"),),
    ),
    Resource(
        name="endpointslices", singular="endpointslice", kind="EndpointSlice",
        served=(Served(group="discovery.k8s.io", version="v1"),),
    ),
)  # fmt: skip
