"""How many frontends one namespace may have: a team's share of the edge's ports and descriptors.

What the file pins comes first, then what is served already, then the Services that were created
earlier: nobody loses a frontend to a newcomer.
"""

from collections.abc import Collection, Sequence

from nplb.model.keys import FrontendKey
from nplb.model.plan import Skipped
from nplb.model.reasons import SkipReason
from nplb.plan.candidates import Candidate


def within_quota(
    candidates: Sequence[Candidate], most: int, served: Collection[FrontendKey]
) -> tuple[list[Candidate], list[Skipped]]:
    """The candidates that have a place, in their order, and those that have none. `most` is for
    each namespace of each cluster, 0 for any number; `served` have a frontend already."""
    if not most:
        return list(candidates), []
    taken: dict[tuple[str, str], int] = {}
    kept: set[FrontendKey] = set()
    skipped: list[Skipped] = []

    def rank(one: Candidate) -> tuple[bool, bool, bool, float, FrontendKey]:
        created = one.service.created
        return (not one.pinned, one.key not in served, created is None, created or 0.0, one.key)

    for candidate in sorted(candidates, key=rank):
        service = candidate.key.service
        place = (service.cluster, service.namespace)
        taken[place] = taken.get(place, 0) + 1
        if taken[place] <= most:
            kept.add(candidate.key)
            continue
        detail = (
            f"the namespace {service.namespace} has {most} frontends, which is all that "
            "limits.frontends_per_namespace allows"
        )
        skipped.append(Skipped(key=candidate.key, reason=SkipReason.NAMESPACE_LIMIT, detail=detail))
    return [candidate for candidate in candidates if candidate.key in kept], skipped
