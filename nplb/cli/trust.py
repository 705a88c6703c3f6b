"""Whom a command believes when it asks the running nplb, and what says who asks: as its options
note it, and what asks then finds it."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import click

FILE_VARIABLE: Final = "NPLB_TOKEN_FILE"  # names the file of the token
_TRUST: Final = "nplb.cli.trust"


@dataclass(frozen=True, slots=True, kw_only=True)
class Trust:
    """Whom to believe over HTTPS: an admin server whose certificate leads to the CA of `ca_file`
    (the system's, if None), or has exactly the certificate of `pinned`, whatever its names.
    `client_cert` is a PEM file of our own certificate and key. `token_file` has the token that says
    who asks."""

    ca_file: Path | None = None
    client_cert: Path | None = None
    pinned: Path | None = None
    token_file: Path | None = None


def trust_in(ctx: click.Context, **changes: Path) -> None:
    """Note, for what this command will ask, whom it is to believe."""
    ctx.meta[_TRUST] = replace(ctx.meta.get(_TRUST, Trust()), **changes)


def trusted() -> Trust:
    """What was noted for the command that runs; nothing special outside of one."""
    ctx = click.get_current_context(silent=True)
    found = ctx.meta.get(_TRUST) if ctx is not None else None
    return found if isinstance(found, Trust) else Trust()
