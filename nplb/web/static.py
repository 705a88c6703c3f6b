"""The dashboard's files: read once, served from memory, from this package alone."""

import gzip
import hashlib
from dataclasses import dataclass
from importlib import resources
from importlib.resources.abc import Traversable

from aiohttp import web

# Scripts, styles and fonts from here alone; no frame, no form, no plug-in, no other host.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "font-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)

_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
    ".woff2": "font/woff2",
    ".txt": "text/plain; charset=utf-8",
    "": "text/plain; charset=utf-8",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class _File:
    body: bytes
    packed: bytes
    content_type: str
    tag: str


class Static:
    """Serves `/` and `/static/...`. Every page is at `/`: paths after `#` are the browser's."""

    def __init__(self) -> None:
        self._files = dict(_read(resources.files("nplb.web") / "static", ""))

    def routes(self) -> list[web.AbstractRouteDef]:
        """The paths that are answered here."""
        return [web.get("/", self.index), web.get("/static/{path:.+}", self.file)]

    async def index(self, request: web.Request) -> web.Response:
        """The dashboard."""
        return self._answer(request, "index.html")

    async def file(self, request: web.Request) -> web.Response:
        """One of its files."""
        return self._answer(request, request.match_info["path"])

    def _answer(self, request: web.Request, path: str) -> web.Response:
        file = self._files.get(path)
        if file is None:
            raise web.HTTPNotFound
        headers = {
            "Content-Type": file.content_type,
            "Content-Security-Policy": POLICY,
            # Kept, but asked for again each time: a new nplb shows its own page.
            "Cache-Control": "no-cache",
            "ETag": file.tag,
            "Vary": "Accept-Encoding",
        }
        if request.headers.get("If-None-Match") == file.tag:
            return web.Response(status=304, headers=headers)
        if "gzip" in request.headers.get("Accept-Encoding", ""):
            return web.Response(body=file.packed, headers=headers | {"Content-Encoding": "gzip"})
        return web.Response(body=file.body, headers=headers)


def _read(folder: Traversable, prefix: str) -> list[tuple[str, _File]]:
    found: list[tuple[str, _File]] = []
    for entry in sorted(folder.iterdir(), key=lambda one: one.name):
        if entry.is_dir():
            found += _read(entry, f"{prefix}{entry.name}/")
            continue
        body = entry.read_bytes()
        suffix = "." + entry.name.rpartition(".")[2] if "." in entry.name else ""
        kept = _File(
            body=body,
            packed=gzip.compress(body, mtime=0),
            content_type=_TYPES.get(suffix, "application/octet-stream"),
            tag=f'"{hashlib.sha256(body).hexdigest()[:20]}"',
        )
        found.append((prefix + entry.name, kept))
    return found
