"""`nplb run`: run the balancer in the foreground, as a service manager or a container does."""

import asyncio
import logging
import os
import threading
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import click

from nplb.cli.options import find_config, late_config_option, set_option
from nplb.model.errors import NplbError

log = logging.getLogger(__name__)

LATE_SECONDS = 2.0


@click.command()
@click.option(
    "--flush",
    is_flag=True,
    help="Delete the kernel plane's rules and fast path that a balancer left here, and exit.",
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
    raise SystemExit(_run(run_daemon(place, load)))


def _run(balancer: Coroutine[Any, Any, int]) -> int:
    """Run it, and end soon after it has ended: Python waits for all threads, and one that reads a
    file or asks for a name may stand still for as long as the file system or the name server does.
    """
    code = 1
    failure: Exception | None = None

    def end() -> None:
        log.warning("a thread stands still in a file or a name lookup: ended without it")
        if failure is not None:  # nobody else can tell any more
            log.error("%s", failure, exc_info=None if isinstance(failure, NplbError) else failure)
        logging.shutdown()
        os._exit(code)

    late = threading.Timer(LATE_SECONDS, end)
    late.daemon = True

    async def run() -> int:
        nonlocal code, failure
        try:
            code = await balancer
        except Exception as error:
            failure = error
            if isinstance(error, NplbError):
                code = error.exit_code
            raise
        finally:
            late.start()
        return code

    try:
        return asyncio.run(run())
    finally:
        late.cancel()
