"""What the host's own ports mean for the edge: findings from what was read, nothing read here."""

from collections.abc import Collection, Iterable, Mapping, Sequence

from nplb.alloc.edge import overlap
from nplb.alloc.portrange import PortRange
from nplb.model.finding import Finding, FindingKind, Severity
from nplb.model.keys import Address, FrontendKey
from nplb.model.ledger import EphemeralView, HostPortView


def strangers(
    wanted: Mapping[Address, FrontendKey],
    listeners: Iterable[HostPortView],
    own_pids: Collection[int],
) -> tuple[tuple[Address, HostPortView], ...]:
    """Addresses of the edge's ledger on which another process listens, each with who it is.

    `own_pids` are nplb's processes: control and workers."""
    return tuple(
        (address, listener)
        for address in sorted(wanted)
        for listener in listeners
        if listener.port == address.port
        and listener.pid not in own_pids
        and overlap(address.ip, listener.address)
    )


def in_use_findings(
    wanted: Mapping[Address, FrontendKey],
    found: Iterable[tuple[Address, HostPortView]],
    now: float,
) -> tuple[Finding, ...]:
    """One finding for each address of a frontend that somebody else listens on."""
    return tuple(
        Finding(
            kind=FindingKind.EDGE_PORT_IN_USE,
            severity=Severity.ERROR,
            cluster=wanted[address].service.cluster,
            subject=f"{wanted[address]} at {address}",
            text=f"{address} is in use by {who_text(listener)}",
            remedy="end the other process or give the frontend another address; it takes over "
            "by itself when the port comes free",
            since=now,
        )
        for address, listener in found
    )


def who_text(listener: HostPortView) -> str:
    """A listener as a person reads it: `nginx (pid 812) at 0.0.0.0:80`."""
    who = f"{listener.command} (pid {listener.pid})" if listener.pid else "another process"
    return f"{who} at {Address(listener.address, listener.port)}"


def ephemeral_finding(
    ephemeral: EphemeralView | None, ranges: Sequence[PortRange], now: float
) -> Finding | None:
    """The finding that the kernel gives ports of these ranges, which frontends listen on, to
    outgoing connections of the host; None if it does not, or spares them.

    An outgoing connection that has the port makes the listener fail with "address in use",
    sometimes, after a restart.
    """
    if ephemeral is None:
        return None
    reserved = parse_ports(ephemeral.reserved)
    exposed = [
        PortRange(low, high - low + 1)
        for span in ranges
        if (low := max(span.base, ephemeral.low)) <= (high := min(span.last, ephemeral.high))
        and not _covered(range(low, high + 1), reserved)
    ]
    if not exposed:
        return None
    names = ",".join(dict.fromkeys(str(span) for span in sorted(ranges) if span.size))
    keep = f"{ephemeral.reserved}," if ephemeral.reserved else ""
    return Finding(
        kind=FindingKind.EPHEMERAL_OVERLAP,
        severity=Severity.WARNING,
        cluster="",
        subject=f"{ephemeral.low}-{ephemeral.high}",
        text=f"the kernel gives ports {ephemeral.low}-{ephemeral.high} to outgoing connections, "
        f"among them {', '.join(str(s) for s in sorted(exposed))}, on which frontends listen or "
        "may listen; a listener can fail when such a connection has its port",
        remedy=f"sysctl -w net.ipv4.ip_local_reserved_ports={keep}{names} (and write it to a "
        "file in /etc/sysctl.d)",
        since=now,
    )


def parse_ports(text: str) -> tuple[range, ...]:
    """A list as the kernel writes it: `80,30000-32767`. What is no number is left out."""
    found: list[range] = []
    for part in text.replace(" ", "").split(","):
        low, _, high = part.partition("-")
        if low.isascii() and low.isdigit() and (not high or (high.isascii() and high.isdigit())):
            found.append(range(int(low), int(high or low) + 1))
    return tuple(found)


def _covered(wanted: range, spans: Sequence[range]) -> bool:
    """Whether every number is in one of the spans."""
    at = wanted.start
    for span in sorted(spans, key=lambda s: s.start):
        if span.start <= at < span.stop:
            at = span.stop
    return at >= wanted.stop
