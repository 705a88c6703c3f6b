"""Why each node of a Service is in or out: reason, signal and its age, what would change it."""

from collections.abc import Iterable

from nplb.model.decision import Decision
from nplb.model.keys import ServiceKey
from nplb.model.status import Status
from nplb.policy.explain import SKIP_REASONS
from nplb.web.details import frontend_page
from nplb.web.render import JSON, render


def explain_page(
    status: Status, service: ServiceKey, node: str | None, decisions: Iterable[Decision]
) -> JSON | None:
    """All frontends of a Service as pages, and its ports that have no frontend. With `node` only
    what is of that node. None if the plan knows no such Service, or no such node of it."""
    told = tuple(decisions)
    pages = [
        frontend_page(status, frontend, told)
        for frontend in status.plan.frontends
        if frontend.key.service == service
    ]
    skipped = [
        render(one) | {"explanation": SKIP_REASONS[one.reason]}
        for one in status.plan.skipped
        if one.key.service == service
    ]
    for page in pages:
        if node is not None:
            page["backends"] = [b for b in page["backends"] if b["key"]["node"] == node]
            page["left_out"] = [one for one in page["left_out"] if one["node"] == node]
            page["decisions"] = [one for one in page["decisions"] if one["node"] == node]
    if not pages and not skipped:
        return None
    if node is not None and not any(page["backends"] or page["left_out"] for page in pages):
        return None
    return {
        "service": render(service),
        "node": node,
        "now": status.now,
        "frontends": pages,
        "skipped": skipped,
    }
