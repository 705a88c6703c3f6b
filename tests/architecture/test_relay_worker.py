"""A relay worker starts with little: what it imports stays short and quick."""

import subprocess
import sys
from pathlib import Path

import nplb

SCRIPT = """
import sys
sys.path.insert(0, sys.argv[1])
import nplb.dataplane.relay.worker.main
print(*sorted(sys.modules))
"""
SLOW = {
    "asyncio",
    "dataclasses",
    "inspect",
    "ipaddress",
    "logging",
    "pathlib",
    "random",
    "subprocess",
}


def test_a_worker_imports_nothing_slow_and_little_of_nplb() -> None:
    root = str(Path(nplb.__file__).parents[1])
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", SCRIPT, root], capture_output=True, text=True, check=True
    )
    modules = set(done.stdout.split())
    assert not modules & SLOW
    ours = {name for name in modules if name.startswith("nplb.")}
    assert not [
        name
        for name in ours
        if not name.startswith("nplb.dataplane") and not name.startswith("nplb.policy")
        if name not in ("nplb.model", "nplb.model.reasons")
    ]
