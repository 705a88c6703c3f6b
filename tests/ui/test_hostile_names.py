"""What teams and clusters write is text on every page, never markup."""

from dataclasses import replace
from urllib.parse import quote

from nplb.model.decision import Decision, DecisionKind
from nplb.model.drain import ManualDrain
from nplb.model.finding import Finding, FindingKind, Severity
from nplb.model.keys import BackendKey, FrontendKey, ServiceKey
from nplb.model.plan import LeftOut, Skipped
from nplb.model.reasons import BackendReason, SkipReason
from nplb.model.status import Status
from tests.support.browser import IN_A_BROWSER, Browser
from tests.support.status import NOW, frontend, status
from tests.ui.edges import MAIN, running, sound

pytestmark = IN_A_BROWSER

EVIL = "<img id=pwned src=x onerror='window.pwned=1'>\"'`${1}&lt;script>pwned=1</script>"
NAME = f"svc{EVIL}"


def hostile() -> Status:
    """Everything that somebody else may have written holds markup."""
    calm = frontend(NAME, namespace=f"ns{EVIL}")
    backends = tuple(
        replace(
            backend,
            key=BackendKey(calm.key, f"node{EVIL}{n}", backend.key.address),
            detail=EVIL,
        )
        for n, backend in enumerate(calm.backends)
    )
    left = LeftOut(node=f"left{EVIL}", reason=BackendReason.NO_ADDRESS, detail=EVIL)
    one = replace(calm, port_name=EVIL, backends=backends, left_out=(left,))
    skipped = Skipped(
        key=FrontendKey(ServiceKey("prod", f"ns{EVIL}", f"skipped{EVIL}"), 81, one.key.protocol),
        reason=SkipReason.SOURCE_RANGES,
        detail=EVIL,
    )
    made = status(one)
    finding = Finding(
        kind=FindingKind.OBJECT_REFUSED,
        severity=Severity.ERROR,
        cluster="prod",
        subject=EVIL,
        text=EVIL,
        remedy=EVIL,
        since=NOW,
    )
    return replace(
        made,
        plan=replace(made.plan, skipped=(skipped,)),
        sources=(replace(made.sources[0], error=EVIL),),
        drains=(ManualDrain(cluster="prod", node=f"node{EVIL}0", who=EVIL, why=EVIL, at=NOW),),
        findings=(finding,),
        reload=replace(made.reload, errors=(EVIL,)),
    )


async def test_names_and_texts_of_others_are_never_markup(browser: Browser) -> None:
    state = hostile()
    (one,) = state.plan.frontends
    pages = [
        "",
        "#/services",
        "#/nodes",
        "#/ports",
        "#/timeline",
        f"#/service/{quote(str(one.key), safe='')}",
        f"#/node/prod/{quote(one.backends[0].key.node, safe='')}",
    ]
    async with running(state) as edge:
        edge.journal.append(
            Decision(at=NOW, kind=DecisionKind.RELOAD_REFUSED, subject=EVIL, text=EVIL)
        )
        page = await browser.open()
        await page.go(edge.url)
        shown = 0
        for fragment in pages:
            await page.evaluate(f"location.hash = {fragment.removeprefix('#') or '/'!r}")
            await page.until(f"{MAIN}.length > 40")
            await page.until("document.querySelector('main').children.length > 0")
            shown += await page.evaluate(f"{MAIN}.split('<img id=pwned').length - 1")
            assert not await page.evaluate("document.getElementById('pwned')"), fragment
            assert not await page.evaluate("window.pwned"), fragment
            titles = "[...document.querySelectorAll('*')].filter(e => e.localName === 'script')"
            assert await page.evaluate(f"{titles}.length") == 1, fragment
        assert shown > 5, "it was there to be seen"
        sound(page, edge)
