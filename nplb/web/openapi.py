"""The API as an OpenAPI document, from the same types that answers are made of (`schemas`)."""

from functools import cache
from typing import NamedTuple

from nplb import __version__
from nplb.model.applied import ListenError
from nplb.model.decision import Decision, DecisionKind
from nplb.model.drain import ManualDrain
from nplb.model.keys import ServiceKey
from nplb.model.ledger import EdgeLedgerView, LedgerView
from nplb.model.plan import Backend, Frontend, LeftOut, Skipped
from nplb.model.status import Status
from nplb.observe.history import SERIES
from nplb.policy.explain import Explanation
from nplb.web.render import JSON
from nplb.web.schemas import Schemas, all_of, object_of

_ERROR: JSON = {"$ref": "#/components/schemas/Error"}
_WORD: JSON = {"type": "string", "minLength": 1}
_NUMBER: JSON = {"type": ["number", "null"]}
_FRONTEND_KEY = "cluster/namespace/name:port/TCP"


class _Parts(NamedTuple):
    """What several answers have in them."""

    frontend: JSON
    backend: JSON
    left_out: JSON
    decisions: JSON


@cache
def openapi() -> JSON:
    """The document."""
    schemas = Schemas()
    parts = _parts(schemas)
    bad = {"400": _answer("a parameter is wrong", _ERROR)}
    missing = {"404": _answer("there is no such thing in the plan", _ERROR)}
    paths = (
        _status_path(schemas)
        | _decisions_path(schemas, parts, bad)
        | _frontend_path(parts, bad | missing)
        | _node_path(schemas, parts, bad | missing)
        | _explain_paths(schemas, parts, bad | missing)
        | _ports_path(schemas)
        | _series_paths(missing)
        | _drain_paths(schemas, bad)
        | _check_path(schemas, bad)
    )
    said = {"status": {"type": "integer"}, "reason": {"type": "string"}}
    schemas.named["Error"] = object_of({"error": object_of(said | {"message": {"type": "string"}})})
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


def _parts(schemas: Schemas) -> _Parts:
    verdict = {"anyOf": [{"$ref": "#/components/schemas/Verdict"}, {"type": "null"}]}
    counters = {"$ref": "#/components/schemas/BackendCounters"}
    told = {"explanation": schemas.of(Explanation), "signal_at": _NUMBER}
    state = {"state": {"type": "string"}}
    backend = all_of(schemas.of(Backend), {"verdict": verdict, "traffic": counters} | told)
    left_out = all_of(schemas.of(LeftOut), told | state)
    decisions = {"type": "array", "items": schemas.of(Decision)}
    page = state | {
        "backends": {"type": "array", "items": backend},
        "left_out": {"type": "array", "items": left_out},
        "explanation": {"type": "string"},
        "served_by": {"type": "string"},
        "drained": {"type": "array", "items": {"type": "string"}},
        "listen_errors": {"type": "array", "items": schemas.of(ListenError)},
        "traffic": {"$ref": "#/components/schemas/FrontendCounters"},
        "now": _NUMBER,
        "decisions": decisions,
    }
    return _Parts(all_of(schemas.of(Frontend), page), backend, left_out, decisions)


def _status_path(schemas: Schemas) -> JSON:
    status = all_of(schemas.of(Status), {"is_ready": {"type": "boolean"}})
    told = "Everything that runs."
    return {"/api/v1/status": _operation("status", told, {"200": _answer("the status", status)})}


def _decisions_path(schemas: Schemas, parts: _Parts, bad: JSON) -> JSON:
    answer = object_of(
        {
            "first": {"type": "integer"},
            "last": {"type": "integer"},
            "decisions": parts.decisions,
        },
        "`first` and `last` are the numbers of the oldest and newest kept.",
    )
    kinds = {"type": "array", "items": schemas.of(DecisionKind)}
    return {
        "/api/v1/decisions": _operation(
            "decisions",
            "The journal: what nplb decided, when and why.",
            {"200": _answer("decisions, oldest first", answer)} | bad,
            [
                _query("since", "only those numbered above", {"type": "integer", "minimum": 0}),
                _query("before", "only those numbered below", {"type": "integer", "minimum": 0}),
                _query(
                    "limit",
                    "the newest so many",
                    {"type": "integer", "minimum": 1, "maximum": 1000},
                ),
                _query("kind", "only these kinds; may be repeated", kinds),
                _query("service", "only of cluster/namespace/name", {"type": "string"}),
                _query("node", "only of this node", {"type": "string"}),
                _query("cluster", "only of this cluster", {"type": "string"}),
            ],
        )
    }


