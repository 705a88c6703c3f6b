"""Writes the edge's addresses into the status of Services, and takes them out again.

Level-triggered: each turn compares what should stand in each status with what the last snapshot
shows there, and patches what differs. An address that is to go stays for a while first, so that
a pass that fails, or a port that another process holds for a moment, does not make DNS forget it.
"""

from collections.abc import Callable
from typing import Any

from nplb.model.cluster import Ingress
from nplb.model.keys import ServiceKey
from nplb.model.outbound import IngressWrite
from nplb.sources.decode import decode_ingress
from nplb.sources.kubernetes.faults import ApiFault
from nplb.sources.kubernetes.resources import service_status
from nplb.sources.kubernetes.rights import FORBIDDEN, Rights
from nplb.sources.kubernetes.session import Session

# The Service is not there, is another one of the same name, or takes no such status: the next
# snapshot shows what it is now.
_OVERTAKEN = (404, 409, 422)
# So many times the same for one Service, and somebody else must be writing there too.
_QUARREL = 4
_MAX_PATIENCE_SECONDS = 300.0


class Statuses:
    """`written` counts the patches that were taken. `clock` is monotonic seconds."""

    def __init__(
        self, *, rights: Rights, withdraw_seconds: float, clock: Callable[[], float]
    ) -> None:
        self.written = 0
        self.error = ""
        self._rights = rights
        self._withdraw_seconds = withdraw_seconds
        self._clock = clock
        self._settled: dict[ServiceKey, tuple[IngressWrite, tuple[Ingress, ...]]] = {}
        self._unwanted: dict[ServiceKey, float] = {}
        self._repeats: dict[ServiceKey, tuple[IngressWrite, int, float]] = {}

    async def turn(
        self,
        session: Session,
        writes: tuple[IngressWrite, ...],
        may_write: Callable[[], bool],
        *,
        at_once: bool = False,
    ) -> float | None:
        """Write what differs. Returns in how many seconds there is more to do, or None.
        `may_write` is asked before each patch. `at_once` takes addresses out without delay.

        Errors: ApiFault for whatever concerns more than a single Service.
        """
        self._forget(writes)
        due: list[float] = []
        self.error = ""
        for write in writes:
            if self._is_settled(write):
                continue
            if not may_write():
                return None
            wait = 0.0 if at_once else self._wait(write)
            target = service_status(write.service.namespace, write.service.name)
            if wait > 0:
                due.append(wait)
            elif self._rights.may_try(target):
                await self._patch(session, write)
        return min(due, default=None)

    def _forget(self, writes: tuple[IngressWrite, ...]) -> None:
        known = {write.service for write in writes}
        wanted = {write.service for write in writes if write.ingress or not write.seen}
        self._settled = {key: one for key, one in self._settled.items() if key in known}
        self._repeats = {key: one for key, one in self._repeats.items() if key in known}
        self._unwanted = {
            key: at for key, at in self._unwanted.items() if key in known and key not in wanted
        }

    def _is_settled(self, write: IngressWrite) -> bool:
        settled = self._settled.get(write.service)
        if settled is None or settled[0].uid != write.uid:
            return write.ingress == write.seen
        before, answered = settled
        # The watch may not have brought the last answer yet.
        stands = answered if write.seen == before.seen else write.seen
        if write.ingress == stands:
            return True
        # A server that keeps something else than it was given is not asked again and again.
        return write.ingress == before.ingress and stands == answered

    def _wait(self, write: IngressWrite) -> float:
        """How long the write is to wait: before addresses go, and where somebody else writes
        another thing again and again."""
        clock = self._clock()
        wait = 0.0
        if not write.ingress:
            since = self._unwanted.setdefault(write.service, clock)
            wait = since + self._withdraw_seconds - clock
        before, count, at = self._repeats.get(write.service, (write, 0, clock))
        if count and (before.uid, before.ingress) == (write.uid, write.ingress):
            if count >= _QUARREL:
                self.error = (
                    f"the status of Service {write.service.short} does not stay as it is written: "
                    "another load balancer's controller takes it for its own"
                )
            wait = max(wait, at + min(2.0 ** (count - 1), _MAX_PATIENCE_SECONDS) - clock)
        return wait

    async def _patch(self, session: Session, write: IngressWrite) -> None:
        target = service_status(write.service.namespace, write.service.name)
        ingress = [_raw(entry) for entry in write.ingress]
        body = {
            # With the uid, it is this Service or none: 409 if it was made anew meanwhile.
            "metadata": {"uid": write.uid},
            "status": {"loadBalancer": {"ingress": ingress or None}},
        }
        try:
            stored = await session.send("patch", target, body)
        except ApiFault as fault:
            if fault.status == FORBIDDEN:
                self._rights.refused(target, fault)
                return
            if fault.status not in _OVERTAKEN:
                raise
            self._settled[write.service] = write, write.seen
            if fault.status == 422:
                self.error = str(fault)
            return
        self._rights.granted(target)
        self.written += 1
        self._unwanted.pop(write.service, None)
        self._settled[write.service] = write, decode_ingress(stored)
        before, count, _ = self._repeats.get(write.service, (write, 0, 0.0))
        same = (before.uid, before.ingress) == (write.uid, write.ingress)
        self._repeats[write.service] = write, count + 1 if same else 1, self._clock()


def _raw(entry: Ingress) -> dict[str, Any]:
    raw: dict[str, Any] = {}
    if entry.ip:
        raw = {"ip": entry.ip, "ipMode": entry.ip_mode}
    if entry.hostname:
        raw["hostname"] = entry.hostname
    raw["ports"] = [
        {
            "port": port.port,
            "protocol": str(port.protocol),
            **({"error": port.error} if port.error else {}),
        }
        for port in entry.ports
    ]
    return raw
