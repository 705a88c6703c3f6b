"""Which addresses the frontends that are served are to listen on, and which of them they can't."""

from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet

from nplb.dataplane.relay.seats import Seats, Wanted
from nplb.dataplane.relay.told import Served
from nplb.model.applied import ListenError
from nplb.model.keys import FrontendKey
from nplb.model.plan import Frontend
from nplb.model.relay import NoBackend


class Bindings:
    """Binds what `served` are to listen on. `seats_missing` says that some address may not have a
    seat for every worker."""

    def __init__(self, seats: Seats, served: Mapping[FrontendKey, Served]) -> None:
        self._seats = seats
        self._served = served
        self.seats_missing = False
        # Who listens on [::], and who can't listen.
        self._dual: set[FrontendKey] = set()
        self._unbound: AbstractSet[FrontendKey] = frozenset()

    async def listen(
        self, changed: Sequence[Frontend]
    ) -> dict[FrontendKey, tuple[ListenError, ...]]:
        """Bind what is not bound yet; what can't be, and why. Of frontends that have not changed
        that is what failed before."""
        errors = await self._seats.listen(self._missing(changed))
        if self.seats_missing:
            unfilled = self._seats.fill_all()
            self.seats_missing = bool(unfilled)
            for row, found in unfilled.items():
                errors.setdefault(row, found)
        names = {s.row: s.frontend.key for s in self._served.values()} if errors else {}
        failed = {names[row]: tuple(found) for row, found in errors.items()}
        self._unbound = failed.keys()
        return failed

    def fill_all(self) -> None:
        """Have a seat for every worker of now, at every address."""
        self.seats_missing = bool(self._seats.fill_all())

    def _missing(self, changed: Sequence[Frontend]) -> list[Wanted]:
        """What is not bound as it should be. What is to be free is given up."""
        seats = self._seats
        self._dual -= {frontend.key for frontend in changed}
        self._dual |= {f.key for f in changed if any(a.ip == "::" for a in f.listen)}
        self._dual &= self._served.keys()
        looked_at: Iterable[Served] = self._served.values()
        ipv4_ports: set[int] = set()
        if self._dual:  # which of them take IPv4 clients depends on all
            listens = (served.frontend.listen for served in self._served.values())
            ipv4_ports = {a.port for listen in listens for a in listen if ":" not in a.ip}
        else:
            keys = dict.fromkeys((*(f.key for f in changed), *self._unbound))
            looked_at = [self._served[key] for key in keys if key in self._served]
        missing: list[Wanted] = []
        for served in looked_at:
            row = served.row
            if _is_unbound(served.frontend):
                for address in seats.of(row):
                    seats.unlisten(row, address)
                continue
            for address in served.frontend.listen:
                dual = address.ip == "::" and address.port not in ipv4_ports
                if not seats.fits(row, address, dual=dual):
                    if address in seats.of(row):
                        seats.unlisten(row, address)  # IPv4 clients are to go elsewhere now
                    missing.append((row, address, dual))
        return missing


def _is_unbound(frontend: Frontend) -> bool:
    """Whether nobody is to listen for it now, so that what is in front goes elsewhere."""
    return frontend.relay.no_backend is NoBackend.UNBIND and not frontend.active
