"""What a request may do: nothing, read, or change.

Health endpoints and the dashboard's own files, which tell nothing of the edge, are everybody's.
Reading needs a token, or whatever `anonymous_read` admits. A change needs a token of
`token_file`, which only an Authorization header brings: no cookie, no parameter, so a page of
another site can't make a browser send it. Such a page's requests are refused besides, by their
Origin and Sec-Fetch-Site headers, which no page can forge.
"""

import ipaddress
import logging
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from enum import IntEnum
from urllib.parse import urlsplit

from aiohttp import hdrs, web
from aiohttp.typedefs import Handler, Middleware

from nplb.model.settings import AdminSettings, AnonymousRead
from nplb.web.errors import error_response
from nplb.web.tokens import Guesses, TokenFile

log = logging.getLogger(__name__)

OPEN_PATHS = frozenset({"/", "/static/{path}", "/livez", "/readyz", "/healthz"})
READING_POSTS = frozenset({"/api/v1/ports/check"})
"""Asked by POST only because the question is long."""
_FORWARDED = ("Forwarded", "X-Forwarded-For", "X-Real-Ip", "Via")


class Right(IntEnum):
    """Each includes those below it."""

    NOTHING = 0
    READ = 1
    CHANGE = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """Why a request is not answered. `wait_seconds` is when it may be tried again."""

    status: int
    reason: str
    message: str
    wait_seconds: float = 0.0


class Rights:
    """Decides what each request may do. `now` is a clock in seconds."""

    def __init__(
        self, settings: AdminSettings, *, now: Callable[[], float] = time.monotonic
    ) -> None:
        self._anonymous = settings.anonymous_read
        self._changing = TokenFile(settings.token_file)
        self._reading = TokenFile(settings.read_token_file)
        self._can_change = settings.token_file is not None
        self._hosts = frozenset(name.lower().removesuffix(".") for name in settings.hosts)
        self._guesses = Guesses()
        self._now = now

    def refusal(self, request: web.Request) -> Refusal | None:
        """Why this request is refused, or None."""
        if request.match_info.http_exception is not None:
            return None  # there is no such path or method, which the router says
        resource = request.match_info.route.resource
        assert resource is not None
        needed = needed_right(request.method, resource.canonical)
        if needed is Right.NOTHING:
            return None
        if request.method not in ("GET", "HEAD") and _is_cross_site(request, self._hosts):
            return Refusal(
                status=403,
                reason="CrossSite",
                message="a page of another site asked for this: only nplb's own page may",
            )
        given = self._right(request)
        if isinstance(given, Refusal):
            return given
        return None if given >= needed else self._unmet(needed, given)

    def _right(self, request: web.Request) -> Right | Refusal:
        """What the request's token or its origin allows. A wrong token is worth less than none:
        who sends one should learn of it."""
        header = request.headers.get(hdrs.AUTHORIZATION)
        if header is None:
            return Right.READ if self._may_read_so(request) else Right.NOTHING
        now, client = self._now(), _client(request)
        wait = self._guesses.wait_seconds(client, now)
        if wait > 0:
            return Refusal(
                status=429,
                reason="TooManyRequests",
                message="too many wrong tokens came from this address; try again later",
                wait_seconds=wait,
            )
        scheme, _, token = header.partition(" ")
        token = token.strip()
        if scheme.lower() == "bearer" and token:
            if self._changing.accepts(token):
                return Right.CHANGE
            if self._reading.accepts(token):
                return Right.READ
        count = self._guesses.wrong(client, now)
        log.warning("admin server: a wrong token from %s (%d in the last minute)", client, count)
        return Refusal(
            status=401,
            reason="Unauthorized",
            message="the token is wrong: send one of admin.token_file or admin.read_token_file "
            "as `Authorization: Bearer TOKEN`",
        )

    def _may_read_so(self, request: web.Request) -> bool:
        if self._anonymous is AnonymousRead.LOOPBACK:
            return _is_from_here(request)
        return self._anonymous is AnonymousRead.ANYONE

    def _unmet(self, needed: Right, given: Right) -> Refusal:
        if needed is Right.READ:
            return Refusal(
                status=401,
                reason="Unauthorized",
                message="reading needs a token: send `Authorization: Bearer TOKEN`, with one of "
                "admin.read_token_file or admin.token_file; admin.anonymous_read says who may "
                "do without",
            )
        if not self._can_change:
            return Refusal(
                status=403,
                reason="Forbidden",
                message="nothing can be changed here: admin.token_file is not configured",
            )
        return Refusal(
            status=401,
            reason="Unauthorized",
            message="a change needs a token of admin.token_file: send `Authorization: Bearer "
            "TOKEN`" + (", not one that may only read" if given is Right.READ else ""),
        )


def needed_right(method: str, path: str) -> Right:
    """What a request needs, by its method and its route's path."""
    if method in ("GET", "HEAD"):
        return Right.NOTHING if path in OPEN_PATHS else Right.READ
    return Right.READ if path in READING_POSTS else Right.CHANGE


def rights_check(rights: Rights) -> Middleware:
    """Refuse requests that may not do what they ask for."""

    @web.middleware
    async def check(request: web.Request, handler: Handler) -> web.StreamResponse:
        refused = rights.refusal(request)
        if refused is None:
            return await handler(request)
        headers = {}
        if refused.status == 401:
            headers["WWW-Authenticate"] = 'Bearer realm="nplb"'
        if refused.wait_seconds:
            headers["Retry-After"] = str(int(refused.wait_seconds) + 1)
        return error_response(refused.status, refused.reason, refused.message, headers)

    return check


def _is_from_here(request: web.Request) -> bool:
    """Whether this host's own user asks. What a proxy hands on may be anybody's."""
    if any(name in request.headers for name in _FORWARDED):
        return False
    try:
        return ipaddress.ip_address(_peer(request)).is_loopback
    except ValueError:
        return False


def _is_cross_site(request: web.Request, hosts: Collection[str]) -> bool:
    if request.headers.get("Sec-Fetch-Site", "none") not in ("none", "same-origin"):
        return True
    origin = request.headers.get(hdrs.ORIGIN)
    if origin is None:
        return False
    try:
        parts = urlsplit(origin)
        name = (parts.hostname or "").lower()
    except ValueError:
        return True
    own = request.headers.get(hdrs.HOST, "").lower()
    return parts.netloc.lower() != own and name not in hosts


def _client(request: web.Request) -> str:
    """Who guesses: an IPv4 address, or an IPv6 network of 64 bits, which is one client's."""
    peer = _peer(request)
    try:
        address = ipaddress.ip_address(peer)
    except ValueError:
        return peer
    if address.version == 4:
        return peer
    return str(ipaddress.ip_network((address, 64), strict=False))


def _peer(request: web.Request) -> str:
    name = request.transport.get_extra_info("peername") if request.transport else None
    return str(name[0]).partition("%")[0] if name else ""
