"""Schemas of values, for the API's description.

They are read off the model's dataclasses by the rules of `web.render`, so a new field is described
the moment that it is shown.
"""

import dataclasses
import types
import typing
from collections.abc import Mapping
from enum import Enum
from pathlib import PurePath

from nplb.model.health import ProbeKind
from nplb.model.keys import Address, BackendKey, FrontendKey, ServiceKey
from nplb.model.verdict import Detection, ProbeRole, ProbeTarget
from nplb.web.render import JSON

_TEXT = {"type": "string", "description": "as logs and the terminal show it"}
_KEYS: dict[type, JSON] = {
    ServiceKey: {"text": _TEXT, "cluster": str, "namespace": str, "name": str},
    FrontendKey: {"text": _TEXT, "service": ServiceKey, "port": int, "protocol": str},
    BackendKey: {"text": _TEXT, "node": str, "address": Address},
    Address: {"text": _TEXT, "ip": str, "port": int},
    Detection: {
        "shared": bool,
        "rate": float,
        "budget": float,
        "node_seconds": float,
        "service_seconds": float,
        "over_budget": bool,
    },
    ProbeTarget: {
        "address": Address,
        "role": ProbeRole,
        "kind": ProbeKind,
        "interval_seconds": float,
        "timeout_seconds": float,
        "rise": int,
        "fall": int,
        "expect_refusal": bool,
        "turn_seconds": float,
    },
}
_PLAIN: dict[object, JSON] = {
    str: {"type": "string"},
    int: {"type": "integer"},
    bool: {"type": "boolean"},
    float: {"type": ["number", "null"]},
    type(None): {"type": "null"},
}


class Schemas:
    """Collects the named schemas that others refer to."""

    def __init__(self) -> None:
        self.named: dict[str, JSON] = {}

    def of(self, kind: object) -> JSON:
        """The schema of a type, or a reference to it."""
        if isinstance(kind, dict):
            return kind
        if kind in _PLAIN:
            return dict(_PLAIN[kind])
        origin, arguments = typing.get_origin(kind), typing.get_args(kind)
        if origin in (typing.Union, types.UnionType):
            return {"anyOf": [self.of(one) for one in arguments]}
        if origin is tuple:
            if len(arguments) == 2 and arguments[1] is Ellipsis:
                return {"type": "array", "items": self.of(arguments[0])}
            return {"type": "array", "prefixItems": [self.of(one) for one in arguments]}
        if isinstance(origin, type) and issubclass(origin, Mapping):
            return {"type": "object", "additionalProperties": self.of(arguments[1])}
        assert isinstance(kind, type), f"{kind} has no schema"
        if issubclass(kind, PurePath):
            return {"type": "string"}
        if kind.__name__ not in self.named:
            self.named[kind.__name__] = {}
            self.named[kind.__name__] = self._named(kind)
        return {"$ref": f"#/components/schemas/{kind.__name__}"}

    def _named(self, kind: type) -> JSON:
        told = (kind.__doc__ or "").strip()
        if issubclass(kind, Enum):
            return {"type": "string", "enum": [one.value for one in kind], "description": told}
        fields = _KEYS.get(kind)
        if fields is None:
            assert dataclasses.is_dataclass(kind), f"{kind} has no schema"
            hints = typing.get_type_hints(kind)
            fields = {
                field.name: hints[field.name] for field in dataclasses.fields(kind) if field.repr
            }
        return object_of({name: self.of(one) for name, one in fields.items()}, told)


def object_of(properties: JSON, description: str = "") -> JSON:
    """An object that has all of these."""
    schema = {"type": "object", "properties": properties, "required": list(properties)}
    return schema | ({"description": " ".join(description.split())} if description else {})


def all_of(base: JSON, extra: JSON) -> JSON:
    """An object of `base` that has these too."""
    return {"allOf": [base, object_of(extra)]}
