"""One frontend, one node, one cluster's ports: everything about it, for a page of its own.

Each node has `signal_at`: when what its reason rests on was last seen, or null.
"""

from collections.abc import Iterable

from nplb.model.applied import BackendCounters, FrontendCounters
from nplb.model.decision import Decision
from nplb.model.keys import POOL
from nplb.model.ledger import EdgeLedgerView, LedgerView
from nplb.model.plan import Backend, Frontend, LeftOut
from nplb.model.reasons import BackendReason
from nplb.model.status import Status
from nplb.policy.explain import BACKEND_REASONS, FRONTEND_STATES, Signal
from nplb.policy.kernel import served_by
from nplb.web.render import JSON, render

_NO_BACKEND = BackendCounters()
_NO_FRONTEND = FrontendCounters()


def find_frontend(status: Status, text: str) -> Frontend | None:
    """The frontend whose key prints as `text`."""
    return next((one for one in status.plan.frontends if str(one.key) == text), None)


def frontend_page(status: Status, frontend: Frontend, decisions: Iterable[Decision]) -> JSON:
    """A frontend, and for each backend its verdict, its traffic and the explanation."""
    state = status.frontend_state(frontend)
    errors = status.applied.listen_errors.get(frontend.key, ()) if status.applied else ()
    page = render(frontend)
    page["state"] = state.value
    page["explanation"] = FRONTEND_STATES[state]
    page["served_by"] = served_by(frontend)
    page["listen_errors"] = render(errors)
    page["traffic"] = render(status.traffic.frontends.get(frontend.key, _NO_FRONTEND))
    page["backends"] = [_backend(status, one) for one in frontend.backends]
    page["left_out"] = [_left_out(one) for one in frontend.left_out]
    cluster = frontend.key.service.cluster
    _tell_signals(status, cluster, (*page["backends"], *page["left_out"]))
    page["drained"] = [drain.node for drain in status.drains if drain.cluster == cluster]
    page["now"] = status.now
    page["decisions"] = render(tuple(decisions))
    return page


def node_page(
    status: Status, cluster: str, node: str, decisions: Iterable[Decision]
) -> JSON | None:
    """A node: its backend in every frontend. None if no frontend knows it."""
    found: list[JSON] = []
    for frontend in status.plan.frontends:
        if frontend.key.service.cluster != cluster:
            continue
        here = [_backend(status, one) for one in frontend.backends if one.key.node == node]
        here += [_left_out(one) for one in frontend.left_out if one.node == node]
        found += [one | {"frontend": str(frontend.key)} for one in here]
    if not found:
        return None
    _tell_signals(status, cluster, found)
    here = [drain for drain in status.drains if (drain.cluster, drain.node) == (cluster, node)]
    return {
        "cluster": cluster,
        "node": node,
        "drain": render(here[0]) if here else None,
        "now": status.now,
        "backends": found,
        "decisions": render(tuple(decisions)),
    }


def ports_page(ledgers: Iterable[LedgerView], edge: EdgeLedgerView, now: float) -> JSON:
    """The NodePort ranges: of each number taken, who has it; and the edge's own ports."""
    return {"now": now, "ledgers": [_ledger(one) for one in ledgers], "edge": render(edge)}


def _ledger(ledger: LedgerView) -> JSON:
    shown = render(ledger)
    shown["used"], shown["free"] = ledger.used, ledger.free
    for band, drawn in zip(ledger.bands, shown["bands"], strict=True):
        drawn["size"], drawn["free"] = band.size, band.free
    return shown


def _backend(status: Status, backend: Backend) -> JSON:
    shown = render(backend)
    shown["verdict"] = render(status.verdicts.get(backend.key.address))
    shown["traffic"] = render(status.traffic.backends.get(backend.key, _NO_BACKEND))
    shown["explanation"] = _explanation(backend.reason)
    return shown


def _left_out(left: LeftOut) -> JSON:
    return render(left) | {"state": "left_out", "explanation": _explanation(left.reason)}


def _tell_signals(status: Status, cluster: str, shown: Iterable[JSON]) -> None:
    """Add `signal_at` to backends and nodes left out of one cluster, or of a pool's."""
    taken = {source.cluster: source.last_snapshot_at for source in status.sources}
    drained = {(drain.cluster, drain.node): drain.at for drain in status.drains}
    for one in shown:
        own, node = cluster, one["key"]["node"] if "key" in one else one["node"]
        if cluster == POOL:  # its nodes are named by their clusters too
            own, _, node = node.partition("/")
        verdict = one.get("verdict") or {}
        one["signal_at"] = {
            Signal.PROBE: verdict.get("probed_at"),
            Signal.NODE: taken.get(own),
            Signal.ENDPOINTS: taken.get(own),
            Signal.CONFIGURATION: status.reload.at,
            Signal.OPERATOR: drained.get((own, node)),
        }[Signal(one["explanation"]["signal"])]


def _explanation(reason: BackendReason) -> JSON:
    return render(BACKEND_REASONS[reason])
