"""The blast-radius cap: how many nodes of a Service may leave because the API says so.

A label pushed to the wrong selector, a controller that taints or deletes nodes, an empty list
after a restore: whatever the API says, most of a Service's nodes leave only as fast as the cap
allows. Those beyond it are kept, with a reason of their own, for as long as probes pass.

What counts. A node that probes have taken out already does not: then the API is not alone in
what it says. A node that came back does not count any more. The last node never leaves by the
API's word alone, and an empty list of nodes is believed of none.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from nplb.model.health import BlastRadius
from nplb.model.plan import Backend, LeftOut
from nplb.model.reasons import BackendReason, BackendState
from nplb.policy.nodes import Exclusion

# The strongest sign first: what is about to go goes first.
SIGNALS = (
    BackendReason.NODE_GONE,
    BackendReason.NODE_DELETING,
    BackendReason.AUTOSCALER_TAINT,
    BackendReason.NO_ADDRESS,
    BackendReason.EXCLUDE_LABEL,
    BackendReason.NODE_NOT_SELECTED,
)
"""What the API says of a node to take it out. A drain by hand is not among them, nor are
endpoints, which move every day."""
_RANK = {reason: rank for rank, reason in enumerate(SIGNALS)}
GONE = Exclusion(reason=BackendReason.NODE_GONE, detail="the Node was deleted from the cluster")


@dataclass(frozen=True, slots=True)
class Leaver:
    """A node that works and is to leave: the backend as it was, its place among the frontend's
    new backends (-1: it has none), and why it is to leave."""

    before: Backend
    place: int
    out: Exclusion


def who_leaves(
    leavers: list[Leaver],
    backends: Iterable[Backend | None],
    left_out: Iterable[LeftOut],
    cap: BlastRadius,
    now: float,
    *,
    list_is_empty: bool,
) -> tuple[set[str], str]:
    """The names of those that may leave now, and for the others why they are kept.

    `backends` are the others of the frontend, `left_out` nodes that left it and are gone.
    """
    begin = now - cap.window_seconds
    staying = departed = 0
    for backend in backends:
        if backend is None:
            continue
        staying += backend.state is BackendState.ACTIVE
        departed += 0.0 < backend.left_at > begin
    departed += sum(0.0 < left.since > begin for left in left_out)
    total = staying + departed + len(leavers)
    may = 0 if list_is_empty else max(cap.limit(total) - departed, 0)
    if may >= len(leavers):
        return {leaver.before.key.node for leaver in leavers}, ""
    ordered = sorted(leavers, key=lambda one: (_RANK[one.out.reason], one.before.key.node))
    if list_is_empty:
        why = "the API lists no node at all, which is not believed"
    elif total == 1:
        why = "it is the Service's last node"
    else:
        minutes = cap.window_seconds / 60
        why = f"at most {cap.limit(total)} of {total} nodes may leave in {minutes:g} minutes"
    return {leaver.before.key.node for leaver in ordered[:may]}, why
