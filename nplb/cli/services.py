"""Finds the Service that someone names among those that run.

A name is `name`, `namespace/name` or `cluster/namespace/name`, with `:port` behind it for one
port. Documents are those of `/api/v1/status`.
"""

from collections.abc import Callable
from typing import Any

import click

from nplb.cli.options import F
from nplb.config.words import did_you_mean
from nplb.model.errors import NplbError

_SHOWN = 8


def service_names(document: dict[str, Any]) -> list[str]:
    """Every Service of a status' plan, as `cluster/namespace/name`, sorted."""
    plan = document["plan"]
    keys = [entry["key"] for entry in (*plan["frontends"], *plan["skipped"])]
    return sorted({key["service"]["text"] for key in keys})


def pool_of(document: dict[str, Any], service: str) -> str | None:
    """The pool that serves a Service (`cluster/namespace/name`), by its own name, or None."""
    for part in document["plan"].get("pooled", ()):
        if part["frontend"]["key"]["service"]["text"] == service:
            return str(part["pool"]["service"]["text"])
    return None


def split_port(wanted: str) -> tuple[str, str | None]:
    """A name and the port behind it."""
    name, colon, port = wanted.partition(":")
    return name, port if colon else None


def find_service(document: dict[str, Any], wanted: str) -> str:
    """The one Service of this name, as `cluster/namespace/name`.

    Raises NplbError if there is none, with what may be meant, or several.
    """
    names = service_names(document)
    parts = wanted.split("/")
    found = [name for name in names if name.split("/")[-len(parts) :] == parts]
    if not found:
        pooled = [part["frontend"]["key"] for part in document["plan"].get("pooled", ())]
        others = sorted({key["service"]["text"] for key in pooled})
        found = [name for name in others if name.split("/")[-len(parts) :] == parts]
    if len(found) == 1:
        return found[0]
    if found:
        listed = ", ".join(found[:_SHOWN]) + (", ..." if len(found) > _SHOWN else "")
        raise NplbError(f"several services are called {wanted}: {listed}; name one of them whole")
    if not names:
        raise NplbError(f"no service {wanted}: nplb serves none at all, `nplb status` says why")
    short = {"/".join(name.split("/")[-len(parts) :]): name for name in names}
    guess = did_you_mean(wanted, short)
    hint = f"did you mean {short[guess]}?" if guess else "`nplb status` lists them"
    raise NplbError(f"no service {wanted}: {hint}")


def complete_service(ctx: click.Context, _: click.Parameter, incomplete: str) -> list[Any]:
    """Names for the shell, from the running nplb if it answers at once."""
    from click.shell_completion import CompletionItem

    from nplb.cli.client import find_admin, get_status

    try:
        url = find_admin(ctx.params.get("admin"), ctx.params.get("config"), quiet=True)
        names = service_names(get_status(url, timeout_seconds=0.5))
    except (NplbError, click.ClickException):
        return []
    forms = {"/".join(name.split("/")[-depth:]): name for name in names for depth in (1, 2, 3)}
    depth = incomplete.count("/") + 1
    return [
        CompletionItem(form, help=name)
        for form, name in sorted(forms.items())
        if form.startswith(incomplete) and form.count("/") + 1 <= depth
    ]


def service_argument(*, required: bool) -> Callable[[F], F]:
    """`SERVICE`: the command gets `service`, a str (or None where it is not required)."""

    def add(command: F) -> F:
        return click.argument(
            "service",
            metavar="SERVICE" if required else "[SERVICE]",
            required=required,
            shell_complete=complete_service,
        )(command)

    return add
