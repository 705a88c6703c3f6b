"""One HTTP request: faults, authentication, authorization, the verb, and the answer's form."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from aiohttp import hdrs, web

from nplb.lab.api import bodies, discovery, errors, openapi
from nplb.lab.api.access import authenticate, authorize, review
from nplb.lab.api.errors import ApiError, not_supported, required
from nplb.lab.api.faults import ApiFaults, FaultKind
from nplb.lab.api.listing import list_options, list_page
from nplb.lab.api.operations import DeleteOptions, Operations, Validation, WriteOptions
from nplb.lab.api.patch import APPLY_PATCH
from nplb.lab.api.registry import CORE
from nplb.lab.api.routes import GroupPath, ResourcePath, ReviewPath, UnknownPath, resolve
from nplb.lab.api.selectors import ObjectSelector, parse_selectors
from nplb.lab.api.store import JsonObject, Record, Store, encode
from nplb.lab.api.views import JSON, View, negotiate
from nplb.lab.api.watch import StreamCut, Watch, WatchOptions, stream, watch_options

TEXT = "text/plain"
MAX_BODY_BYTES = 3 * 2**20
_HTML = """<html>
<head><title>502 Bad Gateway</title></head>
<body>
<center><h1>502 Bad Gateway</h1></center>
<hr><center>nginx</center>
</body>
</html>
"""
_MANAGER_LENGTH = 128

Aside = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Handler:
    """Answers requests from the store and through the operations."""

    def __init__(self, store: Store, operations: Operations, faults: ApiFaults, token: str) -> None:
        self._store = store
        self._operations = operations
        self._faults = faults
        self._token = token
        self._stream_wakers: set[asyncio.Event] = set()
        self._asides: dict[str, Aside] = {}

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Answer one request, whatever it is."""
        for prefix, aside in self._asides.items():
            if request.path == prefix or request.path.startswith(f"{prefix}/"):
                return await self._answer_aside(request, aside)
        await self._faults.until_over(FaultKind.HANG)
        if self._faults.is_active(FaultKind.BAD_GATEWAY):
            return web.Response(status=502, text=_HTML, content_type="text/html")
        try:
            self._refuse_by_fault()
            authenticate(request.headers.get(hdrs.AUTHORIZATION), self._token, request.path)
            if self._faults.is_active(FaultKind.INTERNAL_ERROR):
                raise errors.internal_error("the lab was told to fail")
            return await self._route(request)
        except ApiError as error:
            return _json(error.status, error.code, error.headers)
        except UnknownPath:
            return web.Response(status=404, text="404 page not found\n", content_type=TEXT)

    def add_aside(self, prefix: str, aside: Aside) -> None:
        """Hand requests below `prefix` on, past every fault: what ends faults must be reached
        during them. The token is asked for all the same."""
        self._asides[prefix] = aside

    async def _answer_aside(self, request: web.Request, aside: Aside) -> web.StreamResponse:
        try:
            authenticate(request.headers.get(hdrs.AUTHORIZATION), self._token, request.path)
        except ApiError as error:
            return _json(error.status, error.code, error.headers)
        return await aside(request)

    def wake_streams(self) -> None:
        """Let every open watch look at the faults."""
        for waker in self._stream_wakers:
            waker.set()

    def _refuse_by_fault(self) -> None:
        if self._faults.is_active(FaultKind.TOO_MANY_REQUESTS):
            raise errors.too_many_requests(self._faults.retry_after_seconds)
        if self._faults.is_active(FaultKind.UNAUTHORIZED):
            raise errors.unauthorized()

    # -- routes ---------------------------------------------------------------

    async def _route(self, request: web.Request) -> web.StreamResponse:
        path = request.path.rstrip("/") or "/"
        if path in ("/healthz", "/livez", "/readyz"):
            return _health(request)
        if path == "/version":
            return _json(dict(discovery.VERSION))
        if path.startswith("/openapi/"):
            return _openapi(request, path)
        place = resolve(path)
        match place:
            case GroupPath():
                return _describe(request, place)
            case ReviewPath():
                if request.method != hdrs.METH_POST:
                    raise errors.method_not_allowed()
                type_ = _content_type(request)
                raw = bodies.read_object(await request.read(), type_, place.kind)
                answer = review(place.kind, place.served.api_version, raw, self._faults)
                return _json(answer, 201)
        return await self._resource(request, place)

    async def _resource(self, request: web.Request, place: ResourcePath) -> web.StreamResponse:
        verb = _verb(request, place)
        authorize(self._faults, place.asked(verb))
        view = View(
            resource=place.resource,
            served=place.served,
            form=negotiate(request.headers.get(hdrs.ACCEPT, "")),
            include=request.query.get("includeObject", "") or "Metadata",
        )
        match verb:
            case "get":
                return _raw(view.body(self._operations.get(place.target)))
            case "list":
                selector = _selector(request, place)
                options = list_options(request.query)
                page = list_page(
                    self._store, place.resource.name, place.namespace, selector, options
                )
                return _raw(view.page(page))
            case "watch":
                return await self._watch(request, place, view)
            case "create":
                return await self._create(request, place, view)
            case "update":
                return await self._update(request, place, view)
            case "patch":
                return await self._patch(request, place, view)
            case "delete":
                return await self._delete(request, place, view)
            case _:
                return await self._delete_collection(request, place, view)

    async def _create(
        self, request: web.Request, place: ResourcePath, view: View
    ) -> web.StreamResponse:
        options = _write_options(request, "CreateOptions")
        type_ = _content_type(request)
        raw = bodies.read_object(await request.read(), type_, place.resource.kind)
        created = self._operations.create(place.target, raw, options)
        return _object(view, created, 201, options)

    async def _update(
        self, request: web.Request, place: ResourcePath, view: View
    ) -> web.StreamResponse:
        options = _write_options(request, "UpdateOptions")
        type_ = _content_type(request)
        raw = bodies.read_object(await request.read(), type_, place.resource.kind)
        updated, created = self._operations.update(place.target, raw, options)
        return _object(view, updated, 201 if created else 200, options)

    async def _patch(
        self, request: web.Request, place: ResourcePath, view: View
    ) -> web.StreamResponse:
        type_ = _content_type(request)
        patch = bodies.read_patch(await request.read(), type_)
        options = _write_options(request, "PatchOptions", patch_type=type_)
        # The lookup comes first, so that a missing right to create on apply is told as such.
        patched, created = self._operations.patch(place.target, patch, type_, options)
        return _object(view, patched, 201 if created else 200, options)

    async def _delete(
        self, request: web.Request, place: ResourcePath, view: View
    ) -> web.StreamResponse:
        options = _delete_options(
            request, bodies.read_options(await request.read(), _content_type(request))
        )
        body, is_object = self._operations.delete(place.target, options)
        if is_object:
            return _object(view, body, 200, None)
        return _json(body)

    async def _delete_collection(
        self, request: web.Request, place: ResourcePath, view: View
    ) -> web.StreamResponse:
        selector = _selector(request, place)
        options = _delete_options(
            request, bodies.read_options(await request.read(), _content_type(request))
        )
        deleted = self._operations.delete_collection(place.target, selector, options)
        head = {
            "kind": f"{place.resource.kind}List",
            "apiVersion": place.served.api_version,
            "metadata": {"resourceVersion": str(self._store.revision)},
            "items": [
                {k: v for k, v in one.items() if k not in ("kind", "apiVersion")} for one in deleted
            ],
        }
        del view
        return _json(head)

    async def _watch(
        self, request: web.Request, place: ResourcePath, view: View
    ) -> web.StreamResponse:
        options = watch_options(request.query)
        selector = _selector(request, place)
        watch = Watch(self._store, view, place.namespace, selector)
        response = web.StreamResponse(headers={hdrs.CONTENT_TYPE: JSON})
        response.enable_chunked_encoding()
        await response.prepare(request)
        changed = asyncio.Event()
        stop = self._store.on_change(place.resource.name, changed.set)
        self._stream_wakers.add(changed)
        try:
            await self._stream(watch, options, response, changed)
        except StreamCut:
            if request.transport is not None:
                request.transport.abort()
        except ConnectionResetError:
            pass  # the client has left
        finally:
            self._stream_wakers.discard(changed)
            stop()
        return response

    async def _stream(
        self,
        watch: Watch,
        options: WatchOptions,
        response: web.StreamResponse,
        changed: asyncio.Event,
    ) -> None:
        await stream(watch, options, self._faults, response.write, changed)
        await response.write_eof()


