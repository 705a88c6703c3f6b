"""Times as the API writes them, and ages as kubectl's tables show them."""

import datetime
import time

_MICRO = "%Y-%m-%dT%H:%M:%S.%fZ"


def timestamp(epoch_seconds: float | None = None) -> str:
    """`metav1.Time`: RFC 3339 in whole seconds, UTC. The present, by default."""
    seconds = time.time() if epoch_seconds is None else epoch_seconds
    when = datetime.datetime.fromtimestamp(int(seconds), datetime.UTC)
    return when.strftime("%Y-%m-%dT%H:%M:%SZ")


def micro_timestamp(epoch_seconds: float | None = None) -> str:
    """`metav1.MicroTime`: RFC 3339 with microseconds, UTC. The present, by default."""
    seconds = time.time() if epoch_seconds is None else epoch_seconds
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC).strftime(_MICRO)


def epoch(text: str | None) -> float | None:
    """Seconds since the epoch of an API time, None for an absent or unreadable one."""
    if not text:
        return None
    try:
        parsed = datetime.datetime.fromisoformat(text)
    except ValueError:
        return None
    return parsed.timestamp() if parsed.tzinfo else None


def human_duration(seconds: float) -> str:
    """`duration.HumanDuration` of apimachinery: at most two units, about three digits."""
    whole = int(seconds)
    if whole < -1:
        return "<invalid>"
    if whole < 0:
        return "0s"
    if whole < 120:
        return f"{whole}s"
    minutes = whole // 60
    if minutes < 10:
        return _two(minutes, "m", whole % 60, "s")
    if minutes < 180:
        return f"{minutes}m"
    hours = whole // 3600
    if hours < 8:
        return _two(hours, "h", minutes % 60, "m")
    if hours < 48:
        return f"{hours}h"
    days = hours // 24
    if hours < 192:
        return _two(days, "d", hours % 24, "h")
    if days < 365 * 2:
        return f"{days}d"
    years = days // 365
    if days < 365 * 8:
        return _two(years, "y", days % 365, "d")
    return f"{years}y"


def _two(big: int, big_unit: str, small: int, small_unit: str) -> str:
    return f"{big}{big_unit}{small}{small_unit}" if small else f"{big}{big_unit}"


def age(text: str | None, *, now: float | None = None) -> str:
    """The age of an API time as a table shows it."""
    since = epoch(text)
    if since is None:
        return "<unknown>"
    present = time.time() if now is None else now
    return human_duration(present - since)
