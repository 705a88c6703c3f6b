"""Everything that runs, at one moment: what web, metrics and the command line read."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from nplb.model.applied import Applied, Traffic
from nplb.model.cluster import SourceStatus
from nplb.model.decision import Decision
from nplb.model.drain import ManualDrain
from nplb.model.finding import Finding
from nplb.model.keys import Address
from nplb.model.ledger import EdgeLedgerView, LedgerView
from nplb.model.outbound import WriterStatus
from nplb.model.plan import Frontend, Plan
from nplb.model.reasons import FrontendState
from nplb.model.verdict import Probing, Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class ReloadStatus:
    """How the last reload went. `errors` is empty when it was taken. `upgrade_error` is why the
    last upgrade failed, empty after one that did not."""

    at: float
    count: int = 0
    refused: int = 0
    errors: tuple[str, ...] = ()
    upgrades_failed: int = 0
    upgrade_error: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadyPart:
    """One part of readiness. `detail` says what is missing when `ok` is false."""

    name: str
    ok: bool
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """Everything that runs. `loop_at` is when the reconcile loop last turned; `passes` how
    often. `applied` is None until the first plan has been applied. `ledgers` has one of each
    cluster that has a snapshot, `edge` is the edge's own, `writers` those that write into one.
    `stopping` is set from SIGTERM on."""

    version: str
    now: float
    started_at: float
    loop_at: float
    passes: int
    config_path: str
    reload: ReloadStatus
    sources: tuple[SourceStatus, ...]
    ready: tuple[ReadyPart, ...]
    plan: Plan
    applied: Applied | None
    verdicts: Mapping[Address, Verdict]
    traffic: Traffic
    probing: Probing = field(default_factory=Probing)
    findings: tuple[Finding, ...] = ()
    ledgers: tuple[LedgerView, ...] = ()
    edge: EdgeLedgerView = field(default_factory=EdgeLedgerView)
    drains: tuple[ManualDrain, ...] = ()
    writers: tuple[WriterStatus, ...] = ()
    decisions: tuple[Decision, ...] = ()
    stopping: bool = False
    last_error: str = ""

    @property
    def is_ready(self) -> bool:
        """Whether every part of readiness is met."""
        return all(part.ok for part in self.ready)

    def frontend_state(self, frontend: Frontend) -> FrontendState:
        """How one of the plan's frontends stands."""
        if self.applied is None:
            return FrontendState.PENDING
        if not self.applied.listens(frontend):
            in_use = any(error.in_use for error in self.applied.listen_errors[frontend.key])
            return FrontendState.CONFLICT if in_use else FrontendState.FAILED
        return FrontendState.SERVING if frontend.active else FrontendState.NO_BACKEND
