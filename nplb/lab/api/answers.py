"""Answers: bodies with their status and headers, and the documents that need no store."""

from collections.abc import Mapping
from typing import Any

from aiohttp import hdrs, web

from nplb.lab.api import discovery, errors, openapi
from nplb.lab.api.registry import CORE
from nplb.lab.api.requests import WriteOptions
from nplb.lab.api.routes import GroupPath, UnknownPath
from nplb.lab.api.store import JsonObject, Record, encode
from nplb.lab.api.views import JSON, View

TEXT = "text/plain"
_HTML = """<html>
<head><title>502 Bad Gateway</title></head>
<body>
<center><h1>502 Bad Gateway</h1></center>
<hr><center>nginx</center>
</body>
</html>
"""


def raw_answer(
    body: bytes, status: int = 200, headers: Mapping[str, str] | None = None
) -> web.Response:
    """A body that is JSON already."""
    return web.Response(
        body=body, status=status, headers={hdrs.CONTENT_TYPE: JSON, **(headers or {})}
    )


def json_answer(
    value: Any, status: int = 200, headers: Mapping[str, str] | None = None
) -> web.Response:
    """A value as JSON."""
    return raw_answer(encode(value), status, headers)


def object_answer(
    view: View, object_: JsonObject, status: int, options: WriteOptions | None
) -> web.Response:
    """An object that was written, in the form that was asked for, with the warnings that
    decoding left."""
    metadata = object_["metadata"]
    record = Record(
        namespace=metadata.get("namespace", ""), name=metadata["name"], revision=0, object_=object_
    )
    response = raw_answer(view.body(record), status)
    for warning in options.warnings if options else ():
        quoted = warning.replace("\\", "\\\\").replace('"', '\\"')
        response.headers.add("Warning", f'299 - "{quoted}"')
    return response


def health(request: web.Request) -> web.Response:
    """`/livez`, `/readyz`, `/healthz`."""
    if "verbose" not in request.query:
        return web.Response(text="ok", content_type=TEXT)
    name = request.path.strip("/")
    return web.Response(text=f"[+]ping ok\n{name} check passed\n", content_type=TEXT)


def describe(request: web.Request, place: GroupPath) -> web.Response:
    """A discovery document. Raises ApiError 405."""
    if request.method != hdrs.METH_GET:
        raise errors.method_not_allowed()
    served = place.served
    if served is not None and place.resources:
        return json_answer(discovery.api_resource_list(served))
    if served is not None and served != CORE:
        return json_answer(discovery.api_group(served))
    accept = request.headers.get(hdrs.ACCEPT, "").split(",")
    for version in discovery.AGGREGATED_VERSIONS:
        form = f"{JSON};g=apidiscovery.k8s.io;v={version};as=APIGroupDiscoveryList"
        if form in (clause.strip() for clause in accept):
            listed = discovery.groups() if served is None else [CORE]
            body = encode(discovery.aggregated(version, listed))
            return web.Response(body=body, headers={hdrs.CONTENT_TYPE: form})
    if served is None:
        return json_answer(discovery.api_group_list())
    return json_answer(discovery.api_versions(request.host))


def openapi_document(request: web.Request, path: str) -> web.Response:
    """An OpenAPI document. Raises UnknownPath."""
    if path == "/openapi/v2":
        if openapi.PROTOBUF_V2 in request.headers.get(hdrs.ACCEPT, ""):
            # Its name as old clients ask for it is not one that they can read in an answer.
            content_type = openapi.PROTOBUF_V2.replace("@", ".")
            body = openapi.version_2_protobuf()
            return web.Response(body=body, headers={hdrs.CONTENT_TYPE: content_type})
        return json_answer(openapi.version_2())
    if path == "/openapi/v3":
        return json_answer(openapi.version_3_index())
    served = openapi.served_at(path)
    if served is None:
        raise UnknownPath
    return json_answer(openapi.version_3(served))


def bad_gateway() -> web.Response:
    """What a proxy in front of a dead server answers."""
    return web.Response(status=502, text=_HTML, content_type="text/html")


def not_found() -> web.Response:
    """A path outside of every group."""
    return web.Response(status=404, text="404 page not found\n", content_type=TEXT)
