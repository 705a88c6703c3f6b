"""What proves who nplb is, and who the API server is, is replaced on disk while it runs: nobody
restarts it, and the plan stays meanwhile."""

import dataclasses
import json
import shutil
import ssl
import stat
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from nplb.model.cluster import SourceState
from nplb.model.settings import KubernetesSource
from nplb.sources.kubernetes.kubeconfig import Access, find_access
from tests.support.fakeapi import FakeApi, serving
from tests.support.reading import FAST, kubeconfig, kubernetes_cluster, reading

TLS = Path(__file__).parents[2] / "support" / "tls"


@pytest.fixture
async def fake() -> AsyncIterator[FakeApi]:
    async with serving(token="the-first-token") as server:
        server.put("services", {"metadata": {"name": "web"}, "spec": {"type": "NodePort"}})
        yield server


def in_kubeconfig(directory: Path, server: str, token: str) -> None:
    kubeconfig(directory / "config", server, {"token": token})


def in_a_file(directory: Path, server: str, token: str) -> None:
    (directory / "token").write_text(f"{token}\n")
    kubeconfig(directory / "config", server, {"tokenFile": "token"})


def by_a_plugin(directory: Path, server: str, token: str) -> None:
    version = "client.authentication.k8s.io/v1"
    answer = {"apiVersion": version, "kind": "ExecCredential", "status": {"token": token}}
    file = directory / "login.sh"
    file.write_text(f"#!/bin/sh\necho '{json.dumps(answer)}'\n")
    file.chmod(file.stat().st_mode | stat.S_IXUSR)
    user = {"exec": {"command": "./login.sh", "apiVersion": version}}
    kubeconfig(directory / "config", server, user)


def of_a_service_account(directory: Path, server: str, token: str) -> None:
    (directory / "token").write_text(token)
    (directory / "ca.crt").write_text((TLS / "ca.pem").read_text())


Write = Callable[[Path, str, str], None]


@pytest.mark.parametrize("write", [in_kubeconfig, in_a_file, by_a_plugin, of_a_service_account])
async def test_a_token(fake: FakeApi, tmp_path: Path, write: Write) -> None:
    write(tmp_path, fake.url, fake.token)

    def find(source: KubernetesSource) -> Access:
        if write is not of_a_service_account:
            return find_access(source)
        account = {"KUBERNETES_SERVICE_HOST": "127.0.0.1", "KUBERNETES_SERVICE_PORT": "1"}
        found = find_access(KubernetesSource(), environ=account, service_account=tmp_path)
        # A Pod's API server speaks TLS; this one does not.
        return Access(
            origin=found.origin, server=fake.url, cluster={"server": fake.url}, user=found.user
        )

    async with reading(kubernetes_cluster(tmp_path / "config"), find=find) as said:
        await said.until_services("web")
        fake.token = "the-second-token"
        fake.hang_up()
        await said.until_error("401 Unauthorized")
        assert said.services == ["default/web"]
        write(tmp_path, fake.url, fake.token)
        await said.until_live()
        fake.put("services", {"metadata": {"name": "late"}, "spec": {"type": "NodePort"}})
        await said.until_services("late", "web")
        for text in [status.error for status in said.statuses]:
            assert "-token" not in text


@pytest.fixture
async def strict() -> AsyncIterator[FakeApi]:
    """One that takes certificates of the test CA only, and has one of it."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(TLS / "server.pem")
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(TLS / "ca.pem")
    async with serving(token="", tls=context) as server:
        server.put("services", {"metadata": {"name": "web"}, "spec": {"type": "NodePort"}})
        yield server


def secured(directory: Path, server: str) -> Path:
    for name in ("client.pem", "client.key", "ca.pem"):
        shutil.copy(TLS / name, directory / name)
    user = {"client-certificate": "client.pem", "client-key": "client.key"}
    authority = {"certificate-authority": "ca.pem"}
    return kubeconfig(directory / "config", server, user, **authority)


@pytest.mark.parametrize("what", ["client certificate", "authority"])
async def test_certificates(strict: FakeApi, tmp_path: Path, what: str) -> None:
    config = secured(tmp_path, strict.url)
    # A session holds what it has read; the next one reads anew.
    pacing = dataclasses.replace(FAST, session_seconds=0.2, watch_seconds=(1, 1))
    async with reading(kubernetes_cluster(config), pacing) as said:
        await said.until_services("web")
        # They are replaced by others that do not serve.
        if what == "authority":
            shutil.copy(TLS / "other.pem", tmp_path / "ca.pem")
        else:
            shutil.copy(TLS / "other.pem", tmp_path / "client.pem")
            shutil.copy(TLS / "other.pem", tmp_path / "client.key")
        await said.until(
            lambda: said.status.state is SourceState.STALE, "the new ones to be refused"
        )
        assert said.status.error
        assert said.services == ["default/web"]
        secured(tmp_path, strict.url)
        await said.until_live()
        strict.put("services", {"metadata": {"name": "late"}, "spec": {"type": "NodePort"}})
        await said.until_services("late", "web")
