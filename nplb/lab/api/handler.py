"""One HTTP request: faults, authentication, authorization, the verb, and the answer's form."""

import asyncio
import logging
from collections.abc import Awaitable, Callable

from aiohttp import hdrs, web

from nplb.lab.api import bodies, discovery, errors
from nplb.lab.api.access import authenticate, authorize, review
from nplb.lab.api.answers import (
    bad_gateway,
    describe,
    health,
    json_answer,
    not_found,
    object_answer,
    openapi_document,
    raw_answer,
)
from nplb.lab.api.errors import ApiError
from nplb.lab.api.faults import ApiFaults, FaultKind
from nplb.lab.api.listing import list_options, list_page
from nplb.lab.api.operations import Operations
from nplb.lab.api.parameters import delete_options, write_options
from nplb.lab.api.routes import GroupPath, ResourcePath, ReviewPath, UnknownPath, resolve
from nplb.lab.api.selectors import ObjectSelector, parse_selectors
from nplb.lab.api.store import Store
from nplb.lab.api.views import JSON, View, negotiate
from nplb.lab.api.watch import StreamCut, Watch, stream, watch_options

log = logging.getLogger(__name__)

MAX_BODY_BYTES = 3 * 2**20

Aside = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Handler:
    """Answers requests from the store and through the operations. `scrape` makes the page of
    metrics for an Accept header, with its content type."""

    def __init__(
        self,
        store: Store,
        operations: Operations,
        faults: ApiFaults,
        token: str,
        bookmark_seconds: float,
        scrape: Callable[[str], tuple[bytes, str]],
    ) -> None:
        self._store = store
        self._operations = operations
        self._faults = faults
        self._token = token
        self._bookmark_seconds = bookmark_seconds
        self._scrape = scrape
        self._stream_wakers: set[asyncio.Event] = set()
        self._asides: dict[str, Aside] = {}

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Answer one request, whatever it is."""
        if (answer := await self.handle_aside(request)) is not None:
            return answer
        await self._faults.until_over(FaultKind.HANG)
        if self._faults.is_active(FaultKind.BAD_GATEWAY):
            return bad_gateway()
        try:
            self._refuse_by_fault()
            authenticate(request.headers.get(hdrs.AUTHORIZATION), self._token, request.path)
            if self._faults.is_active(FaultKind.INTERNAL_ERROR):
                raise errors.internal_error("the lab was told to fail")
            return await self._route(request)
        except ApiError as error:
            return json_answer(error.status, error.code, error.headers)
        except web.HTTPRequestEntityTooLarge:
            refused = errors.too_large(MAX_BODY_BYTES)
            return json_answer(refused.status, refused.code)
        except UnknownPath:
            return not_found()
        except (ConnectionError, web.HTTPException):
            raise
        except Exception as error:
            log.exception("%s %s failed", request.method, request.path)
            refused = errors.internal_error(f"{type(error).__name__}: {error}")
            return json_answer(refused.status, refused.code)

    def add_aside(self, prefix: str, aside: Aside) -> None:
        """Hand requests below `prefix` on, past every fault: what ends faults must be reached
        during them. The token is asked for all the same."""
        self._asides[prefix] = aside

    @property
    def has_asides(self) -> bool:
        """Whether there is anything aside."""
        return bool(self._asides)

    async def handle_aside(self, request: web.Request) -> web.StreamResponse | None:
        """Answer a request for what is aside; None for any other."""
        for prefix, aside in self._asides.items():
            if request.path == prefix or request.path.startswith(f"{prefix}/"):
                return await self._answer_aside(request, aside)
        return None

    async def _answer_aside(self, request: web.Request, aside: Aside) -> web.StreamResponse:
        try:
            authenticate(request.headers.get(hdrs.AUTHORIZATION), self._token, request.path)
        except ApiError as error:
            return json_answer(error.status, error.code, error.headers)
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
            return health(request)
        if path == "/version":
            return json_answer(dict(discovery.VERSION))
        if path == "/metrics":
            page, form = self._scrape(request.headers.get(hdrs.ACCEPT, ""))
            return web.Response(body=page, headers={hdrs.CONTENT_TYPE: form})
        if path.startswith("/openapi/"):
            return openapi_document(request, path)
        match place := resolve(path):
            case GroupPath():
                return describe(request, place)
            case ReviewPath():
                return await self._review(request, place)
            case ResourcePath():
                return await self._resource(request, place)

    async def _review(self, request: web.Request, place: ReviewPath) -> web.StreamResponse:
        if request.method != hdrs.METH_POST:
            raise errors.method_not_allowed()
        raw = bodies.read_object(await request.read(), _content_type(request), place.kind)
        answer = review(place.kind, place.served.api_version, raw, self._faults)
        return json_answer(answer, 201)

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
                return raw_answer(view.body(self._operations.get(place.target)))
            case "list":
                selector = _selector(request, place)
                options = list_options(request.query)
                page = list_page(
                    self._store, place.resource.name, place.namespace, selector, options
                )
                return raw_answer(view.page(page))
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
                return await self._delete_collection(request, place)

    async def _create(
        self, request: web.Request, place: ResourcePath, view: View
    ) -> web.StreamResponse:
        options = write_options(request, "CreateOptions")
        type_ = _content_type(request)
        raw = bodies.read_object(await request.read(), type_, place.resource.kind)
        created = self._operations.create(place.target, raw, options)
        return object_answer(view, created, 201, options)

    async def _update(
        self, request: web.Request, place: ResourcePath, view: View
    ) -> web.StreamResponse:
        options = write_options(request, "UpdateOptions")
        type_ = _content_type(request)
        raw = bodies.read_object(await request.read(), type_, place.resource.kind)
        updated, created = self._operations.update(place.target, raw, options)
        return object_answer(view, updated, 201 if created else 200, options)

    async def _patch(
        self, request: web.Request, place: ResourcePath, view: View
    ) -> web.StreamResponse:
        type_ = _content_type(request)
        patch = bodies.read_patch(await request.read(), type_)
        options = write_options(request, "PatchOptions", patch_type=type_)
        patched, created = self._operations.patch(place.target, patch, type_, options)
        return object_answer(view, patched, 201 if created else 200, options)

    async def _delete(
        self, request: web.Request, place: ResourcePath, view: View
    ) -> web.StreamResponse:
        options = delete_options(
            request, bodies.read_options(await request.read(), _content_type(request))
        )
        body, is_object = self._operations.deletion.delete(place.target, options)
        if is_object:
            return object_answer(view, body, 200, None)
        return json_answer(body)

    async def _delete_collection(
        self, request: web.Request, place: ResourcePath
    ) -> web.StreamResponse:
        selector = _selector(request, place)
        options = delete_options(
            request, bodies.read_options(await request.read(), _content_type(request))
        )
        deleted = self._operations.deletion.delete_collection(place.target, selector, options)
        head = {
            "kind": f"{place.resource.kind}List",
            "apiVersion": place.served.api_version,
            "metadata": {"resourceVersion": str(self._store.revision)},
            "items": [
                {k: v for k, v in one.items() if k not in ("kind", "apiVersion")} for one in deleted
            ],
        }
        return json_answer(head)

    async def _watch(
        self, request: web.Request, place: ResourcePath, view: View
    ) -> web.StreamResponse:
        options = watch_options(request.query, self._bookmark_seconds)
        selector = _selector(request, place)
        watch = Watch(self._store, view, place.namespace, selector)
        response = web.StreamResponse(headers={hdrs.CONTENT_TYPE: JSON})
        response.enable_chunked_encoding()
        await response.prepare(request)
        changed = asyncio.Event()
        stop = self._store.on_change(place.resource.name, changed.set)
        self._stream_wakers.add(changed)
        try:
            await stream(watch, options, self._faults, response.write, changed)
            await response.write_eof()
        except StreamCut:
            if request.transport is not None:
                request.transport.abort()
        except ConnectionResetError:
            pass  # the client has left
        finally:
            self._stream_wakers.discard(changed)
            stop()
        return response


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
