"""What every Service of a cluster needs to know of it, from one snapshot to the next."""

from nplb.model.cluster import Snapshot
from nplb.model.health import BlastRadius
from nplb.plan.view import ClusterView
from tests.support.builders import a_cluster, a_node, a_service, a_slice, a_snapshot, an_endpoint

SERVICE = a_service()


def view_of(snapshot: Snapshot, before: tuple[Snapshot, ClusterView] | None) -> ClusterView:
    return ClusterView.of(a_cluster(), snapshot, "", (), BlastRadius(), before)


def test_endpoints_are_counted_once_and_forgotten_with_their_slices() -> None:
    with_slices = a_snapshot([SERVICE], [a_node(1)], [a_slice(an_endpoint(1, "10.1.0.1"))])
    first = view_of(with_slices, None)
    counted = first.endpoints(SERVICE)
    assert counted.ready_nodes == {"node-1"}

    again = a_snapshot([SERVICE], [a_node(1)], [a_slice(an_endpoint(1, "10.1.0.1"))])
    second = view_of(again, (with_slices, first))
    assert second.endpoints(SERVICE) is counted

    without = a_snapshot([SERVICE], [a_node(1)])
    third = view_of(without, (again, second))
    assert not third.endpoints(SERVICE).known
    assert third._endpoints == {}
