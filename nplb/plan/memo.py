"""What the pass before knew, so that a pass costs as much as has changed, and not the cluster.

A memo changes nothing of a plan, only how soon it is there: whatever it gives back was made of
the very same objects. So it compares by identity, and where a pass has no memo, or another
configuration, everything is made anew. It belongs to one loop, which gives it to each pass.
"""

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import replace
from typing import NamedTuple

from nplb.model.cluster import Snapshot
from nplb.model.drain import ManualDrain
from nplb.model.keys import Address, FrontendKey, ServiceKey
from nplb.model.plan import Frontend, Plan
from nplb.model.reasons import BackendReason
from nplb.model.settings import ClusterSettings, Settings
from nplb.model.verdict import Verdict
from nplb.plan.candidates import Candidate, OfService
from nplb.plan.frontend import KUBE_PROXY_PORT, Probed, rows_for
from nplb.plan.ports import Ports
from nplb.plan.probes import ProbePlan
from nplb.plan.view import ClusterView, Row
from nplb.policy.evidence import NOTHING_KNOWN, NodeEvidence, judge_nodes

_STRETCH = 256


class _Claim(NamedTuple):
    """All of a candidate without an annotation that counts for who gets which port."""

    key: FrontendKey
    listen: tuple[Address, ...]
    pinned: bool
    created: float | None


class _Made(NamedTuple):
    """A frontend with all that it was made of, but verdicts and what they say of nodes: it used
    those of its own ports and of the nodes at `ips`. `rows` are its nodes out of `all_rows`.
    `restless`: time alone, or another node, may change it."""

    candidate: Candidate
    all_rows: list[Row]
    rows: list[Row]
    endpoints: object
    most_nodes: int
    frontend: Frontend
    probes: Probed
    ips: frozenset[str]
    restless: bool


class _Judged(NamedTuple):
    """What these verdicts say of the nodes of one cluster, with these ports empty."""

    verdicts: Mapping[Address, Verdict]
    empty_ports: frozenset[int]
    evidence: NodeEvidence


