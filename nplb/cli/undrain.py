"""`nplb undrain`: put a drained node back."""

from pathlib import Path

import click

from nplb.cli.options import admin_option, optional_config_option


@click.command(short_help="Put a drained node back.")
@click.argument("node")
@click.option(
    "--cluster",
    default="",
    metavar="NAME",
    help="The node's cluster, if several have a node of that name.",
)
@admin_option
@optional_config_option
def command(node: str, cluster: str, admin: str | None, config: Path | None) -> None:
    """Put NODE back: it gets new connections as soon as probes prove that it works."""
    from nplb.cli.client import find_admin
    from nplb.cli.drain import undrain

    undrain(find_admin(admin, config), node, cluster)
    click.echo(f"{node} undrained")
