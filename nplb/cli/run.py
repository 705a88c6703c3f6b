"""`nplb run`: run the balancer in the foreground, as a service manager or a container does."""

import asyncio
import logging
from pathlib import Path

import click

from nplb.cli.options import find_config, late_config_option, set_option

log = logging.getLogger(__name__)


@click.command()
@click.option(
    "--flush",
    is_flag=True,
    help="Delete the kernel plane's rules that a balancer left on this host, and exit.",
)
@late_config_option
@set_option
def command(flush: bool, config: Path | None, overrides: dict[str, str]) -> None:
    """Run the balancer until SIGTERM or SIGINT.

    SIGHUP reads the configuration again, and keeps the old one on any error. SIGTERM: not
    ready, wait shutdown.delay, close listeners, drain for up to shutdown.drain, exit 0; a
    second SIGTERM ends at once. Frontends on the kernel plane are served on after the end;
    --flush ends that.
    """
    if flush:
        from nplb.cli.rules import delete_rules

        delete_rules()
        return
    from nplb.config.load import load_configuration
    from nplb.daemon import run_daemon
    from nplb.model.settings import Settings
    from nplb.observe.logs import set_up_logging

    place = find_config(config)

    def load() -> Settings:
        configuration = load_configuration(place, overrides=overrides)
        for warning in configuration.warnings:
            log.warning("%s", warning)
        return configuration.settings

    set_up_logging(load_configuration(place, overrides=overrides).settings.log)
    raise SystemExit(asyncio.run(run_daemon(place, load)))
