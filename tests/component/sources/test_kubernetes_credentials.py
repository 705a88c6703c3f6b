"""Every way to prove who we are, on a server that asks; and what is said when one fails."""

import asyncio
import base64
import dataclasses
import json
import logging
import random
import ssl
import stat
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from nplb.model.cluster import Snapshot
from nplb.model.errors import ClusterError, ConfigurationError
from nplb.model.settings import KubernetesSource
from nplb.sources.factory import check_source, list_once
from nplb.sources.kubernetes.kubeconfig import Access, find_access
from nplb.sources.kubernetes.source import list_cluster
from tests.support.fakeapi import FakeApi, answers, serving, status
from tests.support.reading import FAST, kubeconfig, kubernetes_cluster, reading

TLS = Path(__file__).parents[2] / "support" / "tls"
VERSION = "client.authentication.k8s.io/v1"


@pytest.fixture
async def fake() -> AsyncIterator[FakeApi]:
    async with serving() as server:
        server.put("nodes", {"metadata": {"name": "a"}})
        yield server


async def listed(path: Path | None, **changes: Any) -> Snapshot:
    return await list_once(kubernetes_cluster(path, **changes), now=time.time, rng=random.Random(1))


async def refused(path: Path | None) -> str:
    with pytest.raises((ClusterError, ConfigurationError)) as caught:
        await listed(path)
    return str(caught.value)


def plugin(directory: Path, script: str, **changes: Any) -> dict[str, Any]:
    """A user entry whose exec plugin is this shell script."""
    file = directory / "login.sh"
    file.write_text(f"#!/bin/sh\n{script}\n")
    file.chmod(file.stat().st_mode | stat.S_IXUSR)
    return {"exec": {"command": "./login.sh", "apiVersion": VERSION, **changes}}


def credential(**fields: str) -> str:
    answer = {"apiVersion": VERSION, "kind": "ExecCredential", "status": fields}
    return f"cat <<'END'\n{json.dumps(answer)}\nEND"


class TestTokens:
    async def test_in_the_kubeconfig(self, fake: FakeApi, tmp_path: Path) -> None:
        config = kubeconfig(tmp_path / "config", fake.url, {"token": fake.token})
        assert len((await listed(config)).nodes) == 1

    async def test_in_a_file_that_ends_with_a_newline(self, fake: FakeApi, tmp_path: Path) -> None:
        (tmp_path / "token").write_text(f"{fake.token}\n")
        config = kubeconfig(tmp_path / "config", fake.url, {"tokenFile": "token"})
        assert len((await listed(config)).nodes) == 1

    async def test_in_a_file_that_is_missing_or_empty(self, fake: FakeApi, tmp_path: Path) -> None:
        config = kubeconfig(tmp_path / "config", fake.url, {"tokenFile": "token"})
        assert f"tokenFile {tmp_path / 'token'} can't be read" in await refused(config)
        (tmp_path / "token").write_text("\n")
        assert f"tokenFile {tmp_path / 'token'} is empty" in await refused(config)

    async def test_a_wrong_one(self, fake: FakeApi, tmp_path: Path) -> None:
        config = kubeconfig(tmp_path / "config", fake.url, {"token": "wrong-secret"})
        found = await refused(config)
        assert "401 Unauthorized" in found
        assert f"kubeconfig {config}, context lab" in found
        assert "wrong-secret" not in found

    async def test_a_damaged_one_is_not_shown(self, fake: FakeApi, tmp_path: Path) -> None:
        config = kubeconfig(tmp_path / "config", fake.url, {"token": "wrong\r\nsecret"})
        assert "secret" not in await refused(config)

    async def test_name_and_password(self, fake: FakeApi, tmp_path: Path) -> None:
        basic = base64.b64encode(b"me:word").decode()
        fake.token = f"Basic {basic}"
        user = {"username": "me", "password": "word"}
        assert len((await listed(kubeconfig(tmp_path / "config", fake.url, user))).nodes) == 1

    async def test_a_service_account(self, fake: FakeApi, tmp_path: Path) -> None:
        (tmp_path / "token").write_text(fake.token)
        access = Access(
            origin="the service account",
            server=fake.url,
            cluster={"server": fake.url},
            user={"tokenFile": str(tmp_path / "token")},
        )
        snapshot = await list_cluster(
            kubernetes_cluster(None),
            now=time.time,
            rng=random.Random(1),
            find=lambda _source: access,
        )
        assert len(snapshot.nodes) == 1


