"""Frozen dataclasses as JSON: the shape of /api/v1 and of every `-o json`.

The rules, which are part of the API:

- A dataclass is an object with its fields' names, in their order, but for fields without a repr,
  which are large. Fields may be added in any release; none is renamed or removed within v1.
- An enum is its word. Times are epoch seconds, durations are in seconds, sizes in bytes.
- A key is an object with its parts and `text`, the same text that logs and the terminal show:
  a service is `{"text": "prod/shop/web", "cluster", "namespace", "name"}`, a frontend
  `{"text", "service": {...}, "port", "protocol"}`, a backend `{"text", "node", "address"}`
  (its frontend is the object around it), an address `{"text", "ip", "port"}`.
- What to probe is an object with the settings of its probes, not those of its whole frontend.
- A mapping is an object. Where its keys are not words, they are that same text.
- Infinity and what is not a number, which JSON lacks, are null.
"""

import dataclasses
import json
import math
from collections.abc import Mapping
from enum import Enum
from pathlib import PurePath
from typing import Any

from nplb.model.keys import Address, BackendKey, FrontendKey, ServiceKey
from nplb.model.status import Status
from nplb.model.verdict import Detection, ProbeTarget

JSON = Any
"""What `json.dumps` takes: dict, list, str, int, float, bool, None."""

_FIELDS: dict[type, tuple[str, ...]] = {}


def render(value: object) -> JSON:
    """A value of the model as JSON. Raises TypeError for what is none."""
    kind = type(value)
    if value is None or kind is str or kind is int or kind is bool:
        return value
    if kind is float:
        return value if math.isfinite(value) else None  # type: ignore[arg-type]
    names = _FIELDS.get(kind)
    if names is not None:
        return {name: render(getattr(value, name)) for name in names}
    return _render_other(value)


def _render_other(value: object) -> JSON:
    match value:
        case Address(ip=ip, port=port):
            return {"text": str(value), "ip": ip, "port": port}
        case ServiceKey(cluster=cluster, namespace=namespace, name=name):
            return {"text": str(value), "cluster": cluster, "namespace": namespace, "name": name}
        case FrontendKey(service=service, port=port, protocol=protocol):
            parts = {"service": render(service), "port": port, "protocol": protocol.value}
            return {"text": str(value), **parts}
        case BackendKey(node=node, address=address):
            return {"text": str(value), "node": node, "address": render(address)}
        case ProbeTarget(address=address, health=health, check=check, role=role):
            return {
                "address": render(address),
                "role": role.value,
                "kind": check.kind.value,
                "interval_seconds": health.interval_seconds,
                "timeout_seconds": health.timeout_seconds,
                "rise": health.rise,
                "fall": health.fall,
                "expect_refusal": value.expect_refusal,
                "turn_seconds": value.turn_seconds,
            }
        case Detection():
            names = ("shared", "rate", "budget", "node_seconds", "service_seconds", "over_budget")
            return {name: getattr(value, name) for name in names}
        case Enum():
            return render(value.value)
        case Mapping():
            return {_key(key): render(one) for key, one in value.items()}
        case tuple() | list():
            return [render(one) for one in value]
        case frozenset() | set():
            return sorted(render(one) for one in value)
        case PurePath():
            return str(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        _FIELDS[type(value)] = tuple(f.name for f in dataclasses.fields(value) if f.repr)
        return render(value)
    raise TypeError(f"{type(value).__name__} has no form in JSON")


def _key(key: object) -> str:
    if isinstance(key, float) and math.isinf(key):
        return "+Inf"
    return key.value if isinstance(key, Enum) else str(key)


def render_status(status: Status) -> JSON:
    """A status as `/api/v1/status` gives it: its fields, and what they amount to.

    Added are `is_ready`, and `state` (a word of FrontendState) on each of `plan.frontends`.
    """
    document = render(status)
    document["is_ready"] = status.is_ready and not status.stopping
    for frontend, shown in zip(status.plan.frontends, document["plan"]["frontends"], strict=True):
        shown["state"] = status.frontend_state(frontend).value
    return document


def to_bytes(document: JSON) -> bytes:
    """A document as the bytes of an answer."""
    return json.dumps(document, ensure_ascii=False, allow_nan=False).encode() + b"\n"
