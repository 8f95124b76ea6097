"""What the commands have in common that restart tasks or end them."""

import sys
from collections.abc import Awaitable, Callable, Sequence
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
from poddispatchd.tasks.administration import Treated, restart_tasks
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
                "--dry-run", is_flag=True, help="Say which tasks would begin again, and change nothing."
            ),
            click.option("--yes", is_flag=True, help="Ask no question."),
            config_option,
            json_option,
        )
    ):
        command = option(command)
    return command


async def restart_found(
    settings: Settings, wanted: Sequence[int], options: RestartOptions, chosen: Sequence[ListedTask] = ()
) -> None:
    """Let tasks begin again, and say what became of each; exit status 1 when one could not be restarted.

    Args:
        settings: those in effect.
        wanted: the tasks.
        options: as a person gave them.
        chosen: those that were chosen by what they are, which may have changed while somebody was asked.
    """
    as_seen = {row.pk: Seen(row.status, row.date_added) for row in chosen}

    async def act(database: Database, client: RunnerClient, tasks: Sequence[TaskPk]) -> list[Treated]:
        return await restart_tasks(
            database,
            client,
            {pk: as_seen.get(pk) for pk in tasks},
            by=person(),
            end_others=options.end_others,
            language=settings.pod.output_language,
        )

    await treat(settings, wanted, act, as_json=options.as_json)


def confirm_restart(
    found: Sequence[ListedTask], wanted: Sequence[int], options: RestartOptions, *, is_chosen: bool
) -> bool:
    """Whether these tasks are to begin again: not in a rehearsal, which names them, nor without a yes.

    Args:
        found: what there is of the tasks that are wanted.
        wanted: their ids.
        options: as a person gave them.
        is_chosen: whether they were chosen by what they are, and not named.

    Raises:
        UsageError: nobody can be asked.
        Abort: the person does not agree.
        SystemExit: in a rehearsal, when there is no such task as one that was named.
    """
    if options.dry_run:
        _rehearse(found, wanted, as_json=options.as_json)
        return False
    if not options.yes:
        _ask(found, is_chosen=is_chosen)
    return True


def _rehearse(found: Sequence[ListedTask], wanted: Sequence[int], *, as_json: bool) -> None:
    """Say which tasks would begin again, in the form in which is said what became of them."""
    rows = {int(row.pk): row for row in found}
    treated = [
        Treated(TaskPk(pk), False, "It would begin again." if pk in rows else "There is no such task.")
        for pk in sorted({*wanted})
    ]
    if as_json:
        _print_treated(treated)
    else:
        for item in treated:
            row = rows.get(item.task)
            if row is None:
                click.echo(f"Task {item.task}: {item.words}", err=True)
            else:
                words = f"({row.type}, {row.status}) would begin again: {shown(row.title)}"
                click.echo(f"Task {item.task} {words}")
        if not treated:
            click.echo("There are no such tasks.")
    if len(rows) < len(treated):
        sys.exit(EXIT_FAILED)


def _print_treated(treated: Sequence[Treated]) -> None:
    print_json([{"id": item.task, "done": item.done, "words": item.words} for item in treated])


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


async def treat(settings: Settings, ids: Sequence[int], act: _Action, *, as_json: bool) -> None:
    """Change tasks, and say what became of each; exit status 1 when one could not be changed."""
    async with open_database(settings) as database, open_session(settings.runners) as session:
        client = RunnerClient(session, request_timeout=settings.runners.request_timeout)
        treated = await act(database, client, [TaskPk(number) for number in ids])
    if as_json:
        _print_treated(treated)
    else:
        for item in treated:
            click.echo(f"Task {item.task}: {item.words}", err=not item.done)
    if not all(item.done for item in treated):
        sys.exit(EXIT_FAILED)
