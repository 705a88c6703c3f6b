"""Which overrides of the configuration apply to one port of one Service."""

from collections.abc import Sequence

from nplb.model.cluster import Service, ServicePort
from nplb.model.settings import FrontendSettings

_FIELDS = ("listen", "balance", "timeouts", "connect_attempts", "relay", "plane", "kernel")


def overrides_for(
    frontends: Sequence[FrontendSettings], service: Service, port: ServicePort
) -> FrontendSettings:
    """All overrides that name this port, as one: an entry that names the port goes before one
    that names the whole Service, and an earlier entry before a later one."""
    matching = [f for f in frontends if _names(f, service, port)]
    matching.sort(key=lambda f: f.port is None)  # stable: file order within each kind
    merged = FrontendSettings(service=service.key.short)
    fields = {
        name: next((v for f in matching if (v := getattr(f, name)) is not None), None)
        for name in _FIELDS
    }
    return FrontendSettings(service=merged.service, **fields)


def _names(override: FrontendSettings, service: Service, port: ServicePort) -> bool:
    if override.service != service.key.short:
        return False
    if override.cluster is not None and override.cluster != service.key.cluster:
        return False
    return override.port is None or override.port in (port.name, str(port.port))
