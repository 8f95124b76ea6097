"""Carrying out what a report about a task means: by callback, by status, or in the answer to a submission."""

from typing import assert_never

import structlog
from msgspec.structs import replace

from poddispatchd.database.pool import Connection
from poddispatchd.domain.french import ENGLISH, in_language
from poddispatchd.domain.lifecycle import Decision, Retries, decide, may_submit_again, row_status
from poddispatchd.domain.payload import refused_parameters
from poddispatchd.domain.script_output import (
    is_told,
    with_sentence,
)
from poddispatchd.domain.task import (
    RunnerStatus,
    Task,
    TaskStatus,
    TaskType,
    no_import_words,
    source_of,
)
from poddispatchd.journal import failures, imports, notices, scheduling, submissions
from poddispatchd.observability.events import Event
from poddispatchd.pod import duplicates, progress, tasks
from poddispatchd.runtime.wakeups import Wakeups
from poddispatchd.tasks.run_report import ReportOrigin, RunReport

log = structlog.get_logger(__name__)

_GATHERED = 0.1
"""Seconds within which the queue is looked at again for results that are there, for all of them together."""


async def apply_report(
    connection: Connection, task: Task, report: RunReport, *, retries: Retries, language: str = ENGLISH
) -> Decision:
    """Decide what a report means for a row as it is now, and do it; part of the caller's transaction.

    Args:
        connection: in a transaction; the row is locked until its end.
        task: the row as it was read; it carries a manager and an id.
        report: what the manager says of this id.
        retries: how often the task is submitted.
        language: of the words that people read in Pod (``pod.output_language``).

    Returns:
        What was done; IGNORE also when the row does not carry this id any more (invariant I4), and when the
        import that the report asks for is open already.
    """
    # What was read may be old; what is decided below holds until the commit (I4).
    current = await tasks.lock_task(connection, task.pk)
    if current is None or (current.runner_manager_id, current.task_id) != (
        task.runner_manager_id,
        task.task_id,
    ):
        return Decision.IGNORE
    decision = await _decided(connection, current, report, max_attempts=retries.max_attempts)
    match decision:
        case Decision.IMPORT:
            return await _import(connection, current, report, language)
        case Decision.RETRY:
            output = report.merged(current.script_output)
            # What a person could do is for a failure that stays.
            await requeue_task(
                connection,
                current,
                report.bare_words,
                retries=replace(retries, at_length=report.may_last),
                output=output,
                language=language,
            )
        case Decision.FAIL if report.is_success:
            await fail_task(connection, current, no_import_words(current), language=language)
        case Decision.FAIL:
            await _end(connection, current, TaskStatus.FAILED, report, language)
        case Decision.TIME_OUT:
            await _end(connection, current, TaskStatus.TIMEOUT, report, language)
        case Decision.WAIT:
            await _go_on(connection, current, report)
        case Decision.COMPLETE | Decision.IGNORE:
            pass
        case _:
            assert_never(decision)
    return decision


async def _decided(connection: Connection, task: Task, report: RunReport, *, max_attempts: int) -> Decision:
    may_retry = is_contradicted = False
    if report.status is RunnerStatus.FAILED:
        submitted = await submissions.attempts(connection, task)
        may_retry = (
            task.is_submittable
            and report.is_curable
            and may_submit_again(submitted, max_attempts=max_attempts)
        )
        # Its next run goes without what this one failed over, which can happen once.
        if task.run is not None and (names := refused_parameters(report.error, task.type)):
            may_retry = await scheduling.note_refused_parameters(connection, task.run, names)
    if (
        report.origin is ReportOrigin.CALLBACK
        and report.status in (RunnerStatus.FAILED, RunnerStatus.TIMEOUT)
        and task.run is not None
    ):
        is_contradicted = await imports.is_open(connection, task.pk, task.run)
    return decide(
        row_status(task.status),
        report.status,
        may_retry=may_retry,
        is_repeated=task.status == report.status and await _is_repeated(connection, task, report),
        is_contradicted=is_contradicted,
        is_importable=task.result_type is not None,
    )


async def _is_repeated(connection: Connection, task: Task, report: RunReport) -> bool:
    """Whether this very failure of this run was told already, whatever is appended to it by now.

    Pod's own webhook may have told it, or a long output lost its words: the row and the journal are asked.
    """
    if report.merged(task.script_output) == task.script_output or is_told(task.script_output, report.reason):
        return True
    return task.run is not None and await failures.is_known(connection, task.pk, task.run, report.identity)


async def requeue_task(
    connection: Connection,
    task: Task,
    reason: str,
    *,
    retries: Retries,
    output: str | None = None,
    language: str = ENGLISH,
) -> bool:
    """Put a task whose run is lost back into the queue, to wait there; its next run differs in its bytes.

    One of a type that nobody can submit would wait for ever: it fails.

    Returns:
        Whether the row was still as it was read.
    """
    if not task.is_submittable:
        return await fail_task(connection, task, reason, language=language)
    submitted = await submissions.attempts(connection, task)
    if output is not None and not await tasks.write_output(connection, task, output):
        return False
    if not await tasks.requeue(connection, task):
        return False
    if task.run is not None:
        await submissions.lose(connection, task, task.run, reason)
    await imports.drop_open(connection, task.pk, "The task is submitted again.")
    wait = retries.wait(submitted)
    await scheduling.put_back(connection, task.pk, task.date_added, wait=wait)
    log.warning(
        Event.TASK_REQUEUED,
        task=task.pk,
        type=task.type_name,
        source=task.source,
        in_seconds=round(wait, 1),
        reason=reason,
    )
    return True


