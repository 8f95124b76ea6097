"""``tasks``: Pod's tasks on the terminal."""

import sys
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path

import click
from msgspec.structs import asdict

from poddispatchd.callbacks import inbox
from poddispatchd.cli.common import (
    EXIT_FAILED,
    TASK_ID,
    Context,
    asynchronous,
    config_option,
    json_option,
    open_database,
    pass_context,
    print_json,
    shown,
)
from poddispatchd.cli.delays import delays
from poddispatchd.cli.forecast import OPEN, expected, expected_words, interval_as_dict
from poddispatchd.cli.groups import SuggestingGroup
from poddispatchd.cli.situation import daemon_state, odd_status, why_it_waits
from poddispatchd.cli.tables import say
from poddispatchd.cli.task_actions import cancel, restart
from poddispatchd.cli.task_list import list_
from poddispatchd.cli.task_watch import watch
from poddispatchd.config.model import Settings
from poddispatchd.database import migration
from poddispatchd.database.pool import Connection, Database
from poddispatchd.domain.display import escaped
from poddispatchd.domain.forecast import Forecast
from poddispatchd.domain.lifecycle import row_status
from poddispatchd.domain.stages import stage_of
from poddispatchd.domain.task import Run, Task, TaskPk, TaskStatus
from poddispatchd.journal import acts, campaigns, imports, scheduling, submissions
from poddispatchd.journal.imports import ImportState
from poddispatchd.journal.submissions import SubmissionState
from poddispatchd.pod import duplicates
from poddispatchd.pod import managers as pod_managers
from poddispatchd.pod import tasks as pod_tasks
from poddispatchd.pod.capabilities import introspect
from poddispatchd.pod.duplicates import Blocker
from poddispatchd.pod.task_list import ListedTask, TaskFilter, listed_tasks
from poddispatchd.tasks.fair_share import ShareOfTask, share_of_task

_HEAD, _TAIL = 10, 20
"""Lines of a long output shown on a terminal: its beginning and its end."""


@click.group(cls=SuggestingGroup)
def tasks() -> None:
    """Pod's tasks: list, show, restart, cancel and watch them."""


for _action in (list_, restart, cancel, watch):
    tasks.add_command(_action)


@tasks.command(short_help="Tell everything about one task.")
@click.argument("task_pk", metavar="ID", type=TASK_ID)
@click.option("--all", "whole", is_flag=True, help="The whole output, on a terminal too.")
@config_option
@json_option
@pass_context
@asynchronous
async def show(
    context: Context, config_path: Path | None, task_pk: int, *, whole: bool, as_json: bool
) -> None:
    """Tell everything about one task: its row, its submissions, callbacks and imports, its output.

    On a terminal a long output is shortened to its beginning and its end.
    """
    settings = context.settings(config_path)
    async with open_database(settings) as database:
        names = await _manager_names(database)
        async with database.connection() as connection:
            task = await pod_tasks.get_task(connection, TaskPk(task_pk))
            journal = await _journal(connection, TaskPk(task_pk), task, names)
            campaign = await campaigns.campaign_of(connection, TaskPk(task_pk))
            waits_until = None if task is None else await _waits_until(connection, task)
            blocker = (await duplicates.blockers(connection, [TaskPk(task_pk)])).get(TaskPk(task_pk))
        why = share = None
        if task is not None and task.status == TaskStatus.PENDING:
            why = await why_it_waits(settings, database, task)
            share = await _share(settings, database, task.pk)
        elif task is not None and row_status(task.status) is None:
            why = odd_status(task)
        is_open = task is not None and row_status(task.status) in OPEN
        state = await daemon_state(settings) if is_open else None
        forecast = None if task is None else await expected(settings, database, [task.status], state)
        delay = (await delays(database, state, filter(None, [task]))).get(TaskPk(task_pk))
        rows = await listed_tasks(database, TaskFilter(tasks=[TaskPk(task_pk)]), limit=1)
    if task is None:
        click.echo(f"There is no task {task_pk}.", err=True)
        sys.exit(EXIT_FAILED)
    told = {
        **_as_dict(task, rows[0] if rows else None, names, blocker),
        "stage": _stage(task, journal),
        "waits_until": waits_until,
        "campaign": campaign,
    }
    if as_json:
        reason = None if why is None else asdict(why)
        coming = {
            "expected_begin": None if forecast is None else interval_as_dict(forecast.begins.get(task.pk)),
            "expected_end": None if forecast is None else interval_as_dict(forecast.ends.get(task.pk)),
        }
        fair = {"fair_share": None if share is None else asdict(share)}
        output = {"script_output": task.script_output}
        print_json({**told, **coming, "why": reason, "delay": delay, **fair, **output, **journal})
        return
    if blocker is not None:
        told["waits_for"] = blocker.words
    for name, value in told.items():
        _say(name.replace("_", " "), shown(value))
    if why is not None:
        _say("why it waits", why.sentence)
    _say_when(task, delay, forecast)
    if share is not None:
        owner = rows[0].owner if rows else None
        _say("fair share", share.words(None if owner is None else escaped(owner)))
    for kind, entries in journal.items():
        click.echo(f"\n{kind}:" if entries else f"\n{kind}: none")
        for entry in entries:
            say(
                ", ".join(
                    f"{key.replace('_', ' ')} {shown(value)}"
                    for key, value in entry.items()
                    if value is not None
                ),
                first="  ",
                rest="    ",
            )
    _say_output(task.script_output, whole=whole or not _is_terminal())


