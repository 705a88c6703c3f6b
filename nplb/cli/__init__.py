"""The command line: one module per command, each a thin shell over the floors below.

Law: importing this package, and listing or completing its commands, imports no command. A
command's module imports what is heavy (asyncio servers, clients, pydantic) inside its
functions. Commands raise NplbError, or return; `group` makes messages and exit codes of it.

A module that is not listed is the command of its name.

group          finds and loads commands; errors, exit codes
options        options that several commands share
client         asks the running nplb; secure, over HTTPS; trust, whom it believes
services       the Service that somebody names
output, table  documents as JSON and YAML; tables for eyes
views          statuses and plans for eyes; explainviews, portviews, topviews, what else is shown
portmap        a port range as a picture; portsource, where ledgers come from
topstate       what `top` shows, and what keys do to it
host           what this host lacks for a configuration
bundle         what a support bundle holds
manual         the manual pages
"""

import click

from nplb import __version__
from nplb.cli.group import CommandGroup


@click.group(
    cls=CommandGroup,
    context_settings={
        "auto_envvar_prefix": "NPLB",
        "help_option_names": ["-h", "--help"],
        "max_content_width": 100,
    },
)
@click.version_option(__version__, "-V", "--version", prog_name="nplb")
@click.option("--debug", is_flag=True, help="Show tracebacks of errors.")
def main(debug: bool) -> None:
    """An external load balancer for Kubernetes NodePorts.

    Options may also be set in the environment: NPLB_CONFIG, NPLB_ADMIN, NPLB_TOKEN_FILE,
    NPLB_OUTPUT, NPLB_DEBUG; and keys of the configuration, as in NPLB_HEALTH_INTERVAL=2s. A flag
    goes before the environment, that before the configuration.
    """
    del debug  # read by the group