def _verb(request: web.Request, place: ResourcePath) -> str:
    """The verb of a request, as authorization and the resource's table name it. Raises ApiError
    405 for one that the path does not take."""
    collection = not place.name
    is_watch = request.query.get("watch", "").lower() in ("true", "1")
    match request.method:
        case hdrs.METH_GET if collection:
            verb = "watch" if is_watch else "list"
        case hdrs.METH_GET:
            verb = "get"
        case hdrs.METH_POST if collection and _has_scope(place):
            verb = "create"
        case hdrs.METH_PUT if not collection:
            verb = "update"
        case hdrs.METH_PATCH if not collection:
            verb = "patch"
        case hdrs.METH_DELETE if not collection and not place.subresource:
            verb = "delete"
        case hdrs.METH_DELETE if collection and _has_scope(place):
            verb = "deletecollection"
        case _:
            raise errors.method_not_allowed()
    if verb not in place.resource.verbs:
        raise errors.method_not_allowed()
    return verb


def _content_type(request: web.Request) -> str:
    return bodies.media_type(request.headers.get(hdrs.CONTENT_TYPE, ""))


def _has_scope(place: ResourcePath) -> bool:
    return place.namespace is not None or not place.resource.namespaced


def _selector(request: web.Request, place: ResourcePath) -> ObjectSelector:
    query = request.query
    return parse_selectors(
        place.resource.name, query.get("labelSelector", ""), query.get("fieldSelector", "")
    )


