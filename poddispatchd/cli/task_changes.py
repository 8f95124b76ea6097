"""What the commands have in common that restart tasks or end them."""

import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import wraps
from typing import Any, TypeAlias, TypeVar

import click
from msgspec import Struct

from poddispatchd.cli.common import (
    EXIT_FAILED,
    config_option,
    json_option,
    open_database,
    person,
    print_json,
    shown,
)
from poddispatchd.config.model import Settings
from poddispatchd.database.pool import Database
from poddispatchd.domain.task import TaskPk, TaskStatus
from poddispatchd.pod.task_list import ListedTask
from poddispatchd.runner.client import RunnerClient
from poddispatchd.runner.connections import open_session
from poddispatchd.tasks.administration import Treated, rehearse_restart, restart_tasks
from poddispatchd.tasks.seen import Seen

_R = TypeVar("_R")

_Action: TypeAlias = Callable[[Database, RunnerClient, Sequence[TaskPk]], Awaitable[list[Treated]]]


MOST_AT_ONCE = 1000
"""Tasks that one command restarts at most."""


class RestartOptions(Struct, frozen=True):
    """How tasks are restarted, as a person gave it."""

    end_others: bool
    dry_run: bool
    yes: bool
    as_json: bool


def restart_options(function: Callable[..., _R]) -> Callable[..., _R]:
    """Add the options of a command that restarts tasks; it gets them together as ``options``."""

    @wraps(function)
    def command(*args: object, **kwargs: Any) -> _R:  # noqa: ANN401 - the options of any command
        names = RestartOptions.__struct_fields__
        options = RestartOptions(**{name: kwargs.pop(name) for name in names})
        return function(*args, options=options, **kwargs)

    for option in reversed(
        (
            click.option(
                "--end-others",
                is_flag=True,
                help="End other tasks of the same source that wait or run first; without it the task stays "
                "as it is.",
            ),
            click.option(
                "--dry-run", is_flag=True, help="Say what would become of each task, and change nothing."
            ),
            click.option("--yes", is_flag=True, help="Ask no question."),
            config_option,
            json_option,
        )
    ):
        command = option(command)
    return command


async def restart_found(
    settings: Settings,
    found: Sequence[ListedTask],
    wanted: Sequence[int],
    options: RestartOptions,
    *,
    is_chosen: bool,
) -> None:
    """Let tasks begin again, and say what became of each; exit status 1 when one could not be restarted.

    A rehearsal says what would become of them.

    Args:
        settings: those in effect.
        found: what there is of the tasks that are wanted.
        wanted: their ids.
        options: as a person gave them.
        is_chosen: whether they were chosen by what they are, and not named: that may change while somebody is
            asked.

    Raises:
        UsageError: nobody can be asked.
        Abort: the person does not agree.
    """
    if not wanted:
        # Nobody is asked about nothing.
        click.echo("[]" if options.as_json else "There are no such tasks.")
        return
    if not (options.yes or options.dry_run):
        _ask(found, is_chosen=is_chosen)
    as_seen = {row.pk: Seen(row.status, row.date_added) for row in found if is_chosen}

    async def act(database: Database, client: RunnerClient, tasks: Sequence[TaskPk]) -> list[Treated]:
        if options.dry_run:
            return await rehearse_restart(database, tasks, by=person(), end_others=options.end_others)
        return await restart_tasks(
            database,
            client,
            {pk: as_seen.get(pk) for pk in tasks},
            by=person(),
            end_others=options.end_others,
            language=settings.pod.output_language,
        )

    rows = {row.pk: row for row in found} if options.dry_run else None
    await treat(settings, wanted, act, as_json=options.as_json, rows=rows)


def _ask(found: Sequence[ListedTask], *, is_chosen: bool) -> None:
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


async def treat(
    settings: Settings,
    ids: Sequence[int],
    act: _Action,
    *,
    as_json: bool,
    rows: Mapping[TaskPk, ListedTask] | None = None,
) -> None:
    """Change tasks, and say what became of each; exit status 1 when one could not be changed.

    ``rows``: what there is of them, for what is only rehearsed.
    """
    async with open_database(settings) as database, open_session(settings.runners) as session:
        client = RunnerClient(session, request_timeout=settings.runners.request_timeout)
        treated = await act(database, client, [TaskPk(number) for number in ids])
    if as_json:
        is_done = rows is None
        print_json(
            [{"id": item.task, "done": item.done and is_done, "words": item.words} for item in treated]
        )
    else:
        for item in treated:
            row = (rows or {}).get(item.task)
            what = "" if row is None else f" ({row.type}, {row.status}, {shown(row.title)})"
            click.echo(f"Task {item.task}{what}: {item.words}", err=not item.done)
    if not all(item.done for item in treated):
        sys.exit(EXIT_FAILED)
