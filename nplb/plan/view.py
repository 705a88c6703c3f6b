"""One cluster as every Service of it needs to know it, computed once a pass."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from nplb.model.cluster import EndpointSlice, Node, Service, Snapshot
from nplb.model.drain import ManualDrain
from nplb.model.health import BlastRadius
from nplb.model.settings import ClusterSettings
from nplb.plan.spread import Ring
from nplb.policy.nodes import (
    NO_SLICES,
    EndpointCounts,
    Exclusion,
    count_endpoints,
    counts_as_not_ready,
    drain_exclusion,
    node_exclusion,
    node_ip,
    node_weight,
)
from nplb.policy.selectors import parse_selector

# What makes a node less wanted, as parts of its tier: the graver, the more.
NO_POD_TIER = 1
OTHER_ZONE_TIER = 2
NOT_READY_TIER = 4
UNWELL_TIER = 8

NOT_READY = "the Node is NotReady: it serves once too few others work"


class Row(NamedTuple):
    """A node as every Service sees it. `ip` None: no address is usable; `out`: why no Service
    may use it; `note`: what a person should know of it while it is in."""

    node: Node
    ip: str | None
    out: Exclusion | None
    weight: int
    tier: int
    note: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterView:
    """What every Service of one cluster needs to know of it, computed once a pass."""

    cluster: ClusterSettings
    zone: str
    nodes: tuple[tuple[Node, Exclusion | None], ...]
    slices: Mapping[tuple[str, str], Sequence[EndpointSlice]]
    ready_counts: bool
    _rows: dict[tuple[str, ...], list[Row]] = field(default_factory=dict)
    _endpoints: dict[tuple[str, str], EndpointCounts] = field(default_factory=dict)
    _rings: dict[tuple[str, ...], tuple[Ring, list[int], list[int]]] = field(default_factory=dict)
    _rows_before: dict[tuple[str, ...], list[Row]] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        cluster: ClusterSettings,
        snapshot: Snapshot,
        zone: str,
        drains: Sequence[ManualDrain],
        blast_radius: BlastRadius,
        before: tuple[Snapshot, "ClusterView"] | None = None,
    ) -> "ClusterView":
        """The view that a snapshot gives. `zone` is the edge's own, `drains` of any cluster.
        `before` is a view with the same settings and drains, and its snapshot: what holds of it is
        used again.

        Where more nodes are NotReady than may leave by the API's word, Ready counts for
        nothing: a few nodes must not get all clients because of a mass NotReady.
        """
        slices, endpoints = _slices(snapshot, before)
        if before is not None and snapshot.nodes is before[0].nodes:
            return replace(before[1], slices=slices, _endpoints=endpoints)
        drained = {d.node: drain_exclusion(d) for d in drains if d.cluster == cluster.name}
        selector = parse_selector(cluster.node_selector)
        ordered = sorted(snapshot.nodes, key=lambda node: node.name)
        nodes = tuple(
            (node, drained.get(node.name) or node_exclusion(node, selector)) for node in ordered
        )
        usable = [node for node, out in nodes if out is None]
        not_ready = sum(counts_as_not_ready(node) for node in usable)
        return cls(
            cluster=cluster,
            zone=zone,
            nodes=nodes,
            slices=slices,
            ready_counts=not_ready <= blast_radius.limit(len(usable)),
            _endpoints=endpoints,
            _rows_before=before[1]._rows if before is not None else {},
        )

    def endpoints(self, service: Service) -> EndpointCounts:
        """A Service's endpoints by node."""
        key = (service.key.namespace, service.key.name)
        slices = self.slices.get(key)
        if slices is None:
            return NO_SLICES
        counts = self._endpoints.get(key)
        if counts is None:
            counts = self._endpoints[key] = count_endpoints(slices)
        return counts

    def chosen(self, service: Service, limit: int) -> list[Row]:
        """The rows of the nodes that a Service uses if it may use `limit` of them (0 for all),
        and of those that no Service may use."""
        families = service.ip_families
        rows = self.rows(families)
        if not limit or len(rows) <= limit:
            return rows
        found = self._rings.get(families)
        if found is None:
            usable = [i for i, row in enumerate(rows) if row.out is None and row.ip is not None]
            in_use = frozenset(usable)
            ring = Ring([rows[index].node.name for index in usable])
            others = [index for index in range(len(rows)) if index not in in_use]
            found = self._rings[families] = ring, usable, others
        ring, usable, others = found
        mine = [usable[place] for place in ring.choose(service.key, limit)]
        return [rows[index] for index in sorted([*mine, *others])]

    def rows(self, families: tuple[str, ...]) -> list[Row]:
        """Every node with its address for Services of these families, and why it is out. A row
        that is as in the view before is the same object."""
        rows = self._rows.get(families)
        if rows is None:
            types = self.cluster.node_address
            known = {row.node.name: row for row in self._rows_before.get(families, ())}
            made = (
                Row(
                    node,
                    node_ip(node, types, families, self.cluster.node_networks),
                    out,
                    _weight(node),
                    (0 if self.zone in ("", node.zone) else OTHER_ZONE_TIER)
                    + (NOT_READY_TIER if lowered else 0),
                    NOT_READY if lowered else "",
                )
                for node, out in self.nodes
                for lowered in (self.ready_counts and counts_as_not_ready(node),)
            )
            rows = [
                before if before == row else row
                for row in made
                for before in (known.get(row.node.name, row),)
            ]
            self._rows[families] = rows
        return rows


def _slices(
    snapshot: Snapshot, before: tuple[Snapshot, ClusterView] | None
) -> tuple[
    Mapping[tuple[str, str], Sequence[EndpointSlice]], dict[tuple[str, str], EndpointCounts]
]:
    """The slices of each Service, and what is counted of them already."""
    if before is not None and snapshot.slices is before[0].slices:
        return before[1].slices, before[1]._endpoints
    slices: dict[tuple[str, str], list[EndpointSlice]] = {}
    for piece in snapshot.slices:
        slices.setdefault((piece.namespace, piece.service), []).append(piece)
    if before is None:
        return slices, {}
    known, counted = before[1].slices, before[1]._endpoints
    return slices, {
        key: counts
        for key, counts in counted.items()
        if key in slices and slices[key] == known.get(key)
    }


def _weight(node: Node) -> int:
    """A wrong annotation is a finding (control.books), and counts as none."""
    try:
        return node_weight(node)
    except ValueError:
        return 1
