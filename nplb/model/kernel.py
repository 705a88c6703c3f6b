"""Which plane serves a frontend, and what only the kernel plane can be told."""

from dataclasses import dataclass
from enum import StrEnum


class PlaneKind(StrEnum):
    """What moves the bytes."""

    RELAY = "relay"  # worker processes of nplb's own
    KERNEL = "kernel"  # nftables: the edge's kernel forwards the packets


class Refusal(StrEnum):
    """How the kernel turns a client away."""

    RESET = "reset"  # a TCP reset, or ICMP port unreachable
    DROP = "drop"  # nothing, so that the client waits


@dataclass(frozen=True, slots=True, kw_only=True)
class KernelOptions:
    """One frontend's options on the kernel plane.

    masquerade   nodes see the edge's address, and answer by the edge. Without it they see the
                 client's, and must route their answers back through the edge
    end_on_down  the connections of a backend that goes down are ended, not left to time out
    refusal      how clients are turned away: without a backend, over a limit, not admitted
    fast_path    an eBPF program at each interface moves TCP connections past netfilter, where
                 nothing stands in its way (policy.kernel.fast_path_obstacle); the table does
                 the rest
    """

    masquerade: bool = True
    end_on_down: bool = True
    refusal: Refusal = Refusal.RESET
    fast_path: bool = False
