"""Finding one's way in the dashboard: filters, links, folds, words that the page does not know, and
a prefix that a proxy adds."""

from typing import Any

import aiohttp
from aiohttp import web

from nplb.model.decision import Decision, DecisionKind
from nplb.model.finding import Finding, FindingKind, Severity
from tests.support.browser import IN_A_BROWSER, Browser
from tests.support.status import NOW, frontend, large, status
from tests.ui.edges import MAIN, Edge, running, sound

pytestmark = IN_A_BROWSER


def decision(n: int, **fields: Any) -> Decision:
    values: dict[str, Any] = {
        "at": NOW - 10_000 + n,
        "kind": DecisionKind.RELOADED,
        "subject": "nplb",
        "text": f"reload {n}",
        **fields,
    }
    return Decision(**values)


def node_falls(at: float, node: str, services: int = 5) -> list[Decision]:
    return [
        decision(
            0,
            at=at,
            kind=DecisionKind.BACKEND_DOWN,
            subject=f"prod/shop/s{n}:80/TCP via {node}",
            reason="timeout",
            text=f"{node} is down for s{n}",
            service=f"prod/shop/s{n}",
            node=node,
            cluster="prod",
        )
        for n in range(services)
    ]


async def test_what_happened_together_is_one_line_that_unfolds(browser: Browser) -> None:
    async with running(status(frontend())) as edge:
        edge.journal.extend([decision(1), *node_falls(NOW - 50, "node-1"), decision(9960)])
        page = await browser.open()
        await page.go(f"{edge.url}#/timeline")
        await page.until(f"{MAIN}.includes('5 frontends on node-1')")
        assert await page.evaluate("document.querySelectorAll('.event').length") == 3
        assert "is down for s3" not in await page.text()
        await page.click("button[data-fold]")
        await page.until(f"{MAIN}.includes('node-1 is down for s3')")
        # It stays unfolded while more comes.
        edge.journal.append(decision(9970))
        await page.until(f"{MAIN}.includes('reload 9970')")
        assert "is down for s3" in await page.text()
        # A link to one of them unfolds them, and goes there.
        await page.go("about:blank")
        await page.go(f"{edge.url}#/timeline/3")
        await page.until("document.querySelector('#d3.marked') !== null")
        assert "is down for s1" in await page.text("#d3")
        sound(page, edge)


async def test_the_filter_of_the_timeline_is_in_the_address(browser: Browser) -> None:
    async with running(status(frontend())) as edge:
        edge.journal.extend([decision(n) for n in range(30)])
        edge.journal.extend(node_falls(NOW - 50, "node-7"))
        page = await browser.open()
        await page.go(f"{edge.url}#/timeline")
        await page.until(f"{MAIN}.includes('35 decisions')")
        await page.write("input[type=search]", "node-7")
        await page.until(f"{MAIN}.includes('5 of 35')")
        await page.click(".toggle")
        await page.tab.select_option("select", "Backends")
        address = await page.evaluate("location.href")
        other = await browser.open()
        await other.go(address)
        await other.until(f"{MAIN}.includes('5 of 35')")
        assert (
            await other.evaluate("document.querySelector('input[type=search]').value") == "node-7"
        )
        assert await other.evaluate("document.querySelector('select').value") == "Backends"
        await other.tab.select_option("select", "Findings")
        await other.until(f"{MAIN}.includes('No decision matches')")
        sound(other, edge)


async def test_decisions_of_long_ago_can_be_had(browser: Browser) -> None:
    async with running(status(frontend())) as edge:
        edge.journal.extend([decision(n) for n in range(1, 1201)])
        page = await browser.open()
        await page.go(f"{edge.url}#/timeline")
        await page.until(f"{MAIN}.includes('1000 decisions')")
        # A link to one that is not here yet asks for it.
        await page.evaluate("location.hash = '#/timeline/7'")
        await page.until("document.querySelector('#d7.marked') !== null")
        assert "1200 decisions" in await page.text()
        # Of very many at once none is lost.
        edge.journal.extend([decision(n) for n in range(1201, 1501)])
        await page.until(f"{MAIN}.includes('reload 1500')")
        await page.until(f"{MAIN}.includes('reload 1201')")
        sound(page, edge)


async def test_trouble_is_told_on_every_page_and_on_the_tab(browser: Browser) -> None:
    async with running(status(frontend())) as edge:
        page = await browser.open()
        await page.go(f"{edge.url}#/ports")
        await page.until("document.getElementById('health').innerText === 'All is well'")
        assert await page.evaluate("document.title") == "Ports · nplb"
        edge.state = status(frontend(states=("timeout", "timeout")), now=edge.state.now)
        await page.until("document.getElementById('health').innerText === '1 problem'")
        await page.until("document.title === '(1) Ports · nplb'")
        icon = "document.querySelector('link[rel=icon]').getAttribute('href')"
        assert await page.evaluate(icon) == "static/icon-error.svg"
        await page.click("#health")
        await page.until(f"{MAIN}.includes('shop/web:80 has no active backend: timeout')")
        await edge.stop()
        await page.until("document.title.startsWith('(stale)')")
        assert await page.evaluate("document.getElementById('health').innerText") == "unknown"


