"""Prints what was seen, fault by fault, and judges it."""

from collections import Counter
from collections.abc import Iterator, Sequence

from tests.chaos.scene import Record

SLACK_SECONDS = 1.0
"""What a busy machine may add to a bound: the lab, the balancer and the clients share it."""


def line(record: Record) -> str:
    """One fault in one line, and what went wrong below it."""
    told = [f"{record.requests:5} requests", f"{record.failed} failed"]
    if record.apart:
        told.append(f"{record.apart} ended with what died")
    told.append(f"slowest {record.slowest_seconds:.2f} s")
    told += [f"{what} {took:.2f} s (bound {limit:.2f} s)" for what, took, limit in record.bounds]
    told += [f"{what} {took:.2f} s" for what, took in record.notes]
    lines = [f"{record.name}: {', '.join(told)}"]
    lines += [f"      {count} times: {what}" for what, count in record.reasons.most_common()]
    lines += [f"      {what}" for what in faults_of(record)]
    return "\n".join(lines)


def faults_of(record: Record) -> Iterator[str]:
    """What should not have been, besides failed requests."""
    yield from record.broken
    for what, took, limit in record.bounds:
        if took > limit + SLACK_SECONDS:
            yield f"{what} after {took:.2f} s: the bound is {limit:.2f} s"


def summary(records: Sequence[Record]) -> str:
    """The whole run: requests, failures by reason, detection times."""
    reasons: Counter[str] = Counter()
    for record in records:
        reasons.update(record.reasons)
    lines = [f"  {count} times: {what}" for what, count in reasons.most_common()]
    times: dict[str, list[float]] = {}
    for record in records:
        for what, took, _ in record.bounds:
            times.setdefault(f"{record.name}: {what}", []).append(took)
        for what, took in record.notes:
            times.setdefault(f"{record.name}: {what}", []).append(took)
    for what, seen in times.items():
        spread = f"{min(seen):.2f} to {max(seen):.2f} s" if len(seen) > 1 else f"{seen[0]:.2f} s"
        lines.append(f"  {what} {spread}")
    wrong = sum(1 for record in records for _ in faults_of(record))
    lines.append(
        f"chaos: {len(records)} faults, {sum(r.requests for r in records)} requests, "
        f"{sum(r.failed for r in records)} failed, {sum(r.apart for r in records)} ended with what "
        f"died, slowest answer {max((r.slowest_seconds for r in records), default=0):.2f} s"
        + (f", {wrong} other things went wrong" if wrong else "")
    )
    return "\n".join(lines)


def is_good(records: Sequence[Record]) -> bool:
    """Whether no request failed that should not have, and every bound was kept."""
    return bool(records) and not any(r.failed or any(faults_of(r)) for r in records)
