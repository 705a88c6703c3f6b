"""Where a balancer's runtime directory is, and whether it may have it."""

import contextlib
import hashlib
import logging
import os
import stat
from pathlib import Path

from nplb.dataplane.relay.runtime import RuntimeDirectory
from nplb.model.errors import HostError
from nplb.model.settings import Settings

log = logging.getLogger(__name__)


def runtime_directory(settings: Settings, config_path: Path) -> RuntimeDirectory | None:
    """The directory of `runtime_dir` or of the service manager. Without either, one of this
    configuration file's own, so that balancers with other files do not meet there: below
    /run/nplb for root, $XDG_RUNTIME_DIR/nplb for others, or else a directory in /tmp; None if
    not even that can be had, and then relay workers end with nplb.

    Errors: HostError for a directory that was asked for and can't be had.
    """
    if settings.runtime_dir is not None:
        return RuntimeDirectory(settings.runtime_dir)
    own = hashlib.sha256(str(config_path.absolute()).encode()).hexdigest()[:12]
    why: list[str] = []
    for base in _bases():
        try:
            RuntimeDirectory(base).close()  # nobody else may write here either
            return RuntimeDirectory(base / own)
        except HostError as error:
            why.append(str(error))
    log.warning(
        "there is no runtime directory, so relay workers will end with nplb, and an upgrade in "
        "place is not possible; set `runtime_dir`: %s",
        "; ".join(why),
    )
    return None


def _bases() -> list[Path]:
    bases = [Path("/run/nplb")] if os.geteuid() == 0 else []
    given = os.environ.get("XDG_RUNTIME_DIR", "")
    with contextlib.suppress(OSError):
        if given and stat.S_ISDIR(Path(given).stat().st_mode) and os.geteuid() != 0:
            bases.append(Path(given) / "nplb")
    return [*bases, Path(f"/tmp/nplb-{os.geteuid()}")]  # noqa: S108 -- checked to be our own
