"""Carrying out what a report about a task means: by callback, by status, or in the answer to a submission."""

from dataclasses import dataclass
from typing import assert_never

import structlog

from poddispatchd.database import Connection
from poddispatchd.domain.lifecycle import Decision, decide, known_status
from poddispatchd.domain.script_output import failure_words, merge_output
from poddispatchd.domain.task import RunnerStatus, Task, TaskStatus
from poddispatchd.events import Event
from poddispatchd.journal import imports, scheduling, submissions
from poddispatchd.pod import progress, tasks
from poddispatchd.services.signals import Wakes

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Report:
    """What a runner manager says about a task."""

    status: RunnerStatus
    error: str | None = None
    output: str | None = None


async def apply_report(connection: Connection, task: Task, report: Report, *, max_attempts: int) -> Decision:
    """Decide what a report means for a row as it was read, and do it; part of the caller's transaction.

    Args:
        connection: in a transaction.
        task: the row, with its output; it carries a manager and an id.
        report: what the manager says.
        max_attempts: submissions of one task (``reconcile.max_attempts``).

    Returns:
        What was done; IGNORE also when someone else changed the row meanwhile (invariant I4).
    """
    submitted = await submissions.attempts(connection, task.pk, task.date_added)
    decision = decide(
        known_status(task.status),
        report.status,
        error=report.error,
        attempts_left=max(submitted.since, 1) < max_attempts,
    )
    done = True
    match decision:
        case Decision.IMPORT:
            done = await _import(connection, task, report)
        case Decision.RETRY:
            words = failure_words(report.error, report.output, report.status)
            done = await requeue_task(connection, task, words, output=_merged(task, report))
        case Decision.FAIL:
            done = await _end(connection, task, TaskStatus.FAILED, report)
        case Decision.TIME_OUT:
            done = await _end(connection, task, TaskStatus.TIMEOUT, report)
        case Decision.WAIT:
            if report.output or report.error:
                done = await tasks.write_output(connection, task, _merged(task, report))
        case Decision.IGNORE:
            pass
        case _:
            assert_never(decision)
    return decision if done else Decision.IGNORE


async def requeue_task(connection: Connection, task: Task, reason: str, *, output: str | None = None) -> bool:
    """Put a task whose run is lost back into the queue, without grace; its next run differs in its bytes.

    Returns:
        Whether the row was still as it was read.
    """
    if output is not None and not await tasks.write_output(connection, task, output):
        return False
    if not await tasks.requeue(connection, task):
        return False
    if task.runner_manager_id is not None and task.task_id is not None:
        await submissions.lose(connection, task.pk, task.runner_manager_id, task.task_id, reason)
    await imports.drop_open(connection, task.pk, "The task is submitted again.")
    await scheduling.add_own_tasks(connection, [task.pk])
    log.warning(Event.TASK_REQUEUED, task=task.pk, type=task.type.value, source=task.source, reason=reason)
    return True


async def fail_task(connection: Connection, task: Task, reason: str) -> bool:
    """End a task for good with words of our own: in its output, on the video's page and in its log.

    Returns:
        Whether the row was still as it was read.
    """
    current = await tasks.get_task(connection, task.pk)
    old = None if current is None else current.script_output
    if not await tasks.finish(connection, task, TaskStatus.FAILED, merge_output(old, None, reason)):
        return False
    await progress.show_failed(connection, task, reason, log=True)
    log.error(Event.TASK_FAILED, task=task.pk, type=task.type.value, source=task.source, reason=reason)
    return True


def ring_for(decision: Decision, wakes: Wakes) -> None:
    """Wake the jobs that a decision concerns; after its transaction is committed."""
    if decision is Decision.IMPORT:
        wakes.importer.ring()
    elif decision is Decision.RETRY:
        wakes.dispatcher.ring()


async def _import(connection: Connection, task: Task, report: Report) -> bool:
    if task.runner_manager_id is None or task.task_id is None:
        return False
    if (report.output or report.error) and not await tasks.write_output(
        connection, task, _merged(task, report)
    ):
        return False
    return await imports.open_import(connection, task.pk, task.runner_manager_id, task.task_id)


async def _end(connection: Connection, task: Task, status: TaskStatus, report: Report) -> bool:
    if not await tasks.finish(connection, task, status, _merged(task, report)):
        return False
    await imports.drop_open(connection, task.pk, f"The task ended as {status}.")
    words = failure_words(report.error, report.output, report.status)
    await progress.show_failed(connection, task, words)
    log.error(
        Event.TASK_FAILED,
        task=task.pk,
        type=task.type.value,
        source=task.source,
        status=status.value,
        reason=words[:500],
    )
    return True


def _merged(task: Task, report: Report) -> str:
    return merge_output(task.script_output, report.error, report.output)
