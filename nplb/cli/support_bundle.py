"""`nplb support-bundle`: one file with what somebody else needs to find out what is wrong."""

import os
import time
from pathlib import Path

import click

from nplb.cli.options import admin_option, optional_config_option


@click.command(short_help="Write one file with what support needs.")
@click.option(
    "-f",
    "--file",
    "target",
    metavar="PATH",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Where to write it.  [default: nplb-support-HOST-TIME.tar.gz in this directory]",
)
@admin_option
@optional_config_option
def command(target: Path | None, admin: str | None, config: Path | None) -> None:
    """Write one .tar.gz: versions, the configuration as it was understood, status, plan,
    findings, recent decisions, metrics, and facts of this host. It can be read before it is
    sent: all of it is text.

    It holds no secret: no token, key or kubeconfig is taken in, and what looks like one is
    taken out of everything else. Names and addresses of nodes and Services are in it.

    It works without a running nplb too, and says in README.txt what is missing, and why.
    """
    from nplb.cli.bundle import collect, write_bundle

    if target is None:
        stamp = time.strftime("%Y%m%d-%H%M%S", time.gmtime())
        target = Path(f"nplb-support-{os.uname().nodename.partition('.')[0]}-{stamp}.tar.gz")
    bundle = collect(admin, config)
    write_bundle(target, bundle)
    for name, why in bundle.missing.items():
        click.echo(f"without {name}: {why}", err=True)
    click.echo(str(target))
