"""Stopping a run that nobody wants any more, and what the answer means."""

from collections.abc import Mapping, Sequence
from typing import assert_never

from msgspec import Struct

from poddispatchd.database import migration
from poddispatchd.database.pool import Connection, Database
from poddispatchd.domain.lifecycle import row_status
from poddispatchd.domain.manager import RunnerManager
from poddispatchd.domain.task import ManagerId, Run, Task, TaskPk, TaskStatus
from poddispatchd.errors import OF_THE_MANAGER, RunnerManagerError
from poddispatchd.journal import unwanted_runs
from poddispatchd.managers.record_errors import narrowed
from poddispatchd.pod import managers as pod_managers
from poddispatchd.pod.tasks import find_tasks
from poddispatchd.runner.client import RunnerClient
from poddispatchd.runner.records import StopOutcome
from poddispatchd.tasks.task_ids import known_tasks_called

_GOES_ON = "The daemon asks again until it is stopped."


class Stop(Struct, frozen=True):
    """How a request to stop ended.

    ``is_over``: there is nothing more to ask. ``words``: for people. ``error``: why there was no answer.
    ``is_carried``: nobody was asked, for a task goes on with the run.
    """

    is_over: bool
    words: str
    error: RunnerManagerError | None = None
    is_carried: bool = False


async def carriers(connection: Connection, run: Run) -> list[TaskPk]:
    """The unfinished tasks that go on with a run: a manager gives the same id for the same request."""
    # Commands work on Pod's rows also before our schema is there.
    find = known_tasks_called if await remembers_stops(connection) else find_tasks
    found = await find(connection, [run.runner_manager_id], run.task_id)
    return sorted(
        task.pk for task in found if row_status(task.status) in (TaskStatus.PENDING, TaskStatus.RUNNING)
    )


async def stop_run(database: Database, client: RunnerClient, manager: RunnerManager, run: Run) -> Stop:
    """Ask a manager to stop a run, unless a task still carries it: that one would fail with it.

    Raises:
        DatabaseError: whether a task carries it could not be read; nobody was asked.
    """
    async with database.connection() as connection:
        sharing = await carriers(connection, run)
    if sharing:
        return Stop(False, _carried_words(sharing), is_carried=True)
    return await stop_surely(client, manager, run)


def _carried_words(sharing: Sequence[TaskPk]) -> str:
    numbers = ", ".join(map(str, sharing))
    who = f"task {numbers} shares" if len(sharing) == 1 else f"tasks {numbers} share"
    return f"Its run goes on: {who} it."


async def stop_surely(client: RunnerClient, manager: RunnerManager, run: Run) -> Stop:
    """Ask a manager to stop a run, whoever carries it."""
    try:
        outcome = await client.stop(manager, run.task_id)
    except RunnerManagerError as error:
        return Stop(False, f"It may still run: {error}", error)
    name = f"runner manager {manager.name}"
    match outcome:
        case StopOutcome.REQUESTED:
            return Stop(True, f"R{name[1:]} stops it.")
        case StopOutcome.NOT_RUNNING | StopOutcome.UNKNOWN:
            return Stop(True, f"R{name[1:]} was not running it any more.")
        case StopOutcome.NOT_YET:
            return Stop(False, f"It runs on for now: {name} cannot stop it while its source is fetched.")
        case StopOutcome.RUNNER_UNREACHABLE:
            return Stop(False, f"It may run on: {name} does not reach its runner.")
        case StopOutcome.UNSUPPORTED:
            # Over, for nobody can stop it: asking again changes nothing.
            return Stop(True, f"It runs on: {name} is older than Esup-Runner 1.6.0 and cannot stop tasks.")
        case _:
            assert_never(outcome)


async def remembers_stops(connection: Connection) -> bool:
    """Whether the daemon asks again for what could not be stopped: as our schema has it."""
    return await migration.current_version(connection) >= unwanted_runs.SINCE_VERSION


async def stop_all(
    database: Database, client: RunnerClient, under_way: Sequence[Task]
) -> Mapping[TaskPk, str]:
    """Ask the managers to stop; after the rows are committed (invariant I1).

    Tasks that shared a run are told the same: it is asked for once.
    """
    if not under_way:
        return {}
    managers: dict[ManagerId, RunnerManager] = {
        manager.id: manager for manager in await pod_managers.runner_managers(database)
    }
    async with database.connection() as connection:
        goes_on = await remembers_stops(connection)
    words: dict[Run, str] = {}
    silent: dict[ManagerId, Stop] = {}
    for run in dict.fromkeys(task.run for task in under_way):
        if run is None:
            continue
        manager = managers.get(run.runner_manager_id)
        stop = silent.get(run.runner_manager_id)
        if stop is None or not goes_on:
            stop = await _stop(database, client, manager, run)
            # A person waits: who does not answer is asked about one run, and not in vain about each.
            if manager is not None and await _is_silent(client, manager, stop.error):
                silent[manager.id] = stop
        asked_again = goes_on and not (stop.is_over or stop.is_carried)
        words[run] = f"{stop.words} {_GOES_ON}" if asked_again else stop.words
        # It was written down before anybody was asked: what is left there the daemon asks for, as soon as no
        # task carries it any more.
        if stop.is_over and goes_on:
            async with database.connection() as connection:
                await unwanted_runs.settle(connection, run)
    return {task.pk: words[task.run] for task in under_way if task.run is not None}


async def _is_silent(client: RunnerClient, manager: RunnerManager, error: RunnerManagerError | None) -> bool:
    """Whether requests about other runs would meet the same."""
    return error is not None and isinstance(await narrowed(client, manager, error), OF_THE_MANAGER)


async def _stop(database: Database, client: RunnerClient, manager: RunnerManager | None, run: Run) -> Stop:
    if manager is None:
        return Stop(True, "Its runner manager is gone from Pod: it was not asked to stop.")
    return await stop_run(database, client, manager, run)
