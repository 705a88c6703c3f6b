"""What the API server tells Prometheus at /metrics: its port allocator and the repair loop, under
the names that kube-apiserver has for them. It tells of nothing else."""

from collections.abc import Mapping

from nplb.alloc.allocator import AllocatorCounts
from nplb.alloc.repair import Problem


def scrape(
    accept: str, counts: AllocatorCounts, problems: Mapping[Problem, int], failures: int
) -> tuple[bytes, str]:
    """The page and its content type, in the form that an Accept header asks for. `problems` is
    what the repair loop has found so far, `failures` how often it could not be finished."""
    # Their library takes a moment to import, which no lab waits for that is not scraped.
    from nplb.observe.exposition import content_type, encode
    from nplb.observe.ledger_metrics import AllocatorCollector, RepairCollector

    form = content_type(accept)
    families = [
        *AllocatorCollector(counts).collect(),
        *RepairCollector(problems, failures).collect(),
    ]
    return encode(families, form), form
