"""The API as an OpenAPI document, from the same types that answers are made of.

The schemas of values are read off the model's dataclasses by the rules of `web.render`, so a
new field is described the moment that it is shown.
"""

import dataclasses
import types
import typing
from collections.abc import Mapping
from enum import Enum
from functools import cache
from pathlib import PurePath

from nplb import __version__
from nplb.model.applied import ListenError
from nplb.model.decision import Decision, DecisionKind
from nplb.model.drain import ManualDrain
from nplb.model.health import ProbeKind
from nplb.model.keys import Address, BackendKey, FrontendKey, ServiceKey
from nplb.model.ledger import EdgeLedgerView, LedgerView
from nplb.model.plan import Backend, Frontend, LeftOut, Skipped
from nplb.model.status import Status
from nplb.model.verdict import Detection, ProbeRole, ProbeTarget
from nplb.observe.history import SERIES
from nplb.policy.explain import Explanation
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


class _Schemas:
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
        return _object({name: self.of(one) for name, one in fields.items()}, told)


def _object(properties: JSON, description: str = "") -> JSON:
    schema = {"type": "object", "properties": properties, "required": list(properties)}
    return schema | ({"description": " ".join(description.split())} if description else {})


def _answer(description: str, schema: JSON, kind: str = "application/json") -> JSON:
    return {"description": description, "content": {kind: {"schema": schema}}}


def _query(name: str, description: str, schema: JSON, *, required: bool = False) -> JSON:
    return {"name": name, "in": "query", "required": required, "schema": schema} | {
        "description": description
    }


def _operation(
    name: str,
    told: str,
    answers: JSON,
    parameters: list[JSON] | None = None,
    *,
    method: str = "get",
    body: JSON | None = None,
    changes: bool = True,
) -> JSON:
    changes = changes and method != "get"
    operation: JSON = {
        "operationId": name,
        "summary": told,
        "parameters": parameters or [],
        "responses": answers
        | {
            "401": _answer("a token is wanted, or is wrong", _ERROR),
            "403": _answer("it is not allowed", _ERROR),
            "421": _answer("the Host header names another server", _ERROR),
            "429": _answer("too many wrong tokens", _ERROR),
            "503": _answer("nplb has too much to do", _ERROR),
            "500": _answer("a fault of nplb's own", _ERROR),
        },
        # Reading may need none; see `admin.anonymous_read` of the configuration.
        "security": [{"token": []}] if changes else [{}, {"token": []}],
    }
    if body is not None:
        operation["requestBody"] = {"required": True, "content": body}
        operation["responses"] |= {
            "408": _answer("the body came too slowly", _ERROR),
            "413": _answer("the body is too large", _ERROR),
            "501": _answer("this server does not do it", _ERROR),
        }
    return {method: operation}


_ERROR: JSON = {"$ref": "#/components/schemas/Error"}
_WORD: JSON = {"type": "string", "minLength": 1}


def _explain_paths(schemas: _Schemas, page: JSON, wrong: JSON) -> JSON:
    """Why nodes of a Service are in or out, of all of them or of one."""
    skipped = _all_of(schemas.of(Skipped), {"explanation": {"type": "string"}})
    answer = _answer(
        "its frontends, each node with signal_at: when what its reason rests on was last seen",
        _object(
            {
                "service": schemas.of(ServiceKey),
                "node": {"type": ["string", "null"]},
                "now": {"type": ["number", "null"]},
                "frontends": {"type": "array", "items": page},
                "skipped": {"type": "array", "items": skipped},
            }
        ),
    )
    service = [_in_path(name) for name in ("cluster", "namespace", "service")]
    path = "/api/v1/explain/{cluster}/{namespace}/{service}"
    told = "Why each node of a Service is in or out, and what would change it."
    return {
        path: _operation("explainService", told, {"200": answer} | wrong, service),
        path + "/{node}": _operation(
            "explainNode",
            "Why one node of a Service is in or out, and what would change it.",
            {"200": answer} | wrong,
            [*service, _in_path("node")],
        ),
    }


def _in_path(name: str) -> JSON:
    return {"name": name, "in": "path", "required": True, "schema": _WORD}


