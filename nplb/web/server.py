"""The admin HTTP server: binds, runs and stops it."""

import asyncio
import contextlib
import errno
import logging
import os
import socket
from collections.abc import Callable, Collection
from dataclasses import replace
from functools import partial

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from nplb.aio.tasks import TaskOwner
from nplb.model.errors import HostError, HostPermissionError
from nplb.model.keys import Address
from nplb.model.settings import AdminSettings
from nplb.model.status import Status
from nplb.observe.history import STEP_SECONDS, History
from nplb.observe.journal import Journal
from nplb.observe.metrics import MetricsPage
from nplb.web.access import host_check
from nplb.web.api import Api
from nplb.web.changes import Changes, Drains
from nplb.web.errors import errors_as_json
from nplb.web.guard import Guards
from nplb.web.health import Health
from nplb.web.pages import Pages
from nplb.web.portcheck import ManifestCheck
from nplb.web.rights import Rights, rights_check
from nplb.web.static import Static
from nplb.web.stream import Stream
from nplb.web.tls import TlsFiles

log = logging.getLogger(__name__)

# aiohttp logs a traceback for each request that is no HTTP, so that anybody could fill the log.
# What fails in handlers is logged by `web.errors`.
_protocol_log = logging.getLogger("nplb.web.protocol")
_protocol_log.setLevel(logging.CRITICAL)

KEEPALIVE_SECONDS = 30.0
STOP_SECONDS = 1.0

_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


class AdminServer:
    """Serves health endpoints, metrics and the API.

    `status` is called in the event loop for each request that needs it. `hosts` are names,
    beyond addresses and localhost, under which clients may ask. `settings` say whose requests
    are answered; its own `listen` and `hosts` give way to the arguments. `drains` and
    `check_manifest` do what clients ask for. `history` may have samples of before already.
    """

    def __init__(
        self,
        *,
        status: Callable[[], Status],
        listen: Address,
        journal: Journal | None = None,
        hosts: Collection[str] = (),
        guards: Guards | None = None,
        settings: AdminSettings = AdminSettings(),
        drains: Drains | None = None,
        check_manifest: ManifestCheck | None = None,
        history: History | None = None,
    ) -> None:
        self._status = status
        self._listen = listen
        self._journal = journal
        self._hosts = (*hosts, *settings.hosts)
        self._rights = Rights(replace(settings, hosts=self._hosts))
        self._drains = drains
        self._check_manifest = check_manifest
        self._guards = guards or Guards()
        self._tls = TlsFiles(settings.tls) if settings.tls is not None else None
        self._runner: web.AppRunner | None = None
        self._server: asyncio.Server | None = None
        self._metrics = MetricsPage(decisions=(lambda: journal.counts) if journal else None)
        self._address = listen
        self._tasks = TaskOwner("web")
        self._history = history or History()

    @property
    def address(self) -> Address:
        """Where the server listens; after `start`, with the port that was given for port 0."""
        return self._address

    @property
    def url(self) -> str:
        """The server's URL, without a slash at its end."""
        return f"{'http' if self._tls is None else 'https'}://{self._address}"

    @property
    def listener(self) -> int:
        """The descriptor of the listening socket, which stays the server's; -1 if it has none."""
        sockets = self._server.sockets if self._server is not None else ()
        return sockets[0].fileno() if sockets else -1

    async def start(self, inherited: socket.socket | None = None) -> None:
        """Listen and serve, over an `inherited` socket, owned from now on, if that has the right
        address. Raises HostError, which names the address and says what to do, and
        ConfigurationError for files of TLS that can't be used."""
        if self._tls is not None:
            self._tls.load()
            self._guards.use_tls(self._tls.current)
        sock = _fitting(inherited, self._listen) or _bind(self._listen)
        name = sock.getsockname()
        self._address = Address(self._listen.ip, name[1])
        pages = Pages()
        stream = Stream(self._status, self._journal, self._tasks)
        app = web.Application(
            middlewares=[
                _tell(self._guards),
                errors_as_json,
                host_check({self._listen.ip, *self._hosts}),
                rights_check(self._rights),
            ],
            client_max_size=1 << 20,
        )
        app.add_routes(Health(self._status).routes())
        api = Api(
            status=self._status,
            journal=self._journal,
            pages=pages,
            stream=stream,
            history=self._history,
        )
        app.add_routes(api.routes())
        changes = Changes(
            status=self._status,
            drains=self._drains,
            check_manifest=self._check_manifest,
            pages=pages,
        )
        app.add_routes(changes.routes())
        app.add_routes(Static().routes())
        app.add_routes([web.get("/metrics", partial(self._serve_metrics, pages))])
        app.on_response_prepare.append(_add_headers)
        self._runner = web.AppRunner(
            app,
            access_log=None,
            logger=_protocol_log,
            keepalive_timeout=KEEPALIVE_SECONDS,
            shutdown_timeout=STOP_SECONDS,
            handler_cancellation=True,
        )
        await self._runner.setup()
        assert self._runner.server is not None
        self._server = await asyncio.get_running_loop().create_server(
            self._guards.wrap(self._runner.server), sock=sock, backlog=64
        )
        self._tasks.spawn(self._sample(), "history")
        log.info("admin server: %s", self.url)

    async def _sample(self) -> None:
        """Keep the last hour."""
        while True:
            try:
                status = self._status()
                self._history.observe(status.now, status.traffic)
            except Exception:
                log.exception("taking a sample of the traffic failed")
            await asyncio.sleep(STEP_SECONDS)

    async def stop(self) -> None:
        """Stop listening and end every connection. Safe to call twice."""
        server, runner = self._server, self._runner
        self._server = self._runner = None
        if server is not None:
            server.close()
        await self._tasks.close()
        if runner is not None:
            await runner.cleanup()
        await self._guards.close()
        if server is not None:
            # A client that does not read its answer must not keep the balancer from ending.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(STOP_SECONDS):
                    await server.wait_closed()

    async def _serve_metrics(self, pages: Pages, request: web.Request) -> web.Response:
        accept = request.headers.get("Accept", "")
        page = partial(self._metrics.render, self._status(), accept)
        return await pages.answer(request, page)


