"""`nplb check`: everything that is wrong with a configuration, at once."""

import re
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from nplb.cli.options import config_option, output_option, set_option
from nplb.model.errors import ConfigurationError, HostPermissionError, NplbError

_FILES = re.compile(r"\.kubeconfig$|\.manifests\b")


@click.command(short_help="Validate the configuration: all errors at once.")
@click.option(
    "--file-only",
    is_flag=True,
    help="Look at the file alone: not at kubeconfigs, manifests and this host.",
)
@config_option
@set_option
@output_option()
def command(file_only: bool, config: Path, overrides: dict[str, str], output: str) -> None:
    """Validate the configuration: all errors at once, each with file:line:column, the key, what
    is wrong and what to do. Nothing is started and no API server is asked.

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
    of what it names, `host` is what this host lacks."""
    from nplb.config import InvalidConfiguration
    from nplb.config.load import load_configuration

    result: dict[str, Any] = {"file": str(config), "valid": False}
    result |= {"errors": [], "warnings": [], "sources": [], "host": []}
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
        from nplb.cli.host import host_notes, read_host_facts
        from nplb.sources.factory import check_source

        for cluster in settings.clusters:
            try:
                check_source(cluster)
            except NplbError as error:
                result["sources"] += [
                    {"cluster": cluster.name, "message": line} for line in str(error).splitlines()
                ]
        result["host"] = [asdict(note) for note in host_notes(settings, read_host_facts())]
    result["valid"] = not result["sources"]
    result["clusters"] = [cluster.name for cluster in settings.clusters]
    result["frontends"] = len(settings.frontends)
    return result


def _print_text(result: dict[str, Any]) -> None:
    from nplb.cli.table import BAD, DOUBTFUL, GOOD, counted, plain
    from nplb.config.errors import ConfigProblem

    for problem in result["errors"]:
        click.echo(plain(str(ConfigProblem(**problem))))
    for problem in result["warnings"]:
        click.echo(click.style("warning: ", fg=DOUBTFUL) + plain(str(ConfigProblem(**problem))))
    for fault in result["sources"]:
        click.echo(plain(f"cluster {fault['cluster']}: {fault['message']}"))
    for note in result["host"]:
        subject = f"{note['subject']}: {note['message']}"
        click.echo(click.style("this host: ", fg=DOUBTFUL) + plain(subject))
    wrong = len(result["errors"]) + len(result["sources"])
    if wrong:
        verdict = click.style(counted(wrong, "error"), fg=BAD)
    else:
        parts = [
            counted(len(result["clusters"]), "cluster"),
            counted(result["frontends"], "frontend override"),
        ]
        verdict = f"{click.style('valid', fg=GOOD)} ({', '.join(parts)})"
    click.echo(f"{plain(result['file'])}: {verdict}")
