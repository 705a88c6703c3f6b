"""Who may read, who may change, and what comes of guessing."""

import asyncio
import contextlib
import json
import logging
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from click.testing import CliRunner, Result

from nplb.alloc.answers import Answer, Answers
from nplb.alloc.predict import Prediction
from nplb.cli import main
from nplb.model.drain import ManualDrain
from nplb.model.errors import ClusterError, ConfigurationError, HostError
from nplb.model.keys import Address, ServiceKey
from nplb.model.settings import AdminSettings, AnonymousRead
from nplb.web.changes import MAX_MANIFEST_BYTES
from nplb.web.server import AdminServer
from nplb.web.tokens import GUESSES
from tests.support.status import NOW, frontend, status

CHANGING = "changing-token-0123456789"
READING = "reading-token-0123456789"
NODE = {"node": "node-1", "why": "disk", "who": "ada"}


@dataclass
class Drained:
    """Drains that are kept in memory."""

    kept: dict[tuple[str, str], ManualDrain] = field(default_factory=dict)
    broken: bool = False

    def drain(self, cluster: str, node: str, *, who: str, why: str) -> ManualDrain:
        if self.broken:
            raise HostError("/var/lib/nplb is full: free some space")
        made = ManualDrain(cluster=cluster, node=node, who=who, why=why, at=NOW)
        self.kept[cluster, node] = made
        return made

    def undrain(self, cluster: str, node: str) -> bool:
        return self.kept.pop((cluster, node), None) is not None


async def refusing(
    text: str,
    *,
    cluster: str | None = None,
    apply: bool = False,
    transaction: bool = False,
    namespace: str = "default",
) -> Answers:
    if text == "bad":
        raise ConfigurationError("manifest:1:1: this is no Kubernetes object")
    if text == "away":
        raise ClusterError("cluster prod: was not read within 10 s")
    prediction = Prediction(
        service=ServiceKey("prod", namespace, "web"),
        accepted=False,
        code=422,
        reason="Invalid",
        message="provided port is already allocated",
    )
    return Answers(
        cluster=cluster or "prod",
        port_range="30000-32767",
        apply=apply,
        transaction=transaction,
        services=(Answer(place="manifest:1:1", prediction=prediction),),
    )


class Admin:
    """A running server, asked with or without a token."""

    def __init__(self, server: AdminServer, drained: Drained) -> None:
        self.server = server
        self.drained = drained

    async def ask(
        self, method: str, path: str, *, token: str = "", data: Any = None, **headers: str
    ) -> tuple[int, Any]:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        if token:
            named["Authorization"] = f"Bearer {token}"
        async with (
            aiohttp.ClientSession() as session,
            session.request(method, self.server.url + path, headers=named, data=data) as answer,
        ):
            body = await answer.text()
            is_json = "json" in answer.headers.get("Content-Type", "")
            return answer.status, json.loads(body) if is_json else body


@contextlib.asynccontextmanager
async def serving(
    tmp_path: Path, anonymous: AnonymousRead = AnonymousRead.LOOPBACK, **changes: Any
) -> AsyncIterator[Admin]:
    (tmp_path / "change").write_text(f"{CHANGING}\n")
    (tmp_path / "read").write_text(f"{READING}\n")
    for name in ("change", "read"):
        (tmp_path / name).chmod(0o600)
    settings = AdminSettings(
        token_file=changes.get("token_file", tmp_path / "change"),
        read_token_file=tmp_path / "read",
        anonymous_read=anonymous,
        hosts=("edge.example.org",),
    )
    drained = Drained()
    server = AdminServer(
        status=lambda: status(frontend()),
        listen=Address("127.0.0.1", 0),
        settings=settings,
        drains=drained,
        check_manifest=refusing,
    )
    await server.start()
    try:
        yield Admin(server, drained)
    finally:
        await server.stop()


async def test_reading_without_a_token_is_for_this_host_alone(tmp_path: Path) -> None:
    async with serving(tmp_path) as admin:
        assert (await admin.ask("GET", "/api/v1/ports"))[0] == 200
        # What a proxy hands on may be anybody's.
        code, body = await admin.ask("GET", "/api/v1/ports", X_Forwarded_For="192.0.2.1")
        assert (code, body["error"]["reason"]) == (401, "Unauthorized")
        assert "admin.read_token_file" in body["error"]["message"]


