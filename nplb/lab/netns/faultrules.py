"""The table of a namespace that faults write: silence, refusal, loss and partition. Pure."""

from ipaddress import IPv4Network

from nplb.lab.fabric import Impairment
from nplb.lab.interface import Reach

TABLE = "ip nplb-lab-faults"
UPLINK = "eth0"


def fault_table(
    address: str,
    reach: Reach,
    impairment: Impairment | None = None,
    others: tuple[IPv4Network, ...] = (),
    edge: str = "",
) -> str:
    """The transaction that puts the rules of these faults in the place of whatever is there.

    `others` are the networks of other machines and their pods, which a partition cuts off;
    `edge` is the address in them that is not.
    """
    impairment = impairment or Impairment()
    arriving: list[str] = []
    leaving: list[str] = []
    refused: list[str] = []
    if reach is Reach.SILENT:
        # Of the machine's own address alone: what is for its pods passes on.
        arriving.append(f"ip daddr {address} drop")
        leaving.append(f"ip saddr {address} drop")
    elif reach is Reach.REFUSING:
        refused.append(f"ip daddr {address} ct state new meta l4proto tcp reject with tcp reset")
        refused.append(f"ip daddr {address} ct state new reject")
    if impairment.loss:
        share = round(impairment.loss * 10000)
        lost = "drop" if share >= 10000 else f"numgen random mod 10000 < {share} drop"
        arriving.append(f"iifname {UPLINK} {lost}")
        leaving.append(f"oifname {UPLINK} {lost}")
    if impairment.partitioned:
        arriving += [f"iifname {UPLINK} ip saddr != {edge} ip saddr {n} drop" for n in others]
        leaving += [f"oifname {UPLINK} ip daddr != {edge} ip daddr {n} drop" for n in others]
    chains = (
        ("arriving", "prerouting priority -300", arriving),
        # Where a node's answers have its own address again.
        ("leaving", "postrouting priority 300", leaving),
        # After connection tracking has looked, and before kube-proxy's rules.
        ("refused", "prerouting priority -150", refused),
    )
    lines = [f"add table {TABLE}", f"delete table {TABLE}"]
    if arriving or leaving or refused:
        lines.append(f"add table {TABLE}")
    for name, hook, rules in chains:
        if rules:
            lines.append(f"add chain {TABLE} {name} {{ type filter hook {hook}; }}")
            lines += [f"add rule {TABLE} {name} {rule}" for rule in rules]
    return "\n".join(lines) + "\n"
