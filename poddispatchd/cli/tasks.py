"""``tasks``: Pod's tasks on the terminal."""

import dataclasses
import sys
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path

import click

from poddispatchd.cli.common import (
    EXIT_FAILED,
    Context,
    asynchronous,
    config_option,
    json_option,
    open_database,
    pass_context,
    print_json,
    print_table,
    shown,
)
from poddispatchd.cli.task_actions import cancel, restart, watch
from poddispatchd.database import migration
from poddispatchd.database.pool import Connection, Database
from poddispatchd.domain.lifecycle import row_status
from poddispatchd.domain.stages import stage_of
from poddispatchd.domain.task import Task, TaskPk, TaskStatus, TaskType
from poddispatchd.journal import imports, scheduling, submissions
from poddispatchd.journal.imports import ImportState
from poddispatchd.journal.submissions import SubmissionState
from poddispatchd.pod import managers as pod_managers
from poddispatchd.pod import tasks as pod_tasks


@click.group()
def tasks() -> None:
    """Pod's tasks: list, show, restart, cancel and watch them."""


for _action in (restart, cancel, watch):
    tasks.add_command(_action)


@tasks.command("list")
@click.option(
    "--status",
    "statuses",
    multiple=True,
    type=click.Choice([status.value for status in TaskStatus]),
    help="Only these (repeatable).",
)
@click.option(
    "--type",
    "types",
    multiple=True,
    type=click.Choice([kind.value for kind in TaskType]),
    help="Only these (repeatable).",
)
@click.option("--limit", default=50, show_default=True, type=click.IntRange(1, 10_000), help="Rows at most.")
@config_option
@json_option
@pass_context
@asynchronous
async def list_(
    context: Context,
    config_path: Path | None,
    statuses: tuple[str, ...],
    types: tuple[str, ...],
    limit: int,
    *,
    as_json: bool,
) -> None:
    """List tasks, newest first."""
    settings = context.settings(config_path)
    async with open_database(settings) as database:
        names = await _manager_names(database)
        async with database.connection() as connection:
            found = await pod_tasks.list_tasks(
                connection,
                statuses=statuses or None,
                types=tuple(TaskType(kind) for kind in types) or tuple(TaskType),
                limit=limit,
            )
    if as_json:
        print_json([_as_dict(task, names) for task in found])
        return
    print_table(
        ("id", "type", "status", "rank", "source", "runner manager", "task id", "added"),
        [
            (
                task.pk,
                task.type.value,
                task.status,
                task.rank,
                task.source,
                names.get(task.runner_manager_id or 0),
                task.task_id,
                task.date_added,
            )
            for task in found
        ],
        empty="There are no such tasks.",
    )


@tasks.command(short_help="Tell everything about one task.")
@click.argument("task_pk", metavar="ID", type=click.IntRange(min=1))
@config_option
@json_option
@pass_context
@asynchronous
async def show(context: Context, config_path: Path | None, task_pk: int, *, as_json: bool) -> None:
    """Tell everything about one task: its row, its submissions, its imports, its output."""
    settings = context.settings(config_path)
    async with open_database(settings) as database:
        names = await _manager_names(database)
        async with database.connection() as connection:
            task = await pod_tasks.get_task(connection, TaskPk(task_pk))
            journal = await _journal(connection, TaskPk(task_pk), names)
            waits_until = None if task is None else await _waits_until(connection, task)
    if task is None:
        click.echo(f"There is no task {task_pk}.", err=True)
        sys.exit(EXIT_FAILED)
    told = {**_as_dict(task, names), "stage": _stage(task, journal), "waits_until": waits_until}
    if as_json:
        print_json({**told, "script_output": task.script_output, **journal})
        return
    for name, value in told.items():
        click.echo(f"{name.replace('_', ' '):15} {shown(value)}")
    for kind, entries in journal.items():
        click.echo(f"\n{kind}:" if entries else f"\n{kind}: none")
        for entry in entries:
            click.echo(
                "  "
                + ", ".join(
                    f"{key.replace('_', ' ')} {shown(value)}"
                    for key, value in entry.items()
                    if value is not None
                )
            )
    click.echo(f"\noutput:\n{task.script_output}" if task.script_output else "\noutput: none")


async def _journal(
    connection: Connection, task: TaskPk, names: dict[int, str]
) -> dict[str, list[dict[str, object]]]:
    """The submissions and imports of a task; none where poddispatchd's schema does not exist yet."""
    if await migration.current_version(connection) == 0:
        return {"submissions": [], "imports": []}
    sent = await submissions.of_task(connection, task)
    brought = await imports.of_task(connection, task)
    return {
        "submissions": [
            {
                "attempt": item.attempt,
                "runner_manager": names.get(item.runner_manager_id),
                "state": item.state.value,
                "task_id": item.task_id,
                "at": item.created_at,
                "reason": item.reason,
            }
            for item in sent
        ],
        "imports": [dataclasses.asdict(item) for item in brought],
    }


async def _waits_until(connection: Connection, task: Task) -> datetime | None:
    """Until when a task that was put back into the queue is not submitted; None for any other one."""
    if task.status != TaskStatus.PENDING or await migration.current_version(connection) == 0:
        return None
    wait = await scheduling.wait_of(connection, task.pk, task.date_added)
    return None if wait is None else wait.until


def _stage(task: Task, journal: Mapping[str, list[dict[str, object]]]) -> str | None:
    """Where the task is, more closely than its status says; None for a status that nobody knows."""
    status = row_status(task.status)
    if status is None:
        return None
    return stage_of(
        status,
        is_intended=any(entry["state"] == SubmissionState.OPEN for entry in journal["submissions"]),
        has_result=any(entry["state"] == ImportState.OPEN for entry in journal["imports"]),
    ).value


async def _manager_names(database: Database) -> dict[int, str]:
    return {manager.id: manager.name for manager in await pod_managers.runner_managers(database)}


def _as_dict(task: Task, names: dict[int, str]) -> dict[str, object]:
    return {
        "id": task.pk,
        "type": task.type.value,
        "status": task.status,
        "rank": task.rank,
        "source": task.source,
        "runner_manager": names.get(task.runner_manager_id or 0),
        "task_id": task.task_id,
        "date_added": task.date_added,
    }
