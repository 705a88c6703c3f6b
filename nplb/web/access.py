"""Who may ask.

Against DNS rebinding: a page on the web can make a browser resolve the page's own name to
127.0.0.1 and talk to this server, but can't change the Host header that the browser sends. A
literal address can't be rebound, so it always passes, as does `localhost`; other names pass
only if they are configured (a reverse proxy's name, say).
"""

import ipaddress
from collections.abc import Collection

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from nplb.web.errors import error_response


def host_is_allowed(host: str, names: Collection[str] = ()) -> bool:
    """Whether a Host header (`name`, `name:port`, `[::1]:port`) is one of this server."""
    name = host.strip().lower()
    if name.startswith("["):
        name, bracket, rest = name[1:].partition("]")
        if not bracket or (rest and not (rest[0] == ":" and rest[1:].isdecimal())):
            return False
    elif name.count(":") == 1:
        name, _, port = name.partition(":")
        if not port.isdecimal():
            return False
    name = name.removesuffix(".")
    if name == "localhost" or name in names:
        return True
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def host_check(names: Collection[str]) -> Middleware:
    """Refuse requests for a host that this server is not."""
    known = frozenset(name.lower().removesuffix(".") for name in names)

    @web.middleware
    async def check(request: web.Request, handler: Handler) -> web.StreamResponse:
        host = request.headers.get("Host", "")
        if not host_is_allowed(host, known):
            return error_response(
                421,
                "MisdirectedRequest",
                f"this server is not {host!r}: ask by its IP address or as localhost",
            )
        return await handler(request)

    return check
