"""A headless Chromium, driven over its DevTools protocol: what a person would see of a page."""

import asyncio
import contextlib
import itertools
import json
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp

from nplb.aio.tasks import TaskOwner

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")

# The machine's network may be closed: no look-ups, no updates, no service of Google's.
_FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--hide-scrollbars",
    "--remote-debugging-port=0",
)


class Page:
    """One tab. `errors` are exceptions, console errors and refusals of the content policy;
    `requested` every URL that was asked for."""

    def __init__(self, browser: "Browser", session: str) -> None:
        self._browser = browser
        self.session = session
        self.errors: list[str] = []
        self.requested: list[str] = []

    async def call(self, method: str, **parameters: Any) -> Any:
        """One DevTools command."""
        return await self._browser.call(method, self.session, **parameters)

    async def evaluate(self, expression: str) -> Any:
        """The value of a JavaScript expression; promises are awaited."""
        answer = await self.call(
            "Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True
        )
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    async def until(self, expression: str, seconds: float = 30.0) -> Any:
        """The value of an expression once it is true."""
        try:
            async with asyncio.timeout(seconds):
                while not (value := await self.evaluate(expression)):  # noqa: ASYNC110
                    await asyncio.sleep(0.05)
        except TimeoutError:
            text = await self.evaluate("document.body.innerText")
            raise AssertionError(f"never true: {expression}\n{self.errors}\n{text}") from None
        return value

    async def go(self, url: str) -> None:
        """Load a page."""
        await self.call("Page.navigate", url=url)
        loaded = "location.protocol === 'http:' && document.readyState === 'complete'"
        await self.until(loaded)

    async def press(self, key: str) -> None:
        """Press a key, by its DOM name."""
        text = {"text": key} if len(key) == 1 else {"text": "\r"} if key == "Enter" else {}
        codes = {"Enter": 13, "ArrowDown": 40, "ArrowRight": 39}
        code = {"windowsVirtualKeyCode": codes[key]} if key in codes else {}
        await self.call("Input.dispatchKeyEvent", type="keyDown", key=key, **text, **code)
        await self.call("Input.dispatchKeyEvent", type="keyUp", key=key, **code)

    def heard(self, method: str, parameters: Any) -> None:
        """Note an event."""
        if method == "Runtime.exceptionThrown":
            self.errors.append(json.dumps(parameters["exceptionDetails"])[:500])
        elif method == "Runtime.consoleAPICalled" and parameters["type"] == "error":
            self.errors.append(json.dumps(parameters["args"])[:500])
        elif method == "Log.entryAdded" and parameters["entry"]["level"] == "error":
            self.errors.append(parameters["entry"]["text"] + parameters["entry"].get("url", ""))
        elif method == "Network.requestWillBeSent":
            self.requested.append(parameters["request"]["url"])


class Browser:
    """A running Chromium."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self._numbers = itertools.count(1)
        self._answers: dict[int, asyncio.Future[Any]] = {}
        self._pages: dict[str, Page] = {}

    async def open(self, *, width: int = 1440, height: int = 900, theme: str = "light") -> Page:
        """A new tab of this size, with this colour scheme preferred."""
        context = (await self.call("Target.createBrowserContext"))["browserContextId"]
        target = await self.call("Target.createTarget", url="about:blank", browserContextId=context)
        attached = await self.call(
            "Target.attachToTarget", targetId=target["targetId"], flatten=True
        )
        page = self._pages[attached["sessionId"]] = Page(self, attached["sessionId"])
        for domain in ("Page", "Runtime", "Log", "Network"):
            await page.call(f"{domain}.enable")
        await page.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=False,
        )
        scheme = {"name": "prefers-color-scheme", "value": theme}
        await page.call("Emulation.setEmulatedMedia", features=[scheme])
        return page

    async def call(self, method: str, session: str | None = None, **parameters: Any) -> Any:
        """One DevTools command, to the browser or to a tab."""
        number = next(self._numbers)
        message = {"id": number, "method": method, "params": parameters}
        if session is not None:
            message["sessionId"] = session
        waiting = self._answers[number] = asyncio.get_running_loop().create_future()
        await self._socket.send_json(message)
        async with asyncio.timeout(30):
            answer = await waiting
        assert "error" not in answer, (method, answer)
        return answer["result"]

    async def listen(self) -> None:
        """Take answers and events, until the browser ends."""
        async for message in self._socket:
            heard = json.loads(message.data)
            if "id" in heard:
                waiting = self._answers.pop(heard["id"], None)
                if waiting is not None and not waiting.done():
                    waiting.set_result(heard)
            elif heard.get("sessionId") in self._pages:
                self._pages[heard["sessionId"]].heard(heard["method"], heard["params"])


@contextlib.asynccontextmanager
async def chromium(folder: Path) -> AsyncIterator[Browser]:
    """A browser with an empty profile in `folder`."""
    assert CHROMIUM is not None
    process = await asyncio.create_subprocess_exec(
        CHROMIUM,
        *_FLAGS,
        f"--user-data-dir={folder}",
        "about:blank",
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        told = folder / "DevToolsActivePort"
        async with asyncio.timeout(40):
            while not told.exists() or len(told.read_text().splitlines()) < 2:
                assert process.returncode is None, "the browser has ended"
                await asyncio.sleep(0.05)
        port, path = told.read_text().splitlines()
        async with aiohttp.ClientSession() as session:
            url = f"ws://127.0.0.1:{port}{path}"
            async with session.ws_connect(url, max_msg_size=0) as socket:
                browser = Browser(socket)
                async with TaskOwner("browser") as tasks:
                    tasks.spawn(browser.listen(), "listen")
                    yield browser
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        try:
            await asyncio.wait_for(process.wait(), 10)
        except TimeoutError:
            process.kill()
            await process.wait()
