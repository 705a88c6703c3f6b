"""Making heavy answers in a thread: a few at a time, compressed where the client takes it.

The event loop takes a `Status`, which nothing changes any more, and a thread turns it into
bytes, so probes, plans and workers do not wait for a dashboard.
"""

import asyncio
import gzip
from collections.abc import Callable

from aiohttp import web

JSON_TYPE = "application/json; charset=utf-8"
MAX_AT_ONCE = 2
MAX_WAITING = 32
_COMPRESS_FROM = 4096


class Pages:
    """Makes answers in threads."""

    def __init__(self) -> None:
        self._slots = asyncio.Semaphore(MAX_AT_ONCE)
        self._waiting = 0

    async def answer(
        self, request: web.Request, make: Callable[[], tuple[bytes, str]]
    ) -> web.Response:
        """An answer whose body and content type `make` gives. With too many waiting, 503."""
        if self._waiting >= MAX_WAITING:
            raise web.HTTPServiceUnavailable(text="too many requests at once; ask again later")
        compress = "gzip" in request.headers.get("Accept-Encoding", "").lower()
        self._waiting += 1
        try:
            async with self._slots:
                body, content_type, packed = await asyncio.to_thread(_make, make, compress)
        finally:
            self._waiting -= 1
        headers = {"Content-Type": content_type, "Vary": "Accept-Encoding"}
        if packed:
            headers["Content-Encoding"] = "gzip"
        return web.Response(body=body, headers=headers)


def _make(make: Callable[[], tuple[bytes, str]], compress: bool) -> tuple[bytes, str, bool]:
    body, content_type = make()
    if compress and len(body) >= _COMPRESS_FROM:
        return gzip.compress(body, compresslevel=1, mtime=0), content_type, True
    return body, content_type, False
