"""How many CPUs this process may use: its affinity, and its control groups' quota."""

import math
import os
from pathlib import Path

_CGROUPS = Path("/sys/fs/cgroup")


def usable_cpus() -> int:
    """At least 1."""
    count = len(os.sched_getaffinity(0))
    quota = quota_cpus(_own_group(), _CGROUPS)
    return max(1, count if quota is None else min(count, math.ceil(quota)))


def quota_cpus(group: str, root: Path) -> float | None:
    """The smallest `cpu.max` (cgroup v2) of a group and those around it, in CPUs; None if
    there is no bound."""
    smallest: float | None = None
    place = root / group.strip("/")
    while True:
        try:
            quota, _, period = (place / "cpu.max").read_text().strip().partition(" ")
            if quota != "max":
                cpus = int(quota) / int(period)
                smallest = cpus if smallest is None else min(smallest, cpus)
        except (OSError, ValueError, ZeroDivisionError):
            pass  # the root group has none, and nor has cgroup v1
        if place == root or root not in place.parents:
            return smallest
        place = place.parent


def _own_group() -> str:
    try:
        lines = Path("/proc/self/cgroup").read_text().splitlines()
    except OSError:
        return "/"
    return next((line[3:] for line in lines if line.startswith("0::")), "/")
