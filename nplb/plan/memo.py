"""What the pass before knew, so that a pass costs as much as has changed, and not the cluster.

A memo changes nothing of a plan, only how soon it is there: whatever it gives back was made of
the very same objects. So it compares by identity, and where a pass has no memo, or another
configuration, everything is made anew. It belongs to one loop, which gives it to each pass.
"""

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import replace
from operator import attrgetter, is_
from typing import NamedTuple

from nplb.model.cluster import Snapshot
from nplb.model.difference import difference
from nplb.model.drain import ManualDrain
from nplb.model.keys import Address, FrontendKey
from nplb.model.plan import Frontend, Plan
from nplb.model.reasons import BackendReason
from nplb.model.settings import ClusterSettings, Settings
from nplb.model.verdict import Verdict
from nplb.plan.candidates import Candidate, Finder
from nplb.plan.frontend import KUBE_PROXY_PORT, Probed, rows_for
from nplb.plan.ports import Ports
from nplb.plan.probes import ProbePlan
from nplb.plan.spread import nodes_limit
from nplb.plan.view import ClusterView, Row
from nplb.policy.evidence import NOTHING_KNOWN, NodeEvidence, judge_nodes

_STRETCH = 256
_KEY = attrgetter("key")


class _Claim(NamedTuple):
    """All of a candidate without an annotation that counts for who gets which port."""

    key: FrontendKey
    listen: tuple[Address, ...]
    pinned: bool
    created: float | None


class Made(NamedTuple):
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


class Known(NamedTuple):
    """What the candidates of one cluster share in a pass: the most nodes that each may use, and
    the addresses of nodes of which something else is known than in the pass before."""

    view: ClusterView
    evidence: NodeEvidence
    most_nodes: int
    nodes_changed: AbstractSet[str]


class _Judged(NamedTuple):
    """What these verdicts say of the nodes of one cluster, with these ports empty."""

    verdicts: Mapping[Address, Verdict]
    empty_ports: frozenset[int]
    evidence: NodeEvidence


