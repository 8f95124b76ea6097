"""The API of runner managers as poddispatchd uses it: one method, one question, typed answers and errors.

``/task/list``, ``/api/tasks`` and, except for tests of the connection, ``/api/health`` are left alone: they
cost a manager a re-read of its whole history.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from datetime import datetime
from typing import TypeVar

import aiohttp
from yarl import URL

from poddispatchd.computing import computed
from poddispatchd.domain.manager import RunnerManager
from poddispatchd.domain.manifest import Manifest, parse_manifest
from poddispatchd.domain.task import RunnerTaskId
from poddispatchd.errors import NoHealthCheckError, RecordTooLongError, RunnerTaskUnknownError
from poddispatchd.runner import answers
from poddispatchd.runner.authorities import TrustingConnector
from poddispatchd.runner.health import health_at, root_facts
from poddispatchd.runner.http_errors import refusal, result_refusal
from poddispatchd.runner.records import Accepted, ManagerHealth, RunnerInfo, RunnerTask, StopOutcome
from poddispatchd.runner.request_errors import CONNECT_TIMEOUT
from poddispatchd.runner.transport import (
    SHORT_ANSWER,
    HttpAnswer,
    Request,
    ask,
    exchange,
    route,
)

LONGEST_RECORD = 2 * 2**20
"""Bytes read of a task's record. It carries the script output: 36 kB as a rule, about 600 kB at most."""

LONGEST_LIST = 4 * 2**20
"""Bytes of a list of result files (``domain.manifest.MOST_FILES``) or of runners."""

_LARGE = 64 * 2**10
"""Bytes from which a body is parsed in a thread."""

_PARSERS = 2
"""Bodies parsed in threads at a time: each takes a few times its size in memory."""

NOBODYS = RunnerTaskId("00000000-0000-0000-0000-000000000000")
"""The id of no task: asking for it costs a manager next to nothing."""

_Record = TypeVar("_Record")


class RunnerReader:
    """Asks runner managers what changes nothing there. It keeps no state, and never repeats a request.

    Every method raises, besides what it names:
        RunnerManagerMisconfiguredError: URL, token or certificate must be changed by a person.
        RunnerManagerUnavailableError: no connection, no answer in time, or a 5xx.
        RunnerManagerBusyError: 429.
        UnusableAnswerError: something else answers there.

    Args:
        session: from ``open_session``; the caller closes it.
        request_timeout: seconds to wait for an answer, once connected.
    """

    def __init__(self, session: aiohttp.ClientSession, *, request_timeout: float) -> None:
        self._session = session
        self._request_timeout = request_timeout
        self._parsers = asyncio.Semaphore(_PARSERS)

    async def status(self, manager: RunnerManager, task_id: RunnerTaskId) -> RunnerTask:
        """The record of a task: ``GET /task/status/<id>``, which costs the manager next to nothing.

        Of a record longer than ``LONGEST_RECORD`` the beginning is read.

        Raises:
            RunnerTaskUnknownError: the manager itself says that it does not know the task.
            RecordTooLongError: the beginning of its record does not tell the status.
        """
        request = Request("GET", route("task", "status", task_id))
        answer = await self._ask(manager, request, limit=LONGEST_RECORD)
        return await self._interpreted(answer, lambda: answers.task_record(manager, answer, task_id))

    async def ping(self, manager: RunnerManager) -> None:
        """See whether a manager answers questions about tasks; this one is about none."""
        with suppress(RunnerTaskUnknownError):
            await self.status(manager, NOBODYS)

    async def health(self, manager: RunnerManager) -> ManagerHealth:
        """A manager's health and version, for tests of the connection only: it makes the manager work.

        Mirrors what differs between releases: ``GET /`` names the path of the health check; where it does
        not, both known ones are tried.

        Raises:
            NoHealthCheckError: nothing at this URL is a runner manager, or one that hides its health.
        """
        root = await self._ask(manager, Request("GET", "", with_token=False))
        facts = root_facts(manager, root)
        words = (
            f"Nothing at the URL of runner manager {manager.name!r} is a runner manager: "
            "check its URL, with its path, in Pod's administration."
        )
        for path in facts.health_paths:
            answer = await self._ask(manager, Request("GET", route(*path.split("/"))))
            if (health := health_at(manager, answer, path, facts.version)) is not None:
                return health
            if 300 <= answer.status < 400:
                words = str(refusal(manager, answer))
            elif answer.is_html and answer.is_success:
                words = (
                    f"Nothing at the URL of runner manager {manager.name!r} is a runner manager: a web page "
                    "is answered, of a proxy before it perhaps. Look at that page, and check the URL, with "
                    "its path, in Pod's administration."
                )
        raise NoHealthCheckError(words)

    def certificate_end(self, manager: RunnerManager) -> datetime | None:
        """When the certificate ends with which a manager answered; None without TLS, or without an answer."""
        url, connector = URL(manager.url), self._session.connector
        if not isinstance(connector, TrustingConnector):
            return None
        return connector.certificate_end(url.host or "", url.port)

    async def runners(self, manager: RunnerManager) -> list[RunnerInfo]:
        """The runners registered at a manager: ``GET /api/runners``."""
        answer = await self._ask(manager, Request("GET", route("api", "runners")), limit=LONGEST_LIST)
        return await self._interpreted(answer, lambda: answers.runner_list(manager, answer))

    async def _ask(
        self, manager: RunnerManager, request: Request, *, limit: int = SHORT_ANSWER
    ) -> HttpAnswer:
        return await ask(self._session, manager, request, seconds=self._request_timeout, limit=limit)

    async def _interpreted(self, answer: HttpAnswer, interpret: Callable[[], _Record]) -> _Record:
        if len(answer.body) < _LARGE:
            return interpret()
        async with self._parsers:
            return await computed(interpret)


