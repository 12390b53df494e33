"""Headless Chromium over the DevTools protocol, for tests of pages; it reaches nothing but local files."""

from __future__ import annotations

import asyncio
import base64
import os
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--host-resolver-rules=MAP * ~NOTFOUND",
    "--remote-debugging-port=0",
)
NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")


def program() -> str | None:
    """Path of a Chromium, or None where there is none."""
    named = os.environ.get("CHROMIUM")
    return named or next((found for name in NAMES if (found := shutil.which(name))), None)


class Tab:
    """One page: `do` sends a command, `value` evaluates JavaScript; `problems` is what went wrong in it."""

    def __init__(self, socket):
        self.socket, self.number, self.problems, self.requests = socket, 0, [], []

    async def do(self, method: str, **options) -> dict[str, Any]:
        self.number += 1
        await self.socket.send_json({"id": self.number, "method": method, "params": options})
        while True:
            message = await self.socket.receive_json(timeout=60)
            if message.get("id") == self.number:
                assert "error" not in message, f"{method}: {message['error']}"
                return message["result"]
            self._note(message)

    def _note(self, message: dict) -> None:
        method, facts = message.get("method", ""), message.get("params", {})
        if method == "Runtime.exceptionThrown":
            self.problems.append(facts["exceptionDetails"].get("exception", facts["exceptionDetails"]))
        elif method == "Log.entryAdded" and facts["entry"]["level"] in ("error", "warning"):
            self.problems.append(facts["entry"]["text"])
        elif method == "Runtime.consoleAPICalled":
            self.problems.append([a.get("value") for a in facts["args"]])
        elif method == "Page.javascriptDialogOpening":
            self.problems.append(f"dialog: {facts['message']}")
        elif method == "Network.requestWillBeSent":
            self.requests.append(facts["request"]["url"])

    async def value(self, expression: str) -> Any:
        found = await self.do("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    async def open(self, page: Path, width: int, height: int = 900, mobile: bool = False) -> None:
        for domain in ("Page", "Runtime", "Log", "Network"):
            await self.do(f"{domain}.enable")
        await self.do(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=mobile,
        )
        await self.do("Page.navigate", url=page.as_uri())
        for _ in range(200):
            if await self.value("document.readyState") == "complete" and await self.value(
                "location.href !== 'about:blank'"
            ):
                return
            await asyncio.sleep(0.1)
        raise AssertionError(f"{page} did not load")

    async def drag(self, start: tuple[float, float], end: tuple[float, float]) -> None:
        facts = {"button": "left", "buttons": 1, "clickCount": 1}
        for kind, (x, y) in (("mousePressed", start), ("mouseMoved", end), ("mouseReleased", end)):
            await self.do("Input.dispatchMouseEvent", type=kind, x=x, y=y, **facts)

    async def pdf(self) -> bytes:
        return base64.b64decode((await self.do("Page.printToPDF"))["data"])

    async def picture(self) -> bytes:
        found = await self.do("Page.captureScreenshot", captureBeyondViewport=True, format="png")
        return base64.b64decode(found["data"])


def browse(visit: Callable, folder: Path) -> Any:
    """What `await visit(tab)` returns, in a browser of its own whose profile is in `folder`."""
    import aiohttp

    profile = folder / f"profile-{time.monotonic_ns()}"
    command = [program(), *FLAGS, f"--user-data-dir={profile}", "about:blank"]
    running = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    async def session():
        port = profile / "DevToolsActivePort"
        for _ in range(600):
            if port.exists() and port.read_text():
                break
            assert running.poll() is None, "the browser ended at once"
            await asyncio.sleep(0.1)
        address = f"http://127.0.0.1:{port.read_text().split()[0]}"
        async with aiohttp.ClientSession() as client:
            async with client.get(f"{address}/json/list") as answer:
                pages = [p for p in await answer.json() if p["type"] == "page"]
            async with client.ws_connect(pages[0]["webSocketDebuggerUrl"], max_msg_size=0) as socket:
                return await visit(Tab(socket))

    try:
        return asyncio.run(session())
    finally:
        running.terminate()
        running.wait(30)
