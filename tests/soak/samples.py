"""What the processes hold, measured over time, and whether it stays flat."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

# What two thirds of a run may lie apart without being growth: an allocator's whims.
MEMORY_SHARE = 0.10
MEMORY_SLACK = 6 << 20
DESCRIPTOR_SLACK = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One moment: seconds since the beginning, bytes resident and descriptors open, of control
    and of all workers together; how many connections are open, and how many requests were made."""

    at: float
    control_bytes: int
    control_descriptors: int
    workers: int
    worker_bytes: int
    worker_descriptors: int
    connections: int
    requests: int
    failed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Trend:
    """One measure at the beginning and at the end of the time that is judged, and whether it is
    flat."""

    name: str
    first: float
    last: float
    flat: bool


def resident(pid: int) -> int:
    """Bytes of memory that are resident, 0 for a process that has ended."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4096
    except OSError:
        return 0


def descriptors(pid: int) -> int:
    """Open descriptors, 0 for a process that has ended."""
    try:
        return len(list(Path(f"/proc/{pid}/fd").iterdir()))
    except OSError:
        return 0


def trends(samples: Sequence[Sample]) -> list[Trend]:
    """The median of the first third against that of the last one, for each measure."""
    third = max(len(samples) // 3, 1)
    found = []
    for name, kind in (
        ("memory of control", "control_bytes"),
        ("memory of the workers", "worker_bytes"),
        ("descriptors of control", "control_descriptors"),
        ("descriptors of the workers", "worker_descriptors"),
    ):
        values = [float(getattr(sample, kind)) for sample in samples]
        first, last = median(values[:third]), median(values[-third:])
        slack = MEMORY_SLACK + MEMORY_SHARE * first if "memory" in name else DESCRIPTOR_SLACK
        found.append(Trend(name=name, first=first, last=last, flat=last - first <= slack))
    return found


def row(sample: Sample) -> str:
    """One line of the table."""
    return (
        f"| {sample.at / 60:.1f} | {sample.control_bytes / 1e6:.1f} | "
        f"{sample.control_descriptors} | {sample.workers} | {sample.worker_bytes / 1e6:.1f} | "
        f"{sample.worker_descriptors} | {sample.connections} | {sample.requests} | "
        f"{sample.failed} |"
    )


HEAD = (
    "| minute | control MB | control fds | workers | workers MB | workers fds | connections | "
    "requests | failed |\n| --: | --: | --: | --: | --: | --: | --: | --: | --: |"
)


def verdict(trend: Trend) -> str:
    """One trend in words."""
    if "memory" in trend.name:
        values = f"{trend.first / 1e6:.1f} MB → {trend.last / 1e6:.1f} MB"
    else:
        values = f"{trend.first:.0f} → {trend.last:.0f}"
    return f"{trend.name}: {values}: {'flat' if trend.flat else 'GROWS'}"