def _tell(guards: Guards) -> Middleware:
    """Tell the guards that a whole request has come."""

    @web.middleware
    async def tell(request: web.Request, handler: Handler) -> web.StreamResponse:
        guards.requested(request.transport)
        return await handler(request)

    return tell


async def _add_headers(_: web.Request, response: web.StreamResponse) -> None:
    for name, value in _HEADERS.items():
        response.headers.setdefault(name, value)


def _fitting(sock: socket.socket | None, listen: Address) -> socket.socket | None:
    """The socket, if it has this address (port 0 is any); it is closed otherwise."""
    if sock is None:
        return None
    ip, port = sock.getsockname()[:2]
    if ip == listen.ip and listen.port in (0, port):
        sock.setblocking(False)
        return sock
    sock.close()
    return None


def _bind(listen: Address) -> socket.socket:
    """A bound socket, which the caller owns."""
    family = socket.AF_INET6 if ":" in listen.ip else socket.AF_INET
    try:
        sock = socket.socket(family, socket.SOCK_STREAM)
    except OSError as error:
        raise refusal(listen, error) from None
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family is socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind((listen.ip, listen.port))
        sock.setblocking(False)
    except OSError as error:
        sock.close()
        raise refusal(listen, error) from None
    return sock


_REMEDIES = {
    errno.EADDRINUSE: "another process listens there (`ss -ltnp` shows which); stop it, or set "
    "admin.listen to another port",
    errno.EADDRNOTAVAIL: "the edge has no such address; set admin.listen to one of its own",
    errno.EACCES: "ports below 1024 need CAP_NET_BIND_SERVICE; grant it, or set admin.listen to a "
    "higher port",
    errno.EAFNOSUPPORT: "the edge has no such address family; set admin.listen to another address",
}


def refusal(listen: Address, error: OSError) -> HostError:
    """The error for an address that can't be listened on: what, where, what to do."""
    number = error.errno or 0
    why = os.strerror(number) if number else str(error)
    remedy = _REMEDIES.get(number, "set admin.listen to another address")
    kind = HostPermissionError if number == errno.EACCES else HostError
    return kind(f"the admin server can't listen on {listen}: {why}; {remedy}")
