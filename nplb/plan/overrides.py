"""Which overrides of the configuration apply to one port of one Service."""

from collections.abc import Iterable, Sequence
from dataclasses import fields, replace
from typing import Any

from nplb.model.cluster import Service, ServicePort
from nplb.model.relay import SOURCE_FIELDS, RelayOptions
from nplb.model.settings import FrontendSettings

_GROUPS = ("timeouts", "relay", "kernel", "health")
_FIELDS = ("listen", "balance", "connect_attempts", "plane", "prefer_pods", *_GROUPS)


def overrides_for(
    frontends: Sequence[FrontendSettings],
    service: Service,
    port: ServicePort,
    wish: FrontendSettings | None = None,
) -> FrontendSettings:
    """All overrides that name this port, as one: an entry that names the port goes before one
    that names the whole Service, and an earlier entry before a later one. What no entry sets is
    as the Service's annotations (`wish`) have it."""
    matching = [f for f in frontends if _names(f, service, port)]
    matching.sort(key=lambda f: f.port is None)  # stable: file order within each kind
    if wish is not None:
        matching = [_laid_over(entry, wish) for entry in matching] + [wish]
    merged: dict[str, Any] = {
        name: next((v for f in matching if (v := getattr(f, name)) is not None), None)
        for name in _FIELDS
    }
    return FrontendSettings(service=service.key.short, **merged)


def _laid_over(entry: FrontendSettings, wish: FrontendSettings) -> FrontendSettings:
    """The entry, with what it leaves out of its groups as the annotations have it."""
    changes: dict[str, Any] = {}
    for name in _GROUPS:
        base, group = getattr(wish, name), getattr(entry, name)
        if base is not None and group is not None:
            given = entry.given
            if not given.isdisjoint(SOURCE_FIELDS):
                # Of two lists the longer prefix decides, so a Service must not add one.
                given = given.union(SOURCE_FIELDS)
            own = {f.name: getattr(group, f.name) for f in fields(group) if f.name in given}
            changes[name] = replace(base, **own)
    return replace(entry, **changes)


def service_options(options: RelayOptions, service: Service) -> RelayOptions:
    """The options with what the Service itself asks for, where the file says nothing of it:
    `sessionAffinity: ClientIP` with its timeout, and `loadBalancerSourceRanges`."""
    changes: dict[str, Any] = {}
    if service.affinity_seconds is not None and not options.affinity_seconds:
        changes["affinity_seconds"] = service.affinity_seconds
    if service.source_ranges and not (options.source_ranges or options.source_ranges_file):
        changes["service_ranges"] = tuple(text.strip() for text in service.source_ranges)
    return replace(options, **changes) if changes else options


def unused_overrides(
    frontends: Sequence[FrontendSettings], services: Iterable[Service]
) -> tuple[FrontendSettings, ...]:
    """The overrides that name no port of these Services: most likely a slip of the pen."""
    left = list(frontends)
    for service in services if left else ():
        if service.uses_node_ports:
            left = [f for f in left if not any(_names(f, service, p) for p in service.ports)]
    return tuple(left)


def _names(override: FrontendSettings, service: Service, port: ServicePort) -> bool:
    if override.service != service.key.short:
        return False
    if override.cluster is not None and override.cluster != service.key.cluster:
        return False
    return override.port is None or override.port in (port.name, str(port.port))
