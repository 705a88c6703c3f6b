"""`nplb status`: what runs now, for scripts (-o json) and for eyes."""

from pathlib import Path
from typing import Any

import click

from nplb.cli.options import admin_option, optional_config_option, output_option
from nplb.cli.services import find_service, service_argument


@click.command(short_help="Show what runs now.")
@service_argument(required=False)
@click.option("-v", "--verbose", is_flag=True, help="Show every node, not only those left out.")
@admin_option
@optional_config_option
@output_option()
def command(
    service: str | None, verbose: bool, admin: str | None, config: Path | None, output: str
) -> None:
    """Show what runs now: each frontend, and each node that gets no new connection, with the
    reason and since when. SERVICE (name, namespace/name or cluster/namespace/name) shows one
    service and all its nodes.
    """
    from nplb.cli.client import find_admin, get_status

    document = get_status(find_admin(admin, config))
    if service is not None:
        _keep_only(document, find_service(document, service))
    if output == "text":
        click.echo(render_text(document, verbose=verbose or service is not None))
    else:
        from nplb.cli.output import print_document

        print_document(document, output)


def _keep_only(document: dict[str, Any], service: str) -> None:
    plan = document["plan"]
    for name in ("frontends", "skipped"):
        plan[name] = [entry for entry in plan[name] if entry["key"]["service"]["text"] == service]


def render_text(document: dict[str, Any], *, verbose: bool) -> str:
    """A status as text: paragraphs, of which those with nothing to say are absent."""
    from nplb.cli import views

    paragraphs = [
        "\n".join([views.headline(document), *views.complaints(document)]),
        views.sources_table(document),
        views.frontends_table(document, verbose=verbose),
        views.skipped_table(document),
        views.findings_table(document),
    ]
    return "\n\n".join(paragraph for paragraph in paragraphs if paragraph)
