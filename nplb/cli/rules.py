"""`nplb rules`: the kernel plane's rules, as they are in the kernel or as they would be."""

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

import click

from nplb.cli.options import find_config, late_config_option, set_option
from nplb.cli.table import counted
from nplb.model.keys import Address

if TYPE_CHECKING:
    from nplb.dataplane.kernel.fastpath.survey import Survey


@click.command(short_help="Show or delete the kernel plane's rules.")
@click.option("--delete", is_flag=True, help="Delete them: its connections end.")
@click.option(
    "--plan",
    "planned",
    is_flag=True,
    help="Show what the configuration and the cluster would give, instead of what is there.",
)
@click.option(
    "--timeout",
    "timeout_seconds",
    type=click.FloatRange(min=0.1),
    default=30.0,
    show_default=True,
    metavar="SECONDS",
    help="With --plan: how long each cluster may take to be read.",
)
@late_config_option
@set_option
def command(
    delete: bool,
    planned: bool,
    timeout_seconds: float,
    config: Path | None,
    overrides: dict[str, str],
) -> None:
    """Print the nftables table of the kernel plane on this host, as nft does, and what its fast
    path holds, as comments.

    With --plan print the table that the configuration and the cluster give, every node that the
    API lets in counted as working, and which frontends the fast path would take: no right is
    needed, and nothing is written. With --delete remove the table and the fast path, which ends
    what frontends on the kernel plane serve; a balancer that still runs puts them back. No other
    table is touched.
    """
    if delete and planned:
        raise click.UsageError("--delete and --plan exclude each other")
    if delete:
        delete_rules()
    elif planned:
        click.echo(_planned(find_config(config), overrides, timeout_seconds), nl=False)
    else:
        _show()


def delete_rules() -> None:
    """Remove the table and the fast path, and say so."""
    from nplb.dataplane.kernel.nft import Nft
    from nplb.dataplane.kernel.plane import delete_table
    from nplb.dataplane.kernel.ruleset import TABLE

    if deleted := asyncio.run(delete_table(Nft())):
        click.echo(f"deleted {' and '.join(deleted)}")
    else:
        click.echo(f"there is no table {TABLE}: nothing to delete")


def _show() -> None:
    from nplb.dataplane.kernel.fastpath.survey import survey
    from nplb.dataplane.kernel.nft import Nft, NftError
    from nplb.dataplane.kernel.ruleset import TABLE

    try:
        click.echo(asyncio.run(Nft().text("table", *TABLE.split())), nl=False)
    except NftError as error:
        if not error.missing:
            raise
        click.echo(f"there is no table {TABLE}: the kernel plane serves nothing on this host")
    found = survey()
    if found is not None:
        click.echo(_fast_path_text(found), nl=False)


def _fast_path_text(found: "Survey") -> str:
    """As comments, so that all of it is still a file for nft."""
    from nplb.dataplane.kernel.fastpath.layout import ROOM

    events = ", ".join(f"{event} {count}" for event, count in found.events.items())
    v4, v6 = found.connections[4], found.connections[6]
    lines = [
        f"fast path: {counted(v4, 'connection')} by IPv4, {v6:,} by IPv6, room for {ROOM:,} each",
        f"  at the ingress of: {', '.join(found.interfaces) or 'no interface'}",
        f"  packets that it did not pass on: {events}",
        *(
            f"  tcp {Address(each.ip, each.port)} to node port {each.node_port}, "
            f"{counted(each.seats, 'seat')}"
            for each in found.frontends
        ),
    ]
    return "".join(f"# {line}\n" for line in lines)


def _planned(config: Path, overrides: dict[str, str], timeout_seconds: float) -> str:
    from nplb.cli.plan import read_plan
    from nplb.config import load_settings
    from nplb.dataplane.kernel.fastpath.fastpath import table_ports
    from nplb.dataplane.kernel.render import render
    from nplb.dataplane.kernel.ruleset import ruleset_text
    from nplb.model.kernel import PlaneKind
    from nplb.policy.kernel import is_fast, served_by

    settings = load_settings(config, overrides=overrides)
    plan = asyncio.run(read_plan(settings, timeout_seconds))
    frontends = [f for f in plan.frontends if f.plane is PlaneKind.KERNEL]
    ports = table_ports() if any(map(is_fast, frontends)) else None
    lines = [f"# {f.key}: {served_by(f)}\n" for f in frontends if f.kernel.fast_path]
    return ruleset_text(render(frontends, ports)) + "".join(lines)
