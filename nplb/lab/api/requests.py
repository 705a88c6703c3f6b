"""What a request for a write is about, and how it wants it."""

from dataclasses import dataclass, field
from enum import StrEnum

from nplb.lab.api.registry import Resource, Served


class Validation(StrEnum):
    """What becomes of unknown fields: the `fieldValidation` parameter."""

    IGNORE = "Ignore"
    WARN = "Warn"
    STRICT = "Strict"


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
