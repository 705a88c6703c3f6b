"""The admin server over real connections."""

import asyncio
import contextlib
import errno
import json
import socket
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import aiohttp
import pytest

from nplb.model.decision import Decision, DecisionKind
from nplb.model.errors import HostError, HostPermissionError
from nplb.model.keys import Address
from nplb.model.status import Status
from nplb.observe.journal import Journal
from nplb.web.guard import Guards
from nplb.web.server import AdminServer, refusal
from tests.support.eventually import eventually
from tests.support.status import NOW, frontend, large, status, troubled


class Admin:
    """A running server over a status that a test may replace."""

    def __init__(self, state: Status, journal: Journal | None, guards: Guards) -> None:
        self.state = state
        self.guards = guards
        self.broken = False
        self.server = AdminServer(
            status=self.status,
            listen=Address("127.0.0.1", 0),
            journal=journal,
            guards=guards,
            hosts={"edge.example.org"},
        )

    def status(self) -> Status:
        if self.broken:
            raise RuntimeError("no status today")
        return self.state

    async def get(
        self, path: str, method: str = "GET", **headers: str
    ) -> tuple[int, str, dict[str, str]]:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        async with aiohttp.ClientSession() as session:
            url = self.server.url + path
            async with session.request(method, url, headers=named) as answer:
                body = await answer.text()
                return answer.status, body, {k.title(): v for k, v in answer.headers.items()}

    async def json(self, path: str) -> Any:
        code, body, headers = await self.get(path)
        assert code == 200, body
        assert headers["Content-Type"] == "application/json; charset=utf-8"
        return json.loads(body)


@contextlib.asynccontextmanager
async def serving(
    state: Status, journal: Journal | None = None, **bounds: Any
) -> AsyncIterator[Admin]:
    admin = Admin(state, journal, Guards(**bounds))
    await admin.server.start()
    try:
        yield admin
    finally:
        await admin.server.stop()


async def test_readiness_in_the_words_of_a_kube_apiserver() -> None:
    async with serving(status(frontend())) as admin:
        assert (await admin.get("/readyz"))[:2] == (200, "ok")
        assert (await admin.get("/readyz?verbose"))[:2] == (
            200,
            "[+]sources ok\n[+]plan ok\n[+]shutdown ok\nreadyz check passed\n",
        )
        admin.state = troubled()
        assert (await admin.get("/readyz"))[:2] == (
            503,
            (
                "[+]sources ok\n"
                "[-]listeners failed: prod/shop/api:80/TCP: port in use\n"
                "[+]shutdown ok\n"
                "readyz check failed\n"
            ),
        )
        assert (await admin.get("/readyz?exclude=listeners"))[0] == 200
        admin.state = replace(status(), stopping=True)
        code, body, _ = await admin.get("/readyz")
        assert code == 503
        assert "[-]shutdown failed: nplb is stopping" in body


async def test_liveness_is_the_loop_and_nothing_else() -> None:
    async with serving(troubled()) as admin:
        assert (await admin.get("/livez"))[:2] == (200, "ok")
        admin.state = status(loop_at=NOW - 120)
        code, body, _ = await admin.get("/livez")
        assert code == 503
        assert "[-]loop failed: the reconcile loop has not turned for 120 s" in body
        assert (await admin.get("/healthz"))[0] == 503
        assert (await admin.get("/readyz"))[0] == 200


async def test_status_and_metrics() -> None:
    async with serving(troubled()) as admin:
        document = await admin.json("/api/v1/status")
        assert document["plan"]["frontends"][0]["state"] == "conflict"
        code, page, headers = await admin.get("/metrics")
        assert code == 200
        assert headers["Content-Type"].startswith("text/plain; version=")
        assert 'nplb_frontends{cluster="prod",state="conflict"} 1.0' in page
        _, page, headers = await admin.get("/metrics", Accept="application/openmetrics-text")
        assert headers["Content-Type"].startswith("application/openmetrics-text")
        assert page.endswith("# EOF\n")


async def test_large_answers_are_compressed() -> None:
    async with serving(large(200, 10)) as admin:
        _, _, headers = await admin.get("/api/v1/status", Accept_Encoding="gzip")
        assert headers["Content-Encoding"] == "gzip"
        _, _, headers = await admin.get("/api/v1/status", Accept_Encoding="identity")
        assert "Content-Encoding" not in headers


async def test_decisions() -> None:
    journal = Journal(capacity=5)
    for n in range(8):
        kind = DecisionKind.BACKEND_DOWN if n % 2 else DecisionKind.BACKEND_JOINED
        journal.append(Decision(at=NOW, kind=kind, subject=f"s{n}", text="t", node=f"n{n % 3}"))
    async with serving(status(), journal) as admin:
        document = await admin.json("/api/v1/decisions")
        assert (document["first"], document["last"]) == (4, 8)
        assert [d["sequence"] for d in document["decisions"]] == [4, 5, 6, 7, 8]
        for query, expected in (
            ("since=6", [7, 8]),
            ("kind=backend_down", [4, 6, 8]),
            ("kind=backend_down,backend_joined&limit=2", [7, 8]),
            ("node=n0", [4, 7]),
            ("since=99", []),
            ("before=6", [4, 5]),
            ("before=7&limit=1", [6]),
        ):
            document = await admin.json(f"/api/v1/decisions?{query}")
            assert [d["sequence"] for d in document["decisions"]] == expected, query
        for query in ("since=-1", "since=x", "since=%D9%A3", "limit=0", "limit=1001", "kind=oops"):
            code, body, _ = await admin.get(f"/api/v1/decisions?{query}")
            error = json.loads(body)["error"]
            assert (code, error["reason"]) == (400, "BadRequest"), query
            assert query.split("=")[0] in error["message"]


