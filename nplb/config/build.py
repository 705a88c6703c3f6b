"""Makes Settings of sections that have passed every check."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from nplb.config.checks import absolute
from nplb.config.connections import FrontendSection
from nplb.config.cpus import usable_cpus
from nplb.config.document import ClusterSection, EdgeSection
from nplb.config.health import CHECK_KEYS, HEALTH_KEYS
from nplb.config.sections import Sections
from nplb.model.health import BlastRadius, Check, HealthSettings, SharingSettings
from nplb.model.kernel import KernelOptions
from nplb.model.plan import Timeouts
from nplb.model.prefixes import PrefixFile
from nplb.model.relay import RelayOptions
from nplb.model.settings import (
    AdminSettings,
    AdminTls,
    AnnotationSettings,
    ClusterSettings,
    FrontendSettings,
    KubernetesSource,
    ListenSettings,
    LogSettings,
    ManifestsSource,
    PoolSettings,
    Settings,
    ShutdownSettings,
    WriteSettings,
)

# Where the keys of a frontend's options stand in the file.
_OPTIONS: dict[str, tuple[str, ...]] = {
    "lifetime_seconds": ("timeouts", "lifetime"),
    "no_backend": ("no_backend",),
    "hold_seconds": ("timeouts", "hold"),
    "max_connections": ("limits", "connections"),
    "max_connections_per_backend": ("limits", "per_backend"),
    "max_queue": ("limits", "queue"),
    "queue_seconds": ("timeouts", "queue"),
    "max_connections_per_client": ("limits", "per_client"),
    "client_rate": ("limits", "per_client_rate"),
    "source_ranges": ("source_ranges",),
    "source_ranges_file": ("source_ranges_file",),
    "denied_ranges": ("denied_ranges",),
    "denied_ranges_file": ("denied_ranges_file",),
    "send_proxy": ("send_proxy",),
    "proxy_tlvs": ("proxy_tlvs",),
    "accept_proxy_from": ("accept_proxy_from",),
    "source_addresses": ("source_addresses",),
    "affinity_seconds": ("affinity",),
    "slow_start_seconds": ("slow_start",),
    "spill_below": ("spill_below",),
    "on_leave": ("on_leave",),
    "drain_seconds": ("timeouts", "drain"),
    "reset_on_down": ("reset_on_down",),
    "keepalive_seconds": ("timeouts", "keepalive"),
    "user_timeout_seconds": ("timeouts", "user"),
    "access_log": ("access_log",),
}
_TIMEOUTS: dict[str, tuple[str, ...]] = {
    name: ("timeouts", name) for name in ("connect", "idle", "half_closed")
}
_KERNEL: dict[str, tuple[str, ...]] = {
    name: ("kernel", name) for name in ("masquerade", "end_on_down", "refusal", "fast_path")
}
_HEALTH = {field: ("health", *path) for field, path in HEALTH_KEYS.items()}
_CHECK = {field: ("health", *path) for field, path in CHECK_KEYS.items()}
V = TypeVar("V", Timeouts, RelayOptions, KernelOptions, HealthSettings, Check)


def build_settings(sections: Sections, base: Path, env: Mapping[str, str]) -> Settings:
    """The settings that these sections mean, with relative paths starting at `base`."""
    edge = sections.edge
    timeouts = _laid_over(Timeouts(), [edge], _TIMEOUTS)
    options = _laid_over(RelayOptions(), [edge], _OPTIONS)
    kernel = _laid_over(KernelOptions(), [edge], _KERNEL)
    health = _health(HealthSettings(), [edge])
    frontends = list(sections.frontends.values())
    of_services: dict[str, list[FrontendSection]] = {}
    for one in frontends:
        if one.service[2] is None:
            of_services.setdefault(one.service[1], []).append(one)
    return Settings(
        clusters=tuple(_cluster(section, base) for section in sections.clusters.values()),
        listen=ListenSettings(
            addresses=tuple(edge.listen.addresses),
            port=edge.listen.port,
            load_balancer_port=edge.listen.load_balancer_port,
        ),
        pools=tuple(
            PoolSettings(name=one.name, listen=tuple(one.listen), members=tuple(one.members))
            for one in sections.pools.values()
        ),
        frontends=tuple(
            build_frontend(one, of_services, timeouts, options, kernel, health) for one in frontends
        ),
        annotations=AnnotationSettings(
            allow=tuple(edge.annotations.allow), ports=tuple(edge.annotations.ports)
        ),
        balance=edge.balance,
        timeouts=timeouts,
        connect_attempts=edge.connect_attempts,
        relay=options,
        max_connections=edge.limits.total,
        frontends_per_namespace=edge.limits.frontends_per_namespace,
        health=health,
        sharing=SharingSettings(mode=edge.health.share, budget=edge.health.budget),
        blast_radius=BlastRadius(
            share=edge.health.blast_radius.share,
            window_seconds=edge.health.blast_radius.window,
        ),
        prefer_pods=edge.prefer_pods,
        nodes_per_service=edge.nodes_per_service,
        plane=edge.plane,
        kernel=kernel,
        workers=usable_cpus() if edge.workers is None else edge.workers,
        zone=edge.zone or "",
        admin=AdminSettings(
            listen=edge.admin.listen,
            hosts=tuple(edge.admin.hosts or ()),
            token_file=_path(edge.admin.token_file, base),
            read_token_file=_path(edge.admin.read_token_file, base),
            anonymous_read=edge.admin.anonymous_read,
            tls=_admin_tls(edge, base),
        ),
        log=LogSettings(
            level=str(edge.log.level),
            format=str(edge.log.format),
            access_file=_path(edge.log.access_file, base),
        ),
        shutdown=ShutdownSettings(
            delay_seconds=edge.shutdown.delay, drain_seconds=edge.shutdown.drain
        ),
        state_dir=_directory(edge.state_dir, "STATE_DIRECTORY", base, env),
        runtime_dir=_directory(edge.runtime_dir, "RUNTIME_DIRECTORY", base, env),
        orphan_seconds=edge.orphan_timeout,
        watch_config=edge.watch_config,
    )


def _laid_over(base: V, chain: Sequence[object], keys: Mapping[str, tuple[str, ...]]) -> V:
    """The base with every field that a section gives; of several, the first one counts."""
    changes: dict[str, Any] = {}
    for field, path in keys.items():
        given = [value for one in chain if (value := _given(one, path)) is not None]
        if given:
            kind = type(getattr(base, field))
            changes[field] = given[0] if isinstance(given[0], PrefixFile) else kind(given[0])
    return replace(base, **changes)


def _health(base: HealthSettings, chain: Sequence[object]) -> HealthSettings:
    health = _laid_over(base, chain, _HEALTH)
    return replace(health, check=_laid_over(base.check, chain, _CHECK))


def _given(section: object, path: Sequence[str]) -> Any:
    """The value of a key, None if it is absent."""
    for name in path:
        section = getattr(section, name)
        if section is None:
            return None
    return section


def _cluster(section: ClusterSection, base: Path) -> ClusterSettings:
    source: KubernetesSource | ManifestsSource
    if section.kubernetes is not None:
        kubeconfig = section.kubernetes.kubeconfig
        source = KubernetesSource(
            kubeconfig=None if kubeconfig is None else Path(absolute(kubeconfig, base)),
            context=section.kubernetes.context,
        )
    else:
        paths = section.manifests or ()
        source = ManifestsSource(paths=tuple(absolute(path, base) for path in paths))
    return ClusterSettings(
        name=section.name,
        source=source,
        namespaces=tuple(section.namespaces or ()),
        service_selector=section.service_selector,
        node_selector=section.node_selector,
        node_address=tuple(str(kind) for kind in section.node_address),
        node_networks=tuple(section.node_networks),
        port_range=section.port_range,
        load_balancer_class=section.load_balancer_class,
        load_balancer_unclassed=section.load_balancer_unclassed,
        writes=WriteSettings(
            status=section.writes.status,
            events=section.writes.events,
            advertise=tuple(section.writes.advertise or ()),
            on_stop=section.writes.on_stop,
            lease_namespace=section.writes.lease_namespace,
            lease_name=section.writes.lease_name or "",
        ),
    )


def build_frontend(
    section: FrontendSection,
    of_services: Mapping[str, Sequence[FrontendSection]],
    timeouts: Timeouts,
    options: RelayOptions,
    kernel: KernelOptions,
    health: HealthSettings,
) -> FrontendSettings:
    """An override. What it leaves out of a group (deadlines, options) is as in the entry for the
    whole Service (`of_services`, by name), or else as it is in general."""
    cluster, service, port = section.service
    others = of_services.get(service, ()) if port is not None else ()
    whole = [other for other in others if other.service[0] in (None, cluster)]
    chain = [section, *whole]
    return FrontendSettings(
        service=service,
        cluster=cluster,
        port=port,
        listen=None if section.listen is None else tuple(section.listen),
        balance=section.balance,
        timeouts=_laid_over(timeouts, chain, _TIMEOUTS) if _gives(section, _TIMEOUTS) else None,
        connect_attempts=section.connect_attempts,
        relay=_laid_over(options, chain, _OPTIONS) if _gives(section, _OPTIONS) else None,
        plane=section.plane,
        kernel=_laid_over(kernel, chain, _KERNEL) if _gives(section, _KERNEL) else None,
        health=_health(health, chain) if section.health is not None else None,
        prefer_pods=section.prefer_pods,
        given=frozenset(
            field
            for keys in (_TIMEOUTS, _OPTIONS, _KERNEL, _HEALTH)
            for field, path in keys.items()
            if any(_given(one, path) is not None for one in chain)
        )
        | ({"check"} if any(_gives(one, _CHECK) for one in chain) else frozenset()),
    )


def _gives(section: object, keys: Mapping[str, tuple[str, ...]]) -> bool:
    return any(_given(section, path) is not None for path in keys.values())


def _admin_tls(edge: EdgeSection, base: Path) -> AdminTls | None:
    tls = edge.admin.tls
    if tls is None or tls.cert is None or tls.key is None:
        return None
    return AdminTls(
        cert=Path(absolute(tls.cert, base)),
        key=Path(absolute(tls.key, base)),
        client_ca=_path(tls.client_ca, base),
    )


def _path(text: str | None, base: Path) -> Path | None:
    return None if text is None else Path(absolute(text, base))


def _directory(text: str | None, variable: str, base: Path, env: Mapping[str, str]) -> Path | None:
    if text is not None:
        return Path(absolute(text, base))
    # systemd lists several directories with colons; the first one is ours.
    first = env.get(variable, "").partition(":")[0]
    return Path(first) if first else None
