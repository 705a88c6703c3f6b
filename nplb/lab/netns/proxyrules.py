"""What kube-proxy writes on a machine: from the rules of its ports to a table. Pure.

Has the shape of kube-proxy's nftables mode (pkg/proxy/nftables/README.md): verdict maps for
NodePorts and ClusterIPs, endpoints chosen by `numgen random`, a set for each endpoint that
remembers its clients, a mark for what is masqueraded; ports without a usable endpoint are
rejected or dropped in a filter chain before addresses are rewritten.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from ipaddress import IPv4Network

from nplb.lab.rules import Action, Rule, Target
from nplb.model.keys import Protocol, ServiceKey
from nplb.policy.hashing import text_hash

TABLE = "ip kube-proxy"
MARK = 0x4000
_FOREIGN = re.compile(r"[^a-z0-9/_.-]")

_MAPS = {
    "service-ips": "ipv4_addr . inet_proto . inet_service",
    "service-nodeports": "inet_proto . inet_service",
    "no-endpoint-services": "ipv4_addr . inet_proto . inet_service",
    "no-endpoint-nodeports": "inet_proto . inet_service",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """One port of a Service with its rule: a NodePort, or a port of `cluster_ip`."""

    owner: ServiceKey
    protocol: Protocol
    port: int
    rule: Rule
    cluster_ip: str = ""

    @property
    def id(self) -> str:
        """What its chains are named after."""
        where = self.cluster_ip or "nodeport"
        text = f"{self.owner.namespace}/{self.owner.name}/{self.protocol.lower()}/{self.port}"
        unique = text_hash(f"{where} {text}") & 0xFFFFFFFF
        return f"{unique:08x}-{_FOREIGN.sub('_', text)}"[:80]


@dataclass(slots=True)
class Table:
    """The content of a table: rules by chain, elements by map, definitions by set."""

    chains: dict[str, list[str]] = field(default_factory=dict)
    maps: dict[str, dict[str, str]] = field(default_factory=dict)
    sets: dict[str, str] = field(default_factory=dict)


def render(ports: Iterable[Served], node_ip: str, pods: IPv4Network) -> Table:
    """The table of the machine at `node_ip` in a cluster whose pods are in `pods`."""
    table = Table(chains=_base(node_ip), maps={name: {} for name in _MAPS})
    for served in ports:
        rule, kind = served.rule, "services" if served.cluster_ip else "nodeports"
        key = f"{served.protocol.lower()} . {served.port}"
        if served.cluster_ip:
            key = f"{served.cluster_ip} . {key}"
        if rule.action is Action.FORWARD:
            wanted = "service-ips" if served.cluster_ip else "service-nodeports"
            table.maps[wanted][key] = f"goto service-{served.id}"
            _forward(table, served, pods)
        else:
            refusal = "goto reject-chain" if rule.action is Action.REFUSE else "drop"
            table.maps[f"no-endpoint-{kind}"][key] = refusal
    return table


def transaction(before: Table | None, table: Table) -> str:
    """The commands that write `table`, whose chains and sets of before are `before`'s. What
    sets remember stays."""
    old = before or Table()
    lines = [f"add table {TABLE}"]
    lines += [f"add map {TABLE} {name} {{ type {key} : verdict; }}" for name, key in _MAPS.items()]
    lines += [f"add chain {TABLE} {name}{_hook(name)}" for name in table.chains]
    lines += [f"add set {TABLE} {name} {{ {what} }}" for name, what in table.sets.items()]
    lines += [f"flush map {TABLE} {name}" for name in _MAPS]
    lines.append(f"flush table {TABLE}")
    for name, rules in table.chains.items():
        lines += [f"add rule {TABLE} {name} {rule}" for rule in rules]
    for name, elements in table.maps.items():
        if elements:
            written = ", ".join(f"{key} : {verdict}" for key, verdict in elements.items())
            lines.append(f"add element {TABLE} {name} {{ {written} }}")
    # Chains in the order in which they name each other.
    gone = [name for name in old.chains if name not in table.chains]
    lines += [f"delete chain {TABLE} {name}" for name in gone]
    lines += [f"delete set {TABLE} {name}" for name in old.sets if name not in table.sets]
    return "\n".join(lines) + "\n"


_HOOKS = {
    "filter-prerouting": "type filter hook prerouting priority -110;",
    "filter-output": "type filter hook output priority -110;",
    "nat-prerouting": "type nat hook prerouting priority -100;",
    "nat-output": "type nat hook output priority -100;",
    "nat-postrouting": "type nat hook postrouting priority 100;",
}


def _hook(chain: str) -> str:
    return f" {{ {_HOOKS[chain]} }}" if chain in _HOOKS else ""


def _base(node_ip: str) -> dict[str, list[str]]:
    return {
        "filter-prerouting": ["ct state new jump no-endpoints"],
        "filter-output": ["ct state new jump no-endpoints"],
        "nat-prerouting": ["jump services"],
        "nat-output": ["jump services"],
        "nat-postrouting": ["jump masquerading"],
        "no-endpoints": [
            "ip daddr . meta l4proto . th dport vmap @no-endpoint-services",
            f"ip daddr {node_ip} meta l4proto . th dport vmap @no-endpoint-nodeports",
        ],
        "reject-chain": ["reject"],
        "services": [
            "ip daddr . meta l4proto . th dport vmap @service-ips",
            f"ip daddr {node_ip} meta l4proto . th dport vmap @service-nodeports",
        ],
        "mark-for-masquerade": [f"meta mark set meta mark or {MARK:#x}"],
        "masquerading": [
            f"meta mark & {MARK:#x} == 0 return",
            f"meta mark set meta mark xor {MARK:#x}",
            "masquerade fully-random",
        ],
    }


def _forward(table: Table, served: Served, pods: IPv4Network) -> None:
    """The chain of a port, and those of its endpoints."""
    rule = served.rule
    rules: list[str] = []
    if served.cluster_ip:
        rules.append(f"ip saddr != {pods} jump mark-for-masquerade")
    elif not rule.preserve_source:
        rules.append("jump mark-for-masquerade")
    chosen: list[str] = []
    for target in rule.targets:
        chain = f"endpoint-{served.id}-{target.ip}-{target.port}"
        chosen.append(f"goto {chain}")
        remember: list[str] = []
        if rule.affinity_seconds is not None:
            # The time is in the name: another time is another set.
            name = f"affinity-{served.id}-{target.ip}-{target.port}-{rule.affinity_seconds}"
            table.sets[name] = (
                f"type ipv4_addr; size 65535; flags dynamic,timeout; "
                f"timeout {rule.affinity_seconds}s;"
            )
            rules.append(f"ip saddr @{name} goto {chain}")
            remember.append(f"update @{name} {{ ip saddr }}")
        table.chains[chain] = [
            f"ip saddr {target.ip} jump mark-for-masquerade",
            *remember,
            f"meta l4proto {served.protocol.lower()} dnat to {_address(target)}",
        ]
    verdicts = ", ".join(f"{number} : {verdict}" for number, verdict in enumerate(chosen))
    rules.append(f"numgen random mod {len(chosen)} vmap {{ {verdicts} }}")
    table.chains[f"service-{served.id}"] = rules


def _address(target: Target) -> str:
    return f"{target.ip}:{target.port}"
