"""Which findings are open, and the entries of the journal when one opens or closes."""

from collections.abc import Iterable
from dataclasses import replace

from nplb.model.decision import Decision, DecisionKind
from nplb.model.finding import Finding


class FindingBook:
    """The open findings, sorted by kind, cluster and subject. One that is found again keeps
    the time since when it stands."""

    def __init__(self) -> None:
        self.findings: tuple[Finding, ...] = ()

    def update(self, found: Iterable[Finding], now: float) -> tuple[Decision, ...]:
        """Take in every finding that there is now. Returns what opened and what closed."""
        before = {_identity(f): f for f in self.findings}
        after = {_identity(f): f for f in found}
        for identity in after.keys() & before.keys():
            after[identity] = replace(after[identity], since=before[identity].since)
        self.findings = tuple(after[identity] for identity in sorted(after))
        opened = [
            _entry(after[i], DecisionKind.FINDING_OPENED, now)
            for i in sorted(after.keys() - before.keys())
        ]
        closed = [
            _entry(before[i], DecisionKind.FINDING_CLOSED, now)
            for i in sorted(before.keys() - after.keys())
        ]
        return tuple(opened + closed)


def _identity(finding: Finding) -> tuple[str, str, str]:
    return (finding.kind, finding.cluster, finding.subject)


def _entry(finding: Finding, kind: DecisionKind, now: float) -> Decision:
    return Decision(
        at=now,
        kind=kind,
        subject=finding.subject,
        reason=finding.kind,
        text=finding.text,
        cluster=finding.cluster,
    )
