"""What probing says of one backend that the API lets in: its state, its reason, and a detail."""

from typing import NamedTuple

from nplb.model.health import InitialState
from nplb.model.reasons import BackendReason, BackendState, Cause
from nplb.model.verdict import Verdict
from nplb.policy.evidence import SILENT_CAUSES, NodeEvidence

Judgement = tuple[BackendState, BackendReason, str]

# Which reason a probe's cause gives to a backend that is down.
_DOWN_REASONS = {
    Cause.CONNECTED: BackendReason.PROBING,  # on its way up, after `rise` probes
    Cause.REFUSED: BackendReason.REFUSED,
    Cause.TIMEOUT: BackendReason.TIMEOUT,
    Cause.UNREACHABLE: BackendReason.UNREACHABLE,
    Cause.RESET: BackendReason.RESET,
    Cause.UNEXPECTED_ANSWER: BackendReason.PROBE_FAILED,
}
PASSING: Judgement = (BackendState.ACTIVE, BackendReason.PASSING, "")
_NO_PROBES: Judgement = (BackendState.ACTIVE, BackendReason.PROBES_OFF, "")
_TRUSTED: Judgement = (BackendState.ACTIVE, BackendReason.UNPROBED, "")
_PROBING: Judgement = (BackendState.DOWN, BackendReason.PROBING, "")
_EMPTY: Judgement = (
    BackendState.DOWN,
    BackendReason.SERVICE_EMPTY,
    "the Service has no ready endpoint, so every node refuses",
)


class Asked(NamedTuple):
    """What of a frontend matters for judging its backends. `probed`: its NodePort is; `empty`:
    its Service has no endpoint; `local`: it has `externalTrafficPolicy: Local`."""

    probed: bool
    initial: InitialState
    empty: bool
    local: bool
    evidence: NodeEvidence


def judge(asked: Asked, ip: str, verdict: Verdict | None) -> Judgement:
    """What becomes of the backend at this IP address, whose verdict this is."""
    if not asked.probed:
        if ip in asked.evidence.silent:
            return (
                BackendState.DOWN,
                BackendReason.NODE_SILENT,
                "no service of the node answers its probes",
            )
        return _NO_PROBES
    if verdict is None or verdict.healthy is None:
        return _TRUSTED if asked.initial is InitialState.UP else _PROBING
    if verdict.healthy:
        return PASSING
    cause, detail = verdict.cause, verdict.detail
    if cause is Cause.REFUSED:
        if asked.empty:
            return _EMPTY
        if ip in asked.evidence.refusing:
            return BackendState.DOWN, BackendReason.KUBE_PROXY_DOWN, detail
    elif cause in SILENT_CAUSES:
        if verdict.by_node or ip in asked.evidence.silent:
            return BackendState.DOWN, BackendReason.NODE_SILENT, detail
        if asked.local and ip in asked.evidence.answering:
            return BackendState.DOWN, BackendReason.LOCAL_SILENT, detail
    if cause is None:
        return BackendState.DOWN, BackendReason.PROBE_FAILED, detail
    return BackendState.DOWN, _DOWN_REASONS.get(cause, BackendReason.PROBE_FAILED), detail
