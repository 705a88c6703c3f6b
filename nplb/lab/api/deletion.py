"""Delete: at once, gracefully, after finalizers, whole collections, whole namespaces.

Mirrors `apiserver/pkg/registry/generic/registry/store.go` (Delete), `apiserver/pkg/registry/rest/
delete.go`, and what the namespace controller and a kubelet do in the end.
"""

from collections.abc import Mapping

from nplb.lab.api import errors
from nplb.lab.api.requests import DeleteOptions, Target
from nplb.lab.api.schema import decode
from nplb.lab.api.selectors import ObjectSelector
from nplb.lab.api.store import JsonObject, Record, Store
from nplb.lab.api.strategy import Strategy
from nplb.lab.api.times import epoch, timestamp

EVENT_TTL_SECONDS = 3600
_KEPT_NAMESPACES = frozenset({"default", "kube-system", "kube-public"})


class Deletion:
    """Removes objects from the store, by the rules."""

    def __init__(self, store: Store, strategies: Mapping[str, Strategy]) -> None:
        self.store = store
        self.strategies = strategies

    def delete(
        self, target: Target, options: DeleteOptions | None = None
    ) -> tuple[JsonObject, bool]:
        """Delete an object. Returns the answer's body in the stored version, and whether that
        is the object itself rather than a Status. Raises ApiError."""
        options = options or DeleteOptions()
        record = self.store.record(target.resource.name, target.name, target.namespace)
        if record is None:
            raise errors.not_found(target.resource.name, target.name, target.served.group)
        _check_preconditions(target, record, options)
        strategy = self.strategies[target.resource.name]
        if target.resource.name == "namespaces":
            return self._delete_namespace(target, record, options), True
        grace = _grace_seconds(target, record, options)
        finalizers = record.object["metadata"].get("finalizers")
        if grace or finalizers:
            return self._mark_deleted(target, record, grace, options), True
        removed = record.object if options.dry_run else self.remove(target, record).object
        if strategy.returns_deleted:
            return removed, True
        return _deleted_status(target, removed), False

    def delete_collection(
        self, target: Target, selector: ObjectSelector, options: DeleteOptions
    ) -> list[JsonObject]:
        """Delete every object that is selected, of one namespace or of a cluster-scoped kind.
        Returns the objects as they were."""
        namespace = target.namespace if target.resource.namespaced else None
        deleted: list[JsonObject] = []
        for record in self.store.records(target.resource.name, namespace):
            if selector.matches(record.object):
                one = Target(
                    resource=target.resource,
                    served=target.served,
                    namespace=record.namespace,
                    name=record.name,
                )
                self.delete(one, options)
                deleted.append(record.object)
        return deleted

    def expire_events(self, now: float) -> None:
        """Remove Events that are older than an hour (`--event-ttl`)."""
        for record in self.store.records("events"):
            written = epoch(record.object["metadata"].get("creationTimestamp"))
            series = record.object.get("series") or {}
            seen = epoch(series.get("lastObservedTime")) or written
            if seen is not None and seen < now - EVENT_TTL_SECONDS:
                self.store.remove("events", record)

    def expire_pods(self, now: float) -> float | None:
        """Remove pods whose grace period has ended, as their kubelet does at the latest.
        Returns when the next one's ends, None if none is being deleted."""
        resource = self.strategies["pods"].resource
        deadlines: list[float] = []
        for record in self.store.records("pods"):
            deadline = epoch(record.object["metadata"].get("deletionTimestamp"))
            if deadline is None or record.object["metadata"].get("finalizers"):
                continue
            if deadline > now:
                deadlines.append(deadline)
                continue
            target = Target(
                resource=resource,
                served=resource.served[0],
                namespace=record.namespace,
                name=record.name,
            )
            self.remove(target, record)
        return min(deadlines, default=None)

    def remove(self, target: Target, record: Record) -> Record:
        """Remove an object now, and give back what it held. Returns its last state."""
        # Before anybody is told, so that what it held is free by then.
        self.strategies[target.resource.name].finish_delete(record.object)
        removed = self.store.remove(target.resource.name, record)
        if record.namespace:
            self._finish_namespace(record.namespace)
        return removed

    def _mark_deleted(
        self, target: Target, record: Record, grace: int, options: DeleteOptions
    ) -> JsonObject:
        """Begin a graceful deletion, or one that waits for finalizers."""
        object_ = record.copy()
        metadata = object_["metadata"]
        pending = metadata.get("deletionTimestamp")
        if pending and metadata.get("deletionGracePeriodSeconds", 0) <= grace:
            return record.object
        now = epoch(timestamp()) or 0.0
        metadata["deletionTimestamp"] = timestamp(now + grace)
        metadata["deletionGracePeriodSeconds"] = grace
        strategy = self.strategies[target.resource.name]
        if strategy.has_generation:
            metadata["generation"] = int(metadata.get("generation", 0)) + 1
        stored = decode(strategy.struct, object_)
        if not options.dry_run:
            self.store.put(target.resource.name, stored)
        return stored

    # -- namespaces -----------------------------------------------------------

    def _delete_namespace(
        self, target: Target, record: Record, options: DeleteOptions
    ) -> JsonObject:
        if record.name in _KEPT_NAMESPACES:
            raise errors.forbidden("namespaces", record.name, "this namespace may not be deleted")
        object_ = record.copy()
        object_["metadata"].setdefault("deletionTimestamp", timestamp())
        object_["status"] = {**object_["status"], "phase": "Terminating"}
        stored = decode(self.strategies["namespaces"].struct, object_)
        if options.dry_run:
            return stored
        self.store.put("namespaces", stored)
        now = DeleteOptions(grace_seconds=0)
        for resource in (s.resource for s in self.strategies.values() if s.resource.namespaced):
            for inside in self.store.records(resource.name, record.name):
                one = Target(
                    resource=resource,
                    served=resource.served[0],
                    namespace=inside.namespace,
                    name=inside.name,
                )
                if self.store.record(resource.name, inside.name, inside.namespace) is not None:
                    self.delete(one, now)
        self._finish_namespace(record.name)
        return stored

    def _finish_namespace(self, name: str) -> None:
        """Remove a namespace that is being deleted once nothing is left in it."""
        record = self.store.record("namespaces", name, "")
        if record is None or not record.object["metadata"].get("deletionTimestamp"):
            return
        if record.object["metadata"].get("finalizers"):
            return
        namespaced = (s.resource for s in self.strategies.values() if s.resource.namespaced)
        if any(self.store.records(resource.name, name) for resource in namespaced):
            return
        self.store.remove("namespaces", record)


