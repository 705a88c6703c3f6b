"""Create, update, patch and delete, as a request passes through the API server.

Mirrors `apiserver/pkg/endpoints/handlers/{create,update,patch,delete}.go` and
`apiserver/pkg/registry/generic/registry/store.go`. The order matters and is theirs: decode and
default, write down ownership, admit, prepare, allocate, validate, write. Allocation comes before
validation, so that a taken port is told before a malformed field.
"""

import copy
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Protocol

from nplb.lab.api import errors, managed
from nplb.lab.api.errors import ApiError
from nplb.lab.api.managed import APPLY, UPDATE, Manager
from nplb.lab.api.names import validate_metadata, validate_metadata_update
from nplb.lab.api.patch import (
    APPLY_PATCH,
    JSON_PATCH,
    MERGE_PATCH,
    PATCH_TYPES,
    STRATEGIC_PATCH,
    PatchError,
    json_patch,
    merge_patch,
    strategic_patch,
)
from nplb.lab.api.registry import Resource, Served
from nplb.lab.api.schema import DecodeError, decode, zero
from nplb.lab.api.selectors import ObjectSelector
from nplb.lab.api.store import JsonObject, Record, Store, encode
from nplb.lab.api.strategy import Strategy
from nplb.lab.api.times import epoch, timestamp
from nplb.lab.api.versions import struct_of, to_served, to_stored

_SUFFIX = "bcdfghjklmnpqrstvwxz2456789"
_KEPT_NAMESPACES = frozenset({"default", "kube-system", "kube-public"})
# Metadata that only the server writes.
_SYSTEM_METADATA = ("uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds")


class Validation(StrEnum):
    """What becomes of unknown fields: the `fieldValidation` parameter."""

    IGNORE = "Ignore"
    WARN = "Warn"
    STRICT = "Strict"


class Dice(Protocol):
    """Where random numbers come from."""

    def randrange(self, stop: int, /) -> int: ...

    def getrandbits(self, k: int, /) -> int: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class WriteOptions:
    """How a request wants its write. `warnings` gathers what the answer's headers will say."""

    manager: str = "nplb-lab"
    dry_run: bool = False
    force: bool = False
    validation: Validation = Validation.WARN
    warnings: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class DeleteOptions:
    """How a request wants its delete. `grace_seconds` None is the object's own period."""

    dry_run: bool = False
    grace_seconds: int | None = None
    uid: str | None = None
    resource_version: str | None = None


DEFAULTS = WriteOptions()


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """What a request is about. `namespace` is empty for cluster-scoped kinds."""

    resource: Resource
    served: Served
    namespace: str = ""
    name: str = ""
    subresource: str = ""


