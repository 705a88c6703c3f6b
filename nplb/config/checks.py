"""What one key's value says about another's: the checks that need the whole configuration."""

import glob
from collections.abc import Callable, Sequence
from pathlib import Path

from nplb.alloc.portrange import parse_port_range
from nplb.config.connections import FrontendSection
from nplb.config.document import ClusterSection, EdgeSection
from nplb.config.errors import spelled
from nplb.config.health import FrontendHealthSection, HealthSection
from nplb.config.sections import Report, Sections
from nplb.config.values import show_duration
from nplb.config.words import did_you_mean, listed, shown
from nplb.model.health import ProbeKind
from nplb.model.keys import POOL, Address
from nplb.model.relay import SendProxy
from nplb.model.settings import EdgePort

_WILDCARDS = frozenset({"0.0.0.0", "::"})


def check_sections(sections: Sections, report: Report, warn: Report, base: Path) -> None:
    """Tell `report` of every contradiction, and `warn` of what looks unintended. Relative paths
    are looked up from `base`."""
    for index, cluster in sections.clusters.items():
        _check_source(index, cluster, report)
        _check_files(index, cluster, warn, base)
        _check_writes(index, cluster, sections.edge, report, warn)
    _check_names(sections.clusters, report)
    _check_pools(sections, report)
    _check_health(sections, report, warn)
    _check_frontends(sections, report, warn)
    _check_listens(sections, report)
    _check_admin(sections, report, warn)
    _check_tokens(sections.edge, warn, base)
    _check_tls(sections.edge, report)
    _check_options(sections, report, warn)
    for name in ("state_dir", "runtime_dir"):
        text = getattr(sections.edge, name)
        if text is not None:
            place = Path(absolute(text, base))
            if _seen(place.exists) and not _seen(place.is_dir):
                report((name,), f"{place} is not a directory, name one")


def absolute(path: str, base: Path) -> str:
    """A path of the file: `~` is the home directory, and relative ones start at `base`."""
    expanded = Path(path).expanduser() if path.startswith("~") else Path(path)
    return str(base / expanded)


def _check_source(index: int, cluster: ClusterSection, report: Report) -> None:
    given = [name for name in ("kubernetes", "manifests") if getattr(cluster, name) is not None]
    if len(given) == 2:
        report(("clusters", index), "has both kubernetes and manifests, remove one")
    elif not given:
        advice = "write kubernetes: {kubeconfig: PATH}, or manifests: [PATH]"
        report(("clusters", index), f"does not say where its state comes from, {advice}")


def _check_files(index: int, cluster: ClusterSection, warn: Report, base: Path) -> None:
    """Files are looked for again whenever they are needed, so a missing one is a warning."""
    if cluster.kubernetes is not None and cluster.kubernetes.kubeconfig is not None:
        place = Path(absolute(cluster.kubernetes.kubeconfig, base))
        if not _seen(place.is_file):
            what = "is not a file" if _seen(place.exists) else "does not exist"
            warn(
                ("clusters", index, "kubernetes", "kubeconfig"),
                f"{place} {what} (yet), correct the path or write it",
            )
    for number, pattern in enumerate(cluster.manifests or ()):
        path = ("clusters", index, "manifests", number)
        wanted = absolute(pattern, base)
        if not _seen(Path(wanted).exists) and not glob.glob(wanted, recursive=True):  # noqa: PTH207
            warn(path, f"{wanted} matches no file (yet), correct it or write one")


def _check_writes(
    index: int, cluster: ClusterSection, edge: EdgeSection, report: Report, warn: Report
) -> None:
    writes = cluster.writes
    path = ("clusters", index, "writes")
    if cluster.manifests is not None and (writes.status or writes.events):
        report(path, "manifests can't be written to, remove it or read the cluster's API")
        return
    if not writes.status:
        return
    wild = [ip for ip in edge.listen.addresses if ip in _WILDCARDS]
    if wild and not writes.advertise:
        what = f"listen.addresses has {wild[0]}, which is no address that clients could use"
        report((*path, "status"), f"{what}, write the addresses to advertise")
    if (edge.listen.load_balancer_port or edge.listen.port) is EdgePort.MIRROR:
        what = "clients look for a LoadBalancer Service at its own port, and it is at its NodePort"
        warn((*path, "status"), f"{what}, set listen.load_balancer_port: service")


