"""``tasks restart``, ``tasks cancel`` and ``tasks watch``."""

import asyncio
import sys
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeAlias

import click

from poddispatchd.cli.common import (
    EXIT_FAILED,
    Context,
    asynchronous,
    config_option,
    json_option,
    open_database,
    pass_context,
    person,
    print_json,
    shown,
)
from poddispatchd.cli.task_filter import Chosen, filter_options
from poddispatchd.config.model import Settings
from poddispatchd.database.pool import Database
from poddispatchd.domain.task import ManagerId, Task, TaskPk, TaskStatus
from poddispatchd.pod import managers as pod_managers
from poddispatchd.pod import overview
from poddispatchd.pod import tasks as pod_tasks
from poddispatchd.pod.overview import TaskRow
from poddispatchd.runner.client import RunnerClient, open_session
from poddispatchd.tasks.administration import Treated, cancel_tasks, restart_tasks

_Action: TypeAlias = Callable[[Database, RunnerClient, Sequence[TaskPk]], Awaitable[list[Treated]]]

MOST_AT_ONCE = 1000
"""Tasks that one command restarts at most."""

_WATCHED = 500
"""Newest tasks that are watched."""

ids_argument = click.argument("ids", metavar="ID...", nargs=-1, required=True, type=click.IntRange(min=1))


@click.command(short_help="Let tasks begin again.")
@click.argument("ids", metavar="[ID]...", nargs=-1, type=click.IntRange(min=1))
@filter_options
@click.option(
    "--end-others",
    is_flag=True,
    help="End other tasks of the same source that wait or run first; without it the task stays as it is.",
)
@click.option("--dry-run", is_flag=True, help="Say which tasks would begin again, and change nothing.")
@click.option("--yes", is_flag=True, help="Ask no question.")
@config_option
@json_option
@pass_context
@asynchronous
async def restart(
    context: Context,
    config_path: Path | None,
    ids: tuple[int, ...],
    *,
    chosen: Chosen,
    end_others: bool,
    dry_run: bool,
    yes: bool,
    as_json: bool,
) -> None:
    """Let tasks begin again, last in the queue, as Pod's administration does.

    Name them by their ids, or choose them by what they are: --failed --since 2h. A run that is under way is
    stopped. On a terminal it asks before it begins completed tasks again, or tasks that were chosen; where it
    cannot ask, chosen tasks need --yes. Exit status 1 when a task could not be restarted.
    """
    by_id, chosen = chosen.is_empty, replace(chosen, ids=ids)
    if chosen.is_empty:
        raise click.UsageError("Name the tasks by their ids, or choose some: --failed --since 2h.")
    settings = context.settings(config_path)
    async with open_database(settings) as database:
        found = await overview.task_rows(database, await chosen.filter(database), limit=MOST_AT_ONCE + 1)
    if len(found) > MOST_AT_ONCE:
        raise click.UsageError(f"These are more than {MOST_AT_ONCE} tasks: choose fewer, as by --since.")
    wanted = ids if by_id else tuple(sorted(row.pk for row in found))
    if confirm_restart(found, is_chosen=not by_id, dry_run=dry_run or not wanted, yes=yes):
        await restart_found(settings, wanted, end_others=end_others, as_json=as_json)


async def restart_found(
    settings: Settings, wanted: Sequence[int], *, end_others: bool, as_json: bool
) -> None:
    """Let tasks begin again, and say what became of each; exit status 1 when one could not be restarted."""

    async def act(database: Database, client: RunnerClient, tasks: Sequence[TaskPk]) -> list[Treated]:
        return await restart_tasks(
            database, client, tasks, by=person(), end_others=end_others, language=settings.pod.output_language
        )

    await _treat(settings, wanted, act, as_json=as_json)


def confirm_restart(found: Sequence[TaskRow], *, is_chosen: bool, dry_run: bool, yes: bool) -> bool:
    """Whether these tasks are to begin again: not in a rehearsal, which names them, nor without a yes.

    Raises:
        UsageError: nobody can be asked.
        Abort: the person does not agree.
    """
    if dry_run:
        _say_what_would_begin_again(found)
        return False
    if not yes:
        _ask(found, is_chosen=is_chosen)
    return True