async def fail_task(connection: Connection, task: Task, reason: str, *, language: str = ENGLISH) -> bool:
    """End a task for good with words of our own: in its output, on the video's page and in its log.

    Those are in ``language``. The notice has them in English: who is told is told in Pod's language later.

    Returns:
        Whether the row was still as it was read.
    """
    # Its output may have grown since the task was read.
    current = await tasks.lock_task(connection, task.pk)
    old = None if current is None else current.script_output
    told = in_language(reason, language)
    if not await tasks.finish(connection, task, TaskStatus.FAILED, with_sentence(old, told, is_reason=True)):
        return False
    await progress.show_failed(connection, task, told, log=True)
    await notices.add_failed(connection, task, reason)
    log.error(Event.TASK_FAILED, task=task.pk, type=task.type_name, source=task.source, reason=reason)
    return True


def ring_for(decision: Decision, wakeups: Wakeups) -> None:
    """Wake the jobs that a decision concerns; after its transaction is committed.

    However a run ended, its runner is free, and a duplicate of the task may be next: the dispatcher looks.
    """
    match decision:
        case Decision.IGNORE:
            return
        case Decision.WAIT:
            pass
        case Decision.IMPORT:
            wakeups.importer.ring()
            # Whoever heard of the end has rung for the free runner; this is for what was not heard here.
            wakeups.dispatcher.ring_within(_GATHERED)
        case Decision.RETRY:
            wakeups.dispatcher.ring()
        case Decision.COMPLETE:
            wakeups.dispatcher.ring()
        case Decision.FAIL | Decision.TIME_OUT:
            wakeups.notifier.ring()
            wakeups.dispatcher.ring()
        case _:
            assert_never(decision)
    wakeups.maintenance.ring()


async def _import(connection: Connection, task: Task, report: RunReport, language: str) -> Decision:
    if task.run is None:
        return Decision.IGNORE
    if (done := await _completed(connection, task, report, language)) is not None:
        return done
    # Each row that shares the run shows its output; the result is imported once, for the oldest.
    await _write_output(connection, task, report)
    if await duplicates.leader(connection, task) is not None:
        return Decision.IGNORE
    if not await imports.open_import(connection, task.pk, task.run):
        return Decision.IGNORE
    if task.type is TaskType.TRANSCRIPTION:
        await scheduling.note_accepted_parameters(connection, task.run)
    # As Pod: a task that had ended in another way is running again while its result is fetched.
    if task.status != TaskStatus.RUNNING:
        await tasks.run_on(connection, task)
    return Decision.IMPORT


async def _completed(connection: Connection, task: Task, report: RunReport, language: str) -> Decision | None:
    """Complete a task of whose run Pod needs no result any more; None where it needs one.

    A runner that is started again works on what it had failed, and its result comes after that of whoever
    asked again meanwhile. And a person may have written another status into a row that was completed.
    """
    if (later := await duplicates.done_later(connection, task.pk)) is not None:
        done = f"Task {later} did the same source meanwhile and ended as {TaskStatus.COMPLETED}."
        words = with_sentence(report.merged(task.script_output), in_language(done, language))
        await tasks.finish(connection, task, TaskStatus.COMPLETED, words)
        await progress.show_ended(connection, source_of(task)["video"])
        await imports.drop_open(connection, task.pk, done)
        log.info(Event.IMPORT_DROPPED, task=task.pk, task_id=task.task_id, reason=done)
        return Decision.COMPLETE
    if task.run is None or not await imports.is_done(connection, task.pk, task.run):
        return None
    # Whoever says that it failed is not contradicted.
    if row_status(task.status) not in (TaskStatus.PENDING, TaskStatus.RUNNING):
        return Decision.IGNORE
    await tasks.finish(connection, task, TaskStatus.COMPLETED)
    await progress.show_ended(connection, source_of(task)["video"])
    return Decision.COMPLETE


async def _go_on(connection: Connection, task: Task, report: RunReport) -> None:
    await _write_output(connection, task, report)
    if report.status is RunnerStatus.RUNNING and task.status != TaskStatus.RUNNING:
        await tasks.run_on(connection, task)


async def _write_output(connection: Connection, task: Task, report: RunReport) -> None:
    """Add what a report says to the row's output; a callback without a word makes it empty, as Pod does."""
    if report.origin is ReportOrigin.STATUS and not report.output and not report.error:
        return
    merged = report.merged(task.script_output)
    if merged != task.script_output:
        await tasks.write_output(connection, task, merged)


async def _end(
    connection: Connection, task: Task, status: TaskStatus, report: RunReport, language: str
) -> None:
    output = report.merged(task.script_output)
    if (known := report.advice(language)) is not None:
        output = with_sentence(output, known)
    await tasks.finish(connection, task, status, output)
    # Its manager says now that it has no result: none is to be fetched any more.
    await imports.drop_open(connection, task.pk, f"The task ended as {status}.")
    if task.run is not None:
        await failures.note_failure(connection, task.pk, task.run, report.identity)
    words = report.words()
    await progress.show_failed(connection, task, report.words(language))
    await notices.add_failed(connection, task, words, is_reported=True)
    log.error(
        Event.TASK_FAILED,
        task=task.pk,
        type=task.type_name,
        source=task.source,
        status=status.value,
        reason=words[:500],
    )
