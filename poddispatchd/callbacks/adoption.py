"""Finding the submission whose answer was lost, or is still under way, by a callback that names its task."""

import asyncio
import json
from collections.abc import Iterable
from enum import StrEnum
from typing import Final, Literal, assert_never

import structlog

from poddispatchd.callbacks import inbox
from poddispatchd.callbacks.inbox import RecordedCallback
from poddispatchd.clock import Clock
from poddispatchd.config.model import PodSettings
from poddispatchd.database.pool import Database
from poddispatchd.domain.manager import RunnerManager
from poddispatchd.domain.task import RunnerTaskId
from poddispatchd.errors import RunnerManagerError, RunnerTaskUnknownError
from poddispatchd.journal import submissions
from poddispatchd.journal.submissions import Submission
from poddispatchd.managers.record_errors import narrowed
from poddispatchd.managers.rows import ManagerRows
from poddispatchd.observability.events import Event
from poddispatchd.pod import sources, tasks
from poddispatchd.pod.catalogue import Catalogue
from poddispatchd.runner.client import RunnerClient
from poddispatchd.runner.records import RunnerTask
from poddispatchd.runtime.wakeups import Wakeup
from poddispatchd.tasks.accepted_runs import AcceptedRun, Verdict, store_accepted

log = structlog.get_logger(__name__)

_ANSWERED_WITHIN = 5.0
"""Seconds that a manager has to tell about a task: it called just now, and it answers within milliseconds."""

_GIVE_UP_AFTER = 2 * 86_400.0
"""Nobody knows about a task whose manager was silent for so long, while it was asked."""

# Since Esup-Runner 1.3.2. Neither Pod's version nor the affiliation is in it.
_FINGERPRINT = ("etab_name", "app_name", "task_type", "source_url", "notify_url", "parameters")
"""What a runner manager recognises a request by."""


_SILENT: Final = "silent"
"""What a manager says that cannot tell now."""


class Found(StrEnum):
    """What an unknown task id turned out to be."""

    TASK = "task"
    """The id of a task of ours: its row carries it now."""
    FORMER_RUN = "former run"
    """One of a task of ours that was given up since: cancelled, restarted or lost."""
    NOTHING = "nothing"
    LATER = "later"
    """It cannot be told yet."""


