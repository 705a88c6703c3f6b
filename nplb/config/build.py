"""Makes Settings of sections that have passed every check."""

from collections.abc import Mapping
from pathlib import Path

from nplb.config.checks import absolute
from nplb.config.cpus import usable_cpus
from nplb.config.document import ClusterSection, EdgeSection, FrontendSection
from nplb.config.sections import Sections
from nplb.model.plan import Timeouts
from nplb.model.settings import (
    AdminSettings,
    ClusterSettings,
    FrontendSettings,
    HealthSettings,
    KubernetesSource,
    ListenSettings,
    LogSettings,
    ManifestsSource,
    Settings,
    ShutdownSettings,
)


def build_settings(sections: Sections, base: Path, env: Mapping[str, str]) -> Settings:
    """The settings that these sections mean, with relative paths starting at `base`."""
    edge = sections.edge
    timeouts = Timeouts(
        connect=edge.timeouts.connect,
        idle=edge.timeouts.idle,
        half_closed=edge.timeouts.half_closed,
    )
    return Settings(
        clusters=tuple(_cluster(section, base) for section in sections.clusters.values()),
        listen=ListenSettings(addresses=tuple(edge.listen.addresses), port=edge.listen.port),
        frontends=tuple(_frontend(section, timeouts) for section in sections.frontends.values()),
        balance=edge.balance,
        timeouts=timeouts,
        connect_attempts=edge.connect_attempts,
        health=HealthSettings(
            enabled=edge.health.enabled,
            interval_seconds=edge.health.interval,
            timeout_seconds=edge.health.timeout,
            rise=edge.health.rise,
            fall=edge.health.fall,
            jitter=edge.health.jitter,
            initial=edge.health.initial,
        ),
        plane=edge.plane,
        workers=usable_cpus() if edge.workers is None else edge.workers,
        admin=AdminSettings(listen=edge.admin.listen),
        log=LogSettings(level=str(edge.log.level), format=str(edge.log.format)),
        shutdown=ShutdownSettings(
            delay_seconds=edge.shutdown.delay, drain_seconds=edge.shutdown.drain
        ),
        state_dir=_state_dir(edge, base, env),
    )


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
        port_range=section.port_range,
        load_balancer_class=section.load_balancer_class,
    )


def _frontend(section: FrontendSection, general: Timeouts) -> FrontendSettings:
    cluster, service, port = section.service
    own = section.timeouts
    timeouts = None
    if own is not None:
        timeouts = Timeouts(
            connect=general.connect if own.connect is None else own.connect,
            idle=general.idle if own.idle is None else own.idle,
            half_closed=general.half_closed if own.half_closed is None else own.half_closed,
        )
    return FrontendSettings(
        service=service,
        cluster=cluster,
        port=port,
        listen=None if section.listen is None else tuple(section.listen),
        balance=section.balance,
        timeouts=timeouts,
        connect_attempts=section.connect_attempts,
    )


def _state_dir(edge: EdgeSection, base: Path, env: Mapping[str, str]) -> Path | None:
    if edge.state_dir is not None:
        return Path(absolute(edge.state_dir, base))
    # systemd lists several directories with colons; the first one is ours.
    first = env.get("STATE_DIRECTORY", "").partition(":")[0]
    return Path(first) if first else None
