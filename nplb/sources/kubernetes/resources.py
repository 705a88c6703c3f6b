"""Which resources are read, by which paths, and how they are named in an error."""

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


def scopes(namespaces: tuple[str, ...], service_selector: str) -> tuple[Scope, ...]:
    """What to read of a cluster: everything, or only some namespaces (and all Nodes, which
    belong to none). The selector is the server's work for Services."""
    within = tuple(dict.fromkeys(namespaces)) or (None,)
    return (
        Scope(resource=NODES),
        *(Scope(resource=SERVICES, namespace=name, selector=service_selector) for name in within),
        *(Scope(resource=ENDPOINT_SLICES, namespace=name) for name in within),
    )
