"""Create, update, patch and delete, as a request passes through the API server.

Mirrors `apiserver/pkg/endpoints/handlers/{create,update,patch,delete}.go` and
`apiserver/pkg/registry/generic/registry/store.go`. The order matters and is theirs: decode and
default, write down ownership, admit, prepare, allocate, validate, write. Allocation comes before
validation, so that a taken port is told before a malformed field.
"""

import copy
import uuid
from collections.abc import Mapping
from typing import Any, Protocol

from nplb.lab.api import errors, managed
from nplb.lab.api.decoding import decode_sent, patched, put_in_place
from nplb.lab.api.deletion import Deletion
from nplb.lab.api.errors import ApiError, FieldError
from nplb.lab.api.managed import APPLY, UPDATE, Manager
from nplb.lab.api.names import validate_metadata, validate_metadata_update
from nplb.lab.api.patch import APPLY_PATCH, PATCH_TYPES
from nplb.lab.api.requests import DEFAULTS, Target, WriteOptions
from nplb.lab.api.schema import decode, zero
from nplb.lab.api.store import JsonObject, Record, Store, encode
from nplb.lab.api.strategy import Allocation, NoAllocation, Strategy
from nplb.lab.api.times import timestamp
from nplb.lab.api.versions import to_served

_SUFFIX = "bcdfghjklmnpqrstvwxz2456789"
# Metadata that only the server writes.
_SYSTEM_METADATA = ("uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds")


class Dice(Protocol):
    """Where random numbers come from."""

    def randrange(self, stop: int, /) -> int: ...

    def getrandbits(self, k: int, /) -> int: ...


class Operations:
    """Writes to the store, by the rules. Reading needs none: see `listing` and `watch`."""

    def __init__(self, store: Store, strategies: Mapping[str, Strategy], rng: Dice) -> None:
        self.store = store
        self.strategies = strategies
        self.deletion = Deletion(store, strategies)
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
        strategy = self.strategies[target.resource.name]
        object_ = decode_sent(strategy, target, raw, options)
        put_in_place(target, object_)
        if object_["metadata"].get("resourceVersion"):
            raise errors.unknown_error("resourceVersion should not be set on objects to be created")
        self._own(target, zero(strategy.struct), object_, options)
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
        object_ = decode_sent(strategy, target, raw, options)
        put_in_place(target, object_)
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
        strategy = self.strategies[target.resource.name]
        live = self.get(target)
        current = to_served(target.resource, target.served, live.copy())
        changed = patched(target, current, patch, content_type)
        try:
            object_ = decode_sent(strategy, target, changed, options)
        except ApiError as error:
            # The original decodes the patched text, and blames the patch.
            text = encode(changed).decode()
            detail = str(error).rpartition("cannot be handled as a ")[2].partition(": ")[2]
            found = errors.invalid_value("patch", text, detail or str(error))
            raise errors.invalid("", "", [found]) from error
        put_in_place(target, object_)
        self._own(target, live.object, object_, options)
        return self._replace(target, live, object_, options), False

    # -- apply ----------------------------------------------------------------

    def _apply(self, target: Target, raw: Any, options: WriteOptions) -> tuple[JsonObject, bool]:
        if not isinstance(raw, dict):
            raise errors.bad_request("error decoding YAML: an applied configuration is an object")
        if (raw.get("metadata") or {}).get("managedFields"):
            raise errors.bad_request("metadata.managedFields must be nil")
        strategy = self.strategies[target.resource.name]
        applied = decode_sent(strategy, target, raw, options, sparse=True)
        put_in_place(target, applied)
        live = self.store.record(target.resource.name, target.name, target.namespace)
        if live is not None:
            self._check_version(target, live, applied)
        elif target.subresource:
            raise errors.not_found(target.resource.name, target.name, target.served.group)
        before = zero(strategy.struct) if live is None else live.copy()
        merged = managed.apply(
            strategy.struct,
            before,
            applied,
            _manager(target, options, APPLY),
            now=timestamp(),
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
            found = self._common_errors(target, object_)
            found += strategy.validate(object_)
            if found:
                raise errors.invalid(resource.kind, name, found, resource.group)
            if self.store.record(resource.name, name, metadata.get("namespace", "")):
                raise errors.already_exists(resource.name, name, target.served.group)
        except BaseException:
            allocation.rollback()
            raise
        if options.dry_run:
            allocation.rollback()
            return decode(strategy.struct, object_)
        # Before anybody is told of the object, so that what it gave back is free by then.
        allocation.commit()
        metadata["resourceVersion"] = "0"  # the store fills it in; so it keeps its place
        return self.store.put(resource.name, decode(strategy.struct, object_)).object

    def _own(
        self, target: Target, live: JsonObject, object_: JsonObject, options: WriteOptions
    ) -> None:
        strategy = self.strategies[target.resource.name]
        managed.track_update(
            strategy.struct,
            live,
            object_,
            _manager(target, options, UPDATE),
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
        allocation: Allocation = NoAllocation()
        if target.subresource == "status":
            strategy.prepare_status(object_, old)
        else:
            strategy.prepare_update(object_, old)
            allocation = strategy.begin_update(object_, old, dry_run=options.dry_run)
        if strategy.has_generation and _content(object_) != _content(old):
            metadata["generation"] = int(before.get("generation", 0)) + 1
        try:
            found = self._common_errors(target, object_)
            found += validate_metadata_update(object_, old)
            if target.subresource == "status":
                found += strategy.validate_status(object_, old)
            else:
                found += strategy.validate_update(object_, old)
                found += strategy.validate(object_)
            if found:
                raise errors.invalid(resource.kind, target.name, found, resource.group)
        except BaseException:
            allocation.rollback()
            raise
        stored = decode(strategy.struct, object_)
        if options.dry_run or _same(stored, old):
            allocation.rollback()
            return stored if options.dry_run else old
        allocation.commit()
        written = self.store.put(resource.name, stored)
        if _is_released(stored["metadata"]):
            return self.deletion.remove(target, written).object
        return written.object

    def _common_errors(self, target: Target, object_: JsonObject) -> list[FieldError]:
        strategy = self.strategies[target.resource.name]
        return validate_metadata(
            object_,
            namespaced=target.resource.namespaced,
            name_problems=strategy.name_problems,
        )

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

    # -- details --------------------------------------------------------------

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

    def _generate(self, target: Target, prefix: str) -> str:
        while True:
            suffix = "".join(_SUFFIX[self._rng.randrange(len(_SUFFIX))] for _ in range(5))
            # A name has at most 63 characters, of which the suffix has 5.
            name = f"{prefix[:58]}{suffix}"
            if self.store.record(target.resource.name, name, target.namespace) is None:
                return name


def _manager(target: Target, options: WriteOptions, operation: str) -> Manager:
    return Manager(
        name=options.manager,
        operation=operation,
        api_version=target.served.api_version,
        subresource=target.subresource,
    )


def _is_released(metadata: JsonObject) -> bool:
    """Whether a deletion was waiting for nothing but the finalizers that are now gone."""
    return bool(
        metadata.get("deletionTimestamp")
        and not metadata.get("finalizers")
        and not metadata.get("deletionGracePeriodSeconds")
    )


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
