"""A headless chromium with one page, steered over its own protocol (Chrome DevTools)."""

import asyncio
import itertools
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp

_WITHIN = 100.0
"""Seconds after which a browser will never begin, on a busy machine."""


@dataclass(slots=True)
class Page:
    """The browser's page."""

    _socket: aiohttp.ClientWebSocketResponse
    _numbers: "itertools.count[int]" = field(default_factory=itertools.count)

    async def show(self, file: Path, *, width: int, scheme: str) -> None:
        """Load a page as whoever has a window of this width and prefers this scheme of colours sees it."""
        await self._order(
            "Emulation.setDeviceMetricsOverride", width=width, height=1200, deviceScaleFactor=1, mobile=False
        )
        wanted = [{"name": "prefers-color-scheme", "value": scheme}]
        await self._order("Emulation.setEmulatedMedia", features=wanted)
        await self._order("Page.enable")
        await self._order("Page.navigate", until="Page.loadEventFired", url=file.as_uri())

    async def value(self, expression: str) -> Any:  # noqa: ANN401 - whatever the script gives
        """What an expression, or the promise that it is, comes to."""
        answer = await self._order(
            "Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True
        )
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    async def close(self) -> None:
        """Have the browser end, and tidy up after itself."""
        await self._order("Browser.close")

    async def _order(self, method: str, *, until: str | None = None, **parameters: object) -> dict[str, Any]:
        """Have something done; the answer, once it and an event, if one is named, have come."""
        number = next(self._numbers)
        await self._socket.send_json({"id": number, "method": method, "params": parameters})
        answer: dict[str, Any] | None = None
        while answer is None or until is not None:
            said = await self._socket.receive_json()
            if said.get("id") == number:
                assert "error" not in said, said["error"]
                answer = said["result"]
            elif said.get("method") == until:
                until = None
        return answer


@asynccontextmanager
async def browser(program: str, profile: Path) -> AsyncIterator[Page]:
    """A browser for the length of a block; all that it keeps lies in ``profile``."""
    process = await asyncio.create_subprocess_exec(
        *(program, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={profile}"),
        *("--remote-debugging-port=0", "about:blank"),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stderr is not None
    try:
        async with asyncio.timeout(_WITHIN), aiohttp.ClientSession() as session:
            address = ""
            while not address.startswith("DevTools listening on "):
                address = (await process.stderr.readline()).decode()
                assert address, "the browser ended"
            host = address.split("//")[1].split("/")[0]
            async with session.get(f"http://{host}/json/list") as answer:
                [target] = [each for each in json.loads(await answer.text()) if each["type"] == "page"]
            async with session.ws_connect(target["webSocketDebuggerUrl"], max_msg_size=0) as socket:
                yield (page := Page(socket))
                await page.close()
            await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()