@cache
def openapi() -> JSON:
    """The document."""
    schemas = _Schemas()
    explanation = schemas.of(Explanation)
    counters = {"$ref": "#/components/schemas/BackendCounters"}
    status = schemas.of(Status)
    frontend, backend, left_out = schemas.of(Frontend), schemas.of(Backend), schemas.of(LeftOut)
    shown = {"state": {"type": "string"}}
    verdict = {"anyOf": [{"$ref": "#/components/schemas/Verdict"}, {"type": "null"}]}
    number = {"type": ["number", "null"]}
    told = {"explanation": explanation, "signal_at": number}
    one_backend = _all_of(backend, {"verdict": verdict, "traffic": counters} | told)
    one_left_out = _all_of(left_out, told | shown)
    decision = schemas.of(Decision)
    decisions = {"type": "array", "items": decision}
    series = {"type": "array", "items": number}
    one_page = _all_of(
        frontend,
        shown
        | {
            "backends": {"type": "array", "items": one_backend},
            "left_out": {"type": "array", "items": one_left_out},
            "explanation": {"type": "string"},
            "served_by": {"type": "string"},
            "drained": {"type": "array", "items": {"type": "string"}},
            "listen_errors": {"type": "array", "items": schemas.of(ListenError)},
            "traffic": {"$ref": "#/components/schemas/FrontendCounters"},
            "now": number,
            "decisions": decisions,
        },
    )
    bad = {"400": _answer("a parameter is wrong", _ERROR)}
    missing = {"404": _answer("there is no such thing in the plan", _ERROR)}
    paths = {
        "/api/v1/status": _operation(
            "status",
            "Everything that runs.",
            {"200": _answer("the status", _all_of(status, {"is_ready": {"type": "boolean"}}))},
        ),
        "/api/v1/decisions": _operation(
            "decisions",
            "The journal: what nplb decided, when and why.",
            {
                "200": _answer(
                    "decisions, oldest first",
                    _object(
                        {
                            "first": {"type": "integer"},
                            "last": {"type": "integer"},
                            "decisions": decisions,
                        },
                        "`first` and `last` are the numbers of the oldest and newest kept.",
                    ),
                )
            }
            | bad,
            [
                _query("since", "only those numbered above", {"type": "integer", "minimum": 0}),
                _query("before", "only those numbered below", {"type": "integer", "minimum": 0}),
                _query(
                    "limit",
                    "the newest so many",
                    {"type": "integer", "minimum": 1, "maximum": 1000},
                ),
                _query(
                    "kind",
                    "only these kinds; may be repeated",
                    {"type": "array", "items": schemas.of(DecisionKind)},
                ),
                _query("service", "only of cluster/namespace/name", {"type": "string"}),
                _query("node", "only of this node", {"type": "string"}),
                _query("cluster", "only of this cluster", {"type": "string"}),
            ],
        ),
        "/api/v1/frontend": _operation(
            "frontend",
            "One frontend: its backends with verdicts, traffic and explanations.",
            {
                "200": _answer(
                    "the frontend",
                    one_page,
                )
            }
            | bad
            | missing,
            [_query("key", "cluster/namespace/name:port/TCP", _WORD, required=True)],
        ),
        "/api/v1/node": _operation(
            "node",
            "One node: its backend in every frontend.",
            {
                "200": _answer(
                    "the node",
                    _object(
                        {
                            "cluster": {"type": "string"},
                            "node": {"type": "string"},
                            "drain": {"anyOf": [schemas.of(ManualDrain), {"type": "null"}]},
                            "now": number,
                            "backends": {
                                "type": "array",
                                "items": {"anyOf": [one_backend, one_left_out]},
                            },
                            "decisions": decisions,
                        }
                    ),
                )
            }
            | bad
            | missing,
            [
                _query("cluster", "the cluster's name", _WORD, required=True),
                _query("name", "the node's name", _WORD, required=True),
            ],
        ),
        **_explain_paths(schemas, one_page, bad | missing),
        "/api/v1/ports": _operation(
            "ports",
            "The NodePort range of every cluster, with who has which number, and the edge's own.",
            {
                "200": _answer(
                    "the ledgers",
                    _object(
                        {
                            "now": number,
                            "ledgers": {"type": "array", "items": schemas.of(LedgerView)},
                            "edge": schemas.of(EdgeLedgerView),
                        }
                    ),
                )
            },
        ),
        "/api/v1/history": _operation(
            "history",
            "The last hour, of everything or of one frontend.",
            {
                "200": _answer(
                    "series of equal length, oldest first",
                    _object(
                        {"step_seconds": {"type": "number"}}
                        | dict.fromkeys(("at", *SERIES), series)
                        | {"ends": {"type": "object", "additionalProperties": series}},
                        "`ends` has connections a second by the reason of their end, over all.",
                    ),
                )
            }
            | missing,
            [_query("frontend", "cluster/namespace/name:port/TCP", {"type": "string"})],
        ),
        "/api/v1/events": _operation(
            "events",
            "Boards and decisions as server-sent events: `full`, `change`, `decisions`. For "
            "the dashboard; its shape may change in any release.",
            {"200": _answer("a stream", {"type": "string"}, "text/event-stream")},
        ),
    }
    paths |= _drain_paths(schemas, bad) | _check_path(schemas, bad)
    schemas.named["Error"] = _object(
        {
            "error": _object(
                {
                    "status": {"type": "integer"},
                    "reason": {"type": "string"},
                    "message": {"type": "string"},
                }
            )
        }
    )
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "nplb",
            "version": __version__,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
            "description": "What an nplb edge does, and why. Times are epoch seconds, durations "
            "seconds, sizes bytes. Fields may be added in any release; none is renamed or "
            "removed within v1.",
        },
        "paths": paths,
        "components": {
            "schemas": dict(sorted(schemas.named.items())),
            "securitySchemes": {
                "token": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "a line of admin.token_file, or of admin.read_token_file for "
                    "reading alone",
                }
            },
        },
    }