class Operations:
    """Writes to the store, by the rules. Reading needs none: see `listing` and `watch`."""

    def __init__(self, store: Store, strategies: Mapping[str, Strategy], rng: Dice) -> None:
        self.store = store
        self.strategies = strategies
        self._rng = rng

    # -- the verbs ------------------------------------------------------------

    def get(self, target: Target) -> Record:
        """The present record. Raises ApiError 404."""
        record = self.store.record(target.resource.name, target.name, target.namespace)
        if record is None:
            raise errors.not_found(target.resource.name, target.name, target.served.group)
        return record

    def create(
        self, target: Target, raw: JsonObject, options: WriteOptions = DEFAULTS
    ) -> JsonObject:
        """Create an object from what was sent and return it as stored. Raises ApiError."""
        object_ = self._decode(target, raw, options)
        self._place(target, object_)
        if object_["metadata"].get("resourceVersion"):
            raise errors.unknown_error("resourceVersion should not be set on objects to be created")
        strategy = self.strategies[target.resource.name]
        managed.track_update(
            strategy.struct,
            self._empty(strategy),
            object_,
            self._manager(target, options, UPDATE),
            now=timestamp(),
            ignored=strategy.ignored(""),
        )
        return self._insert(target, object_, options)

    def update(
        self, target: Target, raw: JsonObject, options: WriteOptions = DEFAULTS
    ) -> tuple[JsonObject, bool]:
        """Replace an object by what was sent. Returns it as stored, and whether that created
        it. Raises ApiError."""
        strategy = self.strategies[target.resource.name]
        live = self.store.record(target.resource.name, target.name, target.namespace)
        if live is None:
            if not strategy.creates_on_update or target.subresource:
                raise errors.not_found(target.resource.name, target.name, target.served.group)
            return self.create(target, raw, options), True
        object_ = self._decode(target, raw, options)
        self._place(target, object_)
        self._own(target, live.object, object_, options)
        return self._replace(target, live, object_, options), False

    def patch(
        self, target: Target, patch: Any, content_type: str, options: WriteOptions = DEFAULTS
    ) -> tuple[JsonObject, bool]:
        """Patch an object. Returns it as stored, and whether that created it (which only an
        apply can do). Raises ApiError."""
        if content_type not in PATCH_TYPES:
            raise errors.unsupported_media_type(PATCH_TYPES)
        if content_type == APPLY_PATCH:
            return self._apply(target, patch, options)
        live = self.get(target)
        current = to_served(target.resource, target.served, live.copy())
        patched = _patched(target, current, patch, content_type)
        try:
            object_ = self._decode(target, patched, options)
        except ApiError as error:
            # The original decodes the patched text, and blames the patch.
            text = encode(patched).decode()
            detail = str(error).rpartition("cannot be handled as a ")[2].partition(": ")[2]
            found = errors.invalid_value("patch", text, detail or str(error))
            raise errors.invalid("", "", [found]) from error
        self._place(target, object_)
        self._own(target, live.object, object_, options)
        return self._replace(target, live, object_, options), False

    def delete(
        self, target: Target, options: DeleteOptions | None = None
    ) -> tuple[JsonObject, bool]:
        """Delete an object. Returns the answer's body in the stored version, and whether that
        is the object itself rather than a Status. Raises ApiError."""
        options = options or DeleteOptions()
        record = self.get(target)
        _check_preconditions(target, record, options)
        strategy = self.strategies[target.resource.name]
        if target.resource.name == "namespaces":
            return self._delete_namespace(target, record, options), True
        grace = _grace_seconds(target, record, options)
        finalizers = record.object["metadata"].get("finalizers")
        if grace or finalizers:
            return self._mark_deleted(target, record, grace, options), True
        removed = record.object if options.dry_run else self._remove(target, record).object
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
            self._remove(target, record)
        return min(deadlines, default=None)

    # -- apply ----------------------------------------------------------------

    def _apply(self, target: Target, raw: Any, options: WriteOptions) -> tuple[JsonObject, bool]:
        if not isinstance(raw, dict):
            raise errors.bad_request("error decoding YAML: an applied configuration is an object")
        if (raw.get("metadata") or {}).get("managedFields"):
            raise errors.bad_request("metadata.managedFields must be nil")
        strategy = self.strategies[target.resource.name]
        applied = self._decode(target, raw, options, sparse=True)
        self._place(target, applied)
        live = self.store.record(target.resource.name, target.name, target.namespace)
        if live is not None:
            self._check_version(target, live, applied)
        elif target.subresource:
            raise errors.not_found(target.resource.name, target.name, target.served.group)
        before = self._empty(strategy) if live is None else live.copy()
        strategy_now = timestamp()
        merged = managed.apply(
            strategy.struct,
            before,
            applied,
            self._manager(target, options, APPLY),
            now=strategy_now,
            force=options.force,
            ignored=strategy.ignored(target.subresource),
        )
        object_ = decode(strategy.struct, merged)
        strategy.default(object_)
        if live is None:
            object_["metadata"].pop("resourceVersion", None)
            return self._insert(target, object_, options), True
        return self._replace(target, live, object_, options), False

    # -- writing --------------------------------------------------------------

    def _insert(self, target: Target, object_: JsonObject, options: WriteOptions) -> JsonObject:
        resource, strategy = target.resource, self.strategies[target.resource.name]
        metadata = object_["metadata"]
        for name in (*_SYSTEM_METADATA, "generation", "selfLink"):
            metadata.pop(name, None)
        if metadata.get("generateName") and not metadata.get("name"):
            metadata["name"] = self._generate(target, metadata["generateName"])
        self._admit_namespace(target, metadata.get("name", ""))
        strategy.admit_create(object_)
        strategy.prepare_create(object_)
        metadata["uid"] = str(uuid.UUID(int=self._rng.getrandbits(128), version=4))
        metadata["creationTimestamp"] = timestamp()
        if strategy.has_generation:
            metadata["generation"] = 1
        name = metadata.get("name", "")
        allocation = strategy.begin_create(object_, dry_run=options.dry_run)
        try:
            found = validate_metadata(
                object_, namespaced=resource.namespaced, name_problems=strategy.name_problems
            )
            found += strategy.validate(object_)
            if found:
                raise errors.invalid(resource.kind, name, found, resource.group)
            if self.store.record(resource.name, name, metadata.get("namespace", "")):
                raise errors.already_exists(resource.name, name, target.served.group)
            if not options.dry_run:
                # The store fills it in; a field decoded keeps its place.
                metadata["resourceVersion"] = "0"
            stored = decode(strategy.struct, object_)
            if options.dry_run:
                allocation.rollback()
                return stored
            self.store.put(resource.name, stored)
        except BaseException:
            allocation.rollback()
            raise
        allocation.commit()
        return stored

    def _own(
        self, target: Target, live: JsonObject, object_: JsonObject, options: WriteOptions
    ) -> None:
        strategy = self.strategies[target.resource.name]
        managed.track_update(
            strategy.struct,
            live,
            object_,
            self._manager(target, options, UPDATE),
            now=timestamp(),
            ignored=strategy.ignored(target.subresource),
        )

    def _replace(
        self, target: Target, live: Record, object_: JsonObject, options: WriteOptions
    ) -> JsonObject:
        resource, strategy = target.resource, self.strategies[target.resource.name]
        old = live.object
        self._check_version(target, live, object_)
        metadata, before = object_["metadata"], old["metadata"]
        metadata["resourceVersion"] = before["resourceVersion"]
        for name in (*_SYSTEM_METADATA, "generation"):
            if name in before:
                metadata[name] = copy.copy(before[name])
            else:
                metadata.pop(name, None)
        if target.subresource == "status":
            strategy.prepare_status(object_, old)
        else:
            strategy.prepare_update(object_, old)
        if strategy.has_generation and _content(object_) != _content(old):
            metadata["generation"] = int(before.get("generation", 0)) + 1
        allocation = strategy.begin_update(object_, old, dry_run=options.dry_run)
        try:
            found = validate_metadata(
                object_, namespaced=resource.namespaced, name_problems=strategy.name_problems
            )
            found += validate_metadata_update(object_, old)
            if target.subresource == "status":
                found += strategy.validate_status(object_, old)
            else:
                found += strategy.validate_update(object_, old)
                found += strategy.validate(object_)
            if found:
                raise errors.invalid(resource.kind, target.name, found, resource.group)
            stored = decode(strategy.struct, object_)
            if options.dry_run or _same(stored, old):
                allocation.rollback()
                return stored if options.dry_run else old
            written = self.store.put(resource.name, stored)
        except BaseException:
            allocation.rollback()
            raise
        allocation.commit()
        if _is_released(stored["metadata"]):
            return self._remove(target, written).object
        return stored

    def _remove(self, target: Target, record: Record) -> Record:
        removed = self.store.remove(target.resource.name, record)
        self.strategies[target.resource.name].finish_delete(removed.object)
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

    def _admit_namespace(self, target: Target, name: str) -> None:
        """The NamespaceLifecycle admission plugin, on create."""
        if not target.resource.namespaced or not target.namespace:
            return
        record = self.store.record("namespaces", target.namespace, "")
        if record is None:
            raise errors.not_found("namespaces", target.namespace)
        if record.object["metadata"].get("deletionTimestamp"):
            detail = (
                f"unable to create new content in namespace {target.namespace} "
                "because it is being terminated"
            )
            raise errors.forbidden(target.resource.name, name, detail, target.served.group)

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

    # -- details --------------------------------------------------------------

    def _decode(
        self, target: Target, raw: Any, options: WriteOptions, *, sparse: bool = False
    ) -> JsonObject:
        """What was sent, in the stored version, with defaults unless `sparse`."""
        resource, served = target.resource, target.served
        if not isinstance(raw, dict):
            raise errors.bad_request(
                f'{resource.kind} in version "{served.version}" cannot be handled as a '
                f"{resource.kind}: json: cannot unmarshal into an object"
            )
        kind, version = raw.get("kind"), raw.get("apiVersion")
        if version and version != served.api_version:
            raise errors.bad_request(
                f"the API version in the data ({version}) does not match the expected "
                f"API version ({served.api_version})"
            )
        if kind and kind != resource.kind:
            raise errors.bad_request(
                f'{kind} in version "{served.version}" cannot be handled as a {resource.kind}: '
                f"converting ({served.version}.{kind}) to ({served.version}.{resource.kind}): "
                "unknown conversion"
            )
        unknown: list[str] = []
        try:
            object_ = decode(struct_of(resource, served), raw, unknown, sparse=sparse)
        except DecodeError as error:
            raise errors.bad_request(_unhandled(target, str(error))) from error
        texts = [f'unknown field "{path}"' for path in unknown]
        if texts and options.validation is Validation.STRICT:
            detail = f"strict decoding error: {', '.join(texts)}"
            raise errors.bad_request(_unhandled(target, detail))
        if options.validation is Validation.WARN:
            options.warnings.extend(texts)
        object_ = to_stored(resource, served, object_)
        identified = {"kind": resource.kind, "apiVersion": resource.api_version}
        object_ = {**identified, **object_, **identified}
        object_.setdefault("metadata", {})
        if not sparse:
            self.strategies[resource.name].default(object_)
        return object_

    def _place(self, target: Target, object_: JsonObject) -> None:
        """Give the object the request's namespace and name, or refuse that it has others."""
        metadata = object_["metadata"]
        space, name = metadata.get("namespace", ""), metadata.get("name", "")
        if target.resource.namespaced:
            if space and space != target.namespace:
                if target.name:
                    raise errors.bad_request(
                        f"the namespace of the object ({space}) does not match the namespace "
                        f"on the request ({target.namespace})"
                    )
                raise errors.bad_request(
                    "the namespace of the provided object does not match the namespace sent "
                    "on the request"
                )
            metadata["namespace"] = target.namespace
        if target.name:
            if name and name != target.name:
                raise errors.bad_request(
                    f"the name of the object ({name}) does not match the name on the URL "
                    f"({target.name})"
                )
            metadata["name"] = target.name

    def _check_version(self, target: Target, live: Record, object_: JsonObject) -> None:
        metadata, before = object_["metadata"], live.object["metadata"]
        sent = metadata.get("resourceVersion")
        if sent and sent != before["resourceVersion"]:
            raise errors.conflict(
                target.resource.name, target.name, errors.STALE, target.served.group
            )
        uid = metadata.get("uid")
        if uid and uid != before["uid"]:
            detail = (
                f"Precondition failed: UID in precondition: {uid}, "
                f"UID in object meta: {before['uid']}"
            )
            raise errors.conflict(target.resource.name, target.name, detail, target.served.group)

    def _empty(self, strategy: Strategy) -> JsonObject:
        return zero(strategy.struct)

    def _manager(self, target: Target, options: WriteOptions, operation: str) -> Manager:
        return Manager(
            name=options.manager,
            operation=operation,
            api_version=target.served.api_version,
            subresource=target.subresource,
        )

    def _generate(self, target: Target, prefix: str) -> str:
        while True:
            suffix = "".join(_SUFFIX[self._rng.randrange(len(_SUFFIX))] for _ in range(5))
            # A name has at most 63 characters, of which the suffix has 5.
            name = f"{prefix[:58]}{suffix}"
            if self.store.record(target.resource.name, name, target.namespace) is None:
                return name


