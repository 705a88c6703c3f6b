"""A scripted API server: real sockets, a few objects, and any misbehaviour on demand.

It lists in pages, watches with bookmarks, answers 410 for versions from before a restart, and
asks for a token. `play` makes it answer the next requests of a kind in another way.
"""

import asyncio
import contextlib
import json
import socket
import ssl
from collections import defaultdict, deque
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

Raw = dict[str, Any]
Behaviour = Callable[["FakeApi", web.Request], Awaitable[web.StreamResponse]]

KINDS = {"services": "Service", "nodes": "Node", "endpointslices": "EndpointSlice"}


def status(code: int, message: str, reason: str = "", **extra: Any) -> Raw:
    """A Status of the API."""
    return {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": message,
        "reason": reason,
        "code": code,
        **extra,
    }


def answers(
    code: int, body: Raw | str, content_type: str = "application/json", **headers: str
) -> Behaviour:
    """Answer with a status and a body."""
    text = body if isinstance(body, str) else json.dumps(body)

    async def behave(_fake: "FakeApi", _request: web.Request) -> web.StreamResponse:
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        return web.Response(status=code, text=text, content_type=content_type, headers=given)

    return behave


def streams(*pieces: bytes, then: str = "end") -> Behaviour:
    """Answer 200 and send these bytes, then `end` the stream, `cut` the connection, or `hang`
    until the client leaves."""

    async def behave(fake: "FakeApi", request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        await response.prepare(request)
        for piece in pieces:
            await response.write(piece)
        if then == "cut":
            assert request.transport is not None
            request.transport.close()
        if then == "hang":
            await fake.hang()
        return response

    return behave


async def hangs(fake: "FakeApi", _request: web.Request) -> web.StreamResponse:
    """Never answer."""
    await fake.hang()
    raise AssertionError


def event(kind: str, raw: Raw) -> bytes:
    """One line of a watch."""
    return json.dumps({"type": kind, "object": raw}).encode() + b"\n"


@dataclass
class Seen:
    """One request as it came: the verb is list or watch."""

    verb: str
    plural: str
    path: str
    query: Mapping[str, str]
    token: str


@dataclass
class FakeApi:
    """The server. `objects` and `put`/`delete` are the cluster, `seen` the requests so far."""

    token: str = "a-token"
    seen: list[Seen] = field(default_factory=list)
    objects: dict[str, dict[tuple[str, str], Raw]] = field(
        default_factory=lambda: {plural: {} for plural in KINDS}
    )
    version: int = 100
    port: int = 0
    tls: ssl.SSLContext | None = None

    def __post_init__(self) -> None:
        self._oldest = 0
        self._history: list[tuple[int, str, str, Raw]] = []
        self._changed: set[asyncio.Event] = set()
        self._scripts: dict[tuple[str, str], deque[Behaviour]] = defaultdict(deque)
        self._always: dict[tuple[str, str], Behaviour] = {}
        self._runner: web.AppRunner | None = None
        self._holder: socket.socket | None = None
        self._released = asyncio.Event()
        self._epoch = 0

    @property
    def url(self) -> str:
        return f"{'https' if self.tls else 'http'}://127.0.0.1:{self.port}"

    @property
    def watching(self) -> int:
        """How many watches are open now, not counting those that misbehave."""
        return len(self._changed)

    # -- the cluster ----------------------------------------------------------------------------

    def put(self, plural: str, raw: Raw) -> Raw:
        """Create or replace an object. Returns it as stored."""
        self.version += 1
        metadata = {"namespace": "default", **raw.get("metadata", {})}
        if plural == "nodes":
            metadata.pop("namespace")
        key = metadata.get("namespace", ""), metadata["name"]
        metadata["resourceVersion"] = str(self.version)
        raw = {**raw, "metadata": metadata}
        kind = "MODIFIED" if key in self.objects[plural] else "ADDED"
        self.objects[plural][key] = raw
        self._note(kind, plural, raw)
        return raw

    def delete(self, plural: str, name: str, namespace: str = "default") -> None:
        """Delete an object."""
        self.version += 1
        raw = self.objects[plural].pop(("" if plural == "nodes" else namespace, name))
        version = {"resourceVersion": str(self.version)}
        raw = {**raw, "metadata": {**raw["metadata"], **version}}
        self._note("DELETED", plural, raw)

    def bookmark(self) -> None:
        """Send a bookmark on every watch."""
        for plural, kind in KINDS.items():
            raw = {"kind": kind, "metadata": {"resourceVersion": str(self.version)}}
            self._note("BOOKMARK", plural, raw)

    def _note(self, kind: str, plural: str, raw: Raw) -> None:
        self._history.append((self.version, plural, kind, raw))
        self._wake()

    def _wake(self) -> None:
        for changed in self._changed:
            changed.set()

    # -- misbehaviour ---------------------------------------------------------------------------

    def play(self, verb: str, plural: str, *behaviours: Behaviour) -> None:
        """Answer the next requests of this verb and resource by these, one each."""
        self._scripts[verb, plural].extend(behaviours)

    def always(self, behaviour: Behaviour | None, *which: tuple[str, str]) -> None:
        """Answer every request (of these verbs and resources) by this; None ends that."""
        for verb, plural in which or [(v, p) for v in ("list", "watch") for p in KINDS]:
            if behaviour is None:
                self._always.pop((verb, plural), None)
            else:
                self._always[verb, plural] = behaviour

    def hang_up(self) -> None:
        """End every open watch in the ordinary way."""
        self._epoch += 1
        self._wake()

    def forget(self) -> None:
        """Take every version so far for too old, as after a restart."""
        self._history.clear()
        self.version += 1
        self._oldest = self.version

    def rewind(self, version: int) -> None:
        """Go back to an older version without any object, as after a restore from a backup.
        A watch from a version of the time before is then taken, and hears nothing."""
        self.version = version
        self._history.clear()
        for objects in self.objects.values():
            objects.clear()

    async def hang(self) -> None:
        """Wait until the server stops or `release`."""
        await self._released.wait()

    def release(self) -> None:
        """Let everything go that hangs."""
        self._released.set()
        self._released = asyncio.Event()

    # -- serving --------------------------------------------------------------------------------

    async def start(self) -> None:
        """Listen on a free port, or on the one from before, which nobody else had meanwhile."""
        if self._holder is None:
            # Bound, and not listening: the port is ours, and refuses while we do not listen.
            self._holder = socket.socket()
            self._holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self._holder.bind(("127.0.0.1", 0))
            self.port = self._holder.getsockname()[1]
        app = web.Application()
        app.router.add_get("/{path:.*}", self._serve)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.01)
        await self._runner.setup()
        site = web.TCPSite(
            self._runner, "127.0.0.1", self.port, reuse_address=True, ssl_context=self.tls
        )
        await site.start()

    async def stop(self) -> None:
        """Refuse connections, and cut those that there are."""
        assert self._runner is not None
        self.release()
        self.hang_up()
        await self._runner.cleanup()

    def leave(self) -> None:
        """Give the port up, once stopped."""
        if self._holder is not None:
            self._holder.close()

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        parts = request.path.strip("/").split("/")
        plural = parts[-1]
        verb = "watch" if request.query.get("watch") in ("1", "true") else "list"
        token = request.headers.get("Authorization", "").removeprefix("Bearer ")
        epoch = self._epoch
        self.seen.append(Seen(verb, plural, request.path, dict(request.query), token))
        script = self._scripts[verb, plural]
        behaviour = script.popleft() if script else self._always.get((verb, plural))
        if behaviour is not None:
            return await behaviour(self, request)
        if token != self.token:
            return await answers(401, status(401, "Unauthorized", "Unauthorized"))(self, request)
        namespace = parts[parts.index("namespaces") + 1] if "namespaces" in parts else None
        if verb == "watch":
            return await self._watch(request, plural, namespace, epoch)
        return self._list(request, plural, namespace)

    def _wanted(self, request: web.Request, namespace: str | None, raw: Raw) -> bool:
        metadata = raw["metadata"]
        if namespace is not None and metadata.get("namespace") != namespace:
            return False
        key, _, value = request.query.get("labelSelector", "").partition("=")
        return not key or metadata.get("labels", {}).get(key) == value

    def _list(self, request: web.Request, plural: str, namespace: str | None) -> web.Response:
        objects = [
            raw
            for _, raw in sorted(self.objects[plural].items())
            if self._wanted(request, namespace, raw)
        ]
        start = int(request.query.get("continue", 0))
        limit = int(request.query.get("limit", 0)) or len(objects)
        metadata: Raw = {"resourceVersion": str(self.version)}
        if start + limit < len(objects):
            metadata["continue"] = str(start + limit)
        page = {"kind": f"{KINDS[plural]}List", "metadata": metadata}
        return web.json_response({**page, "items": objects[start : start + limit]})

    async def _watch(
        self, request: web.Request, plural: str, namespace: str | None, epoch: int
    ) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        await response.prepare(request)
        version = int(request.query["resourceVersion"])
        if version < self._oldest:
            text = f"too old resource version: {version} ({self._oldest})"
            await response.write(event("ERROR", status(410, text, "Expired")))
            return response
        deadline = asyncio.get_running_loop().time() + int(request.query["timeoutSeconds"])
        changed, sent = asyncio.Event(), 0
        self._changed.add(changed)
        try:
            while self._epoch == epoch:
                changed.clear()
                history, sent = self._history[sent:], len(self._history)
                for number, of, kind, raw in history:
                    if of != plural or number < version or (number == version and kind[0] != "B"):
                        continue
                    if kind == "BOOKMARK" or self._wanted(request, namespace, raw):
                        await response.write(event(kind, raw))
                async with asyncio.timeout_at(deadline):
                    await changed.wait()
        except (TimeoutError, ConnectionError):
            pass
        finally:
            self._changed.discard(changed)
        return response


@contextlib.asynccontextmanager
async def serving(**settings: Any) -> AsyncIterator[FakeApi]:
    """A fake API server for the length of the `async with`."""
    fake = FakeApi(**settings)
    await fake.start()
    try:
        yield fake
    finally:
        await fake.stop()
        fake.leave()