def _drain_paths(schemas: _Schemas, bad: JSON) -> JSON:
    """Nodes that are drained by hand."""
    drain = schemas.of(ManualDrain)
    unable = {"501": _answer("this server does not do it", _ERROR)}
    name: JSON = {"type": "string", "minLength": 1, "maxLength": 253}
    asked: JSON = {
        "type": "object",
        "additionalProperties": False,
        "required": ["node"],
        "properties": {
            "cluster": {
                "type": "string",
                "maxLength": 253,
                "description": "may be left out where one alone can be meant",
            },
            "node": name,
            "who": {"type": "string", "maxLength": 128, "description": "who says so"},
            "why": {"type": "string", "maxLength": 512},
        },
    }
    here = {"name": "cluster", "in": "path", "required": True, "schema": name}
    return {
        "/api/v1/drains": _operation(
            "drains",
            "The nodes that are drained by hand.",
            {"200": _answer("the drains", _object({"drains": {"type": "array", "items": drain}}))},
        )
        | _operation(
            "drain",
            "Give a node no new connections, until it is put back.",
            {
                "201": _answer("it is drained", drain),
                "404": _answer("the plan has no such node", _ERROR),
            }
            | bad,
            method="post",
            body={"application/json": {"schema": asked}},
        ),
        "/api/v1/drains/{cluster}/{node}": _operation(
            "undrain",
            "Put a node back.",
            {
                "204": {"description": "it is back"},
                "404": _answer("it was not drained by hand", _ERROR),
            }
            | unable,
            [here, here | {"name": "node"}],
            method="delete",
        ),
    }


def _check_path(schemas: _Schemas, bad: JSON) -> JSON:
    """Manifests that are asked about."""
    words = {"type": "string"}
    one = _all_of(
        _object({"service": schemas.of(ServiceKey)}),
        {
            "place": words | {"description": "line and column of the manifest"},
            "accepted": {"type": "boolean"},
            "code": {"type": "integer"},
            "reason": words,
            "message": words | {"description": "the API server's own words, if it refuses"},
            "hint": words,
            "rolled_back": {"type": "boolean"},
            "ports": {"type": "array", "items": {"type": "object"}},
        },
    )
    told: JSON = {"schema": {"description": "Services as kubectl takes them, also several"}}
    return {
        "/api/v1/ports/check": _operation(
            "check",
            "What the API server would answer to the Services of a manifest. Nothing is sent to "
            "it, and nothing changes.",
            {
                "200": _answer(
                    "the answers",
                    _object(
                        {
                            "cluster": words,
                            "port_range": words,
                            "as": {"type": "string", "enum": ["create", "apply"]},
                            "transaction": {"type": "boolean"},
                            "accepted": {"type": "boolean"},
                            "notes": {"type": "array", "items": words},
                            "services": {"type": "array", "items": one},
                        }
                    ),
                )
            }
            | bad,
            [
                _query("cluster", "which one, where there are several", _WORD),
                _query(
                    "as",
                    "as which request: what exists is refused, or updated",
                    {"type": "string", "enum": ["create", "apply"]},
                ),
                _query(
                    "transaction",
                    "all or none",
                    {"type": "string", "enum": ["true", "false"]},
                ),
                _query("namespace", "for Services that name none", _WORD),
            ],
            method="post",
            body={"application/yaml": told, "application/json": told},
            changes=False,
        )
    }


def _all_of(base: JSON, extra: JSON) -> JSON:
    return {"allOf": [base, _object(extra)]}
