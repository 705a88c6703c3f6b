"""The dashboard of a real `nplb run` in front of a lab, in a real browser: faults as they come,
drains by click, the port map, a restart, and what a screen reader would miss."""

import json
import secrets
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from click.testing import CliRunner

from nplb.cli import main
from nplb.lab.cluster import Lab
from tests.support.browser import IN_A_BROWSER, Browser, Page
from tests.support.edge import Edge, make_edge, of_lab
from tests.support.lab import claim_networks, make_lab
from tests.support.labmanifests import service

pytestmark = IN_A_BROWSER

MAIN = "document.querySelector('main').innerText"
AXE = Path(__file__).parent / "vendor" / "axe-core" / "axe.min.js"
WEB = "#/service/lab%2Fdefault%2Fweb%3A8000%2FTCP"
PAGES = ("#/", "#/services", WEB, "#/nodes", "#/node/lab/node-1", "#/ports", "#/timeline")
TOKEN = secrets.token_hex(16)

BAD = """
apiVersion: v1
kind: Service
metadata: {name: another}
spec:
  type: NodePort
  ports: [{port: 80, nodePort: 30080}]
---
apiVersion: v1
kind: Service
metadata: {name: far}
spec:
  type: NodePort
  ports: [{port: 80, nodePort: 40000}]
"""


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def running(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[tuple[Edge, Lab]]:
    """One for all tests: each leaves it as it was."""
    folder = tmp_path_factory.mktemp("edge")
    with claim_networks() as networks:
        async with make_lab(networks) as lab, make_edge(folder, networks) as edge:
            for name, port in (("web", 30080), ("api", 30090)):
                await lab.apply(service(name, node_port=port, pods=3))
                await lab.service_ready(f"default/{name}")
            token = folder / "token"
            token.write_text(TOKEN)
            token.chmod(0o600)
            (folder / "state").mkdir()
            await edge.begin(
                of_lab(lab),
                admin=json.dumps({"listen": edge.admin, "token_file": str(token)}),
                state_dir=str(folder / "state"),
                workers="1",
            )
            yield edge, lab


@pytest_asyncio.fixture(loop_scope="session")
async def lab(running: tuple[Edge, Lab]) -> AsyncIterator[Lab]:
    _, lab = running
    yield lab
    lab.faults.clear()


@pytest_asyncio.fixture(loop_scope="session")
async def edge(running: tuple[Edge, Lab]) -> Edge:
    edge, _ = running
    await edge.until(lambda status: _active(status) == 6, "every node to work")
    return edge


def _active(status: dict[str, Any]) -> int:
    backends = [b for f in status["plan"]["frontends"] for b in f["backends"]]
    return sum(backend["state"] == "active" for backend in backends)


async def show(browser: Browser, edge: Edge, fragment: str, **options: Any) -> Page:
    page = await browser.open(**options)
    await page.go(f"http://{edge.admin}/{fragment}")
    await page.until("document.getElementById('live').textContent === 'live'")
    return page


def sound(edge: Edge, *pages: Page) -> None:
    """No error, and no request to anybody else."""
    own = (f"http://{edge.admin}/", "data:", "about:")
    for page in pages:
        assert page.errors == []
        assert [url for url in page.requested if not url.startswith(own)] == []


async def test_a_node_that_dies_shows_on_every_page(edge: Edge, lab: Lab, browser: Browser) -> None:
    overview = await show(browser, edge, "#/")
    matrix = await show(browser, edge, "#/services?trouble=1")
    web = await show(browser, edge, WEB)
    timeline = await show(browser, edge, "#/timeline")
    await overview.until(f"{MAIN}.includes('All is well')")
    await matrix.until(f"{MAIN}.includes('0 of 2')")
    await web.until(f"{MAIN}.includes('3 active of 3')")
    lab.faults.apply("node/node-2", "dead")
    await overview.until(f"{MAIN}.includes('Nothing works on node node-2')")
    await matrix.until(f"{MAIN}.includes('2 of 2') || {MAIN}.includes('2 frontends')")
    await web.until(f"{MAIN}.includes('2 active of 3')")
    await timeline.until(f"{MAIN}.includes('Backend down')")
    lab.faults.clear("node/node-2")
    await overview.until(f"{MAIN}.includes('All is well')")
    await matrix.until(f"{MAIN}.includes('0 of 2')")
    await web.until(f"{MAIN}.includes('3 active of 3')")
    sound(edge, overview, matrix, web, timeline)


async def test_a_drain_by_click_and_back(edge: Edge, browser: Browser) -> None:
    node = await show(browser, edge, "#/node/lab/node-1")
    web = await show(browser, edge, WEB)
    timeline = await show(browser, edge, "#/timeline")
    await node.click("button[data-node=node-1]")
    await node.write("dialog input[name=why]", "a new disk")
    await node.write("dialog input[name=who]", "ada")
    await node.write("dialog input[name=token]", "not-the-token-at-all")
    await node.click("dialog button.main")
    await node.until("document.querySelector('dialog').innerText.includes('the token is wrong')")
    node.errors.clear()  # the browser notes every answer that refuses
    assert await node.evaluate("sessionStorage.getItem('nplb-token')") is None
    await node.write("dialog input[name=token]", TOKEN)
    await node.click("dialog button.main")
    await node.until(f"{MAIN}.includes('drained by hand by ada: a new disk')")
    await web.until(f"{MAIN}.includes('2 active of 3')")
    await web.until(f"{MAIN}.includes('An operator drained the node.')")
    # Pages that draw themselves anew leave the focus of the keyboard where it is.
    await web.evaluate("document.querySelector('button[data-node=node-2]').old = true")
    await web.evaluate("document.querySelector('button[data-node=node-2]').focus()")
    await web.until("!document.querySelector('button[data-node=node-2]').old")
    assert await web.evaluate("document.activeElement.dataset.node") == "node-2"
    await timeline.until(f"{MAIN}.includes('a new disk')")
    drains = (await edge.status())["drains"]
    assert [(d["node"], d["who"], d["why"]) for d in drains] == [("node-1", "ada", "a new disk")]
    # The token was asked for once, and lives in this tab alone.
    await node.click("button[data-node=node-1]")
    await node.until(f"!{MAIN}.includes('drained by hand')")
    assert await node.evaluate("document.querySelectorAll('dialog').length") == 0
    assert await node.evaluate("JSON.stringify(localStorage) + document.cookie") == "{}"
    await web.until(f"{MAIN}.includes('3 active of 3')")
    assert (await edge.status())["drains"] == []
    assert TOKEN not in edge.log()
    sound(edge, node, web, timeline)


async def test_the_port_map_and_a_manifest_that_is_refused(edge: Edge, browser: Browser) -> None:
    page = await show(browser, edge, "#/ports")
    told = CliRunner().invoke(main, ["ports", "--admin", f"http://{edge.admin}", "-o", "json"])
    ledger = json.loads(told.output)["ledgers"][0]
    await page.until(f"{MAIN}.includes('{ledger['used']} used, {ledger['free']} free')")
    for entry in ledger["entries"]:
        await page.write("input[type=search]", str(entry["number"]))
        name = entry["holders"][0]["service"]["name"]
        await page.until(f"{MAIN}.includes('{entry['number']}: default/{name}')")
    await page.write("textarea", BAD)
    await page.click(".check button.main")
    taken = "provided port is already allocated"
    far = "provided port is not in the valid range. The range of valid ports is 30000-32767"
    for name, number, said in (("another", 30080, taken), ("far", 40000, far)):
        words = f'Service "{name}" is invalid: spec.ports[0].nodePort: Invalid value: {number}: '
        await page.until(f"{MAIN}.includes({json.dumps(words + said)})")
    await page.evaluate("document.querySelector('textarea').value = 'kind: ['")
    sound(edge, page)
    await page.click(".check button.main")
    await page.until(f"{MAIN}.includes('manifest:1:')")


async def test_it_comes_back_after_a_restart(edge: Edge, browser: Browser) -> None:
    page = await show(browser, edge, "#/")
    await page.until(f"{MAIN}.includes('All is well')")
    sound(edge, page)
    await edge.stop()
    await page.until("!document.getElementById('stale').hidden")
    await edge.start()
    await page.until("document.getElementById('stale').hidden")
    await page.until(f"{MAIN}.includes('All is well')")


@pytest.mark.parametrize(("width", "theme"), [(1440, "light"), (390, "dark")])
async def test_no_serious_accessibility_fault(
    edge: Edge, lab: Lab, browser: Browser, width: int, theme: str
) -> None:
    lab.faults.apply("node/node-3", "dead")
    page = await show(browser, edge, "#/", width=width, theme=theme)
    await page.until(f"{MAIN}.includes('Nothing works on node node-3')")
    await page.evaluate(AXE.read_text())
    for fragment in (*PAGES, "dialog"):
        if fragment == "dialog":
            await page.evaluate("location.hash = '#/node/lab/node-1'")
            await page.click("button[data-node=node-1]")
            await page.until("document.querySelector('dialog[open]') !== null")
        else:
            await page.evaluate(f"location.hash = '{fragment}'")
            # Pages that ask for their details say so while they wait.
            await page.until(f"location.hash === '{fragment}' && !{MAIN}.includes('Loading')")
        faults = await page.evaluate(
            "axe.run(document, {resultTypes: ['violations']}).then((found) => found.violations"
            ".filter((one) => ['serious', 'critical'].includes(one.impact))"
            ".map((one) => [one.id, one.help, one.nodes.map((node) => node.html.slice(0, 200))]))"
        )
        assert faults == [], fragment
    sound(edge, page)
