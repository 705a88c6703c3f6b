"""The lab's API server answers what a real kube-apiserver v1.36.2 was recorded answering.

Files are replayed in the order in which they were recorded, each on what those before it left.
Nothing is left out but what the lab does not promise, which stands here:

07  the bookmarks at 60 and 73 seconds of a watch of 75: watches are cut to one second here, and
    bookmarks have a test of their own (test_api_watch)
01  the kinds that the lab does not have, and what the server calls itself
09  the numbers in "too old resource version: 5 (8706)": the second is where the cache began
"""

import random
import re
from collections.abc import AsyncIterator, Callable
from typing import Any

import aiohttp
import pytest

from nplb.lab.api.server import ApiServer
from tests.support.golden import Replay, load

FILES = (
    "02-service-create.json",
    "03-service-update.json",
    "04-lists-and-errors.json",
    "05-nodes.json",
    "06-endpointslices.json",
    "07-watches.json",
)


@pytest.fixture
async def server() -> AsyncIterator[ApiServer]:
    # The recorded server ran alone, without controllers.
    server = ApiServer(rng=random.Random(36), token="recorded", mirror_endpoints=False)
    await server.start()
    yield server
    await server.stop()


@pytest.fixture
async def replay(server: ApiServer) -> AsyncIterator[Replay]:
    async with aiohttp.ClientSession() as session:
        yield Replay(url=server.url, token=server.token, session=session)


async def _replay(replay: Replay, name: str) -> tuple[int, list[str]]:
    """How many exchanges of a file matched, and what differed in the others."""
    matched, found = 0, []
    for number, recorded in enumerate(load(name)):
        request = recorded["request"]
        differences = await replay.exchange(recorded)
        matched += not differences
        where = f"{name} #{number} {request['method']} {request['path']}"
        found += [f"{where}: {text}" for text in differences]
    return matched, found


Tell = Callable[[str, object], None]


@pytest.mark.parametrize("name", FILES)
async def test_every_recorded_exchange_matches(
    replay: Replay, name: str, record_property: Tell
) -> None:
    for earlier in FILES[: FILES.index(name)]:
        await _replay(replay, earlier)
    matched, found = await _replay(replay, name)
    record_property("told", f"{name}: {matched} of {len(load(name))} exchanges match")
    assert not found, "\n" + "\n".join(found)
    assert matched == len(load(name))


async def test_the_port_allocator_ends_where_the_replayed_services_left_it(
    server: ApiServer, replay: Replay
) -> None:
    for name in FILES[:2]:
        await _replay(replay, name)
    held = {
        number
        for service in server.store.list("services")
        for number in (
            *(port.get("nodePort") for port in service["spec"].get("ports", ())),
            service["spec"].get("healthCheckNodePort"),
        )
        if number
    }
    # Refusals, dry runs, updates and deletions leaked nothing.
    assert set(server.ports.ports()) == held
    report = server.repair_ports()
    assert report is not None
    assert not report.suspects
    assert not report.events


async def test_discovery_matches_for_the_kinds_that_the_lab_has(
    replay: Replay, record_property: Tell
) -> None:
    compared = 0
    for recorded in load("01-discovery.json"):
        request, expected = recorded["request"], recorded["response"]
        headers = {"Authorization": f"Bearer {replay.token}", **(request.get("headers") or {})}
        async with replay.session.get(replay.url + request["path"], headers=headers) as answer:
            assert answer.status == expected["status"]
            assert answer.headers["Content-Type"] == expected["headers"]["Content-Type"]
            if isinstance(expected["body"], str):
                _compare_health(expected["body"], await answer.text())
                compared += 1
                continue
            body = await answer.json(content_type=None)
        assert list(body) == list(expected["body"])
        compared += _compare_documents(expected["body"], body)
    record_property("told", f"01-discovery.json: {compared} entries match")
    assert compared > 30


def _compare_health(theirs: str, ours: str) -> None:
    """The list of checks is each server's own; how it is told is not."""
    assert ours.splitlines()[0] == theirs.splitlines()[0]
    assert ours.splitlines()[-1] == theirs.splitlines()[-1] or "\n" not in theirs


def _compare_documents(theirs: Any, ours: Any) -> int:
    """Every entry of ours is one of theirs, field by field; their subresources, groups and
    kinds that the lab has not are left out."""
    lists = [name for name, value in theirs.items() if isinstance(value, list)]
    compared = 0
    for name in lists:
        if name == "versions" or name == "serverAddressByClientCIDRs":
            compared += 1
            continue
        known = {_identity(entry): entry for entry in theirs[name]}
        for entry in ours[name]:
            their_entry = known[_identity(entry)]
            compared += _compare_entry(their_entry, entry)
    return compared or 1


def _compare_entry(theirs: Any, ours: Any) -> int:
    if "versions" in ours and "metadata" in ours:
        pairs = zip(theirs["versions"], ours["versions"], strict=True)
        return sum(_compare_entry(a, b) for a, b in pairs)
    if isinstance(ours.get("resources"), list):
        known = {_identity(entry): entry for entry in theirs["resources"]}
        return sum(_compare_entry(known[_identity(e)], e) for e in ours["resources"])
    inner = {_identity(entry): entry for entry in theirs.get("subresources", ())}
    for entry in ours.get("subresources", ()):
        assert entry == inner[_identity(entry)]
    plain_theirs = {k: v for k, v in theirs.items() if k != "subresources"}
    plain_ours = {k: v for k, v in ours.items() if k != "subresources"}
    assert plain_ours == plain_theirs
    return 1


def _identity(entry: Any) -> str:
    metadata = entry.get("metadata") or {}
    return str(
        entry.get("resource")
        or entry.get("subresource")
        or entry.get("name")
        or metadata.get("name")
        or ""
    )


async def test_a_watch_from_before_a_restart_is_expired(
    server: ApiServer, replay: Replay, record_property: Tell
) -> None:
    for name in FILES[:1]:
        await _replay(replay, name)
    server.faults.restart()
    watch, exact = load("09-watch-expired.json")
    begun = server.store.cache_start("services")
    event = watch["response"]["events"][0]["event"]["object"]
    event["message"] = re.sub(r"\(\d+\)", f"({begun})", event["message"])
    found = await replay.exchange(watch) + await replay.exchange(exact)
    record_property("told", f"09-watch-expired.json: {0 if found else 2} of 2 exchanges match")
    assert not found, found
