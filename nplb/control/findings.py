"""Which findings are open, and the entries of the journal when one opens or closes."""

from collections.abc import Iterable, Mapping
from dataclasses import replace

from nplb.model.applied import Applied
from nplb.model.cluster import Snapshot
from nplb.model.decision import Decision, DecisionKind
from nplb.model.finding import Finding, FindingKind, Severity
from nplb.model.plan import Plan
from nplb.model.reasons import SkipReason
from nplb.model.settings import Settings


class FindingBook:
    """The open findings. A finding that is found again keeps the time since when it stands."""

    def __init__(self) -> None:
        self.findings: tuple[Finding, ...] = ()

    def observe(
        self,
        settings: Settings,
        snapshots: Mapping[str, Snapshot],
        plan: Plan,
        applied: Applied,
        now: float,
    ) -> tuple[Decision, ...]:
        """Look at one pass's result. Returns what opened and what closed."""
        found = [*_conflicts(plan, now), *_listeners(applied, now)]
        before = {_identity(f): f for f in self.findings}
        after = {_identity(f): f for f in found}
        for identity, finding in after.items():
            if identity in before:
                after[identity] = replace(finding, since=before[identity].since)
        self.findings = tuple(sorted(after.values(), key=_identity))
        opened = [
            _entry(f, DecisionKind.FINDING_OPENED, now) for i, f in after.items() if i not in before
        ]
        closed = [
            _entry(f, DecisionKind.FINDING_CLOSED, now) for i, f in before.items() if i not in after
        ]
        return tuple(opened + closed)


def _identity(finding: Finding) -> tuple[str, str, str]:
    return (finding.kind, finding.cluster, finding.subject)


def _conflicts(plan: Plan, now: float) -> Iterable[Finding]:
    for skipped in plan.skipped:
        if skipped.reason is SkipReason.EDGE_PORT_TAKEN:
            yield Finding(
                kind=FindingKind.EDGE_PORT_CONFLICT,
                severity=Severity.ERROR,
                cluster=skipped.key.service.cluster,
                subject=str(skipped.key),
                text=skipped.detail,
                remedy="give one of them an address or port of its own under `frontends`",
                since=now,
            )


def _listeners(applied: Applied, now: float) -> Iterable[Finding]:
    for key, errors in applied.listen_errors.items():
        for error in errors:
            if error.in_use:
                yield Finding(
                    kind=FindingKind.EDGE_PORT_IN_USE,
                    severity=Severity.ERROR,
                    cluster=key.service.cluster,
                    subject=f"{key} at {error.address}",
                    text=error.detail,
                    remedy="end the other process or give the frontend another address; "
                    "it takes over by itself when the port comes free",
                    since=now,
                )


def _entry(finding: Finding, kind: DecisionKind, now: float) -> Decision:
    return Decision(
        at=now,
        kind=kind,
        subject=finding.subject,
        reason=finding.kind,
        text=finding.text,
        cluster=finding.cluster,
    )
