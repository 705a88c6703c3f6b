"""Whether clients should be sent to this edge, part by part.

Liveness is something else: it says that the loop turns, and depends on nothing outside.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from nplb.model.applied import Applied, Traffic
from nplb.model.cluster import Snapshot, SourceStatus
from nplb.model.plan import Plan
from nplb.model.reasons import BackendReason, SkipReason
from nplb.model.settings import Settings
from nplb.model.status import ReadyPart, ReloadStatus

# How long after its start an edge waits for a cluster that can't be read, before it serves
# those that can: one cluster's outage must not take another's clients down with it.
CLUSTER_GRACE_SECONDS = 30.0
MAX_NAMES = 5


@dataclass
class Readiness:
    """Judges the parts. What a start has to wait for (first snapshots, first probes) is
    remembered once met: later trouble with them never takes the edge out of service."""

    started_at: float
    probed_once: bool = False

    def parts(
        self,
        *,
        settings: Settings,
        snapshots: Mapping[str, Snapshot],
        sources: Mapping[str, SourceStatus],
        plan: Plan,
        applied: Applied | None,
        traffic: Traffic,
        reload: ReloadStatus,
        stopping: bool,
        now: float,
    ) -> tuple[ReadyPart, ...]:
        """Every part of readiness at this moment."""
        waited = now - self.started_at > CLUSTER_GRACE_SECONDS
        parts = []
        for cluster in settings.clusters:
            status = sources.get(cluster.name)
            error = status.error if status is not None else ""
            known = cluster.name in snapshots
            excused = waited and bool(snapshots)
            detail = error if known or error else "waiting for the first snapshot"
            parts.append(
                ReadyPart(name=f"cluster/{cluster.name}", ok=known or excused, detail=detail)
            )
        parts.append(self._probes(plan, applied))
        served = applied is not None
        parts.append(
            ReadyPart(name="plan", ok=served, detail="" if served else "no plan applied yet")
        )
        parts.append(_frontends(plan, applied))
        alive = sum(worker.alive for worker in traffic.workers)
        some_missing = alive < len(traffic.workers) or not alive
        detail = f"{alive} of {len(traffic.workers)} workers run" if some_missing else ""
        parts.append(ReadyPart(name="workers", ok=alive > 0, detail=detail))
        # What runs goes on running, so clients may come all the same.
        parts.append(ReadyPart(name="config", ok=True, detail="; ".join(reload.errors)))
        parts.append(ReadyPart(name="upgrade", ok=True, detail=reload.upgrade_error))
        parts.append(
            ReadyPart(name="running", ok=not stopping, detail="stopping" if stopping else "")
        )
        return tuple(parts)

    def _probes(self, plan: Plan, applied: Applied | None) -> ReadyPart:
        probing = (
            sum(
                backend.reason is BackendReason.PROBING
                for frontend in plan.frontends
                for backend in frontend.backends
            )
            if not self.probed_once
            else 0
        )
        if applied is not None and not probing:
            self.probed_once = True
        waiting = f"{probing} backends wait for their first probe" if probing else "no plan yet"
        detail = "" if self.probed_once else waiting
        return ReadyPart(name="probes", ok=self.probed_once, detail=detail)


def _frontends(plan: Plan, applied: Applied | None) -> ReadyPart:
    """An edge that serves none of its frontends is of no use to clients, whoever's fault that is.
    One that serves some is, and which it does not is said. How the nodes behind them are is not
    asked: what every edge sees must not take all of them out of service."""
    served = [f.key for f in plan.frontends if applied is None or applied.listens(f)]
    listening = set(served)
    missing = [f.key for f in plan.frontends if f.key not in listening]
    missing += [s.key for s in plan.skipped if s.reason is SkipReason.EDGE_PORT_TAKEN]
    detail = ""
    if missing:
        names = ", ".join(str(key) for key in sorted(missing)[:MAX_NAMES])
        more = f" and {len(missing) - MAX_NAMES} more" if len(missing) > MAX_NAMES else ""
        total = len(served) + len(missing)
        detail = f"{len(missing)} of {total} can't have their address and port: {names}{more}"
    return ReadyPart(name="frontends", ok=bool(served) or not missing, detail=detail)