async def test_what_nobody_may_read_without_a_token(tmp_path: Path) -> None:
    async with serving(tmp_path, AnonymousRead.NOBODY) as admin:
        for path in ("/api/v1/status", "/api/v1/events", "/metrics", "/api/v1/openapi.json"):
            assert (await admin.ask("GET", path))[0] == 401, path
        for path in ("/livez", "/readyz", "/healthz", "/", "/static/app.js"):
            assert (await admin.ask("GET", path))[0] == 200, path
        for token in (READING, CHANGING):
            assert (await admin.ask("GET", "/metrics", token=token))[0] == 200
    async with serving(tmp_path, AnonymousRead.ANYONE) as admin:
        assert (await admin.ask("GET", "/api/v1/ports", X_Forwarded_For="192.0.2.1"))[0] == 200


async def test_a_change_needs_the_token_for_changes(tmp_path: Path) -> None:
    async with serving(tmp_path) as admin:
        data = json.dumps(NODE)
        assert (await admin.ask("POST", "/api/v1/drains", data=data))[0] == 401
        code, body = await admin.ask("POST", "/api/v1/drains", data=data, token=READING)
        assert code == 401
        assert "may only read" in body["error"]["message"]
        # Neither a parameter nor a cookie is a token.
        path = f"/api/v1/drains?token={CHANGING}&access_token={CHANGING}"
        assert (await admin.ask("POST", path, data=data, Cookie=f"token={CHANGING}"))[0] == 401
        assert admin.drained.kept == {}
        code, body = await admin.ask("POST", "/api/v1/drains", data=data, token=CHANGING)
        assert (code, body) == (201, {"cluster": "prod", "at": NOW, **NODE})
        path = "/api/v1/drains/prod/node-1"
        assert (await admin.ask("DELETE", path))[0] == 401
        assert (await admin.ask("DELETE", path, token=CHANGING))[0] == 204
        assert (await admin.ask("DELETE", path, token=CHANGING))[0] == 404


async def test_without_a_token_file_nothing_changes(tmp_path: Path) -> None:
    async with serving(tmp_path, token_file=None) as admin:
        code, body = await admin.ask("POST", "/api/v1/drains", data=json.dumps(NODE))
        assert code == 403
        assert "admin.token_file is not configured" in body["error"]["message"]


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "http://127.0.0.1:1"}, 403),
        ({"Sec_Fetch_Site": "cross-site"}, 403),
        ({"Sec_Fetch_Site": "same-site"}, 403),
        ({"Origin": "https://edge.example.org"}, 201),
        ({"Sec_Fetch_Site": "same-origin"}, 201),
        ({}, 201),
    ],
)
async def test_pages_of_other_sites_change_nothing(
    tmp_path: Path, headers: dict[str, str], code: int
) -> None:
    async with serving(tmp_path) as admin:
        data = json.dumps(NODE)
        given, _ = await admin.ask("POST", "/api/v1/drains", data=data, token=CHANGING, **headers)
        assert given == code
        # A browser asks first whether it may send such a header; nobody tells it so.
        given, _ = await admin.ask("OPTIONS", "/api/v1/drains", Origin="http://evil.example")
        assert given == 405


