"""What of a plan's frontend a worker is told, and what of a change."""

from typing import Any

from nplb.model.keys import BackendKey
from nplb.model.plan import Backend, Frontend
from nplb.model.reasons import BackendState

Change = list[int | float]


def frontend_message(frontend: Frontend, row: int, rows: dict[BackendKey, int]) -> dict[str, Any]:
    """The frame that tells a worker of a whole frontend."""
    timeouts = frontend.timeouts
    return {
        "op": "frontend",
        "row": row,
        "name": str(frontend.key),
        "balance": frontend.balance.value,
        "attempts": frontend.connect_attempts,
        "timeouts": [timeouts.connect, timeouts.idle, timeouts.half_closed],
        "backends": [
            [
                rows[backend.key],
                backend.key.address.ip,
                backend.key.address.port,
                backend.state is BackendState.ACTIVE,
                backend.weight,
            ]
            for backend in frontend.backends
        ],
    }


def quick_changes(
    old: Frontend, new: Frontend, row: int, rows: dict[BackendKey, int]
) -> list[Change] | None:
    """The changed states and weights, when nothing else has changed; None otherwise."""
    if len(old.backends) != len(new.backends) or not _same_settings(old, new):
        return None
    changes: list[Change] = []
    active = BackendState.ACTIVE
    for before, after in zip(old.backends, new.backends, strict=True):
        if before is after:
            continue
        if before.key is not after.key and not _same_backend(before, after):
            return None
        if before.weight != after.weight or (before.state is active) != (after.state is active):
            changes.append([row, rows[before.key], int(after.state is active), after.weight])
    return changes


def _same_settings(old: Frontend, new: Frontend) -> bool:
    return (
        (old.listen is new.listen or old.listen == new.listen)
        and old.balance is new.balance
        and old.connect_attempts == new.connect_attempts
        and (old.timeouts is new.timeouts or old.timeouts == new.timeouts)
    )


def _same_backend(before: Backend, after: Backend) -> bool:
    """Whether two backends of one frontend are the same one (the frontend's key is)."""
    one, two = before.key, after.key
    return (
        one.node == two.node
        and one.address.ip == two.address.ip
        and one.address.port == two.address.port
    )
