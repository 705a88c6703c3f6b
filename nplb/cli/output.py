"""Prints documents as JSON or YAML, the same for every command."""

import json
from typing import Any

import click


def print_document(document: Any, form: str) -> None:
    """One JSON or YAML document on standard output. Keys keep their order."""
    if form == "yaml":
        from nplb.config.dump import dump

        click.echo(dump(document), nl=False)
    else:
        click.echo(json.dumps(document, indent=2, ensure_ascii=False))