class Memo:
    """One loop's memory. `begin` and `end` enclose a pass.

    Invariant: between two passes `_frontends` has what the pass before made, or found to hold;
    so what has changed since that pass is all that may make one of them stale. After a pass
    that did not come to its end, or for another plan than that pass's, there are none.
    """

    def __init__(self) -> None:
        self._settings: Settings | None = None
        self._drains: Sequence[ManualDrain] = ()
        self._verdicts: Mapping[Address, Verdict] = {}
        self._verdicts_before: Mapping[Address, Verdict] = {}
        self._plan: Plan | None = None
        self._changed: AbstractSet[Address] = frozenset()
        self._ports_changed: AbstractSet[int] = frozenset()
        self._forget()

    def _forget(self) -> None:
        self._services: dict[str, dict[ServiceKey, OfService]] = {}
        self._views: dict[str, tuple[Snapshot, ClusterView]] = {}
        self._evidence: dict[str, _Judged] = {}
        self._frontends: dict[FrontendKey, _Made] = {}
        self._made: dict[FrontendKey, _Made] = {}
        self._ports: tuple[list[_Claim], Ports] | None = None
        self._nodes_changed: dict[str, AbstractSet[str]] = {}
        self.probes = ProbePlan()

    def begin(
        self,
        settings: Settings,
        drains: Sequence[ManualDrain],
        verdicts: Mapping[Address, Verdict],
        previous: Plan,
    ) -> None:
        """A pass with these inputs begins."""
        if settings is not self._settings or drains != self._drains:
            self._forget()
        if previous is not self._plan:
            self._frontends = {}
        self._plan = None
        self._verdicts_before = self._verdicts
        self._changed = _changed_addresses(self._verdicts, verdicts)
        self._ports_changed = {port for _, port in self._changed}
        self._settings, self._drains, self._verdicts = settings, drains, verdicts
        self._made = {}

    def end(self, plan: Plan) -> None:
        """The pass has made this plan."""
        self._plan = plan
        self._frontends = self._made

    # -- candidates and ports -----------------------------------------------------------------

    def services(self, cluster: str) -> dict[ServiceKey, OfService]:
        """What was found of one cluster's Services, to be looked up and brought up to date."""
        return self._services.setdefault(cluster, {})

    def ports(self, candidates: Sequence[Candidate]) -> Ports | None:
        """Who has which port, if those who claim them, and what they claim, are as before."""
        if self._ports is None or any(candidate.asked for candidate in candidates):
            return None  # who asks by annotation is judged by who has what
        claims, ports = self._ports
        if claims != _claims(candidates):
            return None
        placed = {candidate.key: candidate for candidate in candidates}
        return replace(ports, candidates=tuple(placed.values()))

    def keep_ports(self, candidates: Sequence[Candidate], ports: Ports) -> None:
        """For these candidates, these are the ports."""
        asked = any(candidate.asked for candidate in candidates)
        self._ports = None if asked else (_claims(candidates), ports)

    # -- clusters -----------------------------------------------------------------------------

    def view(
        self,
        settings: Settings,
        cluster: ClusterSettings,
        snapshot: Snapshot,
        drains: Sequence[ManualDrain],
    ) -> ClusterView:
        """The view of a snapshot, with the parts of the view before that still hold."""
        before = self._views.get(cluster.name)
        view = ClusterView.of(
            cluster, snapshot, settings.zone, drains, settings.blast_radius, before
        )
        self._views[cluster.name] = snapshot, view
        return view

    def evidence(
        self, cluster: str, verdicts: Mapping[Address, Verdict], empty_ports: frozenset[int]
    ) -> NodeEvidence:
        """What the verdicts say of nodes; the same object as long as it is the same."""
        before = self._evidence.get(cluster)
        known = before.evidence if before is not None else NOTHING_KNOWN
        ips = {ip for ip, _ in self._changed}
        if (
            before is None
            or before.empty_ports != empty_ports
            or before.verdicts is not self._verdicts_before
        ):
            found = judge_nodes(verdicts.values(), empty_ports)
        elif ips:
            of_these = (verdict for verdict in verdicts.values() if verdict.address[0] in ips)
            found = known.but(judge_nodes(of_these, empty_ports), ips)
        else:
            found = known
        self._evidence[cluster] = _Judged(verdicts, empty_ports, found)
        asked = {ip for ip, port in self._changed if port == KUBE_PROXY_PORT}
        self._nodes_changed[cluster] = asked | found.differs(known)
        return found

    # -- frontends ----------------------------------------------------------------------------

    def frontend(
        self, candidate: Candidate, view: ClusterView, most_nodes: int, earlier: Frontend | None
    ) -> tuple[Frontend, Probed] | None:
        """The frontend that these make, if it was made of the same and nothing else counts."""
        made = self._frontends.get(candidate.key)
        if (
            made is None
            or made.restless
            or made.frontend is not earlier
            or made.endpoints is not view.endpoints(candidate.service)
            or candidate.port.node_port in self._ports_changed
            or candidate.service.health_check_node_port in self._ports_changed
            or made.candidate != candidate
            or not made.ips.isdisjoint(self._nodes_changed[candidate.cluster.name])
        ):
            return None
        all_rows = view.rows(candidate.service.ip_families)
        if made.all_rows is not all_rows or made.most_nodes != most_nodes:
            if made.rows != self._rows(candidate, view, most_nodes):
                return None
            made = made._replace(all_rows=all_rows, most_nodes=most_nodes)
        self._made[candidate.key] = made
        return made.frontend, made.probes

    def _rows(self, candidate: Candidate, view: ClusterView, most_nodes: int) -> list[Row]:
        assert self._settings is not None
        return rows_for(self._settings, candidate, view, most_nodes)

    def keep_frontend(
        self,
        candidate: Candidate,
        view: ClusterView,
        most_nodes: int,
        frontend: Frontend,
        probes: Probed,
    ) -> Probed:
        """Remember what was made. Returns the probes, as the object of before if they are the
        same."""
        before = self._frontends.get(candidate.key)
        if before is not None and before.probes == probes:
            probes = before.probes
        restless = bool(frontend.left_out) or any(
            backend.left_at or backend.reason is BackendReason.KEPT for backend in frontend.backends
        )
        self._made[candidate.key] = _Made(
            candidate,
            view.rows(candidate.service.ip_families),
            self._rows(candidate, view, most_nodes),
            view.endpoints(candidate.service),
            most_nodes,
            frontend,
            probes,
            frozenset([backend.key.address[0] for backend in frontend.backends]),
            restless,
        )
        return probes


def _claims(candidates: Sequence[Candidate]) -> list[_Claim]:
    return [_Claim(c.key, c.listen, c.pinned, c.service.created) for c in candidates]


def _changed_addresses(
    before: Mapping[Address, Verdict], after: Mapping[Address, Verdict]
) -> AbstractSet[Address]:
    """The addresses whose verdict is another one, new or gone. Verdicts keep their order, so
    whole stretches of them are the same objects in both."""
    if after is before:
        return frozenset()
    old, new = list(before.values()), list(after.values())
    rest_old: list[Verdict] = []
    rest_new: list[Verdict] = []
    for begin in range(0, max(len(old), len(new)), _STRETCH):
        one, other = old[begin : begin + _STRETCH], new[begin : begin + _STRETCH]
        if one != other:
            rest_old += one
            rest_new += other
    known, present = set(map(id, rest_old)), set(map(id, rest_new))
    return {verdict.address for verdict in rest_new if id(verdict) not in known} | {
        verdict.address for verdict in rest_old if id(verdict) not in present
    }
