"""One cluster as every Service of it needs to know it, computed once a pass."""

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace
from operator import attrgetter
from typing import NamedTuple

from nplb.model.cluster import EndpointSlice, Node, Service, Snapshot
from nplb.model.difference import difference
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


# The namespace and name of a Service, as an EndpointSlice has them.
_Name = tuple[str, str]
_SLICE_KEY = attrgetter("namespace", "name")


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterView:
    """What every Service of one cluster needs to know of it, computed once a pass. `drained` are
    nodes taken out by hand, `touched` the Services whose endpoints may be others than in the view
    before."""

    cluster: ClusterSettings
    zone: str
    drained: Mapping[str, ManualDrain]
    nodes: tuple[tuple[Node, Exclusion | None], ...]
    slices: Mapping[_Name, Sequence[EndpointSlice]]
    touched: AbstractSet[_Name] = frozenset()
    ready_counts: bool
    _rows: dict[tuple[str, ...], list[Row]] = field(default_factory=dict)
    _endpoints: dict[_Name, EndpointCounts] = field(default_factory=dict)
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
        `before` is a view with the same settings, and its snapshot: what holds of it is used
        again.

        Where more nodes are NotReady than may leave by the API's word, Ready counts for
        nothing: a few nodes must not get all clients because of a mass NotReady.
        """
        slices, touched, endpoints = _slices(snapshot, before)
        drained = {drain.node: drain for drain in drains if drain.cluster == cluster.name}
        if (
            before is not None
            and snapshot.nodes is before[0].nodes
            and drained == before[1].drained
        ):
            return replace(before[1], slices=slices, touched=touched, _endpoints=endpoints)
        by_hand = {node: drain_exclusion(drain) for node, drain in drained.items()}
        selector = parse_selector(cluster.node_selector)
        ordered = sorted(snapshot.nodes, key=lambda node: node.name)
        nodes = tuple(
            (node, by_hand.get(node.name) or node_exclusion(node, selector)) for node in ordered
        )
        usable = [node for node, out in nodes if out is None]
        not_ready = sum(counts_as_not_ready(node) for node in usable)
        return cls(
            cluster=cluster,
            zone=zone,
            drained=drained,
            nodes=nodes,
            slices=slices,
            touched=touched,
            ready_counts=not_ready <= blast_radius.limit(len(usable)),
            _endpoints=endpoints,
            _rows_before=before[1]._rows if before is not None else {},
        )

    def endpoints(self, service: Service) -> EndpointCounts:
        """A Service's endpoints by node."""
        key = (service.key.namespace, service.key.name)
        counts = self._endpoints.get(key)
        if counts is None:
            slices = self.slices.get(key)
            if slices is None:
                return NO_SLICES
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
    Mapping[_Name, Sequence[EndpointSlice]], AbstractSet[_Name], dict[_Name, EndpointCounts]
]:
    """The slices of each Service, of which Services they are not as before, and what is counted
    of the others already."""
    slices: dict[_Name, list[EndpointSlice]] = {}
    if before is None:
        for piece in snapshot.slices:
            slices.setdefault((piece.namespace, piece.service), []).append(piece)
        return slices, frozenset(), {}
    known = before[1]
    gone, come = difference(before[0].slices, snapshot.slices, _SLICE_KEY)
    if not gone and not come:
        return known.slices, frozenset(), known._endpoints
    for piece in come:
        slices.setdefault((piece.namespace, piece.service), []).append(piece)
    touched = slices.keys() | {(piece.namespace, piece.service) for piece in gone}
    left = set(map(_SLICE_KEY, gone))
    for name in touched:
        stay = [piece for piece in known.slices.get(name, ()) if _SLICE_KEY(piece) not in left]
        slices[name] = sorted([*stay, *slices.get(name, ())], key=_SLICE_KEY)
    now = {**known.slices, **slices}
    for name in [name for name in touched if not now[name]]:
        del now[name]
    endpoints = {name: count for name, count in known._endpoints.items() if name not in touched}
    return now, touched, endpoints


def _weight(node: Node) -> int:
    """A wrong annotation is a finding (control.books), and counts as none."""
    try:
        return node_weight(node)
    except ValueError:
        return 1
