"""The dashboard's endpoints: events, details, history, ports and files."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from importlib import resources
from typing import Any

import aiohttp
import pytest
from yarl import URL

from nplb.model.decision import Decision, DecisionKind
from nplb.model.keys import Address, Protocol, ServiceKey
from nplb.model.ledger import (
    Band,
    BandView,
    EdgeLedgerView,
    EdgePortView,
    HeldPort,
    Holder,
    LedgerEntry,
    LedgerView,
)
from nplb.model.status import Status
from nplb.observe.journal import Journal
from nplb.web import stream
from nplb.web.server import AdminServer
from tests.support.eventually import eventually
from tests.support.status import NOW, frontend, large, status, troubled


class Page:
    """A server over a status that a test may replace."""

    def __init__(self, state: Status) -> None:
        self.state = state
        self.asked = 0
        self.journal = Journal()
        self.server = AdminServer(
            status=self.status, listen=Address("127.0.0.1", 0), journal=self.journal
        )

    def status(self) -> Status:
        self.asked += 1
        self.state = replace(self.state, now=self.state.now + 0.01)
        return self.state

    async def json(self, path: str, code: int = 200) -> Any:
        url = self.server.url + path
        async with aiohttp.ClientSession() as session, session.get(url) as answer:
            assert answer.status == code, await answer.text()
            return await answer.json()


@contextlib.asynccontextmanager
async def serving(state: Status) -> AsyncIterator[Page]:
    page = Page(state)
    await page.server.start()
    try:
        yield page
    finally:
        await page.server.stop()


class Events:
    """A reader of the event stream."""

    def __init__(self, content: aiohttp.StreamReader) -> None:
        self._content = content

    async def next(self, *names: str) -> Any:
        """The next event of one of these names; others are passed over."""
        name = ""
        async with asyncio.timeout(30):
            async for line in self._content:
                text = line.decode().rstrip("\n")
                if text.startswith("event: "):
                    name = text.removeprefix("event: ")
                elif text.startswith("data: ") and name in names:
                    return json.loads(text.removeprefix("data: "))
        raise AssertionError("the stream ended")


@contextlib.asynccontextmanager
async def watching(page: Page) -> AsyncIterator[Events]:
    url = page.server.url + "/api/v1/events"
    wide = aiohttp.ClientSession(read_bufsize=1 << 24)
    async with wide as session, session.get(url) as answer:
        assert answer.status == 200
        assert answer.content_type == "text/event-stream"
        yield Events(answer.content)


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "TICK_SECONDS", 0.05)


async def test_events_start_with_a_full_board_and_go_on_with_changes() -> None:
    async with serving(status(frontend())) as page, watching(page) as events:
        full = await events.next("full")
        assert [row["key"] for row in full["rows"]] == ["prod/shop/web:80/TCP"]
        assert full["overview"]["ready"] is True
        change = await events.next("change")
        assert change["at"] > full["at"]
        web = frontend(states=("passing", "timeout", "passing"))
        page.state = replace(page.state, plan=replace(page.state.plan, frontends=(web,)))
        while not (change := await events.next("change"))["rows"]:
            pass
        assert full["legend"][change["rows"]["0"]["cells"][1]] == ["down", "timeout"]
        page.state = status(frontend(), frontend("new", node_port=30099), now=page.state.now)
        assert len((await events.next("full"))["rows"]) == 2


async def test_events_carry_decisions() -> None:
    async with serving(status()) as page:
        page.journal.append(
            Decision(at=NOW, kind=DecisionKind.STARTED, subject="nplb", text="before")
        )
        async with watching(page) as events:
            await events.next("full")
            page.journal.append(
                Decision(at=NOW, kind=DecisionKind.RELOADED, subject="nplb", text="after")
            )
            news = await events.next("decisions")
            assert [one["text"] for one in news["decisions"]] == ["after"]
            assert news["last"] == 2


async def test_boards_are_drawn_once_for_all_and_only_while_somebody_watches() -> None:
    async with serving(large(50, 4)) as page:
        async with contextlib.AsyncExitStack() as stack:
            watchers = [await stack.enter_async_context(watching(page)) for _ in range(8)]
            for one in watchers:
                await one.next("full")
            before = page.asked
            for one in watchers:
                await one.next("change")
            assert page.asked - before < 8
        quiet = page.asked
        await eventually(lambda: _is_quiet(page), "nothing is drawn any more")
        assert page.asked >= quiet


def _is_quiet(page: Page) -> bool:
    tasks = [task.get_name() for task in asyncio.all_tasks()]
    return "web/stream" not in tasks


def test_a_watcher_that_does_not_read_costs_one_message() -> None:
    watcher = stream.Watcher()
    watcher.behind = False
    watcher.offer(b"first")
    assert (watcher.pending, watcher.behind) == (b"first", False)
    # The second finds the first still there: both go, and a full board will make up for them.
    watcher.offer(b"second")
    assert (watcher.pending, watcher.behind) == (None, True)
    watcher.offer(b"third")
    assert (watcher.pending, watcher.behind) == (None, True)
    watcher.behind = False
    watcher.offer(None)
    assert watcher.behind


async def test_a_fault_in_the_status_does_not_end_the_stream() -> None:
    async with serving(status(frontend())) as page, watching(page) as events:
        await events.next("full")
        good, page.state = page.state, None  # type: ignore[assignment]
        before = page.asked
        await eventually(lambda: page.asked > before + 2, "it has failed a few times")
        page.state = good
        await events.next("change", "full")


async def test_too_many_watchers_are_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "MAX_CLIENTS", 1)
    async with serving(status()) as page, watching(page) as events:
        await events.next("full")
        error = (await page.json("/api/v1/events", 503))["error"]
        assert error["message"] == "too many dashboards are open"


async def test_one_frontend_with_explanations() -> None:
    async with serving(troubled()) as page:
        document = await page.json("/api/v1/frontend?key=prod/shop/web:80/TCP")
        assert document["state"] == "serving"
        refused = document["backends"][1]
        assert refused["verdict"]["cause"] == "refused"
        assert "kube-proxy" in refused["explanation"]["meaning"]
        assert refused["traffic"]["connections"] == 30
        conflict = await page.json("/api/v1/frontend?key=prod/shop/api:80/TCP")
        assert "nginx" in conflict["listen_errors"][0]["detail"]
        error = (await page.json("/api/v1/frontend?key=prod/shop/none:80/TCP", 404))["error"]
        assert "prod/shop/none:80/TCP" in error["message"]
        assert "?key=" in (await page.json("/api/v1/frontend", 400))["error"]["message"]


async def test_one_node_in_every_frontend() -> None:
    async with serving(troubled()) as page:
        document = await page.json("/api/v1/node?cluster=prod&name=node-1")
        assert {one["frontend"]: one["state"] for one in document["backends"]} == {
            "prod/shop/api:80/TCP": "active",
            "prod/shop/mail:25/TCP": "down",
            "prod/shop/web:80/TCP": "down",
        }
        await page.json("/api/v1/node?cluster=other&name=node-1", 404)


async def test_the_last_hour() -> None:
    async with serving(status(frontend())) as page:
        document = await page.json("/api/v1/history")
        assert document["step_seconds"] == 5
        assert len(document["at"]) == len(document["bytes_out"]) == 1
        assert document["active"] == [3]
        document = await page.json("/api/v1/history?frontend=prod/shop/web:80/TCP")
        assert document["active"] == [3]
        await page.json("/api/v1/history?frontend=x", 404)


async def test_ports() -> None:
    holder = Holder(
        service=ServiceKey("prod", "shop", "web"),
        ports=(HeldPort(name="http", port=80, protocol=Protocol.TCP),),
    )
    ledger = LedgerView(
        cluster="prod",
        port_range="30000-32767",
        base=30000,
        size=2768,
        observed_at=NOW,
        entries=(LedgerEntry(number=30080, band=Band.STATIC, holders=(holder,), since=NOW),),
        bands=(BandView(band=Band.STATIC, first=30000, last=30085, used=1),),
    )
    edge = EdgeLedgerView(
        ports=(EdgePortView(address="0.0.0.0", port=30080, holder="prod/shop/web:80/TCP"),)
    )
    async with serving(status(ledgers=(ledger,), edge=edge)) as page:
        document = await page.json("/api/v1/ports")
        assert document["now"] >= NOW
        assert document["edge"]["ports"][0]["holder"] == "prod/shop/web:80/TCP"
        (shown,) = document["ledgers"]
        assert (shown["used"], shown["free"]) == (1, 2767)
        assert shown["bands"][0]["free"] == 85
        assert shown["entries"][0]["holders"][0]["service"]["text"] == "prod/shop/web"


async def test_the_pages_files() -> None:
    async with serving(status()) as page, aiohttp.ClientSession() as session:
        url = page.server.url
        async with session.get(url + "/") as answer:
            assert answer.content_type == "text/html"
            policy = answer.headers["Content-Security-Policy"]
            assert "script-src 'self'" in policy
            assert "unsafe" not in policy
            tag = answer.headers["ETag"]
            html = await answer.text()
        async with session.get(url + "/", headers={"If-None-Match": tag}) as answer:
            assert answer.status == 304
        for path in ("static/app.js", "static/style.css", "static/vendor/uplot/uPlot.esm.js"):
            async with session.get(f"{url}/{path}") as answer:
                assert answer.status == 200
        # Paths of its own alone: it works behind a prefix and offline.
        assert 'src="/' not in html
        assert 'href="/' not in html
        assert "http:" not in html.replace("http://www.w3.org", "")
        for path in ("static/../server.py", "static/%2e%2e/server.py", "static/", "static/none"):
            async with session.get(URL(f"{url}/{path}", encoded=True)) as answer:
                assert answer.status == 404, path


@pytest.mark.parametrize(
    ("name", "version", "licence"),
    [("uplot", "uPlot 1.6", "MIT"), ("inter", "@fontsource-variable/inter", "SIL Open Font")],
)
def test_what_is_vendored_says_what_it_is(name: str, version: str, licence: str) -> None:
    vendor = resources.files("nplb.web") / "static" / "vendor"
    assert sorted(one.name for one in vendor.iterdir()) == ["inter", "uplot"]
    assert version in (vendor / name / "VERSION.txt").read_text()
    assert licence in (vendor / name / "LICENSE").read_text()
