"""What the verdicts of all services of a node, taken together, say of the node.

A single failed probe leaves the cause open. kube-proxy's own rules (`iptables/proxier.go`,
`nftables/README.md`) close it: it rejects where a Service has no endpoint anywhere, and drops
where an `externalTrafficPolicy: Local` Service has none on this node. So

    silence on every service of a node      the node, or the network to it
    refusal by every service of a node      its kube-proxy, or the node has just come back
    silence of one Local service alone      no pod of it is on the node
    refusal where the Service is empty      nobody is to blame
"""

from collections.abc import Iterable
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field

from nplb.model.reasons import Cause
from nplb.model.verdict import Verdict

SILENT_CAUSES = frozenset({Cause.TIMEOUT, Cause.UNREACHABLE})
MIN_SERVICES = 2
"""One service alone can't be told from its node."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeEvidence:
    """IP addresses of nodes by what their services say together. `answering`: some service
    answers; `silent`: none answers; `refusing`: all of them refuse."""

    answering: AbstractSet[str] = field(default_factory=frozenset)
    silent: AbstractSet[str] = field(default_factory=frozenset)
    refusing: AbstractSet[str] = field(default_factory=frozenset)

    def but(self, found: "NodeEvidence", ips: AbstractSet[str]) -> "NodeEvidence":
        """This, with what `found` says of these IP addresses; the same object if that is the
        same."""
        changed = NodeEvidence(
            answering=(self.answering - ips) | found.answering,
            silent=(self.silent - ips) | found.silent,
            refusing=(self.refusing - ips) | found.refusing,
        )
        return self if changed == self else changed

    def differs(self, other: "NodeEvidence") -> AbstractSet[str]:
        """The IP addresses of which they say different things."""
        if other is self:
            return frozenset()
        return (
            (self.answering ^ other.answering)
            | (self.silent ^ other.silent)
            | (self.refusing ^ other.refusing)
        )


NOTHING_KNOWN = NodeEvidence()


def judge_nodes(verdicts: Iterable[Verdict], empty_ports: AbstractSet[int]) -> NodeEvidence:
    """The evidence of these verdicts. `empty_ports` are the NodePorts of services without any
    endpoint, which are refused everywhere."""
    answering: set[str] = set()
    doubtful: dict[str, list[int]] = {}
    for verdict in verdicts:
        if verdict.healthy and not verdict.streak:
            answering.add(verdict.address[0])
            continue
        cause = verdict.cause
        if verdict.healthy is None or cause is None or cause is Cause.LOCAL_ERROR:
            continue
        ip, port = verdict.address
        counts = doubtful.get(ip)
        if counts is None:
            counts = doubtful[ip] = [0, 0, 0]
        if cause in SILENT_CAUSES:
            counts[0] += 1
        elif cause is Cause.REFUSED:
            counts[2 if port in empty_ports else 1] += 1
        else:
            answering.add(ip)
    silent, refusing = set(), set()
    for ip, (unheard, refused, empty) in doubtful.items():
        if ip in answering:
            continue
        if unheard >= MIN_SERVICES and not refused and not empty:
            silent.add(ip)
        elif refused >= MIN_SERVICES and not unheard:
            refusing.add(ip)
        elif refused or empty:
            answering.add(ip)  # its kernel does
    return NodeEvidence(answering=answering, silent=silent, refusing=refusing)
