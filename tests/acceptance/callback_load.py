"""Callbacks without a pause, as from runner managers behind a web server."""

import asyncio
from dataclasses import dataclass, field

import aiohttp

_CALLERS = 8


@dataclass(slots=True)
class CallbackLoad:
    """Callbacks of one task, each on a connection of its own."""

    url: str
    task_id: str
    token: str
    answers: list[object] = field(default_factory=list)
    _is_over: bool = False
    _callers: list["asyncio.Task[None]"] = field(default_factory=list)

    def start(self) -> None:
        """Begin to call."""
        self._callers = [asyncio.create_task(self._call()) for _ in range(_CALLERS)]

    async def _call(self) -> None:
        body = {"task_id": self.task_id, "status": "completed"}
        headers = {"Authorization": f"Bearer {self.token}"}
        connector = aiohttp.TCPConnector(force_close=True)
        # As long as a runner manager waits.
        timeout = aiohttp.ClientTimeout(total=15)
        async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:
            while not self._is_over:
                try:
                    async with session.post(self.url, json=body, headers=headers) as answer:
                        self.answers.append(answer.status)
                except (aiohttp.ClientError, TimeoutError, OSError) as error:
                    self.answers.append(repr(error))

    async def go_on_for(self, count: int) -> None:
        """Until so many more were answered."""
        until = len(self.answers) + count
        async with asyncio.timeout(60):
            while len(self.answers) < until:  # noqa: ASYNC110 - the callers have no event to wait for
                await asyncio.sleep(0.01)

    async def refused(self) -> list[object]:
        """End it; every answer that was not 200."""
        self._is_over = True
        await asyncio.gather(*self._callers)
        return [answer for answer in self.answers if answer != 200]
