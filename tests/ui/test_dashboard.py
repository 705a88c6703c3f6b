"""The dashboard in a real browser: what it shows, and what it does when things change."""

import pytest

from nplb.model.decision import Decision, DecisionKind
from nplb.model.finding import Finding, FindingKind, Severity
from nplb.model.status import Status
from tests.support.browser import IN_A_BROWSER, Browser
from tests.support.status import NOW, frontend, large, status, troubled
from tests.ui.edges import MAIN, running, sound

pytestmark = IN_A_BROWSER


PAGES = {
    "": "Last decisions",
    "#/services": "frontends",
    "#/nodes": "node-0",
    "#/ports": "Ports",
    "#/timeline": "Timeline",
    "#/service/prod%2Fshop%2Fweb%3A80%2FTCP": "Would change it",
    "#/node/prod/node-1": "Its backend in every frontend",
}


async def test_every_page_at_every_size_in_both_themes(browser: Browser) -> None:
    async with running(troubled()) as edge:
        for width, theme in ((1440, "light"), (390, "dark")):
            page = await browser.open(width=width, theme=theme)
            await page.go(edge.url)
            for fragment, text in PAGES.items():
                await page.evaluate(f"location.hash = '{fragment.removeprefix('#') or '/'}'")
                await page.until(f"{MAIN}.includes('{text}')")
                over = await page.evaluate("document.documentElement.scrollWidth - innerWidth")
                assert over <= 0, (fragment, width, over)
            assert await page.evaluate("document.documentElement.dataset.theme") == theme
            await page.press("t")
            other = "dark" if theme == "light" else "light"
            await page.until(f"document.documentElement.dataset.theme === '{other}'")
            sound(page, edge)


@pytest.mark.parametrize(
    ("state", "headline"),
    [
        (status(), "Nothing to serve yet"),
        (status(frontend()), "All is well"),
        (status(frontend(states=("passing", "refused"))), "1 thing to look at"),
        (troubled(), "problems"),
    ],
    ids=["empty", "well", "warning", "error"],
)
async def test_the_headline_says_whether_all_is_well(
    browser: Browser, state: Status, headline: str
) -> None:
    async with running(state) as edge:
        page = await browser.open()
        await page.go(edge.url)
        await page.until(f"{MAIN}.includes('{headline}')")
        sound(page, edge)


async def test_a_node_that_dies_shows_everywhere_by_itself(browser: Browser) -> None:
    well = status(frontend(), frontend("api", node_port=30081))
    async with running(well) as edge:
        pages = {name: await browser.open() for name in ("overview", "service", "nodes", "line")}
        await pages["overview"].go(edge.url)
        await pages["service"].go(edge.url + "#/service/prod%2Fshop%2Fweb%3A80%2FTCP")
        await pages["nodes"].go(edge.url + "#/nodes")
        await pages["line"].go(edge.url + "#/timeline")
        await pages["overview"].until(f"{MAIN}.includes('All is well')")
        await pages["service"].until(f"{MAIN}.includes('3 active of 3')")
        await pages["nodes"].until(f"{MAIN}.includes('node-2')")
        await pages["line"].until(f"{MAIN}.includes('Nothing was decided yet')")
        for page in pages.values():
            await page.until("document.body.innerText.includes('live')")
        dead = ("passing", "timeout", "passing")
        edge.state = status(
            frontend(states=dead), frontend("api", node_port=30081, states=dead), now=edge.state.now
        )
        edge.journal.append(
            Decision(
                at=NOW,
                kind=DecisionKind.BACKEND_DOWN,
                subject="prod/shop/web:80/TCP via node-1",
                reason="timeout",
                text="no answer within 1 s",
                service="prod/shop/web",
                node="node-1",
                cluster="prod",
            )
        )
        await pages["overview"].until(f"{MAIN}.includes('Nothing works on node node-1: timeout')")
        await pages["service"].until(f"{MAIN}.includes('Nothing answers on the NodePort')")
        await pages["nodes"].until(f"{MAIN}.includes('timeout 2')")
        await pages["line"].until(f"{MAIN}.includes('no answer within 1 s')")
        for page in pages.values():
            sound(page, edge)


async def test_it_says_that_it_is_stale_and_comes_back_after_a_restart(browser: Browser) -> None:
    async with running(status(frontend())) as edge:
        page = await browser.open()
        await page.go(edge.url)
        await page.until("document.getElementById('live').textContent === 'live'")
        await edge.stop()
        await page.until("!document.getElementById('stale').hidden")
        assert "No news from nplb" in await page.evaluate(
            "document.getElementById('stale').textContent"
        )
        edge.state = status(frontend(), frontend("new", node_port=30099), started_at=NOW)
        await edge.start()
        await page.until("document.getElementById('stale').hidden")
        await page.until(f"{MAIN}.includes('2 of 2 frontends serve')")


async def test_a_thousand_services_scroll_filter_and_take_keys(browser: Browser) -> None:
    async with running(large(1000, 30)) as edge:
        page = await browser.open()
        await page.go(edge.url + "#/services")
        await page.until(f"{MAIN}.includes('1000 frontends')")
        # However many rows there are, the page holds one canvas of the window's size.
        assert await page.evaluate("document.querySelectorAll('main *').length") < 100
        await page.press("/")
        await page.tab.keyboard.type("service-00777")
        await page.until(f"{MAIN}.includes('1 of 1000')")
        await page.evaluate("document.querySelector('canvas').focus()")
        await page.press("ArrowDown")
        await page.press("ArrowRight")
        await page.until("document.querySelector('[aria-live=polite]').textContent.length > 10")
        said = await page.evaluate("document.querySelector('[aria-live=polite]').textContent")
        assert "service-00777" in said
        assert "node-0" in said
        await page.press("Enter")
        await page.until("location.hash.includes('service-00777')")
        await page.until(f"{MAIN}.includes('active of 30')")
        sound(page, edge)


async def test_what_others_wrote_is_text_and_never_markup(browser: Browser) -> None:
    nasty = "<img src=x onerror=\"document.title='taken'\"><script>alert(1)</script>"
    finding = Finding(
        kind=FindingKind.EDGE_PORT_IN_USE,
        severity=Severity.ERROR,
        cluster="prod",
        subject="x",
        text=nasty,
        remedy=nasty,
        since=NOW,
    )
    async with running(status(frontend(), findings=(finding,))) as edge:
        page = await browser.open()
        await page.go(edge.url)
        await page.until(f"{MAIN}.includes('<img src=x')")
        assert await page.evaluate("document.querySelectorAll('main img, main script').length") == 0
        assert "taken" not in await page.evaluate("document.title")
        sound(page, edge)
