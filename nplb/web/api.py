"""/api/v1: what runs as JSON. The shape of values is told in `web.render`."""

from collections.abc import Callable
from functools import partial

from aiohttp import web

from nplb.model.decision import Decision, DecisionKind
from nplb.model.keys import ServiceKey
from nplb.model.status import Status
from nplb.observe.history import SERIES, STEP_SECONDS, History
from nplb.observe.journal import Journal
from nplb.web.details import find_frontend, frontend_page, node_page, ports_page
from nplb.web.errors import bad_request, error_response
from nplb.web.explain import explain_page
from nplb.web.openapi import openapi
from nplb.web.pages import JSON_TYPE, Pages
from nplb.web.render import JSON, render, render_status, to_bytes
from nplb.web.stream import Stream

MAX_DECISIONS = 1000
RECENT = 50


class Api:
    """The handlers. Without a journal, the decisions are those that the status carries."""

    def __init__(
        self,
        *,
        status: Callable[[], Status],
        journal: Journal | None,
        pages: Pages,
        stream: Stream,
        history: History,
    ) -> None:
        self._status = status
        self._journal = journal
        self._pages = pages
        self._stream = stream
        self._history = history

    def routes(self) -> list[web.AbstractRouteDef]:
        """The paths that are answered here."""
        return [
            web.get("/api/v1/status", self.status),
            web.get("/api/v1/decisions", self.decisions),
            web.get("/api/v1/frontend", self.frontend),
            web.get("/api/v1/node", self.node),
            web.get("/api/v1/explain/{cluster}/{namespace}/{service}", self.explain),
            web.get("/api/v1/explain/{cluster}/{namespace}/{service}/{node}", self.explain),
            web.get("/api/v1/ports", self.ports),
            web.get("/api/v1/history", self.history),
            web.get("/api/v1/events", self._stream.serve),
            web.get("/api/v1/openapi.json", self.openapi),
        ]

    async def status(self, request: web.Request) -> web.Response:
        """Everything that runs."""
        return await self._json(request, partial(render_status, self._status()))

    async def decisions(self, request: web.Request) -> web.Response:
        """The journal: `since` and `before` (sequence numbers), `kind` (may be repeated),
        `service` (`cluster/namespace/name`), `node`, `cluster`, `limit`."""
        query = request.query
        since = _number(request, "since", 0, most=2**63)
        before = _number(request, "before", 0, most=2**63)
        limit = _number(request, "limit", MAX_DECISIONS, least=1, most=MAX_DECISIONS)
        kinds = [_kind(word) for text in query.getall("kind", []) for word in text.split(",")]
        journal = self._book()
        found = journal.since(
            since,
            before=before or None,
            kinds=frozenset(kinds),
            service=query.get("service", ""),
            node=query.get("node", ""),
            cluster=query.get("cluster", ""),
            limit=limit,
        )
        page = partial(_decisions, found, first=journal.first, last=journal.last)
        return await self._json(request, page)

    async def frontend(self, request: web.Request) -> web.Response:
        """One frontend, by `key`: its backends with verdicts, traffic and explanations."""
        status = self._status()
        frontend = find_frontend(status, _wanted(request, "key"))
        if frontend is None:
            return _missing("frontend", request.query["key"])
        decisions = self._book().since(service=str(frontend.key.service), limit=RECENT)
        return await self._json(request, partial(frontend_page, status, frontend, decisions))

    async def node(self, request: web.Request) -> web.Response:
        """One node, by `cluster` and `name`: its backend in every frontend."""
        cluster, name = _wanted(request, "cluster"), _wanted(request, "name")
        decisions = self._book().since(cluster=cluster, node=name, limit=RECENT)
        page = node_page(self._status(), cluster, name, decisions)
        if page is None:
            return _missing("node", f"{cluster}/{name}")
        return await self._json(request, lambda: page)

    async def explain(self, request: web.Request) -> web.Response:
        """Why each node of a Service, or one of them, is in or out."""
        named = request.match_info
        service = ServiceKey(named["cluster"], named["namespace"], named["service"])
        node = named.get("node")
        decisions = self._book().since(service=str(service), node=node or "", limit=RECENT)
        page = explain_page(self._status(), service, node, decisions)
        if page is None:
            return _missing(*(("node", f"{node} of {service}") if node else ("service", service)))
        return await self._json(request, lambda: page)

    async def ports(self, request: web.Request) -> web.Response:
        """The NodePort range of every cluster, with who has which number, and the edge's own."""
        status = self._status()
        page = partial(ports_page, status.ledgers, status.edge, status.now)
        return await self._json(request, page)

    async def history(self, request: web.Request) -> web.Response:
        """The last hour: of all frontends, also by reason of end, or of the one that `frontend`
        names. One without traffic so far has empty series."""
        text = request.query.get("frontend")
        key = None
        if text is not None:
            frontend = find_frontend(self._status(), text)
            if frontend is None:
                return _missing("frontend", text)
            key = frontend.key
        series = self._history.read(key) or {name: [] for name in ("at", *SERIES)}
        ends = self._history.read_ends() if key is None else {}
        page = {"step_seconds": STEP_SECONDS, **series, "ends": render(ends)}
        return await self._json(request, lambda: page)

    async def openapi(self, request: web.Request) -> web.Response:
        """All of this as an OpenAPI document."""
        return await self._json(request, openapi)

    def _book(self) -> Journal:
        """The journal, or one made of what the status carries."""
        if self._journal is not None:
            return self._journal
        journal = Journal()
        journal.restore(self._status().decisions)
        return journal

    async def _json(self, request: web.Request, document: Callable[[], JSON]) -> web.Response:
        return await self._pages.answer(request, lambda: (to_bytes(document()), JSON_TYPE))


def _decisions(found: tuple[Decision, ...], *, first: int, last: int) -> JSON:
    """`first` and `last` are the numbers of the oldest and newest entries kept: a reader whose
    position is below `first - 1` has missed some."""
    return {"first": first, "last": last, "decisions": render(found)}


def _missing(kind: str, name: object) -> web.Response:
    return error_response(404, "NotFound", f"there is no {kind} {str(name)!r} in the plan now")


def _wanted(request: web.Request, name: str) -> str:
    value = request.query.get(name, "")
    if not value:
        bad_request(f"{name} is missing: say which with ?{name}=")
    return value


def _number(request: web.Request, name: str, default: int, *, least: int = 0, most: int) -> int:
    text = request.query.get(name)
    if text is None:
        return default
    if not (text.isascii() and text.isdecimal() and len(text) < 20):
        bad_request(f"{name}={text!r}: a whole number from {least} to {most} is wanted")
    value = int(text)
    if not least <= value <= most:
        bad_request(f"{name}={value}: a whole number from {least} to {most} is wanted")
    return value


def _kind(word: str) -> DecisionKind:
    try:
        return DecisionKind(word)
    except ValueError:
        known = ", ".join(DecisionKind)
        bad_request(f"kind={word!r}: no such kind; there are {known}")