def _is_terminal() -> bool:
    return sys.stdout.isatty()


def _say_output(output: str | None, *, whole: bool) -> None:
    """What a task left; on a terminal its beginning, where the reason of a failure is, and its end."""
    lines = escaped(output or "").splitlines()
    left_out = len(lines) - _HEAD - _TAIL
    if not whole and left_out > 1:
        note = f"… {left_out} lines are left out: --all shows them …"
        lines = [*lines[:_HEAD], note, *lines[-_TAIL:]]
    click.echo("\n".join(["\noutput:", *lines]) if lines else "\noutput: none")


def _say_when(task: Task, delay: str | None, forecast: Forecast | None) -> None:
    """What holds a task up, or when it begins and ends; what is expected of the queue knows of no delay."""
    if delay is not None:
        _say("delay", delay)
    elif forecast is not None:
        _say("expected", shown(expected_words(forecast, task.pk, task.status)))


def _say(name: str, text: str) -> None:
    say(text, first=f"{name:15} ", rest=" " * 16)


async def _journal(
    connection: Connection, pk: TaskPk, task: Task | None, names: dict[int, str]
) -> dict[str, list[dict[str, object]]]:
    """The submissions, callbacks and imports of a task, and what people did to it.

    None where our schema is not yet.
    """
    version = await migration.current_version(connection)
    if version == 0:
        return {"submissions": [], "callbacks": [], "imports": [], "acts": []}
    sent = await submissions.of_task(connection, pk)
    brought = await imports.of_task(connection, pk)
    runs = {Run(item.runner_manager_id, item.task_id) for item in sent if item.task_id is not None}
    if task is not None and task.run is not None:
        runs.add(task.run)
    called = await inbox.of_runs(connection, runs) if version == migration.LATEST else []
    return {
        "submissions": [
            {
                "attempt": item.attempt,
                "runner_manager": names.get(item.runner_manager_id),
                "state": item.state,
                "task_id": item.task_id,
                "at": item.created_at,
                "reason": item.reason,
            }
            for item in sent
        ],
        "callbacks": [asdict(item) for item in called],
        "imports": [asdict(item) for item in brought],
        "acts": [
            {"act": item.act.value, "by": item.actor, "at": item.at, "status_before": item.status_before}
            for item in await acts.of_task(connection, pk)
        ],
    }


async def _share(settings: Settings, database: Database, task: TaskPk) -> ShareOfTask | None:
    """What fair share means for a task, where our schema knows of it."""
    async with database.connection() as connection:
        if await migration.current_version(connection) < migration.LATEST:
            return None
    return await share_of_task(database, await introspect(database), settings.dispatch, task)


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


def _as_dict(
    task: Task, row: ListedTask | None, names: dict[int, str], blocker: Blocker | None
) -> dict[str, object]:
    """``row``: the task as people see it; None when it was deleted a moment ago."""
    return {
        "id": task.pk,
        "type": task.type_name,
        "status": task.status,
        "rank": task.rank,
        "source": task.source,
        "title": None if row is None else row.title,
        "owner": None if row is None else row.owner,
        "runner_manager": names.get(task.runner_manager_id or 0),
        "task_id": task.task_id,
        "date_added": task.date_added,
        "waits_for": None if blocker is None else blocker.task,
    }
