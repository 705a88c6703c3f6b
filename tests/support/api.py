"""The lab's API server for tests: `api` listens on loopback, `quiet_api` is in process only."""

import asyncio
import io
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

import aiohttp
import pytest

from nplb.lab.api.server import ApiServer

TOKEN = "test-token"


def make_api(**options: Any) -> ApiServer:
    """An API server with dice of its own, not started."""
    return ApiServer(rng=random.Random(7), token=TOKEN, **options)


def service(name: str, *ports: Mapping[str, Any], **spec: Any) -> dict[str, Any]:
    """A NodePort Service, one port 80 unless given."""
    listed = [dict(port) for port in ports] or [{"port": 80}]
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name},
        "spec": {"type": "NodePort", "selector": {"app": name}, "ports": listed, **spec},
    }


@dataclass(frozen=True, slots=True)
class Answer:
    """Status, headers and body of an answer; the body is JSON if it can be read so."""

    status: int
    headers: Mapping[str, str]
    body: Any


class Client:
    """Sends requests to an API server, with its token."""

    def __init__(self, api: ApiServer, session: aiohttp.ClientSession) -> None:
        self.api = api
        self.session = session

    async def __call__(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        content_type: str = "application/json",
        token: str | None = TOKEN,
        accept: str = "application/json",
    ) -> Answer:
        """One request, answered whole."""
        headers = {"Accept": accept, "User-Agent": "test/1", "Content-Type": content_type}
        if token is not None:
            headers["Authorization"] = f"Bearer {token}"
        is_raw = body is None or isinstance(body, bytes | str | io.IOBase)
        async with self.session.request(
            method,
            self.api.url + path,
            headers=headers,
            **({"data": body} if is_raw else {"json": body}),
        ) as answer:
            text = await answer.text()
            try:
                value = await answer.json(content_type=None)
            except ValueError:
                value = text
            return Answer(answer.status, answer.headers, value)


async def until(condition: Callable[[], Awaitable[object]], what: str) -> None:
    """Ask again and again until the answer is true; fail with `what` was awaited."""
    deadline = time.monotonic() + 20
    while not await condition():
        assert time.monotonic() < deadline, f"still not: {what}"
        await asyncio.sleep(0.01)


@pytest.fixture
def quiet_api() -> ApiServer:
    """An API server that is used in process."""
    return make_api()


@pytest.fixture
async def api() -> AsyncIterator[ApiServer]:
    """An API server that listens."""
    server = make_api()
    await server.start()
    yield server
    await server.stop()


@pytest.fixture
async def send(api: ApiServer) -> AsyncIterator[Client]:
    """A client of `api`."""
    async with aiohttp.ClientSession() as session:
        yield Client(api, session)