def _say_what_would_begin_again(found: Sequence[TaskRow]) -> None:
    for row in sorted(found, key=lambda row: row.pk):
        click.echo(f"Task {row.pk} ({row.type}, {row.status}) would begin again: {shown(row.title)}")
    if not found:
        click.echo("There are no such tasks.")


def _ask(found: Sequence[TaskRow], *, is_chosen: bool) -> None:
    """Have a person agree where something could be meant otherwise.

    Raises:
        UsageError: nobody can be asked.
        Abort: the person does not agree.
    """
    completed = sum(row.status == TaskStatus.COMPLETED for row in found)
    if not (is_chosen or completed):
        return
    if not sys.stdin.isatty():
        if is_chosen:
            raise click.UsageError(
                f"{len(found)} tasks were chosen: --yes restarts them, --dry-run shows them."
            )
        return
    what = f"{len(found)} tasks" if len(found) > 1 else f"task {found[0].pk}"
    done = f", {completed} of them completed" if completed and len(found) > 1 else ""
    done = done or (", which is completed" if completed else "")
    click.confirm(f"Restart {what}{done}?", abort=True, err=True)


@click.command(short_help="End tasks that wait or run.")
@ids_argument
@config_option
@json_option
@pass_context
@asynchronous
async def cancel(context: Context, config_path: Path | None, ids: tuple[int, ...], *, as_json: bool) -> None:
    """End tasks that wait or run: failed in Pod, and stopped on their runner.

    Exit status 1 when a task could not be cancelled.
    """
    settings = context.settings(config_path)

    async def act(database: Database, client: RunnerClient, tasks: Sequence[TaskPk]) -> list[Treated]:
        return await cancel_tasks(database, client, tasks, by=person(), language=settings.pod.output_language)

    await _treat(settings, ids, act, as_json=as_json)


async def _treat(settings: Settings, ids: Sequence[int], act: _Action, *, as_json: bool) -> None:
    async with open_database(settings) as database, open_session(settings.runners) as session:
        client = RunnerClient(session, request_timeout=settings.runners.request_timeout)
        treated = await act(database, client, [TaskPk(number) for number in ids])
    if as_json:
        print_json([{"id": item.task, "done": item.done, "words": item.words} for item in treated])
    else:
        for item in treated:
            click.echo(f"Task {item.task}: {item.words}", err=not item.done)
    if not all(item.done for item in treated):
        sys.exit(EXIT_FAILED)


@click.command(short_help="Print a line whenever a task changes.")
@click.option("--interval", default=1.0, show_default=True, type=click.FloatRange(0.1, 3600), help="Seconds.")
@click.option("--until-done", is_flag=True, help="End when no task waits or runs any more.")
@config_option
@pass_context
@asynchronous
async def watch(
    context: Context,
    config_path: Path | None,
    interval: float,
    *,
    until_done: bool,
) -> None:
    """Print a line whenever a task changes, until Ctrl-C; first the ones that wait or run."""
    settings = context.settings(config_path)
    known: dict[TaskPk, tuple[object, ...]] = {}
    first = True
    async with open_database(settings) as database:
        while True:
            names = {manager.id: manager.name for manager in await pod_managers.runner_managers(database)}
            async with database.connection() as connection:
                found = await pod_tasks.list_tasks(connection, limit=_WATCHED)
            for task in reversed(found):
                now = (task.status, task.rank, task.runner_manager_id, task.task_id)
                if known.get(task.pk) != now and not (first and task.status not in _OPEN):
                    click.echo(_line(task, names.get(task.runner_manager_id or ManagerId(0))))
                known[task.pk] = now
            first = False
            if until_done and not any(task.status in _OPEN for task in found):
                return
            await asyncio.sleep(interval)


_OPEN = (TaskStatus.PENDING, TaskStatus.RUNNING)


def _line(task: Task, manager: str | None) -> str:
    facts = [f"task {task.pk:<6} {task.type_name:13} {task.status:9} {task.source}"]
    if task.rank is not None:
        facts.append(f"rank {task.rank}")
    if manager is not None:
        facts.append(f"on {manager}")
    return "  ".join(facts)
