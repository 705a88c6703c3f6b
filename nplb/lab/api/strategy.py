"""What differs between kinds when they are written: the hooks, and what most kinds do.

Mirrors the strategies of `pkg/registry` (`rest.RESTCreateUpdateStrategy`), called by
`operations` in the order of `apiserver/pkg/registry/generic/registry/store.go`.
"""

from collections.abc import Sequence
from typing import Protocol

from nplb.lab.api.errors import FieldError
from nplb.lab.api.fieldsets import Path
from nplb.lab.api.names import Problems, dns_subdomain_problems
from nplb.lab.api.registry import Resource
from nplb.lab.api.schema import Type, zero
from nplb.lab.api.store import JsonObject
from nplb.lab.api.types import SCHEMA


class Allocation(Protocol):
    """What was taken for an object that is about to be written."""

    def commit(self) -> None:
        """The object has been written: keep it, give back what the object no longer has."""

    def rollback(self) -> None:
        """The object has not been written: give it back."""


class NoAllocation:
    """Nothing was taken."""

    def commit(self) -> None:
        """Nothing to keep."""

    def rollback(self) -> None:
        """Nothing to give back."""


class Strategy:
    """A kind that is stored as it comes. Objects are changed in place by the `prepare` hooks
    and by `default`; the `validate` hooks return what is wrong."""

    name_problems: Problems = staticmethod(dns_subdomain_problems)
    has_generation = False  # metadata.generation counts changes of the spec
    has_status = False
    returns_deleted = False  # DELETE answers with the object instead of a Status
    creates_on_update = False  # PUT of a name that does not exist creates it

    def __init__(self, resource: Resource) -> None:
        self.resource = resource
        self.struct: Type = SCHEMA[resource.kind]

    def ignored(self, subresource: str) -> Sequence[Path]:
        """Roots that a request on this subresource cannot change (`GetResetFields`)."""
        if not self.has_status:
            return ()
        return (("f:spec",),) if subresource == "status" else (("f:status",),)

    def default(self, object_: JsonObject) -> None:
        """Fill in defaults, after decoding, on every way in."""

    def admit_create(self, object_: JsonObject) -> None:
        """What admission plugins change on create, after ownership was written down."""

    def prepare_create(self, object_: JsonObject) -> None:
        """Reset what a create cannot set."""
        if self.has_status:
            object_["status"] = zero(self.struct).get("status", {})

    def prepare_update(self, new: JsonObject, old: JsonObject) -> None:
        """Reset what an update cannot change."""
        if self.has_status:
            new["status"] = old.get("status", {})

    def prepare_status(self, new: JsonObject, old: JsonObject) -> None:
        """Reset what an update of the status cannot change: everything but it, and metadata."""
        for name in ("spec",):
            if name in old:
                new[name] = old[name]

    def begin_create(self, object_: JsonObject, *, dry_run: bool) -> Allocation:
        """Take what a new object needs, before validation. Raises ApiError."""
        del object_, dry_run
        return NoAllocation()

    def begin_update(self, new: JsonObject, old: JsonObject, *, dry_run: bool) -> Allocation:
        """Take what a changed object needs beyond the old one. Raises ApiError."""
        del new, old, dry_run
        return NoAllocation()

    def finish_delete(self, object_: JsonObject) -> None:
        """Give back what a deleted object held."""

    def validate(self, object_: JsonObject) -> list[FieldError]:
        """What is wrong with an object, beyond its metadata."""
        del object_
        return []

    def validate_update(self, new: JsonObject, old: JsonObject) -> list[FieldError]:
        """What may not change from the old to the new one. `validate` is called as well."""
        del new, old
        return []

    def validate_status(self, new: JsonObject, old: JsonObject) -> list[FieldError]:
        """What is wrong with a changed status."""
        del new, old
        return []