async def test_many_troubles_of_a_kind_are_one_line(browser: Browser) -> None:
    down = [frontend(f"svc-{n}", node_port=30_000 + n, states=("refused",) * 6) for n in range(8)]
    async with running(status(*down)) as edge:
        page = await browser.open()
        await page.go(edge.url)
        await page.until(f"{MAIN}.includes('8 frontends have no active backend: refused')")
        await page.until(f"{MAIN}.includes('Nothing works on 6 nodes: refused')")
        text = await page.text()
        assert "2 problems" in text
        assert "No other node works either." in text
        sound(page, edge)


async def test_a_finger_is_told_first_and_then_taken_there(browser: Browser) -> None:
    async with running(large(40, 8)) as edge:
        page = await browser.open(width=390, height=844, touch=True)
        await page.go(f"{edge.url}#/services")
        await page.until(f"{MAIN}.includes('40 frontends')")
        box = await page.evaluate(
            "(() => { const r = document.querySelector('canvas').getBoundingClientRect();"
            " return [r.x, r.y, r.width]; })()"
        )
        place = (box[0] + box[2] * 0.62, box[1] + 150)
        await page.tab.touchscreen.tap(*place)
        await page.until("!document.querySelector('.tip').hidden")
        assert "on node-" in await page.text(".tip")
        assert await page.evaluate("location.hash") == "#/services"
        await page.tab.touchscreen.tap(*place)
        await page.until("location.hash.startsWith('#/service/')")
        sound(page, edge)


async def test_words_that_the_page_does_not_know_are_shown_as_they_are(browser: Browser) -> None:
    """Pages stay open while nplb is upgraded under them."""
    finding = Finding(
        kind=FindingKind.PORT_LEAK,
        severity=Severity.WARNING,
        cluster="prod",
        subject="x",
        text="so it is",
        remedy="do something",
        since=NOW,
    )
    known = status(frontend(states=("passing", "refused")), findings=(finding,))
    async with running(known) as edge:
        edge.journal.append(decision(1, reason="passing", text="what was decided"))
        page = await browser.open()

        async def newer(route: Any) -> None:
            answer = await route.fetch()
            body = (
                (await answer.text())
                .replace("refused", "gremlins")
                .replace("reloaded", "teleported")
            )
            await route.fulfill(response=answer, body=body)

        await page.tab.route("**/api/v1/frontend*", newer)
        await page.tab.route("**/api/v1/decisions*", newer)
        await page.go(f"{edge.url}#/service/prod%2Fshop%2Fweb%3A80%2FTCP")
        await page.until(f"{MAIN}.includes('gremlins')")
        await page.evaluate("location.hash = '#/timeline'")
        await page.until(f"{MAIN}.includes('Teleported')")
        sound(page, edge)


async def behind(edge: Edge, prefix: str) -> tuple[web.AppRunner, int]:
    """A proxy that serves the edge at a prefix."""

    async def pass_on(request: web.Request) -> web.StreamResponse:
        url = edge.url + str(request.rel_url)[len(prefix) + 1 :]
        asked = {"Accept": request.headers["Accept"], "Accept-Encoding": "identity"}
        async with aiohttp.ClientSession() as session, session.get(url, headers=asked) as answer:
            response = web.StreamResponse(status=answer.status)
            for name in ("Content-Type", "Content-Security-Policy"):
                if name in answer.headers:
                    response.headers[name] = answer.headers[name]
            await response.prepare(request)
            async for part in answer.content.iter_any():
                await response.write(part)
            return response

    app: web.Application = web.Application()
    app.router.add_get(prefix + "/{path:.*}", pass_on)
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    return runner, runner.addresses[0][1]


async def test_behind_a_prefix(browser: Browser) -> None:
    async with running(status(frontend())) as edge:
        runner, port = await behind(edge, "/balancers/edge-1")
        page = await browser.open()
        await page.go(f"http://127.0.0.1:{port}/balancers/edge-1/")
        await page.until(f"{MAIN}.includes('All is well')")
        for fragment, text in (("#/services", "1 frontend"), ("#/ports", "Ports")):
            await page.evaluate(f"location.hash = '{fragment}'")
            await page.until(f"{MAIN}.includes('{text}')")
        own = f"http://127.0.0.1:{port}/balancers/edge-1/"
        assert [url for url in page.requested if not url.startswith(own)] == []
        assert page.errors == []
        await page.tab.context.close()
        await runner.cleanup()