async def test_who_guesses_has_to_wait(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with serving(tmp_path) as admin:
        with caplog.at_level(logging.WARNING):
            for _ in range(GUESSES):
                code, _ = await admin.ask("GET", "/api/v1/ports", token="a-wrong-guess-4711")
                assert code == 401
            code, body = await admin.ask("GET", "/api/v1/ports", token=CHANGING)
        assert (code, body["error"]["reason"]) == (429, "TooManyRequests")
        assert "a wrong token from 127.0.0.1" in caplog.text
        assert "4711" not in caplog.text
        # Who sends none is not kept from reading.
        assert (await admin.ask("GET", "/api/v1/ports"))[0] == 200


async def test_a_token_file_is_read_again_when_it_changes(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with serving(tmp_path) as admin:
        path, data = "/api/v1/drains", json.dumps(NODE)
        assert (await admin.ask("POST", path, data=data, token=CHANGING))[0] == 201
        (tmp_path / "change").write_text("another-token-0123456789\nshort\n")
        assert (await admin.ask("POST", path, data=data, token=CHANGING))[0] == 401
        assert (await admin.ask("POST", path, data=data, token="short"))[0] == 401
        code, _ = await admin.ask("POST", path, data=data, token="another-token-0123456789")
        assert code == 201
        assert "16 characters or longer" in caplog.text
        (tmp_path / "change").unlink()
        code, _ = await admin.ask("POST", path, data=data, token="another-token-0123456789")
        assert code == 401
        assert "can't be read" in caplog.text
        assert "another-token" not in caplog.text


@pytest.mark.parametrize(
    ("data", "code", "said"),
    [
        ("", 400, "JSON object"),
        ("[]", 400, "JSON object"),
        ("[" * 5000, 400, "JSON object"),
        ('{"why": "disk"}', 400, "node is missing"),
        ('{"node": 7}', 400, "node is not a text"),
        ('{"node": "node-1", "force": true}', 400, "force: not known"),
        ('{"node": "node-1", "cluster": "test"}', 400, "there is no cluster 'test'"),
        ('{"node": "node-99"}', 404, "no node 'node-99'"),
        (json.dumps({"node": "node-1", "why": "x" * 513}), 400, "at most 512"),
        ("x" * 9000, 413, "more than 8192 bytes"),
    ],
)
async def test_a_drain_that_makes_no_sense(tmp_path: Path, data: str, code: int, said: str) -> None:
    async with serving(tmp_path) as admin:
        given, body = await admin.ask("POST", "/api/v1/drains", data=data, token=CHANGING)
        assert given == code
        assert said in body["error"]["message"]
        assert admin.drained.kept == {}


async def test_a_drain_that_cannot_be_kept_says_so(tmp_path: Path) -> None:
    async with serving(tmp_path) as admin:
        admin.drained.broken = True
        data = json.dumps(NODE)
        code, body = await admin.ask("POST", "/api/v1/drains", data=data, token=CHANGING)
        assert (code, body["error"]["message"]) == (500, "/var/lib/nplb is full: free some space")


async def test_a_manifest_is_checked_for_whoever_may_read(tmp_path: Path) -> None:
    async with serving(tmp_path) as admin:
        code, page = await admin.ask("POST", "/api/v1/ports/check?as=apply", data="good")
        assert (code, page["accepted"], page["as"]) == (200, False, "apply")
        assert page["services"][0]["message"] == "provided port is already allocated"
        for query, data, expected, said in (
            ("", "bad", 400, "manifest:1:1"),
            ("", "away", 503, "was not read"),
            ("?as=patch", "good", 400, "create or apply"),
            ("?transaction=yes", "good", 400, "true or false"),
            ("", b"\xff", 400, "UTF-8"),
            ("", b"x" * (MAX_MANIFEST_BYTES + 1), 413, "more than"),
        ):
            code, body = await admin.ask("POST", f"/api/v1/ports/check{query}", data=data)
            assert code == expected, (query, data[:10])
            assert said in body["error"]["message"]
    async with serving(tmp_path, AnonymousRead.NOBODY) as admin:
        assert (await admin.ask("POST", "/api/v1/ports/check", data="good"))[0] == 401
        code, _ = await admin.ask("POST", "/api/v1/ports/check", data="good", token=READING)
        assert code == 200


async def test_what_a_server_cannot_do_it_says() -> None:
    server = AdminServer(status=status, listen=Address("127.0.0.1", 0))
    await server.start()
    try:
        admin = Admin(server, Drained())
        assert (await admin.ask("POST", "/api/v1/ports/check", data="x"))[0] == 501
    finally:
        await server.stop()


async def test_every_command_that_asks_takes_a_token(tmp_path: Path) -> None:
    async with serving(tmp_path, AnonymousRead.NOBODY) as admin:

        async def nplb(*args: str) -> Result:
            asked = (*args, "--admin", admin.server.url)
            return await asyncio.to_thread(CliRunner().invoke, main, asked, prog_name="nplb")

        refused = await nplb("status")
        assert refused.exit_code == 1
        assert "answers 401" in refused.stderr
        assert "--token-file" in refused.stderr
        assert (await nplb("status", "--token-file", str(tmp_path / "read"))).exit_code == 0
        assert (
            await nplb("drain", "node-1", "--token-file", str(tmp_path / "read"))
        ).exit_code == 1
        assert (
            await nplb("drain", "node-1", "--token-file", str(tmp_path / "change"))
        ).exit_code == 0
