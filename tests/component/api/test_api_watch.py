"""Watches over HTTP: what comes first, what comes later, and how they end."""

import asyncio
import json
from typing import Any

import aiohttp
import pytest

from nplb.lab.api.server import ApiServer
from tests.support.api import TOKEN, Client, api, make_api, send, service
from tests.support.golden import TABLE

__all__ = ["api", "send"]

SERVICES = "/api/v1/services"


async def _events(
    session: aiohttp.ClientSession, url: str, count: int, accept: str = "application/json"
) -> list[dict[str, Any]]:
    """The first events of a watch, which is then left."""
    headers = {"Authorization": f"Bearer {TOKEN}", "Accept": accept}
    found: list[dict[str, Any]] = []
    async with asyncio.timeout(20), session.get(url, headers=headers) as answer:
        assert answer.status == 200
        while len(found) < count:
            line = await answer.content.readline()
            assert line.endswith(b"\n")
            found.append(json.loads(line))
    return found


def _told(events: list[dict[str, Any]]) -> list[tuple[str, str]]:
    return [(event["type"], event["object"]["metadata"].get("name", "")) for event in events]


async def test_what_exists_comes_first_unless_a_version_is_given(
    api: ApiServer, send: Client
) -> None:
    created = api.create("services", service("web"))
    url = api.url + SERVICES
    for query in ("?watch=1", "?watch=1&resourceVersion=0"):
        events = await _events(send.session, url + query, 2)
        assert _told(events) == [("ADDED", "kubernetes"), ("ADDED", "web")]
    version = created["metadata"]["resourceVersion"]
    api.patch("services", "web", {"metadata": {"labels": {"a": "b"}}})
    api.delete("services", "web")
    events = await _events(send.session, f"{url}?watch=1&resourceVersion={version}", 2)
    assert _told(events) == [("MODIFIED", "web"), ("DELETED", "web")]
    assert events[1]["object"]["metadata"]["resourceVersion"] == str(api.store.revision)


async def test_one_namespace_and_one_name(api: ApiServer, send: Client) -> None:
    api.create("namespaces", {"metadata": {"name": "shop"}})
    for space in ("shop", "default"):
        api.create("services", service("web"), space)
    path = "/api/v1/namespaces/shop/services?watch=1"
    events = await _events(send.session, api.url + path, 1)
    assert events[0]["object"]["metadata"]["namespace"] == "shop"
    path = f"{SERVICES}?watch=1&fieldSelector=metadata.name%3Dweb"
    events = await _events(send.session, api.url + path, 2)
    spaces = [event["object"]["metadata"]["namespace"] for event in events]
    assert spaces == ["default", "shop"]


async def test_bookmarks_say_how_far_a_watch_has_come() -> None:
    api = make_api(bookmark_seconds=0.1)
    await api.start()
    try:
        version = api.store.revision
        query = f"?watch=1&allowWatchBookmarks=true&resourceVersion={version}"
        async with aiohttp.ClientSession() as session:
            first = await _events(session, api.url + SERVICES + query, 1)
            assert first[0]["type"] == "BOOKMARK"
            assert first[0]["object"]["kind"] == "Service"
            assert first[0]["object"]["metadata"] == {"resourceVersion": str(version)}
            # Changes of other kinds move it on as well.
            api.create("configmaps", {"metadata": {"name": "x"}})
            last = await _events(session, api.url + SERVICES + query, 1)
            moved = last[0]["object"]["metadata"]["resourceVersion"]
            assert moved == str(api.store.revision)
            assert int(moved) > version
            plain = f"?watch=1&resourceVersion={version}&timeoutSeconds=1"
            headers = {"Authorization": f"Bearer {TOKEN}"}
            async with session.get(api.url + SERVICES + plain, headers=headers) as answer:
                assert await answer.read() == b""
    finally:
        await api.stop()