class RunnerClient(RunnerReader):
    """Asks runner managers, and gives them work. Of the errors see ``RunnerReader``."""

    async def execute(self, manager: RunnerManager, body: bytes) -> Accepted:
        """Submit a task: ``POST /task/execute``, once, with exactly these bytes.

        Raises:
            RunnerManagerFullError: no free runner for this type of task (503).
            PayloadRefusedError: this task is refused (400, 422), and would be again.
            AnswerLostError: it may have been accepted; the same bytes give its id while it runs.
            UnusableAnswerError: accepted without an id that Pod can store; ``orphan`` is to be stopped.
            RunnerManagerUnavailableError: surely not accepted, unless it is an AnswerLostError.
        """
        answer = await self._ask(manager, Request("POST", route("task", "execute"), body=body))
        return answers.accepted(manager, answer)

    async def status(self, manager: RunnerManager, task_id: RunnerTaskId) -> RunnerTask:
        """The record of a task, as ``RunnerReader``; where it is too long, what its result says.

        Raises:
            RunnerTaskUnknownError: the manager itself says that it does not know the task.
        """
        try:
            return await super().status(manager, task_id)
        except RecordTooLongError:
            # Its status code tells how the task is, in a few bytes (``answers.record_from_result``).
            answer = await self._ask(manager, Request("GET", route("task", "result", task_id)))
            return answers.record_from_result(manager, answer, task_id)

    async def manifest(self, manager: RunnerManager, task_id: RunnerTaskId) -> Manifest:
        """The list of a task's result files: ``GET /task/result/<id>``.

        Asking turns ``warning`` into ``completed`` on the manager.

        Raises:
            ResultNotReadyError: the task is running, timed out (425) or failed (400): ask for its status.
            RunnerTaskUnknownError: the manager no longer knows the task.
            RunnerUnreachableError: the runner that holds the files does not answer.
            ResultGoneError: the files have been purged.
            ResultRefusedError: the list holds an unsafe name, or too many.
            ResultIncompleteError: the list is empty.
        """
        answer = await self._ask(
            manager, Request("GET", route("task", "result", task_id)), limit=LONGEST_LIST
        )
        if not answer.is_success:
            raise result_refusal(manager, answer, "The list of result files")
        return await self._interpreted(
            answer, lambda: parse_manifest(answers.result_list(manager, answer, task_id), task_id)
        )

    async def stop(self, manager: RunnerManager, task_id: RunnerTaskId) -> StopOutcome:
        """Ask to stop a task: ``POST /task/stop/<id>``; stopping twice does no harm.

        Raises:
            AnswerLostError: the stop may have been carried out.
        """
        answer = await self._ask(manager, Request("POST", route("task", "stop", task_id)))
        return answers.stop_outcome(manager, answer)

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
        """The answer to ``GET /task/result/<id>/file/<path>``, of any status, its body still to be read.

        There is no limit to the whole time: a manager that proxies reads the file from its runner to the
        end before the first byte.

        Args:
            manager: who holds the result.
            task_id: of the result.
            path: as in the manifest; each of its parts is escaped.
            headers: for a range.
            first_byte_timeout: seconds that the head of the answer may take, and then each silence.
        """
        limits = aiohttp.ClientTimeout(total=None, connect=CONNECT_TIMEOUT, sock_read=first_byte_timeout)
        address = route("task", "result", task_id, "file", *path.split("/"))
        request = Request("GET", address, headers={"Accept": "*/*", **headers})
        async with exchange(self._session, manager, request, limits=limits) as response:
            yield response
