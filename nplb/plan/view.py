"""One cluster as every Service of it needs to know it, computed once a pass."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from nplb.model.cluster import EndpointSlice, Node, Snapshot
from nplb.model.drain import ManualDrain
from nplb.model.settings import ClusterSettings
from nplb.policy.nodes import Exclusion, drain_exclusion, node_exclusion, node_ip, node_weight
from nplb.policy.selectors import parse_selector


class Row(NamedTuple):
    """A node as every Service sees it. `ip` None: no address is usable; `out`: why no Service
    may use it."""

    node: Node
    ip: str | None
    out: Exclusion | None
    weight: int
    tier: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterView:
    """What every Service of one cluster needs to know of it, computed once a pass."""

    cluster: ClusterSettings
    zone: str
    nodes: tuple[tuple[Node, Exclusion | None], ...]
    slices: Mapping[tuple[str, str], Sequence[EndpointSlice]]
    _rows: dict[tuple[str, ...], list[Row]] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        cluster: ClusterSettings,
        snapshot: Snapshot,
        zone: str,
        drains: Sequence[ManualDrain],
    ) -> "ClusterView":
        """The view that a snapshot gives. `zone` is the edge's own, `drains` of any cluster."""
        drained = {d.node: drain_exclusion(d) for d in drains if d.cluster == cluster.name}
        selector = parse_selector(cluster.node_selector)
        slices: dict[tuple[str, str], list[EndpointSlice]] = {}
        for piece in snapshot.slices:
            slices.setdefault((piece.namespace, piece.service), []).append(piece)
        ordered = sorted(snapshot.nodes, key=lambda node: node.name)
        nodes = tuple(
            (node, drained.get(node.name) or node_exclusion(node, selector)) for node in ordered
        )
        return cls(cluster=cluster, zone=zone, nodes=nodes, slices=slices)

    def rows(self, families: tuple[str, ...]) -> list[Row]:
        """Every node with its address for Services of these families, and why it is out."""
        rows = self._rows.get(families)
        if rows is None:
            types = self.cluster.node_address
            rows = [
                Row(
                    node,
                    node_ip(node, types, families),
                    out,
                    _weight(node),
                    0 if self.zone in ("", node.zone) else 1,
                )
                for node, out in self.nodes
            ]
            self._rows[families] = rows
        return rows


def _weight(node: Node) -> int:
    """A wrong annotation is a finding (control.books), and counts as none."""
    try:
        return node_weight(node)
    except ValueError:
        return 1
