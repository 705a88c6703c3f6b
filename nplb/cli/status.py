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
    whole = ""
    if service is not None:
        whole = find_service(document, service)
        keep_only(document, whole)
    if output == "text":
        click.echo(render_text(document, verbose=verbose or bool(whole), service=whole))
    else:
        from nplb.cli.output import print_document

        print_document(document, output)


def keep_only(document: dict[str, Any], service: str) -> None:
    """Narrow a status to one service: its frontends, with their traffic, probes, verdicts and
    decisions. What is of the whole edge (workers, sources, findings, ledgers) stays."""
    plan, traffic = document["plan"], document["traffic"]
    for name in ("frontends", "skipped"):
        plan[name] = [entry for entry in plan[name] if entry["key"]["service"]["text"] == service]
    keys = {entry["key"]["text"] for entry in (*plan["frontends"], *plan["skipped"])}
    backends = [backend["key"] for entry in plan["frontends"] for backend in entry["backends"]]
    addresses = {key["address"]["text"] for key in backends}
    plan["probes"] = [one for one in plan["probes"] if one["address"]["text"] in addresses]
    document["verdicts"] = _of(document["verdicts"], addresses)
    document["decisions"] = [one for one in document["decisions"] if one["service"] == service]
    traffic["frontends"] = _of(traffic["frontends"], keys)
    traffic["backends"] = _of(traffic["backends"], {key["text"] for key in backends})
    if document["applied"] is not None:
        document["applied"]["listen_errors"] = _of(document["applied"]["listen_errors"], keys)


def _of(mapping: dict[str, Any], keys: set[str]) -> dict[str, Any]:
    return {key: value for key, value in mapping.items() if key in keys}


def render_text(document: dict[str, Any], *, verbose: bool, service: str = "") -> str:
    """A status as text: paragraphs, of which those with nothing to say are absent. `service` is
    the one that it has been narrowed to."""
    from nplb.cli import views

    paragraphs = [
        "\n".join([views.headline(document, service=service), *views.complaints(document)]),
        views.sources_table(document),
        views.frontends_table(document, verbose=verbose),
        views.detection_line(document),
        views.skipped_table(document),
        views.findings_table(document),
    ]
    return "\n\n".join(paragraph for paragraph in paragraphs if paragraph)
