"""The faults of the API server, as a client meets them."""

import asyncio
import json
import socket

import aiohttp
import pytest

from nplb.lab.api.faults import FaultKind
from nplb.lab.api.server import ApiServer
from tests.support.api import TOKEN, Client, api, send, service, until
from tests.support.eventually import eventually

__all__ = ["api", "send"]

SERVICES = "/api/v1/services"
WATCH = f"{SERVICES}?watch=1&timeoutSeconds=30"


class Stream:
    """An open watch, and what came through it."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self.received = b""
        self.error: BaseException | None = None
        self.opened = asyncio.Event()
        self.ended = asyncio.Event()

    async def run(self, path: str = WATCH) -> None:
        """Read until it ends, one way or another."""
        headers = {"Authorization": f"Bearer {TOKEN}"}
        url = self._client.api.url + path
        try:
            async with self._client.session.get(url, headers=headers) as answer:
                assert answer.status == 200
                self.opened.set()
                async for chunk in answer.content.iter_any():
                    self.received += chunk
        except aiohttp.ClientError as error:
            self.error = error
        finally:
            self.opened.set()
            self.ended.set()

    def names(self) -> list[str]:
        """The objects of whole events, in order."""
        lines = self.received.split(b"\n")[:-1]
        return [json.loads(line)["object"]["metadata"]["name"] for line in lines]


async def _until(event: asyncio.Event) -> None:
    async with asyncio.timeout(20):
        await event.wait()


@pytest.mark.parametrize(
    ("kind", "status", "reason"),
    [
        (FaultKind.TOO_MANY_REQUESTS, 429, "TooManyRequests"),
        (FaultKind.UNAUTHORIZED, 401, "Unauthorized"),
        (FaultKind.INTERNAL_ERROR, 500, "InternalError"),
    ],
)
async def test_refusals_of_every_request_until_cleared(
    api: ApiServer, send: Client, kind: FaultKind, status: int, reason: str
) -> None:
    api.faults.start(kind)
    for path in (SERVICES, WATCH):
        answer = await send("GET", path)
        assert (answer.status, answer.body["reason"]) == (status, reason)
    assert list(api.faults.active) == [kind]
    api.faults.clear(kind)
    assert (await send("GET", SERVICES)).status == 200


async def test_a_busy_server_says_when_to_come_back(api: ApiServer, send: Client) -> None:
    api.faults.too_many_requests(retry_after=7)
    answer = await send("GET", SERVICES)
    assert answer.headers["Retry-After"] == "7"
    assert answer.body["details"]["retryAfterSeconds"] == 7


async def test_a_proxy_in_front_answers_with_html(api: ApiServer, send: Client) -> None:
    api.faults.bad_gateway()
    answer = await send("GET", WATCH)
    assert answer.status == 502
    assert answer.headers["Content-Type"].startswith("text/html")
    assert "502 Bad Gateway" in answer.body


async def test_a_fault_ends_by_itself(api: ApiServer, send: Client) -> None:
    api.faults.internal_error(3600)
    assert (await send("GET", SERVICES)).status == 500
    api.faults.internal_error(0.2)

    async def is_well() -> bool:
        return (await send("GET", SERVICES)).status == 200

    await until(is_well, "is_well")
    assert not api.faults.active


async def test_a_right_can_be_taken_away_and_given_back(api: ApiServer, send: Client) -> None:
    api.faults.forbid("watch", "services")
    api.faults.forbid("*", "endpointslices", "shop")
    answer = await send("GET", WATCH)
    assert answer.status == 403
    assert answer.body["message"] == (
        'services is forbidden: User "nplb-lab-admin" cannot watch resource "services" '
        'in API group "" at the cluster scope'
    )
    slices = "/apis/discovery.k8s.io/v1/namespaces/{}/endpointslices/x"
    answer = await send("GET", slices.format("shop"))
    assert answer.body["message"] == (
        'endpointslices.discovery.k8s.io "x" is forbidden: User "nplb-lab-admin" cannot get '
        'resource "endpointslices" in API group "discovery.k8s.io" in the namespace "shop"'
    )
    assert (await send("GET", slices.format("default"))).status == 404
    assert (await send("GET", SERVICES)).status == 200
    api.faults.allow()
    assert (await send("GET", f"{SERVICES}?watch=1&timeoutSeconds=1")).status == 200


async def test_a_hanging_server_takes_requests_and_answers_when_it_is_over(
    api: ApiServer, send: Client
) -> None:
    api.faults.hang()
    async with asyncio.TaskGroup() as group:
        request = group.create_task(send("GET", SERVICES), name="request")
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.3):
                await asyncio.shield(request)
        api.faults.clear()
    assert request.result().status == 200


async def test_a_client_that_gives_up_on_a_hanging_server_leaves_nothing_behind(
    api: ApiServer, send: Client
) -> None:
    api.faults.hang()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.2):
            await send("POST", "/api/v1/namespaces/default/services", service("web"))
    await asyncio.sleep(0.2)  # for the server to see that the client has left
    api.faults.clear()
    assert (await send("GET", SERVICES)).status == 200
    assert api.store.get("services", "web", "default") is None


async def test_a_server_that_is_down_refuses_and_comes_back_at_the_same_address(
    api: ApiServer, send: Client
) -> None:
    stream = Stream(send)
    url = api.url
    async with asyncio.TaskGroup() as group:
        group.create_task(stream.run(), name="stream")
        await _until(stream.opened)
        api.faults.down(3600)
        with pytest.raises(aiohttp.ClientConnectorError):
            await send("GET", SERVICES)
        await _until(stream.ended)
        api.faults.down(0.1)
    assert stream.error is not None

    async def is_back() -> bool:
        try:
            return (await send("GET", SERVICES)).status == 200
        except aiohttp.ClientConnectionError:
            return False

    await until(is_back, "is_back")
    assert api.url == url
    # It was away, not made anew: what a client knew still holds.
    answer = await send("GET", f"{SERVICES}?watch=1&resourceVersion=5&timeoutSeconds=1")
    assert "Expired" not in str(answer.body)


async def test_down_until_cleared_and_twice(api: ApiServer, send: Client) -> None:
    async def answers() -> bool:
        try:
            return (await send("GET", SERVICES)).status == 200
        except aiohttp.ClientConnectionError:
            return False

    for _ in range(2):
        api.faults.down()
        assert not await answers()
        api.faults.clear()
        await until(answers, "answers")


async def test_nobody_else_gets_the_address_of_a_server_that_is_down(api: ApiServer) -> None:
    address = ("127.0.0.1", int(api.url.rpartition(":")[2]))
    api.faults.down()
    with socket.socket() as other, pytest.raises(OSError, match="Address already in use"):
        other.bind(address)
    await api.stop()
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.bind(address)


async def test_after_a_restart_everybody_lists_again(api: ApiServer, send: Client) -> None:
    for name in "abc":
        await send("POST", "/api/v1/namespaces/default/services", service(name))
    first = await send("GET", f"{SERVICES}?limit=2")
    revision = first.body["metadata"]["resourceVersion"]
    stream = Stream(send)
    async with asyncio.TaskGroup() as group:
        group.create_task(stream.run(f"{WATCH}&resourceVersion={revision}"), name="stream")
        await _until(stream.opened)
        api.faults.restart()
        await _until(stream.ended)

    async def expired() -> bool:
        try:
            path = f"{SERVICES}?watch=1&resourceVersion={revision}&timeoutSeconds=5"
            answer = await send("GET", path)
        except aiohttp.ClientConnectionError:
            return False
        assert answer.status == 200
        assert answer.body["type"] == "ERROR"
        assert answer.body["object"]["code"] == 410
        assert answer.body["object"]["reason"] == "Expired"
        return True

    await until(expired, "expired")
    token = first.body["metadata"]["continue"]
    assert (await send("GET", f"{SERVICES}?continue={token}")).status == 410
    again = await send("GET", SERVICES)
    names = [item["metadata"]["name"] for item in again.body["items"]]
    assert names == ["a", "b", "c", "kubernetes"]
    fresh = again.body["metadata"]["resourceVersion"]
    watch = await send("GET", f"{SERVICES}?watch=1&resourceVersion={fresh}&timeoutSeconds=1")
    assert (watch.status, watch.body) == (200, None)


async def test_a_stalled_watch_stays_open_and_brings_everything_afterwards(
    api: ApiServer, send: Client
) -> None:
    stream = Stream(send)
    async with asyncio.TaskGroup() as group:
        task = group.create_task(stream.run(), name="stream")
        await eventually(lambda: b"kubernetes" in stream.received, "the first event")
        api.faults.stall_watches()
        await send("POST", "/api/v1/namespaces/default/services", service("web"))
        await asyncio.sleep(0.2)  # for what should not come
        assert b'"web"' not in stream.received
        assert not stream.ended.is_set()
        api.faults.clear()
        await eventually(lambda: stream.names() == ["kubernetes", "web"], "both events")
        task.cancel()


async def test_a_stalled_watch_does_not_even_end(api: ApiServer, send: Client) -> None:
    stream = Stream(send)
    async with asyncio.TaskGroup() as group:
        group.create_task(stream.run(f"{SERVICES}?watch=1&timeoutSeconds=1"), name="stream")
        await eventually(lambda: b"kubernetes" in stream.received, "the first event")
        api.faults.stall_watches()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1.5):
                await stream.ended.wait()
        api.faults.clear()
        await _until(stream.ended)
    assert stream.error is None


@pytest.mark.parametrize("is_busy", [False, True])
async def test_a_stream_is_cut_in_the_middle_of_a_line(
    api: ApiServer, send: Client, is_busy: bool
) -> None:
    stream = Stream(send)
    async with asyncio.TaskGroup() as group:
        group.create_task(stream.run(), name="stream")
        await eventually(lambda: b"kubernetes" in stream.received, "the first event")
        if is_busy:
            api.create("services", service("web"))
        api.faults.cut_streams()
        await _until(stream.ended)
    assert isinstance(stream.error, aiohttp.ClientPayloadError)
    assert not stream.received.endswith(b"\n")
    assert stream.received.split(b"\n")[-1].startswith(b'{"type":')
    assert (await send("GET", f"{SERVICES}?watch=1&timeoutSeconds=1")).status == 200


async def test_streams_that_open_during_a_cut_break_off_in_their_first_line(
    api: ApiServer, send: Client
) -> None:
    api.faults.cut_streams(None)
    stream = Stream(send)
    await stream.run()
    assert isinstance(stream.error, aiohttp.ClientPayloadError)
    assert b"\n" not in stream.received
    assert stream.received
    api.faults.clear()
    assert (await send("GET", f"{SERVICES}?watch=1&timeoutSeconds=1")).status == 200


async def test_stopping_ends_hanging_requests_and_streams(api: ApiServer, send: Client) -> None:
    stream = Stream(send)
    async with asyncio.TaskGroup() as group:
        group.create_task(stream.run(), name="stream")
        await _until(stream.opened)
        async with asyncio.timeout(10):
            await api.stop()
            await api.stop()
        await _until(stream.ended)
    with pytest.raises(aiohttp.ClientConnectionError):
        await send("GET", SERVICES)
