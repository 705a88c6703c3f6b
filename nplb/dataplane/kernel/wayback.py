"""Where nodes see clients' own addresses: whether their answers come back through the edge.

A node answers the address that it sees. Without `masquerade` that is the client's, and only the
node's routes decide whether the answer passes the edge, which alone can give it the address
that the client asked. From the edge no route of a node can be read: what can be seen is that
connections stay unanswered.
"""

from collections.abc import Iterable, Mapping

from nplb.dataplane.kernel.flows import Source, source
from nplb.dataplane.kernel.host import Host
from nplb.model.keys import BackendKey, Protocol
from nplb.model.plan import Frontend
from nplb.model.reasons import BackendState

# So many connections without an answer, and for so long while probes say that the node works: one
# that has just gone silent is found out by then.
_ENOUGH = 3
_CERTAIN_SECONDS = 30.0
_NONE: frozenset[bytes] = frozenset()

NEEDED = (
    "nodes see clients' own addresses, and must send their answers back through this host (as "
    "their default gateway, or by a route of their own), which can't be seen from here: a warning "
    "follows where none comes back"
)


def way_back_notes(host: Host) -> tuple[str, ...]:
    """What to know of the way back before anything runs."""
    if not host.strict_rp_filter:
        return (NEEDED,)
    names = ", ".join(host.strict_rp_filter)
    strict = (
        f"the reverse-path filter is strict on {names}: packets are dropped there if the way to "
        "who sent them is by another interface; where clients or nodes come by several, set "
        "net.ipv4.conf.all.rp_filter=2"
    )
    return NEEDED, strict


class WayBack:
    """Watches how connections that keep the client's address are answered."""

    def __init__(self) -> None:
        self._unanswered: Mapping[Source, frozenset[bytes]] = {}
        self._since: dict[BackendKey, float] = {}
        self._told: set[BackendKey] = set()

    def observe(
        self,
        frontends: Iterable[Frontend],
        unanswered: Mapping[Source, frozenset[bytes]],
        now: float,
    ) -> list[str]:
        """Take the tracked connections of each backend that have no answer yet. `now` is epoch
        seconds. Returns what is wrong and was not said yet."""
        before, self._unanswered = self._unanswered, unanswered
        since: dict[BackendKey, float] = {}
        found: list[str] = []
        for frontend in frontends:
            if frontend.kernel.masquerade or frontend.key.protocol is not Protocol.TCP:
                continue
            for backend in frontend.backends:
                at = source(backend)
                # An answer is a matter of milliseconds: what waits at two readings has none.
                waiting = unanswered.get(at, _NONE) & before.get(at, _NONE)
                if backend.state is not BackendState.ACTIVE or len(waiting) < _ENOUGH:
                    continue
                key = backend.key
                since[key] = self._since.get(key, now)
                if now - since[key] >= _CERTAIN_SECONDS and key not in self._told:
                    self._told.add(key)
                    found.append(_warning(key, len(waiting)))
        self._since = since
        self._told &= since.keys()
        return found


def _warning(key: BackendKey, count: int) -> str:
    return (
        f"{count} connections to {key.frontend} were sent to {key.node} ({key.address}) with their "
        "clients' own addresses, and no answer came back through this host: give the node a route "
        "to the clients through it, or set kernel.masquerade: true"
    )
