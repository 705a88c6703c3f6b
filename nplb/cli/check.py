"""`nplb check`: everything that is wrong with a configuration, at once."""

import re
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from nplb.cli.options import config_or_file, output_option, set_option
from nplb.model.errors import ConfigurationError, HostPermissionError, NplbError

if TYPE_CHECKING:
    from nplb.model.settings import Settings

_FILES = re.compile(r"\.kubeconfig$|\.manifests\b")


@click.command(short_help="Validate the configuration: all errors at once.")
@config_or_file
@click.option(
    "--file-only",
    is_flag=True,
    help="Look at the file alone: not at kubeconfigs, manifests and this host.",
)
@set_option
@output_option()
def command(file_only: bool, config: Path, overrides: dict[str, str], output: str) -> None:
    """Validate the configuration, FILE or that of --config: all errors at once, each with
    file:line:column, the key, what is wrong and what to do. Nothing is started and no API
    server is asked.

    Kubeconfigs, manifests and this host are looked at once the file itself is right.

    Exits with 0 if it can be run (warnings and notes may be told), 78 if it is wrong, 77 if it
    may not be read, or if this host lacks what it can't be started without.
    """
    result = _check(config, overrides, file_only=file_only)
    if output == "text":
        _print_text(result)
    else:
        from nplb.cli.output import print_document

        print_document(result, output)
    if not result["valid"]:
        raise SystemExit(ConfigurationError.exit_code)
    if any(note["needed"] for note in result["host"]):
        raise SystemExit(HostPermissionError.exit_code)


def _check(config: Path, overrides: dict[str, str], *, file_only: bool) -> dict[str, Any]:
    """The result as a document. `errors` and `warnings` are of the file, `sources` are errors
    of what it names, `notes` what is left out of that, `host` is what this host lacks."""
    from nplb.config import InvalidConfiguration
    from nplb.config.load import load_configuration

    result: dict[str, Any] = {"file": str(config), "valid": False}
    result |= {"errors": [], "warnings": [], "sources": [], "notes": [], "host": []}
    try:
        configuration = load_configuration(config, overrides=overrides)
    except InvalidConfiguration as error:
        result["errors"] = [asdict(problem) for problem in error.errors]
        return result
    settings = configuration.settings
    result["warnings"] = [asdict(warning) for warning in configuration.warnings]
    if not file_only:
        # What a source says of a missing file is more than the warning does.
        result["warnings"] = [w for w in result["warnings"] if not _FILES.search(w["path"])]
        from nplb.cli.host import HostNote, host_notes, read_host_facts
        from nplb.config.errors import ConfigProblem
        from nplb.sources.factory import check_source
        from nplb.web.tls import make_context

        for cluster in settings.clusters:
            try:
                result["notes"] += [
                    {"cluster": cluster.name, "message": text}
                    for text in check_source(cluster, settings.state_dir)
                ]
            except NplbError as error:
                result["sources"] += [
                    {"cluster": cluster.name, "message": line} for line in str(error).splitlines()
                ]
        result["host"] = [asdict(note) for note in host_notes(settings, read_host_facts())]
        if settings.admin.tls is not None:
            try:
                make_context(settings.admin.tls)
            except HostPermissionError as error:
                note = HostNote(subject="admin.tls", message=str(error), needed=True)
                result["host"].append(asdict(note))
            except ConfigurationError as error:
                problem = ConfigProblem(file=str(config), message=str(error))
                result["errors"].append(asdict(problem))
    result["valid"] = not (result["sources"] or result["errors"])
    result["clusters"] = [cluster.name for cluster in settings.clusters]
    result["frontends"] = len(settings.frontends)
    result["detection"] = _detection(settings)
    return result


def _detection(settings: "Settings") -> str:
    """Within what time a silent node is found, whether services share its probes or not."""
    from nplb.model.health import ProbeSharing

    healths = [settings.health, *(one.health for one in settings.frontends if one.health)]
    may_share = settings.sharing.mode is not ProbeSharing.OFF
    bounds = [
        # Where services share their node's probes, one alone does not speak for the node.
        one.bound_seconds * (2 if one.fall == 1 and may_share else 1)
        for one in healths
        if one.enabled
    ]
    if not bounds:
        return "nodes are not probed: every one counts as working"
    return (
        f"a node that goes silent gets no new connection after {max(bounds):g} s at the latest "
        "(interval x fall + timeout)"
    )


def _print_text(result: dict[str, Any]) -> None:
    from nplb.cli.table import BAD, DOUBTFUL, GOOD, counted, plain
    from nplb.config.errors import ConfigProblem

    def tell(kind: str, colour: str, text: str) -> None:
        click.echo(click.style(f"{kind}: ", fg=colour) + plain(text))

    for problem in result["errors"]:
        tell("error", BAD, str(ConfigProblem(**problem)))
    for problem in result["warnings"]:
        tell("warning", DOUBTFUL, str(ConfigProblem(**problem)))
    for fault in result["sources"]:
        tell("error", BAD, f"cluster {fault['cluster']}: {fault['message']}")
    for note in result["notes"]:
        tell("note", DOUBTFUL, f"cluster {note['cluster']}: {note['message']}")
    for note in result["host"]:
        tell("host", BAD if note["needed"] else DOUBTFUL, f"{note['subject']}: {note['message']}")
    wrong = len(result["errors"]) + len(result["sources"])
    if result.get("detection"):
        click.echo(f"probes: {result['detection']}")
    if wrong:
        parts = [click.style(counted(wrong, "error"), fg=BAD)]
    else:
        clusters = counted(len(result["clusters"]), "cluster")
        overrides = counted(result["frontends"], "frontend override")
        parts = [f"{click.style('valid', fg=GOOD)} ({clusters}, {overrides})"]
    if result["warnings"]:
        parts.append(counted(len(result["warnings"]), "warning"))
    lacking = sum(note["lacking"] for note in result["host"])
    if lacking:
        lacks = counted(lacking, "thing")
        parts.append(f"{lacks} this host lacks")
    click.echo(f"{plain(result['file'])}: {', '.join(parts)}")
