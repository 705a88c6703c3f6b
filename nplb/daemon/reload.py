"""A reload: the configuration is validated whole, then swapped whole; on any error the old one
stays, and every error is shown."""

import logging
import time
from collections.abc import Callable
from dataclasses import replace

from nplb.daemon.changes import changes
from nplb.daemon.parts import Parts
from nplb.model.decision import DecisionKind
from nplb.model.errors import ConfigurationError, HostError
from nplb.model.settings import Settings
from nplb.observe.logs import set_up_logging
from nplb.observe.systemd import notify

log = logging.getLogger(__name__)

# What a reload can't change: it needs another process.
FIXED = ("state_dir", "runtime_dir", "orphan_seconds")
MAX_LINES = 50


async def reload(parts: Parts, load: Callable[[], Settings]) -> None:
    """Read the configuration and take it. `load` raises ConfigurationError with every error in
    its message."""
    notify("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")
    keeper = parts.keeper
    status = replace(keeper.reload, at=time.time(), count=keeper.reload.count + 1)
    try:
        settings = load()
        for name in FIXED:
            if getattr(settings, name) != getattr(parts.settings, name):
                log.warning("%s has changed: it takes effect at the next start", name)
                settings = replace(settings, **{name: getattr(parts.settings, name)})
        # What can fail comes first.
        await _take_admin(parts, settings)
        await parts.relay.set_workers(settings.workers)
    except (ConfigurationError, HostError, OSError) as error:
        errors = tuple(str(error).splitlines())
        keeper.reload = replace(status, refused=status.refused + 1, errors=errors)
        for line in errors:
            text = f"reload refused, the old configuration stays: {line}"
            parts.note(DecisionKind.RELOAD_REFUSED, text)
    else:
        before, parts.settings = parts.settings, settings
        set_up_logging(settings.log)
        parts.access.reopen(settings.log.access_file)
        parts.relay.set_max_connections(settings.max_connections)
        parts.inputs.settings.set(settings)
        await parts.feeds.follow(settings)
        await parts.outbox.follow(settings)
        keeper.reload = replace(status, errors=())
        _tell(parts, changes(before, settings))
    notify("READY=1")


def _tell(parts: Parts, lines: tuple[str, ...]) -> None:
    what = f"{len(lines)} settings changed" if lines else "nothing has changed"
    parts.note(DecisionKind.RELOADED, f"took {parts.config_path}: {what}")
    for line in lines[:MAX_LINES]:
        log.info("changed: %s", line)
    if len(lines) > MAX_LINES:
        log.info("changed: %d more settings", len(lines) - MAX_LINES)


async def _take_admin(parts: Parts, settings: Settings) -> None:
    """Have the admin server that the settings ask for: the new one serves before the old one
    ends. Errors: HostError or ConfigurationError, and then the old one goes on."""
    if settings.admin == parts.settings.admin:
        return
    old, new = parts.admin, parts.make_admin(settings)
    if new is not None:
        await new.start(parts.admin_socket())
    parts.admin = new
    if old is not None:
        await old.stop()
