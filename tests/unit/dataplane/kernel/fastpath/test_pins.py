"""Where the fast path is looked for, and by whom."""

import os
from pathlib import Path

from nplb.dataplane.kernel.fastpath.fastpath import left_behind


def test_who_may_not_look_has_left_nothing(tmp_path: Path) -> None:
    """systemd mounts bpffs for root alone, and a kernel plane without a fast path has no right."""
    locked = tmp_path / "bpf"
    locked.mkdir(mode=0)
    user = os.geteuid()
    os.seteuid(user or 65534)
    try:
        assert not left_behind(locked / "nplb")
    finally:
        os.seteuid(user)
        locked.chmod(0o700)