def _frontend_path(parts: _Parts, wrong: JSON) -> JSON:
    return {
        "/api/v1/frontend": _operation(
            "frontend",
            "One frontend: its backends with verdicts, traffic and explanations.",
            {"200": _answer("the frontend", parts.frontend)} | wrong,
            [_query("key", _FRONTEND_KEY, _WORD, required=True)],
        )
    }


def _node_path(schemas: Schemas, parts: _Parts, wrong: JSON) -> JSON:
    either = {"anyOf": [parts.backend, parts.left_out]}
    answer = object_of(
        {
            "cluster": {"type": "string"},
            "node": {"type": "string"},
            "drain": {"anyOf": [schemas.of(ManualDrain), {"type": "null"}]},
            "now": _NUMBER,
            "backends": {"type": "array", "items": either},
            "decisions": parts.decisions,
        }
    )
    return {
        "/api/v1/node": _operation(
            "node",
            "One node: its backend in every frontend.",
            {"200": _answer("the node", answer)} | wrong,
            [
                _query("cluster", "the cluster's name", _WORD, required=True),
                _query("name", "the node's name", _WORD, required=True),
            ],
        )
    }


def _explain_paths(schemas: Schemas, parts: _Parts, wrong: JSON) -> JSON:
    """Why nodes of a Service are in or out, of all of them or of one."""
    skipped = all_of(schemas.of(Skipped), {"explanation": {"type": "string"}})
    answer = _answer(
        "its frontends, each node with signal_at: when what its reason rests on was last seen",
        object_of(
            {
                "service": schemas.of(ServiceKey),
                "node": {"type": ["string", "null"]},
                "now": _NUMBER,
                "frontends": {"type": "array", "items": parts.frontend},
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


def _ports_path(schemas: Schemas) -> JSON:
    answer = object_of(
        {
            "now": _NUMBER,
            "ledgers": {"type": "array", "items": schemas.of(LedgerView)},
            "edge": schemas.of(EdgeLedgerView),
        }
    )
    return {
        "/api/v1/ports": _operation(
            "ports",
            "The NodePort range of every cluster, with who has which number, and the edge's own.",
            {"200": _answer("the ledgers", answer)},
        )
    }


def _series_paths(missing: JSON) -> JSON:
    """What goes on: the last hour, and from now on."""
    series = {"type": "array", "items": _NUMBER}
    hour = object_of(
        {"step_seconds": {"type": "number"}}
        | dict.fromkeys(("at", *SERIES), series)
        | {"ends": {"type": "object", "additionalProperties": series}},
        "`ends` has connections a second by the reason of their end, over all.",
    )
    return {
        "/api/v1/history": _operation(
            "history",
            "The last hour, of everything or of one frontend.",
            {"200": _answer("series of equal length, oldest first", hour)} | missing,
            [_query("frontend", _FRONTEND_KEY, {"type": "string"})],
        ),
        "/api/v1/events": _operation(
            "events",
            "Boards and decisions as server-sent events: `full`, `change`, `decisions`. For "
            "the dashboard; its shape may change in any release.",
            {"200": _answer("a stream", {"type": "string"}, "text/event-stream")},
        ),
    }


def _drain_paths(schemas: Schemas, bad: JSON) -> JSON:
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
            {
                "200": _answer(
                    "the drains", object_of({"drains": {"type": "array", "items": drain}})
                )
            },
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


def _check_path(schemas: Schemas, bad: JSON) -> JSON:
    """Manifests that are asked about."""
    words = {"type": "string"}
    one = all_of(
        object_of({"service": schemas.of(ServiceKey)}),
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
                    object_of(
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
