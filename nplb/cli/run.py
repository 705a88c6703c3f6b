"""`nplb run`: run the balancer in the foreground, as a service manager or a container does."""

import asyncio
from pathlib import Path

import click

from nplb.cli.options import config_option, set_option


@click.command()
@config_option
@set_option
def command(config: Path, overrides: dict[str, str]) -> None:
    """Run the balancer until SIGTERM or SIGINT.

    SIGHUP reads the configuration again, and keeps the old one on any error. SIGTERM: not
    ready, wait shutdown.delay, close listeners, drain for up to shutdown.drain, exit 0; a
    second SIGTERM ends at once.
    """
    from nplb.config import load_settings
    from nplb.daemon import run_daemon
    from nplb.model.settings import Settings
    from nplb.observe.logs import set_up_logging

    def load() -> Settings:
        return load_settings(config, overrides=overrides)

    set_up_logging(load().log)
    raise SystemExit(asyncio.run(run_daemon(config, load)))
