"""``tasks restart`` and ``tasks cancel``."""

from collections.abc import Sequence
from pathlib import Path

import click
from msgspec.structs import replace

from poddispatchd.cli.common import (
    TASK_ID,
    Context,
    asynchronous,
    config_option,
    json_option,
    open_database,
    pass_context,
    person,
)
from poddispatchd.cli.task_changes import (
    MOST_AT_ONCE,
    RestartOptions,
    restart_found,
    restart_options,
    treat,
)
from poddispatchd.cli.task_filter import Chosen, filter_options
from poddispatchd.database.pool import Database
from poddispatchd.domain.task import TaskPk
from poddispatchd.pod import task_list
from poddispatchd.runner.client import RunnerClient
from poddispatchd.tasks.administration import Treated, cancel_tasks

ids_argument = click.argument("ids", metavar="ID...", nargs=-1, required=True, type=TASK_ID)


@click.command(short_help="Let tasks begin again.")
@click.argument("ids", metavar="[ID]...", nargs=-1, type=TASK_ID)
@filter_options
@restart_options
@pass_context
@asynchronous
async def restart(
    context: Context,
    config_path: Path | None,
    ids: tuple[int, ...],
    *,
    chosen: Chosen,
    options: RestartOptions,
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
        # One more than is allowed tells that there are too many.
        found = await task_list.listed_tasks(database, await chosen.filter(database), limit=MOST_AT_ONCE + 1)
    if len(found) > MOST_AT_ONCE:
        raise click.UsageError(f"These are more than {MOST_AT_ONCE} tasks: choose fewer, as by --since.")
    wanted = ids if by_id else tuple(sorted(row.pk for row in found))
    await restart_found(settings, found, wanted, options, is_chosen=not by_id)


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

    await treat(settings, ids, act, as_json=as_json)