class TestExecPlugin:
    async def test_a_token_by_its_rules(self, fake: FakeApi, tmp_path: Path) -> None:
        script = f'echo "$KUBERNETES_EXEC_INFO $1 $FLAVOUR" > seen\n{credential(token="a-token")}'
        user = plugin(
            tmp_path,
            f"cd {tmp_path}\n{script}",
            args=["get-token"],
            env=[{"name": "FLAVOUR", "value": "vanilla"}],
            provideClusterInfo=True,
        )
        config = kubeconfig(tmp_path / "config", fake.url, user)
        assert len((await listed(config)).nodes) == 1
        info, argument, flavour = (tmp_path / "seen").read_text().rsplit(" ", 2)
        assert (argument, flavour.strip()) == ("get-token", "vanilla")
        assert json.loads(info) == {
            "apiVersion": VERSION,
            "kind": "ExecCredential",
            "spec": {"interactive": False, "cluster": {"server": fake.url}},
        }

    @pytest.mark.parametrize(
        ("script", "words"),
        [
            ("echo 'not logged in' >&2; exit 3", "exit code 3: not logged in"),
            ("exit 1", "exit code 1: it said nothing"),
            ("echo a-secret-answer", "did not answer with JSON"),
            ("echo '{}'", "did not answer with an ExecCredential"),
            (credential(), "without a token or client certificate"),
            (credential(token="t").replace("/v1", "/v1beta1"), "another apiVersion"),
        ],
    )
    async def test_one_that_fails(
        self, fake: FakeApi, tmp_path: Path, script: str, words: str
    ) -> None:
        config = kubeconfig(tmp_path / "config", fake.url, plugin(tmp_path, script))
        found = await refused(config)
        assert words in found
        assert f"kubeconfig {config}, context lab" in found
        assert "a-secret-answer" not in found

    async def test_one_that_is_not_installed(self, fake: FakeApi, tmp_path: Path) -> None:
        user = {"exec": {"command": "nplb-no-such", "apiVersion": VERSION, "installHint": "get it"}}
        config = kubeconfig(tmp_path / "config", fake.url, user)
        found = await refused(config)
        assert "nplb-no-such can't be run: it is in no directory of PATH; get it" in found

    async def test_one_that_hangs_is_ended_with_all_that_it_started(
        self, fake: FakeApi, tmp_path: Path
    ) -> None:
        config = kubeconfig(tmp_path / "config", fake.url, plugin(tmp_path, "sleep 3600; echo"))
        with pytest.raises(ConfigurationError, match=r"did not end within 0\.2 s"):
            await list_cluster(
                kubernetes_cluster(config),
                now=time.time,
                rng=random.Random(1),
                pacing=dataclasses.replace(FAST, exec_seconds=0.2),
            )

    async def test_one_that_says_a_lot_on_its_error_pipe(
        self, fake: FakeApi, tmp_path: Path
    ) -> None:
        noise = "i=0; while [ $i -lt 3000 ]; do echo 'a warning of some length, again' >&2; "
        script = f"{noise} i=$((i+1)); done\n{credential(token='a-token')}"
        config = kubeconfig(tmp_path / "config", fake.url, plugin(tmp_path, script))
        assert len((await listed(config)).nodes) == 1

    async def test_it_runs_once_for_all_that_wait(self, fake: FakeApi, tmp_path: Path) -> None:
        script = f"echo x >> {tmp_path}/runs; sleep 0.2; exit 1"
        config = kubeconfig(tmp_path / "config", fake.url, plugin(tmp_path, script))
        namespaces = tuple(f"n{number}" for number in range(20))
        async with reading(kubernetes_cluster(config, namespaces=namespaces)) as said:
            await said.until_error("exit code 1")
            runs = (await asyncio.to_thread((tmp_path / "runs").read_text)).count("x")
            # 41 feeds wait, and each has its own pace after that.
            assert runs <= 1 + said.status.attempts
            plugin(tmp_path, credential(token="a-token"))
            await said.until_live()


