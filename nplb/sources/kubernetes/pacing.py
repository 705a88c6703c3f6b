"""How long the Kubernetes source waits for what. Tests shorten it; nobody else needs to."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Pacing:
    """All times in seconds.

    A watch asks the server to end it after a random time within `watch_seconds`. A session is
    opened anew for the first watch that begins later than `session_seconds` after it. Without a
    byte for `silence_seconds` a connection is taken for dead: an API server sends a bookmark
    about every 60 s. A watch that has run for `settle_seconds` shows that an outage is over.
    Outages are retried after `backoff_base_seconds`, doubled each time up to
    `backoff_max_seconds`, and up to `backoff_base_seconds` at random on top. Watches that
    delivered nothing for `proof_seconds` together lead to a list, since an API server restored
    from a backup takes a version that it does not know yet, and then says nothing. Snapshots
    are at least `gather_seconds` apart, and follow a change by `lag_seconds`.
    """

    watch_seconds: tuple[int, int] = (240, 480)
    session_seconds: float = 240.0
    connect_seconds: float = 10.0
    silence_seconds: float = 75.0
    exec_seconds: float = 60.0
    settle_seconds: float = 1.0
    proof_seconds: float = 120.0
    backoff_base_seconds: float = 0.5
    backoff_max_seconds: float = 10.0
    gather_seconds: float = 0.04
    lag_seconds: float = 0.005
    page_size: int = 500
