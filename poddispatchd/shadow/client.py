"""Runner managers as a shadow meets them: it asks, and sends nothing that changes anything there."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import NoReturn

import aiohttp

from poddispatchd.domain.manager import RunnerManager
from poddispatchd.domain.task import RunnerTaskId
from poddispatchd.errors import OnlyAskingError
from poddispatchd.runner.client import RunnerClient, RunnerReader
from poddispatchd.runner.records import RunnerTask


class AskingClient(RunnerClient):
    """Refuses whatever would change something on a manager, before anything is sent.

    Asking for a result is among it: that ends ``warning`` on the manager.

    Every method raises, besides what it names:
        OnlyAskingError: it would not only ask.
    """

    async def status(self, manager: RunnerManager, task_id: RunnerTaskId) -> RunnerTask:
        """The record of a task; one that is too long is left alone."""
        return await RunnerReader.status(self, manager, task_id)

    async def execute(self, manager: RunnerManager, body: bytes) -> NoReturn:  # noqa: ARG002
        """Refused."""
        raise OnlyAskingError

    async def stop(self, manager: RunnerManager, task_id: RunnerTaskId) -> NoReturn:  # noqa: ARG002
        """Refused."""
        raise OnlyAskingError

    async def manifest(self, manager: RunnerManager, task_id: RunnerTaskId) -> NoReturn:  # noqa: ARG002
        """Refused."""
        raise OnlyAskingError

    @asynccontextmanager
    async def result_file(
        self,
        manager: RunnerManager,
        task_id: RunnerTaskId,
        path: str,
        *,
        headers: Mapping[str, str],
        first_byte_timeout: float,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """Refused."""
        _refuse()
        async with super().result_file(
            manager, task_id, path, headers=headers, first_byte_timeout=first_byte_timeout
        ) as response:
            yield response


def _refuse() -> None:
    raise OnlyAskingError