def _unhandled(target: Target, detail: str) -> str:
    kind = target.resource.kind
    return f'{kind} in version "{target.served.version}" cannot be handled as a {kind}: {detail}'


def _patched(target: Target, current: JsonObject, patch: Any, content_type: str) -> Any:
    try:
        if content_type == JSON_PATCH:
            return json_patch(current, patch)
        if content_type == MERGE_PATCH:
            if not isinstance(patch, dict):
                raise PatchError("Invalid JSON Merge Patch", malformed=True)
            return merge_patch(current, patch)
        assert content_type == STRATEGIC_PATCH
        return strategic_patch(struct_of(target.resource, target.served), current, patch)
    except PatchError as error:
        if error.malformed:
            raise errors.bad_request(str(error)) from error
        raise errors.rejected_request(str(error)) from error


def _is_released(metadata: JsonObject) -> bool:
    """Whether a deletion was waiting for nothing but the finalizers that are now gone."""
    return bool(
        metadata.get("deletionTimestamp")
        and not metadata.get("finalizers")
        and not metadata.get("deletionGracePeriodSeconds")
    )


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


def _content(object_: JsonObject) -> JsonObject:
    """What the generation counts changes of."""
    return {name: value for name, value in object_.items() if name not in ("metadata", "status")}


def _same(new: JsonObject, old: JsonObject) -> bool:
    """Whether nothing changed but times of ownership."""

    def plain(object_: JsonObject) -> JsonObject:
        metadata = dict(object_["metadata"])
        metadata["managedFields"] = [
            {name: value for name, value in entry.items() if name != "time"}
            for entry in metadata.get("managedFields", ())
        ]
        return {**object_, "metadata": metadata}

    return plain(new) == plain(old)
