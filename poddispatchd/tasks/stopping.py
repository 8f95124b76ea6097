"""Stopping a run that nobody wants any more, and what the answer means."""

from collections.abc import Mapping, Sequence
from typing import assert_never

from msgspec import Struct

from poddispatchd.database import migration
from poddispatchd.database.pool import Connection, Database
from poddispatchd.domain.manager import RunnerManager
from poddispatchd.domain.task import ManagerId, Run, RunnerTaskId, Task, TaskPk
from poddispatchd.errors import OF_THE_MANAGER, RunnerManagerError
from poddispatchd.journal import unwanted_runs
from poddispatchd.managers.record_errors import narrowed
from poddispatchd.pod import managers as pod_managers
from poddispatchd.runner.client import RunnerClient
from poddispatchd.runner.records import StopOutcome

_GOES_ON = "The daemon asks again until it is stopped."


class Stop(Struct, frozen=True):
    """How a request to stop ended.

    ``is_over``: there is nothing more to ask. ``words``: for people. ``error``: why there was no answer.
    """

    is_over: bool
    words: str
    error: RunnerManagerError | None = None


async def stop_run(client: RunnerClient, manager: RunnerManager, task_id: RunnerTaskId) -> Stop:
    """Ask a manager to stop a run."""
    try:
        outcome = await client.stop(manager, task_id)
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
    """Ask the managers to stop; after the rows are committed (invariant I1)."""
    if not under_way:
        return {}
    managers: dict[ManagerId, RunnerManager] = {
        manager.id: manager for manager in await pod_managers.runner_managers(database)
    }
    async with database.connection() as connection:
        goes_on = await remembers_stops(connection)
    words: dict[TaskPk, str] = {}
    silent: dict[ManagerId, Stop] = {}
    for task in under_way:
        if (run := task.run) is None:
            continue
        manager = managers.get(run.runner_manager_id)
        stop = silent.get(run.runner_manager_id)
        if stop is None or not goes_on:
            stop = await _stop(client, manager, run)
            # A person waits: who does not answer is asked about one run, and not in vain about each.
            if (
                manager is not None
                and stop.error is not None
                and await _is_silent(client, manager, stop.error)
            ):
                silent[manager.id] = stop
        words[task.pk] = stop.words if stop.is_over or not goes_on else f"{stop.words} {_GOES_ON}"
        # It was written down before anybody was asked: what is left there the daemon asks for.
        if stop.is_over and goes_on:
            async with database.connection() as connection:
                await unwanted_runs.settle(connection, run)
    return words


async def _is_silent(client: RunnerClient, manager: RunnerManager, error: RunnerManagerError) -> bool:
    """Whether requests about other runs would meet the same."""
    return isinstance(await narrowed(client, manager, error), OF_THE_MANAGER)


async def _stop(client: RunnerClient, manager: RunnerManager | None, run: Run) -> Stop:
    if manager is None:
        return Stop(True, "Its runner manager is gone from Pod: it was not asked to stop.")
    return await stop_run(client, manager, run.task_id)
