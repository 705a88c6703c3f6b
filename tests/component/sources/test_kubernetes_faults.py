"""Whatever the API server, the network or the credentials do: the last snapshot stays, the
status says what is wrong and what to do, and recovery needs no help."""

import asyncio
import dataclasses
import json
import socket
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from nplb.model.cluster import SourceState
from tests.support.addresses import silent
from tests.support.fakeapi import (
    Behaviour,
    FakeApi,
    answers,
    event,
    hangs,
    serving,
    status,
    streams,
)
from tests.support.reading import FAST, Reading, kubeconfig, kubernetes_cluster, reading

TLS = Path(__file__).parents[2] / "support" / "tls"
GOLDEN = Path(__file__).parents[2] / "golden" / "kube-apiserver-1.36"
HTML = "<html><body><h1>502 Bad Gateway</h1></body></html>"
FORBIDDEN = (
    'endpointslices.discovery.k8s.io is forbidden: User "system:serviceaccount:nplb:nplb" cannot '
    'list resource "endpointslices" in API group "discovery.k8s.io" in the namespace "x"'
)


def service(name: str, node_port: int = 30080) -> Any:
    return {
        "metadata": {"name": name, "namespace": "default"},
        "spec": {"type": "NodePort", "ports": [{"port": 80, "nodePort": node_port}]},
    }


@pytest.fixture
async def fake() -> AsyncIterator[FakeApi]:
    async with serving() as server:
        server.put("services", service("web"))
        server.put("nodes", {"metadata": {"name": "a"}})
        yield server


@pytest.fixture
def config(fake: FakeApi, tmp_path: Path) -> Path:
    return kubeconfig(tmp_path / "config", fake.url, {"token": fake.token})


async def outlives(
    said: Reading, fake: FakeApi, fault: Behaviour, words: tuple[str, ...], *which: tuple[str, str]
) -> None:
    """Live through a fault of every request: the snapshot stays, the status tells, a change
    made meanwhile shows afterwards."""
    await said.until_watching(fake)
    snapshots = len(said.snapshots)
    fake.always(fault, *which)
    fake.hang_up()
    await said.until_error(*words)
    assert said.status.state is SourceState.STALE
    assert said.status.attempts > 0
    fake.put("services", service("later", 30081))
    await said.until(lambda: said.status.attempts > 2, "several attempts")
    if not which:
        assert len(said.snapshots) == snapshots
    assert "default/web" in said.services
    fake.always(None)
    await said.until_services("later", "web")
    await said.until_live()
    assert said.status.attempts == 0


def golden_status(file: str, code: int) -> dict[str, Any]:
    """A Status with this code, as the recorded API server sent it."""
    for exchange in json.loads((GOLDEN / file).read_text()):
        response = exchange["response"]
        if response["status"] == code and isinstance(response.get("body"), dict):
            return dict(response["body"])
    raise AssertionError(code)


FAULTS = {
    "html-502": (
        answers(502, HTML, "text/html"),
        ("502 Bad Gateway", "text/html", "proxy or load balancer in front"),
    ),
    "html-200": (
        answers(200, HTML, "text/html"),
        ("check the server's address", "what stands before it"),
    ),
    "empty-503": (answers(503, "", "text/plain"), ("503 Service Unavailable",)),
    "500": (
        answers(500, status(500, "etcdserver: leader changed", "InternalError")),
        ("500 Internal Server Error", "etcdserver: leader changed", "look into its log"),
    ),
    "429": (
        answers(429, status(429, "too many requests", "TooManyRequests"), Retry_After="0.02"),
        ("429 Too Many Requests", "asks to wait for 0.02 s"),
    ),
    "401": (
        answers(401, golden_status("04-lists-and-errors.json", 401)),
        ("401 Unauthorized", "missing, wrong or expired", "renew them"),
    ),
    "504-too-large-version": (
        answers(504, golden_status("04-lists-and-errors.json", 504)),
        ("504", "Too large resource version"),
    ),
    "not-json": (answers(500, "oops", "text/plain"), ("500", "not as an API server does")),
}


