"""Which resources are read and written, by which paths, and how errors name them."""

from dataclasses import dataclass
from urllib.parse import quote

from nplb.sources.book import Kind


@dataclass(frozen=True, slots=True, kw_only=True)
class Resource:
    """One resource of the API. `group` is empty for the core group."""

    kind: Kind
    plural: str
    group: str = ""
    version: str = "v1"
    namespaced: bool = True

    def path(self, namespace: str | None) -> str:
        """The path of a list or watch, of one namespace or (None) of all."""
        base = f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"
        within = f"/namespaces/{quote(namespace, safe='')}" if namespace is not None else ""
        return f"{base}{within}/{self.plural}"

    def __str__(self) -> str:
        """As kubectl and RBAC errors name it: `endpointslices.discovery.k8s.io`."""
        return f"{self.plural}.{self.group}" if self.group else self.plural


SERVICES = Resource(kind=Kind.SERVICE, plural="services")
NODES = Resource(kind=Kind.NODE, plural="nodes", namespaced=False)
ENDPOINT_SLICES = Resource(
    kind=Kind.ENDPOINT_SLICE, plural="endpointslices", group="discovery.k8s.io"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """One resource in one namespace (None: in all), by label selector (empty: all)."""

    resource: Resource
    namespace: str | None = None
    selector: str = ""

    @property
    def path(self) -> str:
        """The path of a list or watch."""
        return self.resource.path(self.namespace)

    def __str__(self) -> str:
        """`services in namespace shop`, `services in all namespaces`, `nodes`."""
        if not self.resource.namespaced:
            return str(self.resource)
        if self.namespace is None:
            return f"{self.resource} in all namespaces"
        return f"{self.resource} in namespace {self.namespace}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """One object to write, or a collection to create one in (`name` empty). `subresource` is a
    part of the object, such as its status."""

    plural: str
    group: str = ""
    namespace: str
    name: str = ""
    subresource: str = ""

    @property
    def path(self) -> str:
        """The object's or the collection's path."""
        base = f"/apis/{self.group}/v1" if self.group else "/api/v1"
        parts = ["namespaces", self.namespace, self.plural, self.name, self.subresource]
        return "/".join((base, *(quote(part, safe="") for part in parts if part)))

    @property
    def right(self) -> str:
        """The resource as RBAC names it, with the subresource: `services/status`."""
        return f"{self.plural}/{self.subresource}" if self.subresource else self.plural

    def __str__(self) -> str:
        group = f".{self.group}" if self.group else ""
        return f"{self.right}{group} in namespace {self.namespace}"


LEASE_GROUP = "coordination.k8s.io"

# What is written, as (verb, group, resource with subresource); deploy/rbac grants it.
STATUS_RIGHTS = (("patch", "", "services/status"),)
LEASE_RIGHTS = tuple((verb, LEASE_GROUP, "leases") for verb in ("get", "create", "update"))
EVENT_RIGHTS = (("create", "", "events"), ("patch", "", "events"))


def service_status(namespace: str, name: str) -> Target:
    """A Service's status."""
    return Target(plural="services", namespace=namespace, name=name, subresource="status")


def lease(namespace: str, name: str = "") -> Target:
    """A Lease, or where to create one."""
    return Target(plural="leases", group=LEASE_GROUP, namespace=namespace, name=name)


def event(namespace: str, name: str = "") -> Target:
    """An Event, or where to create one."""
    return Target(plural="events", namespace=namespace, name=name)


def scopes(namespaces: tuple[str, ...], service_selector: str) -> tuple[Scope, ...]:
    """What to read of a cluster: everything, or only some namespaces (and all Nodes, which
    belong to none). The selector is the server's work for Services."""
    within = tuple(dict.fromkeys(namespaces)) or (None,)
    return (
        Scope(resource=NODES),
        *(Scope(resource=SERVICES, namespace=name, selector=service_selector) for name in within),
        *(Scope(resource=ENDPOINT_SLICES, namespace=name) for name in within),
    )
