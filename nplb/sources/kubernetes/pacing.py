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

    A Lease is another's to take once its holder has not renewed it for `lease_seconds`; it is
    renewed every `renew_seconds`. A write may take `write_seconds`, and so may all those together
    with which an edge says goodbye, but each of them only `goodbye_seconds`. An address is taken
    out of a status when it has been unwanted for `withdraw_seconds`. Where a right is missing,
    writing is tried again every `refused_seconds`. What an Event says and still holds is said
    again after `repeat_event_seconds`, since Events are forgotten after an hour.
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
    lease_seconds: float = 15.0
    renew_seconds: float = 5.0
    write_seconds: float = 10.0
    goodbye_seconds: float = 2.0
    withdraw_seconds: float = 10.0
    refused_seconds: float = 60.0
    repeat_event_seconds: float = 1800.0