def _check_preconditions(target: Target, record: Record, options: DeleteOptions) -> None:
    metadata = record.object["metadata"]
    for sent, name, text in (
        (options.uid, "uid", "UID"),
        (options.resource_version, "resourceVersion", "ResourceVersion"),
    ):
        if sent and sent != metadata[name]:
            detail = (
                f"Precondition failed: {text} in precondition: {sent}, "
                f"{text} in object meta: {metadata[name]}"
            )
            raise errors.conflict(target.resource.name, target.name, detail, target.served.group)


def _grace_seconds(target: Target, record: Record, options: DeleteOptions) -> int:
    """How long a pod has to stop: nothing else is deleted gracefully, nor is a pod that never
    ran (`podStrategy.CheckGracefulDelete`)."""
    if target.resource.name != "pods":
        return 0
    object_ = record.object
    phase = object_.get("status", {}).get("phase")
    if not object_["spec"].get("nodeName") or phase in ("Succeeded", "Failed"):
        return 0
    if options.grace_seconds is not None:
        return max(0, options.grace_seconds)
    return int(object_["spec"].get("terminationGracePeriodSeconds", 30))


def _deleted_status(target: Target, removed: JsonObject) -> JsonObject:
    details: JsonObject = {"name": target.name}
    if target.served.group:
        details["group"] = target.served.group
    details["kind"] = target.resource.name
    details["uid"] = removed["metadata"]["uid"]
    return {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Success",
        "details": details,
    }
