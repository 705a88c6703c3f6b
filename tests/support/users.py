"""Being somebody else for a moment: what root may do, an ordinary user may not."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

NOBODY = 65534


@contextmanager
def as_ordinary_user() -> Iterator[None]:
    """Lay root's rights down, if this process has them. Not for tests that start threads or
    import modules meanwhile."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


@contextmanager
def make_open_dir() -> Iterator[Path]:
    """A temporary directory that every user may enter, which pytest's own is not."""
    with tempfile.TemporaryDirectory(prefix="nplb-test-") as name:
        Path(name).chmod(0o755)
        yield Path(name)