async def test_without_a_journal_the_statuss_own_decisions_are_shown() -> None:
    async with serving(troubled()) as admin:
        document = await admin.json("/api/v1/decisions?kind=backend_down")
        assert [d["node"] for d in document["decisions"]] == ["node-1"]


async def test_errors_are_json_and_say_what_is_possible() -> None:
    async with serving(status()) as admin:
        code, body, headers = await admin.get("/nowhere")
        assert (code, json.loads(body)["error"]["reason"]) == (404, "NotFound")
        assert headers["X-Content-Type-Options"] == "nosniff"
        code, body, headers = await admin.get("/api/v1/status", "POST")
        assert (code, json.loads(body)["error"]["reason"]) == (405, "MethodNotAllowed")
        assert headers["Allow"] == "GET, HEAD"
        admin.broken = True
        code, body, _ = await admin.get("/api/v1/status")
        assert code == 500
        assert "no status today" not in body


async def test_every_answer_forbids_caching_framing_and_scripts() -> None:
    async with serving(status()) as admin:
        for path in ("/livez", "/metrics", "/api/v1/status", "/nowhere"):
            _, _, headers = await admin.get(path)
            assert headers["Cache-Control"] == "no-store", path
            assert headers["X-Frame-Options"] == "DENY", path
            assert "default-src 'none'" in headers["Content-Security-Policy"], path


async def test_head_has_the_headers_and_no_body() -> None:
    async with serving(status(frontend())) as admin:
        for path in ("/livez", "/readyz", "/metrics", "/api/v1/status"):
            code, body, headers = await admin.get(path, "HEAD")
            assert (code, body) == (200, ""), path
            assert int(headers["Content-Length"]) > 0, path


async def test_other_hosts_are_refused() -> None:
    async with serving(status()) as admin:
        assert (await admin.get("/livez", Host="edge.example.org"))[0] == 200
        code, body, _ = await admin.get("/api/v1/status", Host="evil.example")
        assert code == 421
        assert "evil.example" in json.loads(body)["error"]["message"]


async def test_a_client_that_never_finishes_its_request_is_cut_off() -> None:
    async with serving(status(), first_request_seconds=0.2) as admin:
        reader, writer = await asyncio.open_connection("127.0.0.1", admin.server.address.port)
        writer.write(b"GET /livez HTTP/1.1\r\nHost: loc")
        with contextlib.suppress(ConnectionResetError):
            async with asyncio.timeout(20):
                assert await reader.read() == b""
        writer.close()
        assert not admin.guards.open


async def test_a_client_that_does_not_read_is_cut_off() -> None:
    async with serving(large(1500, 5), stalled_seconds=0.5) as admin:
        with socket.socket() as greedy:
            greedy.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            greedy.connect(("127.0.0.1", admin.server.address.port))
            greedy.sendall(b"GET /api/v1/status HTTP/1.1\r\nHost: localhost\r\n\r\n")
            await eventually(lambda: len(admin.guards.open) == 1, "it is connected")
            await eventually(lambda: not admin.guards.open, "it is cut off")


async def test_connections_that_are_held_keep_no_health_check_out() -> None:
    async with serving(status(), max_connections=3) as admin:
        port = admin.server.address.port
        held = [await asyncio.open_connection("127.0.0.1", port) for _ in range(3)]
        await eventually(lambda: len(admin.guards.open) == 3, "all are connected")
        for _ in range(5):
            assert (await admin.get("/livez"))[0] == 200
        assert len(admin.guards.open) <= 3
        assert await held[0][0].read() == b"", "the oldest has made room"
        for _, writer in held:
            writer.close()


async def test_stopping_does_not_wait_for_clients() -> None:
    async with serving(status(frontend())) as admin:
        reader, writer = await asyncio.open_connection("127.0.0.1", admin.server.address.port)
        writer.write(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert b"200 OK" in await reader.readline()
        await admin.server.stop()
        await reader.read()
        writer.close()
        with pytest.raises(OSError):
            await asyncio.open_connection("127.0.0.1", admin.server.address.port)


async def test_a_taken_port_is_named_with_what_to_do() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        server = AdminServer(status=status, listen=Address("127.0.0.1", port))
        with pytest.raises(HostError, match=rf"127\.0\.0\.1:{port}.*in use.*admin\.listen"):
            await server.start()
        await server.stop()


async def test_an_address_that_is_not_ours_is_named() -> None:
    server = AdminServer(status=status, listen=Address("192.0.2.1", 0))
    with pytest.raises(HostError, match=r"192\.0\.2\.1:0.*no such address"):
        await server.start()


def test_a_privileged_port_needs_a_right() -> None:
    error = refusal(Address("127.0.0.1", 81), PermissionError(errno.EACCES, "no"))
    assert isinstance(error, HostPermissionError)
    assert "CAP_NET_BIND_SERVICE" in str(error)