def _check_names(clusters: dict[int, ClusterSection], report: Report) -> None:
    first: dict[str, int] = {}
    for index, cluster in clusters.items():
        if cluster.name in first:
            other = spelled(("clusters", first[cluster.name]))
            what = f"{other} is called {cluster.name} too, give each cluster a name of its own"
            report(("clusters", index, "name"), what)
        first.setdefault(cluster.name, index)


def _check_pools(sections: Sections, report: Report) -> None:
    """Members of clusters that there are, no Service in two pools, no two pools of one name."""
    names = [cluster.name for cluster in sections.clusters.values()]
    if sections.pools and POOL in names:
        index = next(i for i, c in sections.clusters.items() if c.name == POOL)
        what = f"{POOL} stands for pools in the names of frontends, call the cluster otherwise"
        report(("clusters", index, "name"), what)
    first: dict[object, int] = {}
    for index, pool in sections.pools.items():
        path = ("pools", index, "members")
        for number, member in enumerate(pool.members):
            if member.cluster is not None and member.cluster not in names and sections.whole:
                hint = f"configured: {listed(names)}"
                report((*path, number), f"there is no cluster {shown(member.cluster)}, {hint}")
            key = (member.cluster, member.service, member.port)
            if first.setdefault(key, index) != index:
                other = spelled(("pools", first[key]))
                report((*path, number), f"{other} has this service too, remove one")
        own = (pool.name, pool.listen[0].port)
        if first.setdefault(own, index) != index:
            what = f"{spelled(('pools', first[own]))} has this name and port too, choose another"
            report(("pools", index, "name"), what)


def _check_health(sections: Sections, report: Report, warn: Report) -> None:
    general = sections.edge.health
    if general.timeout >= general.interval:
        timeout, interval = show_duration(general.timeout), show_duration(general.interval)
        what = f"{timeout} is not shorter than health.interval ({interval})"
        report(("health", "timeout"), f"{what}, shorten it or lengthen the interval")
    _check_probe(("health",), general.probe, general, report, warn)
    for index, frontend in sections.frontends.items():
        own = frontend.health
        if own is None:
            continue
        path = ("frontends", index, "health")
        limit = general.timeout if own.timeout is None else own.timeout
        every = general.interval if own.interval is None else own.interval
        given = own.timeout is not None or own.interval is not None
        if given and limit >= every:
            what = f"timeout ({show_duration(limit)}) is not shorter than interval"
            advice = "shorten it or lengthen the interval"
            report(path, f"{what} ({show_duration(every)}), {advice}")
        kind = general.probe if own.probe is None else own.probe
        _check_probe(path, kind, own, report, warn, general)


def _check_probe(
    path: tuple[str | int, ...],
    kind: ProbeKind,
    section: HealthSection | FrontendHealthSection,
    report: Report,
    warn: Report,
    general: HealthSection | None = None,
) -> None:
    """Keys that a probe of this kind needs, and keys that it does not use."""
    chosen = section.probe is not None if general is not None else True
    if kind is ProbeKind.SEND_EXPECT:
        said = section.send or section.expect
        if general is not None:
            said = said or general.send or general.expect
        if chosen and not said:
            report(path, "probe: send_expect has nothing to send or expect, write one of the two")
    elif general is not None and (section.send is not None or section.expect is not None):
        warn(path, f"send and expect are for probe: send_expect, this probe is {kind}")
    asked = section.http if general is not None else None
    if asked is not None and kind not in (ProbeKind.HTTP, ProbeKind.HTTPS):
        warn((*path, "http"), f"is for probe: http or https, this probe is {kind}")
    secured = section.tls if general is not None else None
    if secured is not None and kind not in (ProbeKind.TLS, ProbeKind.HTTPS):
        warn((*path, "tls"), f"is for probe: https or tls, this probe is {kind}")


def _check_frontends(sections: Sections, report: Report, warn: Report) -> None:
    names = [cluster.name for cluster in sections.clusters.values()]
    first: dict[object, int] = {}
    for index, frontend in sections.frontends.items():
        path = ("frontends", index, "service")
        wanted = frontend.service[0]
        if frontend.service in first:
            other = spelled(("frontends", first[frontend.service]))
            report(path, f"{other} is for this service too, merge the two entries")
        first.setdefault(frontend.service, index)
        pools = [pool.name for pool in sections.pools.values()]
        if wanted == POOL and frontend.service[1] in pools:
            continue
        if wanted is not None and wanted not in names:
            if sections.whole:
                guess = did_you_mean(wanted, names)
                hint = f'did you mean "{guess}"?' if guess else f"configured: {listed(names)}"
                report(path, f"there is no cluster {shown(wanted)}, {hint}")
        elif sections.whole and not _is_served(frontend, sections):
            namespace = frontend.service[1].partition("/")[0]
            warn(path, f"no cluster serves the namespace {namespace}, so this never applies")


