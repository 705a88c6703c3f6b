"""A panic: so few backends of a frontend pass their probes that the probes may be what is wrong."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from nplb.model.health import HealthSettings
from nplb.model.plan import Backend
from nplb.model.reasons import BackendReason, BackendState

# Who is down without having failed: nobody to try, and nobody to count.
_UNJUDGED = frozenset(
    {BackendReason.PROBING, BackendReason.SERVICE_EMPTY, BackendReason.NO_LOCAL_ENDPOINT}
)


def is_panic(health: HealthSettings, backends: Sequence[Backend]) -> bool:
    """Whether fewer backends pass than `panic_below` asks for, of those that could."""
    passing = failing = 0
    for backend in backends:
        if backend.state is BackendState.ACTIVE:
            passing += 1
        elif backend.state is BackendState.DOWN and backend.reason not in _UNJUDGED:
            failing += 1
    return failing > 0 and passing < health.panic_below * (passing + failing)


def open_up(backends: list[Backend], earlier: Mapping[str, Backend], now: float) -> list[Backend]:
    """The same with those that fail their probes active, each with why it failed."""
    opened = []
    for backend in backends:
        if backend.state is BackendState.DOWN and backend.reason not in _UNJUDGED:
            detail = f"{backend.reason}: {backend.detail}" if backend.detail else backend.reason
            before = earlier.get(backend.key.node)
            if before is None or before.key != backend.key:
                before = backend
            since = before.since if before.reason is BackendReason.FAIL_OPEN else now
            backend = replace(
                backend,
                state=BackendState.ACTIVE,
                reason=BackendReason.FAIL_OPEN,
                detail=str(detail),
                since=since,
            )
            if backend == before:
                backend = before
        opened.append(backend)
    return opened
