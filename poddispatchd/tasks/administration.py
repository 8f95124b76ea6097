"""What a person may do to tasks: restart and cancel them, also where a runner works on them already."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from poddispatchd.database import migration
from poddispatchd.database.pool import Connection, Database
from poddispatchd.domain.manager import RunnerManager
from poddispatchd.domain.script_output import merge_output
from poddispatchd.domain.task import ManagerId, Run, Task, TaskPk, TaskStatus
from poddispatchd.errors import RunnerManagerError
from poddispatchd.journal import imports, scheduling, submissions
from poddispatchd.pod import managers as pod_managers
from poddispatchd.pod import progress, tasks
from poddispatchd.runner.client import RunnerClient
from poddispatchd.runner.records import StopOutcome
from poddispatchd.runtime.database_session import CHANNEL

_WAITING = (TaskStatus.PENDING, TaskStatus.RUNNING)


@dataclass(frozen=True, slots=True)
class Treated:
    """What became of one task: whether the wish was granted, and what a person should know, in words."""

    task: TaskPk
    done: bool
    words: str


async def restart_tasks(
    database: Database, client: RunnerClient, wanted: Sequence[TaskPk], *, by: str
) -> list[Treated]:
    """Begin tasks again, as Pod's administration does, and stop the runs that are under way.

    Pod leaves such runs alone: the old result then arrives for the new wish.

    Args:
        database: Pod's.
        client: for the stops.
        wanted: the tasks.
        by: who wants it, for the journal.
    """
    async with database.transaction() as connection:
        before = {pk: await tasks.lock_task(connection, pk) for pk in dict.fromkeys(wanted)}
        restarted = await tasks.restart(connection, list(before))
        under_way = [
            task
            for pk in restarted.tasks
            if (task := before[pk]) is not None and _run_under_way(task) is not None
        ]
        if await migration.current_version(connection):
            for pk in restarted.tasks:
                await imports.drop_open(connection, pk, f"The task was restarted by {by}.")
                await submissions.abandon(connection, pk, f"Restarted by {by}.")
            for task in under_way:
                await _lose(connection, task, f"Restarted by {by}.")
            await scheduling.add_own_tasks(connection, restarted.tasks)
        await _announce(connection)
    stops = await _stop_all(database, client, under_way)
    granted = [
        Treated(pk, True, " ".join(filter(None, ("It waits again, last in the queue.", stops.get(pk)))))
        for pk in restarted.tasks
    ]
    return sorted(
        [*granted, *(Treated(pk, False, words) for pk, words in restarted.refused.items())],
        key=lambda treated: treated.task,
    )


async def cancel_tasks(
    database: Database, client: RunnerClient, wanted: Sequence[TaskPk], *, by: str
) -> list[Treated]:
    """End tasks that wait or run: failed, in words, and stopped on their runner.

    The row lets go of its id, so that a run that cannot be stopped brings nothing in afterwards.
    """
    treated: list[Treated] = []
    under_way: list[Task] = []
    for pk in dict.fromkeys(wanted):
        async with database.transaction() as connection:
            task = await tasks.lock_task(connection, pk)
            if task is None:
                treated.append(Treated(pk, False, "There is no such task."))
                continue
            if task.status not in _WAITING:
                treated.append(Treated(pk, False, f"It has ended already: {task.status}."))
                continue
            await _cancel(connection, task, f"Cancelled by {by}.")
            await _announce(connection)
        treated.append(Treated(pk, True, "It is cancelled."))
        if _run_under_way(task) is not None:
            under_way.append(task)
    stops = await _stop_all(database, client, under_way)
    return [
        replace(item, words=f"{item.words} {stops[item.task]}") if item.task in stops else item
        for item in treated
    ]


async def _cancel(connection: Connection, task: Task, words: str) -> None:
    with_journal = await migration.current_version(connection) > 0
    if with_journal:
        await imports.drop_open(connection, task.pk, words)
        await submissions.abandon(connection, task.pk, words)
        await scheduling.forget_own_task(connection, task.pk)
        await _lose(connection, task, words)
    output = merge_output(task.script_output, words, None)
    # Back into the queue and out of it at once: only that takes manager and id off the row.
    await tasks.requeue(connection, task)
    waiting = await tasks.lock_task(connection, task.pk)
    assert waiting is not None  # noqa: S101 - locked since it was read
    await tasks.finish(connection, waiting, TaskStatus.FAILED, output)
    await progress.show_failed(connection, task, words, log=True)


async def _lose(connection: Connection, task: Task, reason: str) -> None:
    """The next run must differ from this one in its bytes, or the manager hands this one back."""
    if (run := _run_under_way(task)) is not None:
        await submissions.lose(connection, task, run, reason)


def _run_under_way(task: Task) -> Run | None:
    return task.run if task.status in _WAITING else None


async def _announce(connection: Connection) -> None:
    """Wakeup the daemon, as the optional trigger would."""
    await connection.execute("SELECT pg_notify($1, $2)", CHANNEL, "administration")


async def _stop_all(
    database: Database, client: RunnerClient, under_way: Sequence[Task]
) -> Mapping[TaskPk, str]:
    """Ask the managers to stop; after the rows are committed (invariant I1)."""
    if not under_way:
        return {}
    managers: dict[ManagerId, RunnerManager] = {
        manager.id: manager for manager in await pod_managers.runner_managers(database)
    }
    return {
        task.pk: await _stop(client, managers.get(run.runner_manager_id), run)
        for task in under_way
        if (run := task.run) is not None
    }


async def _stop(client: RunnerClient, manager: RunnerManager | None, run: Run) -> str:
    if manager is None:
        return "Its runner manager is gone from Pod: it was not asked to stop."
    try:
        outcome = await client.stop(manager, run.task_id)
    except RunnerManagerError as error:
        return f"It may still run: {error}"
    match outcome:
        case StopOutcome.REQUESTED:
            return f"Runner manager {manager.name} stops it."
        case StopOutcome.NOT_RUNNING | StopOutcome.UNKNOWN:
            return f"Runner manager {manager.name} was not running it any more."
        case _:
            return f"It runs on: runner manager {manager.name} could not stop it ({outcome.value})."