def _is_served(frontend: FrontendSection, sections: Sections) -> bool:
    cluster, name, _ = frontend.service
    namespace = name.partition("/")[0]
    return any(
        c.namespaces is None or namespace in c.namespaces
        for c in sections.clusters.values()
        if cluster in (None, c.name)
    )


def _check_listens(sections: Sections, report: Report) -> None:
    """The same address and port twice. A wildcard and a single address may share a port: the
    single address goes first."""
    first: dict[Address, tuple[str, int]] = {}
    entries = [("frontends", index, one.listen) for index, one in sections.frontends.items()]
    entries += [("pools", index, one.listen) for index, one in sections.pools.items()]
    for name, index, listen in entries:
        for number, address in enumerate(listen or ()):
            if address in first:
                other = spelled(first[address])
                what = f"{other} listens on {address} too, choose another address or port"
                report((name, index, "listen", number), what)
            first.setdefault(address, (name, index))


def _check_admin(sections: Sections, report: Report, warn: Report) -> None:
    admin = sections.edge.admin.listen
    if admin is None or not admin.port:
        return
    for index, frontend in sections.frontends.items():
        for number, address in enumerate(frontend.listen or ()):
            if _overlap(admin, address):
                what = f"{address} is where the admin server listens ({admin})"
                path = ("frontends", index, "listen", number)
                report(path, f"{what}, choose another, or change admin.listen")
    listen = sections.edge.listen
    if listen.port is not EdgePort.MIRROR or not _overlap_any(admin, listen.addresses):
        return
    for cluster in sections.clusters.values():
        if admin.port in parse_port_range(cluster.port_range):
            what = f"port {admin.port} is in the NodePort range of {cluster.name}"
            advice = "a Service that gets it can't be served here: choose another"
            warn(("admin", "listen"), f"{what}, {advice}")


def _check_tokens(edge: EdgeSection, warn: Report, base: Path) -> None:
    """Token files are looked for again whenever they are needed, so a missing one is a warning."""
    for name in ("token_file", "read_token_file"):
        path = getattr(edge.admin, name)
        if path is not None and not _seen(Path(absolute(path, base)).is_file):
            what = f"{absolute(path, base)} is not a file (yet)"
            warn(("admin", name), f"{what}, correct the path or write one token a line into it")


def _check_tls(edge: EdgeSection, report: Report) -> None:
    tls = edge.admin.tls
    if tls is None:
        return
    for name in ("cert", "key"):
        if getattr(tls, name) is None:
            what = f"admin.tls.{name} is missing, TLS needs a certificate and its key"
            report(("admin", "tls"), what, at_key=True)


def _check_options(sections: Sections, report: Report, warn: Report) -> None:
    """Keys that do nothing without another one."""
    edge = sections.edge
    if edge.proxy_tlvs and edge.send_proxy is not SendProxy.V2:
        report(("proxy_tlvs",), "only version 2 has TLVs, set send_proxy: v2 or remove it")
    if edge.limits.queue and not edge.limits.per_backend:
        warn(("limits", "queue"), "nobody waits unless limits.per_backend is set")
    for index, frontend in sections.frontends.items():
        sent = edge.send_proxy if frontend.send_proxy is None else frontend.send_proxy
        if frontend.proxy_tlvs and sent is not SendProxy.V2:
            what = "only version 2 has TLVs, set send_proxy: v2 or remove it"
            report(("frontends", index, "proxy_tlvs"), what)
        limits = frontend.limits
        if (
            limits is not None
            and limits.queue
            and not (limits.per_backend or edge.limits.per_backend)
        ):
            path = ("frontends", index, "limits", "queue")
            warn(path, "nobody waits unless limits.per_backend is set")


def _overlap(one: Address, other: Address) -> bool:
    """Whether two sockets would claim the same port."""
    return one.port == other.port and _overlap_any(one, [other.ip])


def _overlap_any(one: Address, ips: Sequence[str]) -> bool:
    family = ":" in one.ip
    return any(
        ip == one.ip or ((":" in ip) == family and (ip in _WILDCARDS or one.ip in _WILDCARDS))
        for ip in ips
    )


def _seen(look: Callable[[], bool]) -> bool:
    """Whether it is so, as far as can be seen: in a directory that is closed to us, or by a name
    that is too long, nothing can."""
    try:
        return look()
    except OSError:
        return False
