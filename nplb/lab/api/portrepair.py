"""The repair loop of the port allocator, in the API server: it checks what is taken against the
Services, and tells what it finds as Events.

Mirrors `pkg/registry/core/service/portallocator/controller/repair.go`; what it finds is decided
by its twin in `nplb.alloc.repair`.
"""

import logging
from collections import Counter
from collections.abc import Callable

from nplb.alloc.allocator import PortAllocator
from nplb.alloc.repair import COMPONENT, Problem, Repair, RepairError, RepairEvent, RepairReport
from nplb.lab.api.errors import ApiError
from nplb.lab.api.services import model_of
from nplb.lab.api.store import JsonObject, Store
from nplb.lab.api.times import micro_timestamp

log = logging.getLogger(__name__)

Write = Callable[[JsonObject], object]


class PortRepair:
    """Runs the check over the store and writes its Events. `create` and `update` write an
    Event. `problems` counts what was found so far, `failures` the runs that were not finished."""

    def __init__(self, store: Store, ports: PortAllocator, *, create: Write, update: Write) -> None:
        self._store = store
        self._ports = ports
        self._repair = Repair(ports.port_range)
        self._create = create
        self._update = update
        # What was told before, so that it becomes a series instead of another Event.
        self._told: dict[tuple[str, str, str, str], str] = {}
        self.problems: Counter[Problem] = Counter()
        self.failures = 0

    def run_once(self) -> RepairReport | None:
        """One run. None if it could not be finished, which is logged and told."""
        services = [model_of(record.object) for record in self._store.records("services")]
        try:
            report = self._repair.check(self._ports.snapshot(), services)
        except RepairError as error:
            log.error("the port repair loop failed: %s", error)
            self.failures += 1
            self.problems.update(event.problem for event in error.events)
            self._tell(error.events)
            return None
        self._ports.restore(self._ports.port_range, report.snapshot.data)
        for line in report.log:
            log.warning("%s", line)
        self.problems.update(report.errors)
        self._tell(report.events)
        return report

    def _tell(self, found: tuple[RepairEvent, ...]) -> None:
        for event in found:
            key = (event.service.namespace, event.service.name, event.reason, event.message)
            try:
                if not self._again(key):
                    self._told[key] = self._first(event)
            except ApiError as error:
                log.warning("an Event of the port repair loop was refused: %s", error)

    def _again(self, key: tuple[str, str, str, str]) -> bool:
        known = self._store.get("events", self._told.get(key, ""), key[0])
        if known is None:
            return False
        series = known.get("series") or {"count": 1}
        now = micro_timestamp()
        known["series"] = {"count": series["count"] + 1, "lastObservedTime": now}
        self._update(known)
        return True

    def _first(self, event: RepairEvent) -> str:
        service = event.service
        record = self._store.record("services", service.name, service.namespace)
        metadata = record.object["metadata"] if record else {}
        name = f"{service.name}.{self._store.revision:016x}"
        self._create(
            {
                "metadata": {"name": name, "namespace": service.namespace},
                "involvedObject": {
                    "kind": "Service",
                    "namespace": service.namespace,
                    "name": service.name,
                    "uid": metadata.get("uid", ""),
                    "apiVersion": "v1",
                    "resourceVersion": metadata.get("resourceVersion", ""),
                },
                "reason": event.reason,
                "message": event.message,
                "type": "Warning",
                "action": "PortAllocation",
                "eventTime": micro_timestamp(),
                "reportingComponent": COMPONENT,
                "reportingInstance": f"{COMPONENT}-nplb-lab",
            }
        )
        return name
