"""What an operator may change or ask at length: drains by hand, and manifests to be checked."""

import asyncio
import json
from collections.abc import Callable
from typing import Any, Protocol

from aiohttp import web

from nplb.model.drain import ManualDrain
from nplb.model.errors import ClusterError, ConfigurationError, NplbError
from nplb.model.status import Status
from nplb.web.errors import bad_request, error_response
from nplb.web.pages import JSON_TYPE, Pages
from nplb.web.portcheck import ManifestCheck, answers_page
from nplb.web.render import render, to_bytes

MAX_DRAIN_BYTES = 8 * 1024
MAX_MANIFEST_BYTES = 256 * 1024
MAX_CHECKS_WAITING = 4
BODY_SECONDS = 10.0
_MAX_NAME = 253
_MAX_WHO = 128
_MAX_WHY = 512
_SENT_AS = ("create", "apply")


class Drains(Protocol):
    """Takes nodes out by hand, and puts them back. Raises NplbError if it can't be kept."""

    def drain(self, cluster: str, node: str, *, who: str, why: str) -> ManualDrain:
        """Give a node no new connections."""
        ...

    def undrain(self, cluster: str, node: str) -> bool:
        """Put a node back. False if it was not drained."""
        ...


class Changes:
    """The handlers. Without `drains` or `check_manifest`, what needs them answers 501."""

    def __init__(
        self,
        *,
        status: Callable[[], Status],
        drains: Drains | None,
        check_manifest: ManifestCheck | None,
        pages: Pages,
    ) -> None:
        self._status = status
        self._drains = drains
        self._check_manifest = check_manifest
        self._pages = pages
        self._checking = asyncio.Lock()
        self._checks = 0

    def routes(self) -> list[web.AbstractRouteDef]:
        """The paths that are answered here."""
        return [
            web.get("/api/v1/drains", self.drains),
            web.post("/api/v1/drains", self.drain),
            web.delete("/api/v1/drains/{cluster}/{node}", self.undrain),
            web.post("/api/v1/ports/check", self.check),
        ]

    async def drains(self, request: web.Request) -> web.Response:
        """The nodes that are drained by hand."""
        drains = self._status().drains
        return await self._pages.answer(
            request, lambda: (to_bytes({"drains": render(drains)}), JSON_TYPE)
        )

    async def drain(self, request: web.Request) -> web.Response:
        """Drain a node. Again for one that is drained: who and why are taken anew."""
        if self._drains is None:
            return _unable("drains")
        wanted = _object(await _body(request, MAX_DRAIN_BYTES))
        unknown = ", ".join(sorted(set(wanted) - {"cluster", "node", "why", "who"}))
        if unknown:
            bad_request(f"{unknown}: not known; there are cluster, node, why and who")
        node = _text(wanted, "node", _MAX_NAME)
        if not node:
            bad_request("node is missing: say which is to be drained")
        status = self._status()
        named = _text(wanted, "cluster", _MAX_NAME)
        cluster = _cluster(status, named, node)
        # Whoever names the cluster may mean a node that is yet to come.
        if not named and not _is_known(status, cluster, node):
            return error_response(
                404,
                "NotFound",
                f"cluster {cluster} has no node {node!r} in the plan now; name the cluster too "
                "if it is yet to come",
            )
        who, why = _text(wanted, "who", _MAX_WHO), _text(wanted, "why", _MAX_WHY)
        try:
            drained = self._drains.drain(cluster, node, who=who, why=why)
        except NplbError as error:
            return error_response(500, "InternalServerError", str(error))
        return web.Response(
            status=201, body=to_bytes(render(drained)), headers={"Content-Type": JSON_TYPE}
        )

    async def undrain(self, request: web.Request) -> web.Response:
        """Put a node back."""
        if self._drains is None:
            return _unable("drains")
        cluster, node = request.match_info["cluster"], request.match_info["node"]
        try:
            was = self._drains.undrain(cluster, node)
        except NplbError as error:
            return error_response(500, "InternalServerError", str(error))
        if not was:
            return error_response(
                404, "NotFound", f"node {node!r} of cluster {cluster!r} is not drained by hand"
            )
        return web.Response(status=204)

    async def check(self, request: web.Request) -> web.Response:
        """What the API server would answer to the Services of a manifest. One at a time is
        asked about, since each reads its cluster."""
        ask = self._check_manifest
        if ask is None:
            return _unable("manifests to be checked")
        query = request.query
        sent_as = query.get("as", "create")
        if sent_as not in _SENT_AS:
            bad_request(f"as={sent_as!r}: create or apply is wanted")
        for name in ("cluster", "namespace"):
            if query.get(name) == "":
                bad_request(f"{name} is empty: name one, or leave it out")
        transaction = query.get("transaction", "false")
        if transaction not in ("true", "false"):
            bad_request(f"transaction={transaction!r}: true or false is wanted")
        if self._checks >= MAX_CHECKS_WAITING:
            raise web.HTTPServiceUnavailable(text="too many manifests at once; ask again later")
        self._checks += 1
        try:
            text = _decoded(await _body(request, MAX_MANIFEST_BYTES))
            if not text.strip():
                bad_request("the body is empty: send a manifest, YAML or JSON")
            async with self._checking:
                answers = await ask(
                    text,
                    cluster=query.get("cluster"),
                    apply=sent_as == "apply",
                    transaction=transaction == "true",
                    namespace=query.get("namespace", "default"),
                )
        except ConfigurationError as error:
            return error_response(400, "BadRequest", str(error))
        except ClusterError as error:
            return error_response(503, "ServiceUnavailable", str(error))
        except NplbError as error:
            return error_response(400, "BadRequest", str(error))
        finally:
            self._checks -= 1
        return await self._pages.answer(
            request, lambda: (to_bytes(answers_page(answers)), JSON_TYPE)
        )