def _write_options(request: web.Request, kind: str, *, patch_type: str = "") -> WriteOptions:
    query = request.query
    manager = query.get("fieldManager", "")
    found = _dry_run_errors(query)
    force = query.get("force", "").lower() in ("true", "1")
    if patch_type == APPLY_PATCH and not manager:
        found.append(required("fieldManager", "is required for apply patch"))
    if patch_type and patch_type != APPLY_PATCH and "force" in query:
        found.append(errors.forbidden_field("force", "may not be specified for non-apply patch"))
    validation = query.get("fieldValidation", "") or Validation.WARN
    if validation not in tuple(Validation):
        found.append(not_supported("fieldValidation", validation, tuple(Validation)))
    if found:
        raise errors.invalid(kind, "", found, "meta.k8s.io")
    if not manager:
        agent = request.headers.get(hdrs.USER_AGENT, "")
        manager = agent.partition("/")[0][:_MANAGER_LENGTH] or "unknown"
    return WriteOptions(
        manager=manager,
        dry_run="dryRun" in query,
        force=force,
        validation=Validation(validation),
    )


def _dry_run_errors(query: Mapping[str, str]) -> list[errors.FieldError]:
    value = query.get("dryRun", "All")
    return [] if value == "All" else [not_supported("dryRun", value, ("All",))]


def _delete_options(request: web.Request, sent: Mapping[str, Any]) -> DeleteOptions:
    query = request.query
    found = _dry_run_errors(query)
    if found:
        raise errors.invalid("DeleteOptions", "", found, "meta.k8s.io")
    grace = query.get("gracePeriodSeconds", sent.get("gracePeriodSeconds"))
    try:
        seconds = None if grace is None else int(grace)
    except (TypeError, ValueError) as error:
        raise errors.bad_request(f"gracePeriodSeconds is a number, not {grace!r}") from error
    preconditions = sent.get("preconditions") or {}
    return DeleteOptions(
        dry_run="dryRun" in query or sent.get("dryRun") == ["All"],
        grace_seconds=seconds,
        uid=preconditions.get("uid"),
        resource_version=preconditions.get("resourceVersion"),
    )


# -- answers ------------------------------------------------------------------


def _raw(body: bytes, status: int = 200, headers: Mapping[str, str] | None = None) -> web.Response:
    return web.Response(
        body=body, status=status, headers={hdrs.CONTENT_TYPE: JSON, **(headers or {})}
    )


def _json(value: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> web.Response:
    return _raw(encode(value), status, headers)


def _object(
    view: View, object_: JsonObject, status: int, options: WriteOptions | None
) -> web.Response:
    metadata = object_["metadata"]
    record = Record(
        namespace=metadata.get("namespace", ""), name=metadata["name"], revision=0, object_=object_
    )
    response = _raw(view.body(record), status)
    for warning in options.warnings if options else ():
        quoted = warning.replace("\\", "\\\\").replace('"', '\\"')
        response.headers.add("Warning", f'299 - "{quoted}"')
    return response


def _health(request: web.Request) -> web.Response:
    if "verbose" not in request.query:
        return web.Response(text="ok", content_type=TEXT)
    name = request.path.strip("/")
    return web.Response(text=f"[+]ping ok\n{name} check passed\n", content_type=TEXT)


def _describe(request: web.Request, place: GroupPath) -> web.Response:
    if request.method != hdrs.METH_GET:
        raise errors.method_not_allowed()
    served = place.served
    if served is not None and place.resources:
        return _json(discovery.api_resource_list(served))
    if served is not None and served != CORE:
        return _json(discovery.api_group(served))
    accept = request.headers.get(hdrs.ACCEPT, "").split(",")
    for version in discovery.AGGREGATED_VERSIONS:
        form = f"{JSON};g=apidiscovery.k8s.io;v={version};as=APIGroupDiscoveryList"
        if form in (clause.strip() for clause in accept):
            listed = discovery.groups() if served is None else [CORE]
            body = encode(discovery.aggregated(version, listed))
            return web.Response(body=body, headers={hdrs.CONTENT_TYPE: form})
    if served is None:
        return _json(discovery.api_group_list())
    return _json(discovery.api_versions(request.host))


def _openapi(request: web.Request, path: str) -> web.Response:
    if path == "/openapi/v2":
        if openapi.PROTOBUF_V2 in request.headers.get(hdrs.ACCEPT, ""):
            # The empty message: a document without models.
            # Its name as old clients ask for it is not one that they can read in an answer.
            content_type = openapi.PROTOBUF_V2.replace("@", ".")
            return web.Response(body=b"", headers={hdrs.CONTENT_TYPE: content_type})
        return _json(openapi.version_2())
    if path == "/openapi/v3":
        return _json(openapi.version_3_index())
    served = openapi.served_at(path)
    if served is None:
        raise UnknownPath
    return _json(openapi.version_3(served))
