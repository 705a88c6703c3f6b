"""Where `nplb ports` has its ledgers from: the running nplb, a cluster itself, or files."""

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from nplb.cli.options import F, admin_option, optional_config_option
from nplb.model.errors import HostError, NplbError

if TYPE_CHECKING:
    from nplb.alloc.ledger import Ledger
    from nplb.lab.portread import ReadCluster
    from nplb.model.settings import ClusterSettings

DEFAULT_RANGE = "30000-32767"


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """Which clusters the command line means."""

    kubeconfig: Path | None = None
    context: str | None = None
    manifests: tuple[str, ...] = ()
    cluster: str | None = None
    port_range: str | None = None
    admin: str | None = None
    config: Path | None = None
    timeout_seconds: float = 30.0

    @property
    def directly(self) -> bool:
        """Whether a cluster or files are named, so that no running nplb is asked."""
        return bool(self.kubeconfig or self.context or self.manifests)

    def over(self, other: "Asked | None") -> "Asked":
        """These, and those of `other` (the group's) where nothing is said here."""
        if other is None:
            return self
        names = ("kubeconfig", "context", "manifests", "cluster", "port_range", "admin", "config")
        return Asked(
            **{name: getattr(self, name) or getattr(other, name) for name in names},
            timeout_seconds=self.timeout_seconds,
        )


def source_options(command: F) -> F:
    """The options that name a source; the command gets them one by one, see `asked_of`."""
    options: list[Callable[[F], F]] = [
        click.option(
            "--kubeconfig",
            metavar="PATH",
            type=click.Path(path_type=Path),
            help="Read the cluster of this kubeconfig itself, instead of asking a running nplb.",
        ),
        click.option("--context", metavar="NAME", help="The kubeconfig's context to read."),
        click.option(
            "--manifests",
            multiple=True,
            metavar="PATH",
            help="Take these files for the cluster: Services with their nodePorts. Repeatable.",
        ),
        click.option("--cluster", metavar="NAME", help="One cluster alone, of several."),
        click.option(
            "--range",
            "port_range",
            metavar="RANGE",
            help="The cluster's --service-node-port-range, for --kubeconfig and --manifests.  "
            f"[default: {DEFAULT_RANGE}]",
        ),
        admin_option,
        optional_config_option,
    ]
    for option in reversed(options):
        command = option(command)
    return command


def asked_of(ctx: click.Context, options: dict[str, Any]) -> Asked:
    """What a command's own options and its group's name. Raises UsageError for two sources."""
    fields = {name: options[name] for name in Asked.__dataclass_fields__ if name in options}
    asked = Asked(**{name: value for name, value in fields.items() if value})
    asked = asked.over(ctx.obj if isinstance(ctx.obj, Asked) else None)
    if asked.manifests and (asked.kubeconfig or asked.context):
        raise click.UsageError("--manifests takes files for the cluster: leave --kubeconfig out")
    if asked.port_range and not asked.directly:
        raise click.UsageError("--range goes with --kubeconfig, --context or --manifests")
    return asked


def read_page(asked: Asked) -> dict[str, Any]:
    """The ledgers as a document: those of the running nplb, or of what is named.

    Errors: NplbError that says what to do.
    """
    if asked.directly:
        clusters = read_clusters(asked)
        page = _page_of([one.ledger for one in clusters])
        page["notes"] = [note for one in clusters for note in one.notes]
    else:
        from nplb.cli.client import find_admin, get_json

        url = find_admin(asked.admin, asked.config)
        try:
            page = get_json(url, "/api/v1/ports")
            if not isinstance(page, dict) or "ledgers" not in page:
                raise HostError(
                    f"{url} answers, but not as nplb does: is it another program's port?"
                )
        except HostError as error:
            raise HostError(
                f"{error}; or read a cluster itself: --kubeconfig PATH, or --manifests PATH"
            ) from None
    if asked.cluster is not None:
        known = [one["cluster"] for one in page["ledgers"]]
        page["ledgers"] = [one for one in page["ledgers"] if one["cluster"] == asked.cluster]
        if not page["ledgers"]:
            raise NplbError(f"no cluster {asked.cluster}: there are {', '.join(known) or 'none'}")
    if not page["ledgers"]:
        raise NplbError("no cluster has been read yet: `nplb status` says why")
    return page


def read_one(asked: Asked) -> "ReadCluster":
    """The one cluster that is meant: named by options, or by the configuration, or the
    kubeconfig's current one.

    Errors: NplbError that says what to do.
    """
    clusters = read_clusters(asked)
    if len(clusters) > 1:
        names = ", ".join(one.ledger.cluster for one in clusters)
        raise click.UsageError(f"the configuration has several clusters: --cluster one of {names}")
    return clusters[0]


def read_clusters(asked: Asked) -> list["ReadCluster"]:
    """Read clusters now, each whole: also what the configuration leaves out is a Service that
    holds numbers."""
    settings, state_dir = _settings(asked)
    if asked.cluster is not None and len(settings) > 1:
        known = ", ".join(one.name for one in settings)
        settings = [one for one in settings if one.name == asked.cluster]
        if not settings:
            raise NplbError(f"no cluster {asked.cluster}: there are {known}")
    return asyncio.run(_read_all(settings, state_dir, asked))


def _settings(asked: Asked) -> tuple[list["ClusterSettings"], Path | None]:
    from nplb.cli.options import DEFAULT_CONFIG
    from nplb.model.settings import ClusterSettings, KubernetesSource, ManifestsSource

    config = asked.config or (DEFAULT_CONFIG if DEFAULT_CONFIG.exists() else None)
    if not asked.directly and config is not None:
        from nplb.config import load_settings

        settings = load_settings(config)
        return list(settings.clusters), settings.state_dir
    source: KubernetesSource | ManifestsSource
    if asked.manifests:
        source, name = ManifestsSource(paths=asked.manifests), "manifests"
    else:
        source = KubernetesSource(kubeconfig=asked.kubeconfig, context=asked.context)
        name = asked.context or "cluster"
    return [
        ClusterSettings(
            name=asked.cluster or name, source=source, port_range=asked.port_range or DEFAULT_RANGE
        )
    ], None


async def _read_all(
    settings: Sequence["ClusterSettings"], state_dir: Path | None, asked: Asked
) -> list["ReadCluster"]:
    from nplb.lab.portread import read_cluster

    return [
        await read_cluster(one, state_dir, timeout_seconds=asked.timeout_seconds)
        for one in settings
    ]


def _page_of(ledgers: Sequence["Ledger"]) -> dict[str, Any]:
    from nplb.model.ledger import EdgeLedgerView
    from nplb.web.details import ports_page

    views = [ledger.view for ledger in ledgers if ledger.view is not None]
    page: dict[str, Any] = ports_page(views, EdgeLedgerView(), time.time())
    return page