def _unable(what: str) -> web.Response:
    return error_response(501, "NotImplemented", f"this server takes no {what}")


async def _body(request: web.Request, most: int) -> bytes:
    """The request's body, whole, if it is small enough and comes soon enough."""
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_SECONDS):
            async for chunk in request.content.iter_any():
                body += chunk
                if len(body) > most:
                    raise web.HTTPRequestEntityTooLarge(
                        max_size=most, actual_size=len(body), text=f"more than {most} bytes"
                    )
    except TimeoutError:
        raise web.HTTPRequestTimeout(
            text=f"the request's body did not come within {BODY_SECONDS:g} s"
        ) from None
    return bytes(body)


def _decoded(body: bytes) -> str:
    try:
        return body.decode()
    except UnicodeDecodeError:
        bad_request("the text is not UTF-8")


def _object(body: bytes) -> dict[str, Any]:
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict):
        bad_request('the body is not a JSON object, such as {"node": "node-1", "why": "disk"}')
    return document


def _text(document: dict[str, Any], name: str, most: int) -> str:
    """A text of an object, on one line; empty if it is absent."""
    value = document.get(name)
    if value is None:
        return ""
    if not isinstance(value, str) or len(value) > most:
        bad_request(f"{name} is not a text of at most {most} characters")
    line = "".join(c if c.isprintable() else " " for c in value)
    return " ".join(line.split())


def _cluster(status: Status, named: str, node: str) -> str:
    """The cluster that is meant: the one named, or the only one, or the only one with the node."""
    known = [source.cluster for source in status.sources]
    if named:
        if named not in known:
            bad_request(f"there is no cluster {named!r}: there are {', '.join(known) or 'none'}")
        return named
    if len(known) > 1:
        known = [cluster for cluster in known if node in _nodes(status, cluster)] or known
    if len(known) != 1:
        bad_request(f"cluster is missing: say one of {', '.join(known) or 'none'}")
    return known[0]


def _is_known(status: Status, cluster: str, node: str) -> bool:
    """Whether the plan has the node, or knows no node at all and so can't tell."""
    nodes = _nodes(status, cluster)
    return node in nodes or not nodes


def _nodes(status: Status, cluster: str) -> set[str]:
    found: set[str] = set()
    for frontend in status.plan.frontends:
        if frontend.key.service.cluster == cluster:
            found.update(backend.key.node for backend in frontend.backends)
            found.update(left.node for left in frontend.left_out)
    return found
