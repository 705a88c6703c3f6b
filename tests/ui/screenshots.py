"""Takes the manual's pictures of the dashboard anew: `make screenshots`, or with names of pages
`python -m tests.ui.screenshots overview ports`.

They show made-up edges (`tests.ui.scenes`), at both widths, light and dark.
"""

import asyncio
import logging
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from PIL import Image

from nplb.model.keys import Address
from nplb.web.server import AdminServer
from tests.support.browser import Browser, chromium
from tests.ui.scenes import SILENT, Scene, crowd, empty, shop

FOLDER = Path(__file__).parents[2] / "docs" / "screenshots"
WIDTHS = {1440: 900, 390: 844}
THEMES = ("light", "dark")
FULL_HEIGHT = 1800

WEB = "#/service/prod%2Fshop%2Fweb%3A443%2FTCP"
# name: scene, fragment, what is there once it is drawn
PAGES: dict[str, tuple[Callable[[], Scene], str, str]] = {
    "overview": (shop, "#/", "Last decisions"),
    "services": (shop, "#/services", "12 frontends"),
    "service": (shop, WEB, "Would change it"),
    "node": (shop, f"#/node/prod/{SILENT}", "Would change it"),
    "nodes": (shop, "#/nodes", "9 nodes"),
    "ports": (shop, "#/ports", "Check a manifest"),
    "timeline": (shop, "#/timeline", "decisions"),
    "empty": (empty, "#/", "Nothing to serve yet"),
    "crowd": (crowd, "#/services", "1000 frontends"),
}


async def shoot(browser: Browser, name: str) -> None:
    """All pictures of one page."""
    make, fragment, text = PAGES[name]
    for width, height in WIDTHS.items():
        for theme in THEMES:
            scene = make()
            server = AdminServer(
                status=scene.look,
                listen=Address("127.0.0.1", 0),
                journal=scene.journal,
                history=scene.history,
            )
            await server.start()
            page = await browser.open(width=width, height=height, theme=theme)
            await page.go(f"{server.url}/{fragment}")
            await page.until(f"document.querySelector('main').innerText.includes({text!r})")
            # The browser hides its scrollbar, and keeps the place for it.
            await page.evaluate("document.documentElement.style.scrollbarGutter = 'auto'")
            await asyncio.sleep(2.5)
            assert page.errors == [], page.errors
            path = FOLDER / f"{name}-{width}-{theme}.png"
            tall = min(await page.evaluate("document.documentElement.scrollHeight"), FULL_HEIGHT)
            clip = {"x": 0, "y": 0, "width": width, "height": max(tall, height)}
            await page.tab.screenshot(path=path, full_page=True, clip=clip)  # type: ignore[arg-type]
            await page.tab.context.close()
            await server.stop()
            shrink(path)
            print(f"{path.relative_to(FOLDER.parents[1])}: {path.stat().st_size // 1024} kB")


def shrink(path: Path) -> None:
    """Few colours are enough for a page, and a third of the size."""
    with Image.open(path) as image:
        small = image.convert("RGB").quantize(
            255, method=Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE
        )
    small.save(path, optimize=True)


async def main(names: list[str]) -> None:
    """Take the pictures of these pages, or of all."""
    FOLDER.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        async with chromium(Path(folder)) as browser:
            for name in names or PAGES:
                await shoot(browser, name)


if __name__ == "__main__":
    logging.disable()
    asyncio.run(main(sys.argv[1:]))
