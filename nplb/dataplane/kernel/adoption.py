"""What a start finds in the table: who serves until a first probe has said otherwise."""

from collections.abc import Mapping
from dataclasses import replace

from nplb.dataplane.kernel.names import identity
from nplb.dataplane.kernel.readback import Found
from nplb.dataplane.kernel.serving import canonical
from nplb.model.plan import Backend, Frontend
from nplb.model.reasons import BackendReason, BackendState

# Which addresses each frontend's chains send clients to, by its identity.
Seated = Mapping[str, frozenset[str]]


def seated(found: Found) -> Seated:
    """Who had a seat in the table that was found."""
    ips: dict[str, frozenset[str]] = {}
    for chain, maps in found.draws.items():
        if not chain.startswith(("f4-", "f6-")):
            continue
        for name in maps:
            each = found.ruleset.sets.get(name)
            if each is not None:
                mine = ips.get(chain[3:], frozenset())
                ips[chain[3:]] = mine | frozenset(each.elements.values())
    return ips


def hold_over(frontend: Frontend, adopted: Seated) -> Frontend:
    """After a start nothing is probed yet, and the table serves: its backends stay until their
    first probe has ended."""
    if not adopted or not any(_unprobed(b) for b in frontend.backends):
        return frontend
    mine = adopted.get(identity(frontend.key), frozenset())
    backends = tuple(
        replace(b, state=BackendState.ACTIVE)
        if _unprobed(b) and canonical(b.key.address.ip) in mine
        else b
        for b in frontend.backends
    )
    return replace(frontend, backends=backends)


def _unprobed(backend: Backend) -> bool:
    return backend.state is BackendState.DOWN and backend.reason is BackendReason.PROBING
