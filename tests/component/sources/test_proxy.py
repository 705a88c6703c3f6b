"""Ways to an API server through a proxy: `proxy-url`, the environment, and exceptions from it."""

import asyncio
import random
import ssl
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import pytest

from nplb.aio.tasks import TaskOwner
from nplb.sources.factory import list_once
from tests.support.fakeapi import FakeApi, serving
from tests.support.reading import kubeconfig, kubernetes_cluster

TLS = Path(__file__).parents[2] / "support" / "tls"


class Proxy:
    """A proxy that knows CONNECT. `asked` are the addresses it was asked for."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.url = ""
        self._tasks = TaskOwner("proxy")
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def stop(self) -> None:
        assert self._server is not None
        self._server.close()
        await self._tasks.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        verb, where, *_ = head.decode().split()
        assert verb == "CONNECT"
        self.asked.append(where)
        host, _, port = where.rpartition(":")
        far_reader, far_writer = await asyncio.open_connection(host, int(port))
        writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        self._tasks.spawn(_copy(reader, far_writer), "there")
        self._tasks.spawn(_copy(far_reader, writer), "back")


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    writer.close()


@pytest.fixture
async def proxy() -> AsyncIterator[Proxy]:
    server = Proxy()
    await server.start()
    yield server
    await server.stop()


@pytest.fixture
async def fake() -> AsyncIterator[FakeApi]:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(TLS / "server.pem")
    async with serving(tls=context) as server:
        server.put("nodes", {"metadata": {"name": "a"}})
        yield server


async def read_through(fake: FakeApi, tmp_path: Path, **cluster: str) -> int:
    """How many Nodes a list shows."""
    authority = {"certificate-authority": str(TLS / "ca.pem")}
    path = kubeconfig(tmp_path / "config", fake.url, {"token": fake.token}, **authority, **cluster)
    settings = kubernetes_cluster(path)
    return len((await list_once(settings, now=time.time, rng=random.Random(1))).nodes)


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("https_proxy", "http_proxy", "no_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


async def test_by_the_kubeconfig(fake: FakeApi, proxy: Proxy, tmp_path: Path) -> None:
    assert await read_through(fake, tmp_path, **{"proxy-url": proxy.url}) == 1
    assert set(proxy.asked) == {f"127.0.0.1:{fake.port}"}


async def test_by_the_environment_but_for_its_exceptions(
    fake: FakeApi, proxy: Proxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", proxy.url)
    assert await read_through(fake, tmp_path) == 1
    assert proxy.asked
    proxy.asked.clear()
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    assert await read_through(fake, tmp_path) == 1
    assert not proxy.asked
