"""Every error answer as JSON: `{"error": {"status": 404, "reason": "...", "message": "..."}}`."""

import logging
from typing import NoReturn

from aiohttp import web
from aiohttp.typedefs import Handler

from nplb.web.render import to_bytes

log = logging.getLogger(__name__)


def error_response(
    status: int, reason: str, message: str, headers: dict[str, str] | None = None
) -> web.Response:
    """An error answer. `reason` is a word, `message` says what to do."""
    document = {"error": {"status": status, "reason": reason, "message": message}}
    return web.Response(
        status=status,
        headers=headers,
        body=to_bytes(document),
        content_type="application/json",
        charset="utf-8",
    )


def bad_request(message: str) -> NoReturn:
    """Refuse a request whose parameters are wrong."""
    raise web.HTTPBadRequest(text=message)


@web.middleware
async def errors_as_json(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Turn what handlers and the router raise into JSON, and faults into a plain 500."""
    try:
        return await handler(request)
    except web.HTTPException as error:
        if error.status < 400:
            raise
        reason = error.reason.replace(" ", "")
        message, headers = error.text or error.reason, {}
        if isinstance(error, web.HTTPNotFound):
            message = f"there is nothing at {request.path}"
        elif isinstance(error, web.HTTPMethodNotAllowed):
            headers = {"Allow": ", ".join(sorted(error.allowed_methods))}
            message = f"{request.method} is not possible here; possible: {headers['Allow']}"
        return error_response(error.status, reason, message, headers)
    except Exception:
        log.exception("answering %s %s failed", request.method, request.path)
        return error_response(500, "InternalServerError", "nplb's log has the error")