async def test_a_streaming_list_ends_with_a_bookmark(api: ApiServer, send: Client) -> None:
    query = (
        "?watch=1&sendInitialEvents=true&allowWatchBookmarks=true&resourceVersionMatch=NotOlderThan"
    )
    events = await _events(send.session, api.url + SERVICES + query, 2)
    assert _told(events) == [("ADDED", "kubernetes"), ("BOOKMARK", "")]
    marks = events[1]["object"]["metadata"]["annotations"]
    assert marks == {"k8s.io/initial-events-end": "true"}


@pytest.mark.parametrize(
    "query",
    ["sendInitialEvents=true", "resourceVersionMatch=NotOlderThan&resourceVersion=1"],
)
async def test_options_that_do_not_go_together(send: Client, query: str) -> None:
    answer = await send("GET", f"{SERVICES}?watch=1&{query}")
    assert (answer.status, answer.body["reason"]) == (422, "Invalid")


async def test_a_table_brings_its_columns_once(api: ApiServer, send: Client) -> None:
    api.create("services", service("web"))
    events = await _events(send.session, f"{api.url}{SERVICES}?watch=1", 2, accept=TABLE)
    first, second = (event["object"] for event in events)
    assert first["kind"] == "Table"
    assert [column["name"] for column in first["columnDefinitions"]][:2] == ["Name", "Type"]
    assert second["columnDefinitions"] is None
    assert second["rows"][0]["cells"][0] == "web"


async def test_a_version_that_the_cache_has_forgotten_is_expired() -> None:
    api = make_api(cache_size=3)
    await api.start()
    try:
        old = api.store.revision
        for number in range(9):
            api.create("configmaps", {"metadata": {"name": f"c{number}"}})
        url = f"{api.url}/api/v1/configmaps?watch=1&resourceVersion={old}"
        async with aiohttp.ClientSession() as session:
            (event,) = await _events(session, url, 1)
        begun = api.store.cache_start("configmaps")
        assert event["type"] == "ERROR"
        assert event["object"]["code"] == 410
        assert event["object"]["message"] == f"too old resource version: {old} ({begun})"
    finally:
        await api.stop()


async def test_many_watches_all_see_everything_in_order(api: ApiServer, send: Client) -> None:
    url = f"{api.url}{SERVICES}?watch=1&resourceVersion={api.store.revision}"
    async with asyncio.TaskGroup() as group:
        watches = [
            group.create_task(_events(send.session, url, 30), name=f"watch-{n}") for n in range(20)
        ]
        for number in range(10):
            api.create("services", service(f"s{number}"))
            await asyncio.sleep(0)
            api.patch("services", f"s{number}", {"metadata": {"labels": {"a": "b"}}})
            api.delete("services", f"s{number}")
    expected = [
        (type_, f"s{number}") for number in range(10) for type_ in ("ADDED", "MODIFIED", "DELETED")
    ]
    for watch in watches:
        assert _told(watch.result()) == expected


async def test_events_are_served_in_both_groups(api: ApiServer, send: Client) -> None:
    api.create(
        "events",
        {
            "metadata": {"name": "e", "namespace": "default"},
            "involvedObject": {"kind": "Service", "name": "web", "namespace": "default"},
            "reason": "Tested",
            "message": "it was",
            "reportingComponent": "test",
        },
    )
    path = "/apis/events.k8s.io/v1/namespaces/default/events"
    (event,) = await _events(send.session, f"{api.url}{path}?watch=1", 1)
    assert event["object"]["apiVersion"] == "events.k8s.io/v1"
    assert event["object"]["note"] == "it was"
    assert event["object"]["regarding"]["name"] == "web"
    listed = (await send("GET", path)).body["items"]
    assert listed[0]["reportingController"] == "test"
    series = {"series": {"count": 2, "lastObservedTime": "2026-01-01T00:00:00.000000Z"}}
    answer = await send("PATCH", f"{path}/e", series, content_type="application/merge-patch+json")
    assert answer.status == 200
    stored = api.store.get("events", "e", "default")
    assert stored is not None
    assert (stored["message"], stored["series"]["count"]) == ("it was", 2)