class TestEveryRequestFails:
    @pytest.mark.parametrize("name", FAULTS)
    async def test_http_fault(self, fake: FakeApi, config: Path, name: str) -> None:
        fault, words = FAULTS[name]
        async with reading(kubernetes_cluster(config)) as said:
            await outlives(said, fake, fault, words)

    @pytest.mark.parametrize("name", FAULTS)
    async def test_at_the_start(self, fake: FakeApi, config: Path, name: str) -> None:
        fault, words = FAULTS[name]
        fake.always(fault)
        async with reading(kubernetes_cluster(config)) as said:
            await said.until_error(*words)
            assert said.status.state is SourceState.CONNECTING
            assert said.snapshots == []
            fake.always(None)
            await said.until_services("web")
            await said.until_live()

    async def test_a_wish_to_be_left_alone_is_granted(self, fake: FakeApi, config: Path) -> None:
        async with reading(kubernetes_cluster(config)) as said:
            await said.until_watching(fake)
            seen = len(fake.seen)
            fault = answers(429, status(429, "wait"), Retry_After="60")
            fake.always(fault)
            fake.hang_up()
            await said.until_error("429", "wait for 60 s")
            await asyncio.sleep(0.3)
            assert len(fake.seen) <= seen + 3


class TestRights:
    @pytest.mark.parametrize("verb", ["list", "watch"])
    async def test_a_missing_right_is_named_and_the_rest_goes_on(
        self, fake: FakeApi, config: Path, verb: str
    ) -> None:
        settings = kubernetes_cluster(config, namespaces=("default", "x"))
        fault = answers(403, status(403, FORBIDDEN.replace("list", verb), "Forbidden"))
        async with reading(settings) as said:
            await said.until_watching(fake, 5)
            fake.always(fault, ("list", "endpointslices"), ("watch", "endpointslices"))
            fake.forget()
            fake.hang_up()
            await said.until_error(
                "403 Forbidden",
                "user system:serviceaccount:nplb:nplb",
                "no right to",
                "endpointslices.discovery.k8s.io in namespace x",
                "deploy/rbac",
            )
            fake.put("services", service("later", 30081))
            await said.until_services("later", "web")
            assert said.status.state is SourceState.STALE
            fake.always(None)
            await said.until_live()

    async def test_everywhere(self, fake: FakeApi, config: Path) -> None:
        fake.always(answers(403, status(403, "no", "Forbidden")), ("list", "nodes"))
        async with reading(kubernetes_cluster(config)) as said:
            await said.until_error("no right to list nodes;", "the user of kubeconfig")
        fake.always(None)
        fake.always(answers(403, status(403, "no", "Forbidden")), ("list", "services"))
        async with reading(kubernetes_cluster(config)) as said:
            await said.until_error("no right to list services in all namespaces;")


class TestVersions:
    async def test_a_version_that_is_too_old_is_listed_again(
        self, fake: FakeApi, config: Path
    ) -> None:
        async with reading(kubernetes_cluster(config)) as said:
            await said.until_watching(fake)
            lists = sum(seen.verb == "list" for seen in fake.seen)
            fake.put("services", service("later", 30081))
            await said.until_services("later", "web")
            del fake.objects["services"]["default", "web"]
            fake.forget()
            fake.hang_up()
            await said.until_services("later")
            await said.until_live()
            assert sum(seen.verb == "list" for seen in fake.seen) == lists + 3
            errors = " ".join(status.error for status in said.statuses)
            assert "too old resource version" in errors

    async def test_a_server_that_forgets_all_the_time_is_not_asked_all_the_time(
        self, fake: FakeApi, config: Path
    ) -> None:
        async with reading(kubernetes_cluster(config)) as said:
            await said.until_watching(fake)
            expired = event("ERROR", status(410, "too old resource version: 1 (2)", "Expired"))
            fake.always(streams(expired), ("watch", "services"))
            fake.hang_up()
            await said.until(lambda: said.status.attempts >= 4, "four attempts")
            watches = [s for s in fake.seen if (s.verb, s.plural) == ("watch", "services")]
            assert len(watches) <= said.status.attempts + 2
            fake.always(None)
            await said.until_live()

    @pytest.mark.parametrize(
        "refusal",
        [
            answers(410, status(410, "Expired", "Expired")),
            answers(500, golden_status("04-lists-and-errors.json", 400) | {"code": 500}),
            answers(400, golden_status("04-lists-and-errors.json", 400)),
            answers(504, golden_status("04-lists-and-errors.json", 504)),
            streams(json.dumps(status(500, "Invalid value", "InternalError")).encode() + b"\n"),
            streams(event("ERROR", status(500, "unable to decode an event", "InternalError"))),
            streams(event("ERROR", status(504, "watch timed out", "Timeout"))),
            streams(b'{"type": "SURPRISE", "object": {}}\n'),
            streams(b'{"type": "DELETED", "object": {"metadata": {}}}\n'),
            streams(b"null\n"),
        ],
    )
    async def test_a_version_that_the_server_refuses_is_listed_again(
        self, fake: FakeApi, config: Path, refusal: Behaviour
    ) -> None:
        async with reading(kubernetes_cluster(config)) as said:
            await said.until_watching(fake)
            lists = sum(seen.verb == "list" for seen in fake.seen)
            fake.play("watch", "services", refusal)
            fake.hang_up()
            await said.until(lambda: any(s.error for s in said.statuses), "an error")
            await said.until_live()
            assert sum(seen.verb == "list" for seen in fake.seen) == lists + 1
            assert said.services == ["default/web"]

    async def test_a_server_restored_from_a_backup_is_listed_again(
        self, fake: FakeApi, config: Path
    ) -> None:
        """It takes a version from its own future, and says nothing on the watch."""
        pacing = dataclasses.replace(FAST, proof_seconds=0.3)
        async with reading(kubernetes_cluster(config), pacing) as said:
            await said.until_watching(fake)
            fake.rewind(20)
            fake.put("services", service("restored", 30081))
            for _ in range(100):
                fake.hang_up()
                await asyncio.sleep(0.1)
                if said.services == ["default/restored"]:
                    break
            await said.until_services("restored")
            await said.until_live()


