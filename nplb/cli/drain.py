"""`nplb drain`: take a node out by hand."""

import getpass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import click

from nplb.cli.options import admin_option, optional_config_option
from nplb.model.errors import NplbError

PATH = "/api/v1/drains"


@click.command(short_help="Take a node out by hand.")
@click.argument("node")
@click.option("--why", default="", metavar="TEXT", help="The reason, for whoever asks later.")
@click.option(
    "--cluster",
    default="",
    metavar="NAME",
    help="The node's cluster, if several have a node of that name.",
)
@admin_option
@optional_config_option
def command(node: str, why: str, cluster: str, admin: str | None, config: Path | None) -> None:
    """Take NODE out: it gets no new connection, and the old ones live on as `on_leave` says.

    It stays out until `nplb undrain NODE`, also over restarts. `nplb status` shows who is
    drained, by whom and why.
    """
    from nplb.cli.client import ask, find_admin

    url = find_admin(admin, config)
    body = {
        "node": node,
        "cluster": find_cluster(url, node, cluster),
        "why": why,
        "who": who(),
    }
    ask(url, "POST", PATH, body=body)
    click.echo(f"{node} drained")


def undrain(url: str, node: str, cluster: str) -> None:
    """Put a node back. Raises NplbError if it is not drained."""
    from nplb.cli.client import ask

    cluster = find_cluster(url, node, cluster)
    ask(url, "DELETE", f"{PATH}/{quote(cluster, safe='')}/{quote(node, safe='')}")


def find_cluster(url: str, node: str, cluster: str) -> str:
    """The cluster that a node is of: the one named, or the one that has it, or the only one.
    Raises NplbError, saying which there are, when that is not plain."""
    from nplb.cli.client import get_status

    status: dict[str, Any] = get_status(url)
    clusters = sorted(source["cluster"] for source in status["sources"])
    if cluster:
        if cluster not in clusters:
            raise NplbError(f"there is no cluster {cluster!r}; there are {', '.join(clusters)}")
        return cluster
    having = {
        frontend["key"]["service"]["cluster"]
        for frontend in status["plan"]["frontends"]
        for backend in frontend["backends"]
        if backend["key"]["node"] == node
    } | {drain["cluster"] for drain in status["drains"] if drain["node"] == node}
    if len(having) == 1:
        return str(having.pop())
    if having:
        raise NplbError(f"{', '.join(sorted(having))} have a node {node!r}: name one by --cluster")
    if len(clusters) == 1:
        nodes = sorted(
            {
                backend["key"]["node"]
                for frontend in status["plan"]["frontends"]
                for backend in frontend["backends"]
            }
        )
        if nodes:
            shown = ", ".join(nodes[:10]) + (", …" if len(nodes) > 10 else "")
            raise NplbError(
                f"no service has a node {node!r}; there are {shown}. To drain one that is yet "
                "to come, name its cluster by --cluster"
            )
    raise NplbError(f"no cluster has a node {node!r}: name the cluster by --cluster")


def who() -> str:
    """Whoever runs this command, as far as the system knows."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return ""
