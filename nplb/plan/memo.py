"""What the pass before knew, so that a pass costs as much as has changed, and not the cluster.

A memo changes nothing of a plan, only how soon it is there: whatever it gives back was made of
the very same objects. So it compares by identity, and where a pass has no memo, or another
configuration, everything is made anew. It belongs to one loop, which gives it to each pass.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from nplb.model.cluster import Snapshot
from nplb.model.drain import ManualDrain
from nplb.model.keys import Address, FrontendKey, ServiceKey
from nplb.model.plan import Frontend, Plan
from nplb.model.reasons import BackendReason
from nplb.model.settings import ClusterSettings, Settings
from nplb.model.verdict import Detection, ProbeTarget, Verdict
from nplb.plan.candidates import Candidate, OfService
from nplb.plan.frontend import KUBE_PROXY_PORT, Probed
from nplb.plan.ports import Ports
from nplb.plan.view import ClusterView
from nplb.policy.evidence import NodeEvidence, judge_nodes


class _Made(NamedTuple):
    """A frontend with all that it was made of. `restless`: time alone may change it."""

    candidate: Candidate
    rows: object
    endpoints: object
    evidence: NodeEvidence
    most_nodes: int
    frontend: Frontend
    probes: Probed
    restless: bool


class Memo:
    """One loop's memory. `begin` and `end` enclose a pass."""

    def __init__(self) -> None:
        self._settings: Settings | None = None
        self._drains: Sequence[ManualDrain] = ()
        self._verdicts: Mapping[Address, Verdict] = {}
        self._plan: Plan | None = None
        self._changed: frozenset[int] = frozenset()
        self._same_verdicts = False
        self._forget()

    def _forget(self) -> None:
        self._services: dict[str, dict[ServiceKey, OfService]] = {}
        self._views: dict[str, tuple[Snapshot, ClusterView]] = {}
        self._evidence: dict[str, tuple[frozenset[int], NodeEvidence]] = {}
        self._frontends: dict[FrontendKey, _Made] = {}
        self._made: dict[FrontendKey, _Made] = {}
        self._ports: tuple[Sequence[Candidate], Ports] | None = None
        self._probes: tuple[Sequence[Probed], tuple[ProbeTarget, ...], Detection] | None = None

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
        changed = _changed_ports(self._verdicts, verdicts)
        if changed is None or KUBE_PROXY_PORT in changed:
            self._frontends = {}
        self._changed = changed or frozenset()
        self._same_verdicts = verdicts is self._verdicts
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
        """Who has which port, if it is for the same candidates."""
        if self._ports is None or any(candidate.asked for candidate in candidates):
            return None  # who asks by annotation is judged by who has what
        return self._ports[1] if self._ports[0] == candidates else None

    def keep_ports(self, candidates: Sequence[Candidate], ports: Ports) -> None:
        """For these candidates, these are the ports."""
        self._ports = list(candidates), ports

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
        if before is not None and self._same_verdicts and before[0] == empty_ports:
            return before[1]
        found = judge_nodes(verdicts.values(), empty_ports)
        if before is not None and before[1] == found:
            found = before[1]
        self._evidence[cluster] = empty_ports, found
        return found

    # -- frontends ----------------------------------------------------------------------------

    def frontend(
        self,
        candidate: Candidate,
        view: ClusterView,
        evidence: NodeEvidence,
        most_nodes: int,
        earlier: Frontend | None,
    ) -> tuple[Frontend, Probed] | None:
        """The frontend that these make, if it was made of the same and nothing else counts."""
        made = self._frontends.get(candidate.key)
        if (
            made is None
            or made.restless
            or made.frontend is not earlier
            or made.evidence is not evidence
            or made.most_nodes != most_nodes
            or made.rows is not view.rows(candidate.service.ip_families)
            or made.endpoints is not view.endpoints(candidate.service)
            or candidate.port.node_port in self._changed
            or candidate.service.health_check_node_port in self._changed
            or made.candidate != candidate
        ):
            return None
        self._made[candidate.key] = made
        return made.frontend, made.probes

    def keep_frontend(
        self,
        candidate: Candidate,
        view: ClusterView,
        evidence: NodeEvidence,
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
            view.endpoints(candidate.service),
            evidence,
            most_nodes,
            frontend,
            probes,
            restless,
        )
        return probes

    # -- probes -------------------------------------------------------------------------------

    def probes(
        self, probed: Sequence[Probed], previous: tuple[ProbeTarget, ...]
    ) -> tuple[tuple[ProbeTarget, ...], Detection] | None:
        """The targets of these, if they are those of before."""
        if self._probes is None or self._probes[1] is not previous:
            return None
        before = self._probes[0]
        if len(before) != len(probed) or not all(map(_is, before, probed)):
            return None
        return self._probes[1], self._probes[2]

    def keep_probes(
        self, probed: Sequence[Probed], targets: tuple[ProbeTarget, ...], detection: Detection
    ) -> None:
        """For these, these are the targets."""
        self._probes = list(probed), targets, detection


def _is(one: object, other: object) -> bool:
    return one is other


def _changed_ports(
    before: Mapping[Address, Verdict], after: Mapping[Address, Verdict]
) -> frozenset[int] | None:
    """The ports of addresses whose verdict is another one; None if some are gone."""
    if after is before:
        return frozenset()
    get = before.get
    changed = frozenset(
        address.port for address, verdict in after.items() if get(address) is not verdict
    )
    # Each that is new is in `changed`; so the counts tell whether any has gone.
    new = sum(1 for address in after if address not in before)
    return None if len(after) - new != len(before) else changed
