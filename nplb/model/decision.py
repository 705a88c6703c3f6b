"""What nplb decided, when and why: the entries of the journal."""

from dataclasses import dataclass
from enum import StrEnum


class DecisionKind(StrEnum):
    """What happened. The word is the journal's kind and the dashboard's filter."""

    FRONTEND_ADDED = "frontend_added"
    FRONTEND_REMOVED = "frontend_removed"
    FRONTEND_CHANGED = "frontend_changed"
    LISTENING = "listening"
    LISTEN_FAILED = "listen_failed"
    BACKEND_JOINED = "backend_joined"  # became active
    BACKEND_KEPT = "backend_kept"  # it should leave, but too many would
    BACKEND_DRAINING = "backend_draining"
    BACKEND_DOWN = "backend_down"
    BACKEND_REMOVED = "backend_removed"
    SKIPPED = "skipped"  # a port has no frontend
    SOURCE_LIVE = "source_live"
    SOURCE_STALE = "source_stale"
    SOURCE_FAILING = "source_failing"  # there is no snapshot yet
    FINDING_OPENED = "finding_opened"
    FINDING_CLOSED = "finding_closed"
    RELOADED = "reloaded"
    RELOAD_REFUSED = "reload_refused"
    WORKER_DIED = "worker_died"
    WORKER_STARTED = "worker_started"
    DRAINED = "drained"  # by hand
    UNDRAINED = "undrained"
    STARTED = "started"
    UPGRADING = "upgrading"
    UPGRADE_FAILED = "upgrade_failed"
    STOPPING = "stopping"


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """One entry. `subject` is what it is about (a key's text), `reason` a word of
    `model.reasons` or empty, `text` one line for a person. `at` is epoch seconds."""

    at: float
    kind: DecisionKind
    subject: str
    reason: str = ""
    text: str
    service: str = ""
    node: str = ""
    cluster: str = ""
    sequence: int = 0

    def numbered(self, sequence: int) -> "Decision":
        """The same with its number. There are many at once, and `dataclasses.replace` is slow."""
        return Decision(
            at=self.at,
            kind=self.kind,
            subject=self.subject,
            reason=self.reason,
            text=self.text,
            service=self.service,
            node=self.node,
            cluster=self.cluster,
            sequence=sequence,
        )
