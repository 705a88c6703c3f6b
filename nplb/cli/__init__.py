"""The command line: one module per command, each a thin shell over the floors below."""

import click

from nplb import __version__


@click.group()
@click.version_option(__version__)
def main() -> None:
    """An external load balancer for Kubernetes NodePorts."""
