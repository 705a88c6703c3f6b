"""/api/v1: status and decisions as JSON. The shape is told in `web.render`."""

from collections.abc import Callable
from functools import partial

from aiohttp import web

from nplb.model.decision import Decision, DecisionKind
from nplb.model.status import Status
from nplb.observe.journal import Journal
from nplb.web.errors import bad_request
from nplb.web.pages import Pages
from nplb.web.render import JSON, render, render_status, to_bytes

JSON_TYPE = "application/json; charset=utf-8"
MAX_DECISIONS = 1000


class Api:
    """The handlers. Without a journal, the decisions are those that the status carries."""

    def __init__(self, status: Callable[[], Status], journal: Journal | None, pages: Pages) -> None:
        self._status = status
        self._journal = journal
        self._pages = pages

    def routes(self) -> list[web.AbstractRouteDef]:
        """The paths that are answered here."""
        return [
            web.get("/api/v1/status", self.status),
            web.get("/api/v1/decisions", self.decisions),
        ]

    async def status(self, request: web.Request) -> web.Response:
        """Everything that runs."""
        return await self._json(request, partial(render_status, self._status()))

    async def decisions(self, request: web.Request) -> web.Response:
        """The journal: `since` (a sequence number), `kind` (may be repeated), `service`
        (`cluster/namespace/name`), `node`, `cluster`, `limit`."""
        query = request.query
        since = _number(request, "since", 0, most=2**63)
        limit = _number(request, "limit", MAX_DECISIONS, least=1, most=MAX_DECISIONS)
        kinds = [_kind(word) for text in query.getall("kind", []) for word in text.split(",")]
        journal = self._journal
        if journal is None:
            journal = Journal()
            carried = self._status().decisions
            journal.restore(carried)
        found = journal.since(
            since,
            kinds=frozenset(kinds),
            service=query.get("service", ""),
            node=query.get("node", ""),
            cluster=query.get("cluster", ""),
            limit=limit,
        )
        page = partial(_decisions, found, first=journal.first, last=journal.last)
        return await self._json(request, page)

    async def _json(self, request: web.Request, document: Callable[[], JSON]) -> web.Response:
        return await self._pages.answer(request, lambda: (to_bytes(document()), JSON_TYPE))


def _decisions(found: tuple[Decision, ...], *, first: int, last: int) -> JSON:
    """`first` and `last` are the numbers of the oldest and newest entries kept: a reader whose
    position is below `first - 1` has missed some."""
    return {"first": first, "last": last, "decisions": render(found)}


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