class Adoption:
    """Matches unknown task ids to submissions of ours.

    The record on the manager says what a task is: the same source and parameters as those of a submission
    make it that one.
    """

    def __init__(
        self,
        *,
        database: Database,
        catalogue: Catalogue,
        client: RunnerClient,
        managers: ManagerRows,
        pod: PodSettings,
        clock: Clock,
        task_adopted: Wakeup,
    ) -> None:
        self._database = database
        self._catalogue = catalogue
        self._client = client
        self._managers = managers
        self._registry = managers.registry
        self._pod = pod
        self._clock = clock
        self._task_adopted = task_adopted

    async def adopt(self, recorded: RecordedCallback) -> tuple[Found, str]:
        """Find the task that a callback speaks of, and give its row the id.

        Returns:
            What was found; when no row gets the id, why in words.
        """
        async with self._database.connection() as connection:
            former = await submissions.with_id(connection, recorded.managers, recorded.callback.task_id)
            # No manager needs to be asked: the id is known, and its row has let go of it.
            if former is not None:
                words = former.reason or "the row has let go of it"
                return Found.FORMER_RUN, f"a run of task {former.task_pk} that counts no more: {words}"
            # An intent is committed before its POST (I3): what is not among these is no submission of ours.
            unidentified = await submissions.unidentified(connection, recorded.managers)
        if not unidentified:
            return Found.NOTHING, "no submission of ours can be meant"
        record, reason = await self._look_up(recorded)
        if record is None and reason is None:
            return await self._unanswered(recorded)
        if record is None:
            return Found.NOTHING, str(reason)
        found = _match(record, unidentified)
        if found is None:
            return Found.NOTHING, "the manager's record matches no submission of ours"
        manager = self._registry.get(found.runner_manager_id)
        if manager is None:
            return Found.NOTHING, "its runner manager is gone from Pod"
        return await self._take_over(found, manager, recorded)

    async def _unanswered(self, recorded: RecordedCallback) -> tuple[Found, str]:
        """Its manager cannot tell now: it is asked again, for days."""
        async with self._database.connection() as connection:
            if await inbox.unanswered_for(connection, recorded, ours=self._clock.now()) > _GIVE_UP_AFTER:
                return Found.NOTHING, "its manager told nothing about it for days"
        return Found.LATER, ""

    async def _take_over(
        self, found: Submission, manager: RunnerManager, recorded: RecordedCallback
    ) -> tuple[Found, str]:
        """What the lost answer would have led to."""
        async with self._database.transaction() as connection:
            task = await tasks.get_task(connection, found.task_pk)
            if task is None:
                return Found.NOTHING, f"task {found.task_pk} is gone"
            [source] = await sources.load_sources(connection, self._catalogue.capabilities, [task])
            run = AcceptedRun(
                task,
                manager,
                found,
                recorded.callback.task_id,
                output_directory=sources.output_directory(self._pod.media_root, source),
                # Its intent may be closed by now as refused or lost, and is settled all the same.
                is_adopted=True,
                reason="found by its callback",
            )
            now = self._clock.now_in(self._pod.time_zone)
            [stored] = await store_accepted(connection, [run], now=now)
        match stored.verdict:
            case Verdict.RUNNING:
                log.warning(Event.SUBMISSION_ADOPTED, task=found.task_pk, task_id=recorded.callback.task_id)
                self._task_adopted.ring()
                return Found.TASK, ""
            case Verdict.LOCKED | Verdict.SETTLED:
                # Someone changes the row, or its answer has come: it carries an id now, or soon does.
                return Found.LATER, ""
            case Verdict.KNOWN:
                return Found.NOTHING, "its manager gave another run the same id"
            case Verdict.ORPHANED:
                return (
                    Found.NOTHING,
                    f"task {found.task_pk} is not pending any more",
                )
            case other:
                assert_never(other)

    async def _look_up(self, recorded: RecordedCallback) -> tuple[RunnerTask | None, str | None]:
        """The manager's record of a task, else why there is none; neither when it cannot be had now.

        Managers with one token are asked side by side: one that is silent keeps nobody from another's record.
        """
        signers = filter(None, [await self._managers.find(each) for each in recorded.managers])
        # Rows of several sites may name one manager: it is asked once.
        addresses = {manager.url: manager for manager in signers}
        told = await asyncio.gather(
            *(self._record_at(manager, recorded.callback.task_id) for manager in addresses.values())
        )
        for record in told:
            if isinstance(record, RunnerTask):
                return record, None
        return (None, None) if _SILENT in told else (None, "no manager with this token knows it")

    async def _record_at(
        self, manager: RunnerManager, task_id: RunnerTaskId
    ) -> "RunnerTask | Literal['silent'] | None":
        """One manager's record of a task; None when it has none, ``silent`` when it cannot tell now."""
        try:
            async with asyncio.timeout(_ANSWERED_WITHIN):
                return await self._client.status(manager, task_id)
        except TimeoutError:
            return _SILENT
        except RunnerTaskUnknownError:
            return None
        except RunnerManagerError as error:
            self._registry.learn(manager, await narrowed(self._client, manager, error))
            return _SILENT


def _match(record: RunnerTask, candidates: Iterable[Submission]) -> Submission | None:
    """The newest submission whose body the manager's record repeats."""
    told = (
        record.etab_name,
        record.app_name,
        record.task_type,
        record.source_url,
        record.notify_url,
        dict(record.parameters),
    )
    for submission in candidates:
        body = json.loads(submission.body)
        if told == tuple(body[key] for key in _FINGERPRINT):
            return submission
    return None