class TestCertificates:
    @pytest.fixture
    async def strict(self) -> AsyncIterator[str]:
        """A server that takes client certificates of the test CA only; its address."""
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(TLS / "server.pem")
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(TLS / "ca.pem")

        async def page(_request: web.Request) -> web.Response:
            node = {"metadata": {"name": "a"}}
            items = [node] if _request.path.endswith("nodes") else []
            return web.json_response({"metadata": {"resourceVersion": "1"}, "items": items})

        app = web.Application()
        app.router.add_get("/{path:.*}", page)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.01)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
        yield f"https://127.0.0.1:{runner.addresses[0][1]}"
        await runner.cleanup()

    async def test_as_files(self, strict: str, tmp_path: Path) -> None:
        user = {
            "client-certificate": str(TLS / "client.pem"),
            "client-key": str(TLS / "client.key"),
        }
        authority = {"certificate-authority": str(TLS / "ca.pem")}
        config = kubeconfig(tmp_path / "config", strict, user, **authority)
        assert len((await listed(config)).nodes) == 1

    async def test_within_the_kubeconfig(
        self, strict: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def data(name: str) -> str:
            return base64.b64encode((TLS / name).read_bytes()).decode()

        temporary = tmp_path / "tmp"
        temporary.mkdir()
        monkeypatch.setattr("tempfile.tempdir", str(temporary))
        user = {
            "client-certificate-data": data("client.pem"),
            "client-key-data": data("client.key"),
        }
        authority = {"certificate-authority-data": data("ca.pem")}
        config = kubeconfig(tmp_path / "config", strict, user, **authority)
        assert len((await listed(config)).nodes) == 1
        # The key does not stay behind on disk.
        assert list(temporary.iterdir()) == []

    async def test_from_a_plugin(self, strict: str, tmp_path: Path) -> None:
        fields = {
            "clientCertificateData": (TLS / "client.pem").read_text(),
            "clientKeyData": (TLS / "client.key").read_text(),
        }
        authority = {"certificate-authority": str(TLS / "ca.pem")}
        user = plugin(tmp_path, credential(**fields))
        config = kubeconfig(tmp_path / "config", strict, user, **authority)
        assert len((await listed(config)).nodes) == 1

    async def test_an_untrusted_server_is_used_if_told_so(
        self, fake: FakeApi, tmp_path: Path
    ) -> None:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(TLS / "other.pem")
        app = web.Application()

        async def page(_request: web.Request) -> web.Response:
            return web.json_response({"metadata": {"resourceVersion": "1"}, "items": []})

        app.router.add_get("/{path:.*}", page)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.01)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
        url = f"https://127.0.0.1:{runner.addresses[0][1]}"
        try:
            for trust in (
                {"insecure-skip-tls-verify": True},
                {"certificate-authority": str(TLS / "ca.pem"), "tls-server-name": "other.example"},
            ):
                config = kubeconfig(tmp_path / "config", url, {"token": "t"}, **trust)
                assert (await listed(config)).nodes == ()
        finally:
            await runner.cleanup()

    @pytest.mark.parametrize(
        ("user", "words"),
        [
            ({"client-certificate": "gone.pem", "client-key": "k"}, "gone.pem can't be read"),
            ({"client-certificate-data": "A"}, "client-certificate-data is not base64"),
            (
                {"client-certificate-data": "QUJD"},
                "there is a client-certificate and no client-key",
            ),
            (
                {"client-certificate-data": "QUJD", "client-key-data": "QUJD"},
                "its certificates can't be used",
            ),
        ],
    )
    async def test_damaged_ones(
        self, strict: str, tmp_path: Path, user: dict[str, Any], words: str
    ) -> None:
        config = kubeconfig(tmp_path / "config", strict, user)
        found = await refused(config)
        assert words in found
        assert str(config) in found

    async def test_a_damaged_authority(self, strict: str, tmp_path: Path) -> None:
        (tmp_path / "ca").write_text("no certificate")
        cluster = {"certificate-authority": "ca"}
        config = kubeconfig(tmp_path / "config", strict, {"token": "t"}, **cluster)
        assert "its certificates can't be used" in await refused(config)


async def test_no_credential_is_logged_or_told(
    fake: FakeApi, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    secret = "a-token-nobody-may-see"
    fake.token = secret
    user = plugin(tmp_path, credential(token=secret))
    config = kubeconfig(tmp_path / "config", fake.url, user)
    async with reading(kubernetes_cluster(config)) as said:
        await said.until_watching(fake)
        for behaviour in (answers(401, status(401, "no")), answers(502, "<html>", "text/html")):
            fake.always(behaviour)
            fake.hang_up()
            await said.until_error("answers")
            fake.always(None)
            await said.until_live()
        await fake.stop()
        await said.until_error("connection refused")
        await fake.start()
        await said.until_live()
    told = caplog.text + "".join(map(repr, said.statuses))
    assert secret not in told


class TestOnce:
    """One-shot commands end with one clear error."""

    async def test_unreachable(self, fake: FakeApi, tmp_path: Path) -> None:
        config = kubeconfig(tmp_path / "config", fake.url, {"token": fake.token})
        await fake.stop()
        with pytest.raises(ClusterError, match="connection refused"):
            await listed(config)
        await fake.start()

    async def test_a_missing_right(self, fake: FakeApi, tmp_path: Path) -> None:
        config = kubeconfig(tmp_path / "config", fake.url, {"token": fake.token})
        fake.always(answers(403, status(403, "no", "Forbidden")), ("list", "endpointslices"))
        with pytest.raises(
            ClusterError, match=r"endpointslices\.discovery\.k8s\.io in namespace x"
        ):
            await listed(config, namespaces=("x",))

    async def test_a_kubeconfig_that_is_missing(self, tmp_path: Path) -> None:
        assert "does not exist" in await refused(tmp_path / "gone")
        with pytest.raises(ConfigurationError, match="does not exist"):
            check_source(kubernetes_cluster(tmp_path / "gone"))

    async def test_check_asks_no_server(self, fake: FakeApi, tmp_path: Path) -> None:
        check_source(kubernetes_cluster(kubeconfig(tmp_path / "config", fake.url, {})))
        assert fake.seen == []

    async def test_a_context(self, fake: FakeApi, tmp_path: Path) -> None:
        config = kubeconfig(tmp_path / "config", fake.url, {"token": fake.token})
        settings = dataclasses.replace(
            kubernetes_cluster(config), source=KubernetesSource(kubeconfig=config, context="prd")
        )
        with pytest.raises(ConfigurationError, match="it has: lab"):
            await list_once(settings, now=time.time, rng=random.Random(1))
        assert find_access(KubernetesSource(kubeconfig=config, context="lab")).server == fake.url