class Memo:
    """One loop's memory. `begin` and `end` enclose a pass.

    Invariant: between two passes `_made` has what the pass before made, or found to hold, by
    candidate (`id`); so what has changed since that pass is all that may make one of them stale.
    For another plan than that pass's there are none, and after a pass that did not come to its
    end nothing is known at all.
    """

    def __init__(self) -> None:
        self._settings: Settings | None = None
        self._verdicts: Mapping[Address, Verdict] = {}
        self._verdicts_before: Mapping[Address, Verdict] = {}
        self._changed: AbstractSet[Address] = frozenset()
        self._ports_changed: AbstractSet[int] = frozenset()
        self._forget()

    def _forget(self) -> None:
        self._plan: Plan | None = None
        self._finders: dict[str, Finder] = {}
        self._views: dict[str, tuple[Snapshot, ClusterView]] = {}
        self._evidence: dict[str, _Judged] = {}
        self._known: dict[str, Known] = {}
        self._known_before: dict[str, Known] = {}
        self._ports: tuple[Sequence[Candidate], Ports] | None = None
        self._frontends: dict[FrontendKey, Frontend] = {}
        self._made: dict[int, Made] = {}
        self._by_key: dict[FrontendKey, Made] | None = None
        self.probes = ProbePlan()

    def begin(
        self, settings: Settings, verdicts: Mapping[Address, Verdict], previous: Plan
    ) -> Mapping[FrontendKey, Frontend]:
        """A pass with these inputs begins. Returns the frontends of the plan before."""
        if settings is not self._settings or self._plan is None:
            self._forget()
        if previous is not self._plan:
            self._made = {}
            self._frontends = {frontend.key: frontend for frontend in previous.frontends}
        self._plan = None
        self._by_key = None
        self._known, self._known_before = {}, self._known
        self._verdicts_before = self._verdicts
        self._changed = _changed_addresses(self._verdicts, verdicts)
        self._ports_changed = {port for _, port in self._changed}
        self._settings, self._verdicts = settings, verdicts
        return self._frontends

    def end(self, previous: Plan, plan: Plan, made: Sequence[Made]) -> None:
        """The pass has made this plan out of these."""
        gone, come = difference(previous.frontends, plan.frontends, _KEY, is_)
        for frontend in gone:
            del self._frontends[frontend.key]
        self._frontends.update((frontend.key, frontend) for frontend in come)
        self._made = {id(one.candidate): one for one in made}
        self._plan = plan

    # -- candidates and ports -----------------------------------------------------------------

    def finder(self, settings: Settings, cluster: ClusterSettings) -> Finder:
        """What finds the candidates of one cluster."""
        found = self._finders.get(cluster.name)
        if found is None:
            found = self._finders[cluster.name] = Finder(settings, cluster)
        return found

    def ports(self, candidates: Sequence[Candidate]) -> Ports | None:
        """Who has which port, if those who claim them, and what they claim, are as before."""
        if self._ports is None or len(self._ports[0]) != len(candidates):
            return None
        before, ports = self._ports
        # Nobody asked by annotation before: who does is judged by who has what.
        if any(
            old is not new and (new.asked or _claim(new) != _claim(old))
            for old, new in zip(before, candidates, strict=True)
        ):
            return None
        ports = replace(ports, candidates=tuple(candidates))
        self._ports = candidates, ports
        return ports

    def keep_ports(self, candidates: Sequence[Candidate], ports: Ports) -> None:
        """For these candidates, these are the ports."""
        plain = len(ports.candidates) == len(candidates) and not any(c.asked for c in candidates)
        self._ports = (candidates, ports) if plain else None

    # -- clusters -----------------------------------------------------------------------------

    def know(
        self,
        settings: Settings,
        cluster: ClusterSettings,
        snapshot: Snapshot,
        drains: Sequence[ManualDrain],
        candidates: Sequence[Candidate],
    ) -> Known:
        """What these candidates of one cluster, all that it has, are to know of it. The view has
        the parts of the view before that still hold."""
        before = self._views.get(cluster.name)
        view = ClusterView.of(
            cluster, snapshot, settings.zone, drains, settings.blast_radius, before
        )
        self._views[cluster.name] = snapshot, view
        empty = {c.port.node_port for c in candidates if view.endpoints(c.service).empty}
        evidence, nodes_changed = self._judge(cluster.name, frozenset(empty))
        most = nodes_limit(settings.nodes_per_service, len(candidates), len(view.nodes))
        known = self._known[cluster.name] = Known(view, evidence, most, nodes_changed)
        return known

    def _judge(
        self, cluster: str, empty_ports: frozenset[int]
    ) -> tuple[NodeEvidence, AbstractSet[str]]:
        """What the verdicts say of nodes (the same object as long as it is the same), and the
        addresses of nodes of which that is something else than before."""
        verdicts = self._verdicts
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
        return found, asked | found.differs(known)

    # -- frontends ----------------------------------------------------------------------------

    def held(self) -> Mapping[int, Made]:
        """By the candidate (`id`), the frontends that hold at a glance: nothing has changed that
        one of them is made of."""
        made, ports = self._made, self._ports_changed
        stale = [which for which, one in made.items() if one.restless]
        if ports:
            stale += (
                which
                for which, one in made.items()
                if one.candidate.port.node_port in ports
                or one.candidate.service.health_check_node_port in ports
            )
        for cluster, known in self._known.items():
            before = self._known_before.get(cluster)
            touched, nodes = known.view.touched, known.nodes_changed
            all_new = (
                before is None
                or before.view.nodes is not known.view.nodes
                or before.most_nodes != known.most_nodes
            )
            if all_new or touched or nodes:
                stale += (
                    which
                    for which, one in made.items()
                    if (key := one.candidate.key.service).cluster == cluster
                    and (all_new or key[1:] in touched or not nodes.isdisjoint(one.ips))
                )
        if not stale:
            return made
        left = made.copy()
        for which in stale:
            left.pop(which, None)
        return left

    def again(self, candidate: Candidate, known: Known, earlier: Frontend | None) -> Made | None:
        """The frontend that these make, if it was made of the same and nothing else counts."""
        made = self._before(candidate)
        view = known.view
        if (
            made is None
            or made.restless
            or made.frontend is not earlier
            or made.endpoints is not view.endpoints(candidate.service)
            or candidate.port.node_port in self._ports_changed
            or candidate.service.health_check_node_port in self._ports_changed
            or made.candidate != candidate
            or not made.ips.isdisjoint(known.nodes_changed)
        ):
            return None
        all_rows = view.rows(candidate.service.ip_families)
        if made.all_rows is all_rows and made.most_nodes == known.most_nodes:
            return made._replace(candidate=candidate)
        if made.rows != self._rows(candidate, known):
            return None
        return made._replace(candidate=candidate, all_rows=all_rows, most_nodes=known.most_nodes)

    def _before(self, candidate: Candidate) -> Made | None:
        """What was made for this port in the pass before."""
        if self._by_key is None:
            self._by_key = {one.candidate.key: one for one in self._made.values()}
        return self._by_key.get(candidate.key)

    def _rows(self, candidate: Candidate, known: Known) -> list[Row]:
        assert self._settings is not None
        return rows_for(self._settings, candidate, known.view, known.most_nodes)

    def keep(self, candidate: Candidate, known: Known, frontend: Frontend, probes: Probed) -> Made:
        """Remember what was made. The probes are the object of before if they are the same."""
        before = self._before(candidate)
        if before is not None and before.probes == probes:
            probes = before.probes
        restless = bool(frontend.left_out) or any(
            backend.left_at or backend.reason is BackendReason.KEPT for backend in frontend.backends
        )
        return Made(
            candidate,
            known.view.rows(candidate.service.ip_families),
            self._rows(candidate, known),
            known.view.endpoints(candidate.service),
            known.most_nodes,
            frontend,
            probes,
            frozenset([backend.key.address[0] for backend in frontend.backends]),
            restless,
        )


def _claim(candidate: Candidate) -> _Claim:
    created = candidate.service.created
    return _Claim(candidate.key, candidate.listen, candidate.pinned, created)


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