class TestConnections:
    async def test_a_server_that_is_away(self, fake: FakeApi, config: Path) -> None:
        async with reading(kubernetes_cluster(config)) as said:
            await said.until_live()
            await fake.stop()
            await said.until_error("can't connect", fake.url, "connection refused", str(config))
            assert said.status.state is SourceState.STALE
            assert said.services == ["default/web"]
            # One text for the whole outage, not one for each thing that was asked.
            assert said.status.error.count("connection refused") == 1
            fake.put("services", service("later", 30081))
            fake.forget()
            await fake.start()
            await said.until_services("later", "web")
            await said.until_live()

    async def test_a_line_cut_in_the_middle(self, fake: FakeApi, config: Path) -> None:
        async with reading(kubernetes_cluster(config)) as said:
            await said.until_watching(fake)
            whole = event("MODIFIED", fake.put("services", service("web", 30099)))
            half = event("ADDED", service("never"))[:30]
            lists = sum(seen.verb == "list" for seen in fake.seen)
            fake.play("watch", "services", streams(whole, half, then="cut"))
            fake.hang_up()
            await said.until(
                lambda: any("cut the connection" in s.error for s in said.statuses), "the cut told"
            )
            await said.until_live()
            await said.until(
                lambda: said.snapshot.services[0].ports[0].node_port == 30099, "the whole event"
            )
            assert said.services == ["default/web"]
            # From the last version, without a list.
            last = [s for s in fake.seen if (s.verb, s.plural) == ("watch", "services")][-1]
            assert last.query["resourceVersion"] == str(fake.version)
            assert sum(seen.verb == "list" for seen in fake.seen) == lists

    async def test_a_stream_that_ends_within_a_line(self, fake: FakeApi, config: Path) -> None:
        async with reading(kubernetes_cluster(config)) as said:
            await said.until_watching(fake)
            fake.play("watch", "services", streams(b'{"type": "ADDED", "obj'))
            fake.hang_up()
            await said.until(
                lambda: any("in the middle of a line" in s.error for s in said.statuses), "told"
            )
            await said.until_live()
            assert said.services == ["default/web"]

    async def test_a_watch_that_falls_silent(self, fake: FakeApi, config: Path) -> None:
        pacing = dataclasses.replace(FAST, silence_seconds=0.4)
        async with reading(kubernetes_cluster(config), pacing) as said:
            await said.until_watching(fake)
            fake.play("watch", "services", streams(then="hang"))
            fake.hang_up()
            fake.put("services", service("later", 30081))
            await said.until(
                lambda: any("has sent nothing for 0.4 s" in s.error for s in said.statuses), "told"
            )
            await said.until_services("later", "web")

    async def test_a_server_that_never_answers(self, fake: FakeApi, config: Path) -> None:
        pacing = dataclasses.replace(FAST, silence_seconds=0.3)
        async with reading(kubernetes_cluster(config), pacing) as said:
            await outlives(said, fake, hangs, ("has sent nothing for 0.3 s", "taken for dead"))

    async def test_a_server_that_ends_every_watch_at_once_is_not_asked_in_a_loop(
        self, fake: FakeApi, config: Path
    ) -> None:
        async with reading(kubernetes_cluster(config)) as said:
            await said.until_watching(fake)
            fake.always(streams(), ("watch", "services"))
            fake.hang_up()
            await said.until_error("ends every watch on services in all namespaces at once")
            await said.until(lambda: said.status.attempts >= 4, "four attempts")
            watches = [s for s in fake.seen if (s.verb, s.plural) == ("watch", "services")]
            assert len(watches) <= said.status.attempts + 4
            fake.put("services", service("later", 30081))
            fake.always(None)
            await said.until_services("later", "web")
            await said.until_live()

    async def test_a_path_that_drops_every_packet(self, tmp_path: Path) -> None:
        with silent() as address:
            config = kubeconfig(tmp_path / "config", f"http://{address}", {"token": "t"})
            pacing = dataclasses.replace(FAST, connect_seconds=0.2)
            async with reading(kubernetes_cluster(config), pacing) as said:
                await said.until_error("no answer within 0.2 s", "routes and firewalls")

    async def test_a_name_that_does_not_resolve(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def fails(*_arguments: object, **_options: object) -> None:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

        monkeypatch.setattr(socket, "getaddrinfo", fails)
        config = kubeconfig(tmp_path / "config", "https://api.nplb.invalid:6443", {"token": "t"})
        async with reading(kubernetes_cluster(config)) as said:
            await said.until_error(
                "https://api.nplb.invalid:6443",
                "its name can't be resolved (name or service not known)",
            )

    async def test_a_proxy_that_is_not_there(self, tmp_path: Path, fake: FakeApi) -> None:
        with socket.socket() as holder:
            holder.bind(("127.0.0.1", 0))
            proxy = f"http://user:secret@127.0.0.1:{holder.getsockname()[1]}"
            config = kubeconfig(
                tmp_path / "config", fake.url, {"token": "t"}, **{"proxy-url": proxy}
            )
            async with reading(kubernetes_cluster(config)) as said:
                await said.until_error("the proxy does not answer", "proxy-url", "HTTPS_PROXY")
                assert "secret" not in said.status.error

    async def test_a_kubeconfig_that_breaks_and_is_mended(
        self, fake: FakeApi, config: Path
    ) -> None:
        pacing = dataclasses.replace(FAST, session_seconds=0.0)
        async with reading(kubernetes_cluster(config), pacing) as said:
            await said.until_watching(fake)
            await asyncio.to_thread(config.write_text, "token: [unclosed, a-secret-token")
            fake.hang_up()
            await said.until_error(f"kubeconfig {config}:1:", "not valid YAML")
            assert "a-secret-token" not in said.status.error
            assert said.services == ["default/web"]
            kubeconfig(config, fake.url, {"token": fake.token})
            await said.until_live()


class TestTls:
    async def _serve(self, certificate: str, *, client: bool = False) -> tuple[web.AppRunner, str]:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(TLS / certificate)
        if client:
            context.verify_mode = ssl.CERT_REQUIRED
            context.load_verify_locations(TLS / "ca.pem")

        async def page(request: web.Request) -> web.Response:
            page = {"kind": "List", "metadata": {"resourceVersion": "1"}, "items": []}
            if request.query.get("watch"):
                await asyncio.sleep(3600)
            return web.json_response(page)

        app = web.Application()
        app.router.add_get("/{path:.*}", page)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.01)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
        return runner, f"https://127.0.0.1:{runner.addresses[0][1]}"

    @pytest.mark.parametrize(
        ("certificate", "authority", "words"),
        [
            ("server.pem", None, ("not trusted", "check certificate-authority in kubeconfig")),
            ("expired.pem", "ca.pem", ("not trusted", "expired", "this host's clock")),
            ("other.pem", "ca.pem", ("not trusted", "mismatch", "set tls-server-name")),
        ],
    )
    async def test_a_certificate_that_is_not_trusted(
        self, tmp_path: Path, certificate: str, authority: str | None, words: tuple[str, ...]
    ) -> None:
        runner, url = await self._serve(certificate)
        cluster = {"certificate-authority": str(TLS / authority)} if authority else {}
        config = kubeconfig(tmp_path / "config", url, {"token": "t"}, **cluster)
        try:
            async with reading(kubernetes_cluster(config)) as said:
                await said.until_error(url, *words)
        finally:
            await runner.cleanup()

    async def test_a_server_that_does_not_speak_tls(self, fake: FakeApi, tmp_path: Path) -> None:
        url = fake.url.replace("http", "https")
        config = kubeconfig(tmp_path / "config", url, {"token": "t"})
        async with reading(kubernetes_cluster(config)) as said:
            await said.until_error("TLS with", "speaks https on this port")

    async def test_a_client_certificate_that_is_missing(self, tmp_path: Path) -> None:
        runner, url = await self._serve("server.pem", client=True)
        cluster = {"certificate-authority": str(TLS / "ca.pem")}
        config = kubeconfig(tmp_path / "config", url, {"token": "t"}, **cluster)
        try:
            async with reading(kubernetes_cluster(config)) as said:
                await said.until_error("without an answer", "may ask for a client certificate")
        finally:
            await runner.cleanup()
