"""What follows when a runner manager has accepted a task: its id in the row, or the run stopped again."""

import json
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import structlog

from poddispatchd.database.pool import Connection
from poddispatchd.domain.manager import RunnerManager
from poddispatchd.domain.source import EncodingSource
from poddispatchd.domain.task import RunnerTaskId, Task, TaskStatus
from poddispatchd.errors import ResultError, RunnerManagerError, UnsubmittableError, UnusableAnswerError
from poddispatchd.journal import scheduling, submissions
from poddispatchd.journal.submissions import Submission, SubmissionState
from poddispatchd.observability.events import Event
from poddispatchd.observability.metrics import SubmissionOutcome
from poddispatchd.parts import Parts
from poddispatchd.pod import duplicates, progress, sources, tasks
from poddispatchd.pod.media.placing import replace_file
from poddispatchd.pod.media.threads import Look
from poddispatchd.runner.records import Accepted
from poddispatchd.tasks.task_ids import known_tasks_called

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class SubmissionResult:
    """How a submission ended.

    ``reason`` is in words, empty when it was accepted. ``is_final``: the row is not pending any more.
    ``hold``: seconds for which the task is to be left alone, when no manager is the reason.
    """

    outcome: SubmissionOutcome
    reason: str = ""
    is_final: bool = False
    hold: float = 0.0


class Acceptance:
    """Stores the ids of accepted tasks."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    async def store(
        self, task: Task, manager: RunnerManager, intent: Submission, accepted: Accepted
    ) -> SubmissionResult:
        """Store the id by compare-and-set (invariant I4), with what Pod shows, in one transaction."""
        parts = self._parts
        now = parts.clock.now().astimezone(ZoneInfo(parts.settings.pod.time_zone))
        directory = await self._output_directory(task)
        async with parts.database.transaction() as connection:
            # Nothing is searched for an id that is new, as nearly all are.
            others = await known_tasks_called(connection, [manager.id], accepted.task_id, like=[task.pk])
            if any(_is_another_run(other, task) for other in others):
                return await self._known_already(connection, task, manager, intent)
            # Pod's web process may have stored a run of the same source under a row of its own meanwhile.
            duplicate = await duplicates.other_run(connection, task, manager.id, accepted.task_id)
            won = (
                duplicate is None
                and await self._is_still_wanted(connection, task)
                and await tasks.mark_running(connection, task, manager.id, accepted.task_id)
            )
            if won:
                await progress.show_accepted(
                    connection,
                    task,
                    request=json.loads(intent.body),
                    url=manager.endpoint("task/execute"),
                    output_directory="" if directory is None else str(directory),
                    now=now,
                )
            is_ours = won or await self._carries(connection, task, manager, accepted.task_id)
            await submissions.settle(
                connection,
                intent,
                SubmissionState.ACCEPTED if is_ours else SubmissionState.ORPHANED,
                task_id=accepted.task_id,
            )
            await scheduling.forget_own_task(connection, task.pk)
            await scheduling.remember_given(connection, manager.id)
        parts.registry.accepted(manager.id, task.type)
        parts.wakeups.inbox.ring()
        parts.wakeups.maintenance.ring()
        facts = {"task": task.pk, "runner_manager": manager.name, "task_id": accepted.task_id}
        if not is_ours:
            log.warning(Event.SUBMISSION_ORPHANED, **facts)
            await self.stop(manager, accepted.task_id)
            what = "changed the row" if duplicate is None else f"started task {duplicate} for the same source"
            return SubmissionResult(SubmissionOutcome.ORPHANED, f"Someone else {what} meanwhile.")
        log.info(
            Event.TASK_SUBMITTED, **facts, type=task.type_name, source=task.source, attempt=intent.attempt
        )
        if directory is not None:
            await self._begin_log(directory, now)
        if accepted.status not in ("running", "pending"):
            # It has ended already: what a callback would say is asked for at once.
            parts.wakeups.reconciler.ring()
        return SubmissionResult(SubmissionOutcome.ACCEPTED)

    async def _known_already(
        self, connection: Connection, task: Task, manager: RunnerManager, intent: Submission
    ) -> SubmissionResult:
        """The id belongs to another run: the row cannot have it, or it would get the other one's callbacks.

        A manager that still works on a run which is over for Pod recognises the same bytes: the next attempt
        differs in its bytes. One that gives a known id even then gives nonsense.
        """
        error = UnusableAnswerError(
            f"Runner manager {manager.name!r} took the task but gave the id of another one."
        )
        log.error(Event.SUBMISSION_REFUSED, task=task.pk, runner_manager=manager.name, reason=str(error))
        if intent.attempt == 1:
            await submissions.settle(connection, intent, SubmissionState.LOST, reason=str(error))
        else:
            await submissions.discard(connection, intent, str(error))
            self._parts.registry.learn(manager.id, error, kind=task.type)
        return SubmissionResult(SubmissionOutcome.UNAVAILABLE, str(error))

    async def _is_still_wanted(self, connection: Connection, task: Task) -> bool:
        """Whether nobody has restarted it meanwhile: what was posted may say other things than a new wish."""
        row = await tasks.lock_task(connection, task.pk)
        return row is not None and row.date_added == task.date_added

    async def _carries(
        self, connection: Connection, task: Task, manager: RunnerManager, task_id: RunnerTaskId
    ) -> bool:
        """Whether the row carries this very id: Pod posted the same bytes and stored the answer first."""
        row = await tasks.get_task(connection, task.pk)
        return row is not None and (row.runner_manager_id, row.task_id) == (manager.id, task_id)

    async def _output_directory(self, task: Task) -> Path | None:
        """Where the results of an encoding will be; None for other tasks, and for a video that is gone."""
        try:
            async with self._parts.database.connection() as connection:
                source = await sources.load_source(connection, self._parts.capabilities, task)
            if isinstance(source, EncodingSource):
                return sources.output_directory(self._parts.settings.pod.media_root, source.video)
        except UnsubmittableError:
            pass
        return None

    async def stop(self, manager: RunnerManager, task_id: RunnerTaskId) -> None:
        """Stop a task that belongs to no row; if that fails its callback is ignored later."""
        try:
            await self._parts.client.stop(manager, task_id)
        except RunnerManagerError as error:
            log.warning(
                Event.SUBMISSION_ORPHANED, runner_manager=manager.name, task_id=task_id, reason=str(error)
            )

    async def _begin_log(self, directory: Path, now: datetime) -> None:
        """Create the output directory with its ``encoding.log``, as Pod does at submission; best effort."""
        tree, pod = self._parts.media, self._parts.settings.pod
        line = progress.start_line(now).encode() + b"\n"
        try:
            path = tree.path(directory.relative_to(pod.media_root).as_posix()) / "encoding.log"
            await tree.look(Look.LOG, replace_file, path, line)
        except (OSError, ResultError) as error:
            log.warning(Event.MEDIA_NOT_WRITABLE, path=str(directory), error=str(error))


def _is_another_run(other: Task, task: Task) -> bool:
    """Whether an id belongs to a run that cannot be the one just accepted.

    Two rows of one source may share a run that goes on; nothing else may.
    """
    if other.pk == task.pk:
        return False
    same_source = (other.type, other.source) == (task.type, task.source)
    return not (same_source and other.status in (TaskStatus.PENDING, TaskStatus.RUNNING))
